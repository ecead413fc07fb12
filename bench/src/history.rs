//! A table's history: what the upstream writes into its binlog before anybody is measured.

use std::fmt::Write;

use tidelake_testkit::MariaDb;

/// Eleven columns of the usual kinds.
const TABLE: &str = "CREATE DATABASE bench; \
    CREATE TABLE bench.orders (id BIGINT PRIMARY KEY, customer INT NOT NULL, product INT UNSIGNED NOT NULL, \
    amount DECIMAL(12,2) NOT NULL, quantity SMALLINT NOT NULL, price DOUBLE NOT NULL, state VARCHAR(12) NOT NULL, \
    note VARCHAR(60), day DATE NOT NULL, at DATETIME(3) NOT NULL, changed TIMESTAMP(6) NOT NULL);";

/// The values of a row whose number is `seq`.
const VALUES: &str = "seq % 50021, seq % 997, (seq % 100000) / 100, seq % 12, seq / 7, \
    ELT(1 + seq % 4, 'new', 'paid', 'packed', 'sent'), IF(seq % 3, CONCAT('note ', MD5(seq)), NULL), \
    '2024-01-01' + INTERVAL seq % 700 DAY, '2024-01-01' + INTERVAL seq SECOND, \
    '2024-01-01' + INTERVAL seq * 1000 MICROSECOND";

/// Tells two states of the table apart.
pub const CHECK: &str = "SELECT COUNT(*), SUM(id), SUM(amount), SUM(quantity), MIN(at), MAX(changed), COUNT(note), \
    COUNT(DISTINCT state) FROM bench.orders";

/// Rows behind the newest that an UPDATE of a small transaction changes: neighbours in the binlog do not meet in one row.
const UPDATED_BEHIND: u64 = 1000;

/// The table that is created last: who has it has all rows.
pub const END: (&str, &str) = ("bench", "end_of_history");

/// Writes `changes` row changes, `size` per transaction: six in ten insert, three update (some of the row), one deletes.
/// From ten rows on a transaction is one statement; smaller ones have a statement for every row. Returns the number of
/// transactions.
pub fn write(upstream: &MariaDb, changes: u64, size: u64) -> u64 {
    upstream.execute(TABLE);
    let transactions = if size < 10 { small(upstream, changes, size) } else { large(upstream, changes, size) };
    upstream.execute(&format!("CREATE TABLE {}.{} (id INT PRIMARY KEY)", END.0, END.1));
    transactions
}

fn large(upstream: &MariaDb, changes: u64, size: u64) -> u64 {
    let (mut rows, mut done, mut transactions) = (0, 0, 0);
    let (mut deleted, mut script) = (0, String::new());
    while done < changes {
        let size = size.min(changes - done);
        let written = match transactions % 10 {
            3 | 7 | 8 if rows >= deleted + size => write!(
                script,
                "UPDATE bench.orders SET amount = amount + 1, state = 'paid', changed = changed + INTERVAL 1 SECOND \
                 WHERE id > {0} AND id <= {0} + {size};",
                rows - size
            ),
            9 if rows >= deleted + size => {
                deleted += size;
                write!(script, "DELETE FROM bench.orders WHERE id > {} AND id <= {deleted};", deleted - size)
            }
            _ => {
                rows += size;
                let (first, last) = (rows + 1 - size, rows);
                write!(script, "INSERT INTO bench.orders SELECT seq, {VALUES} FROM bench.seq_{first}_to_{last};")
            }
        };
        written.expect("a String takes everything");
        done += size;
        transactions += 1;
        if script.len() > 1 << 20 {
            upstream.execute(&std::mem::take(&mut script));
        }
    }
    upstream.execute(&script);
    transactions
}

/// In a stored procedure, so that no client is waited for; the binlog has the rows of its statements. New rows come from a
/// temporary table, which is not logged: texts of statements are as short as an application's.
fn small(upstream: &MariaDb, changes: u64, size: u64) -> u64 {
    let transactions = changes / size;
    upstream.execute(&format!(
        "CREATE TEMPORARY TABLE bench.s LIKE bench.orders; \
         INSERT INTO bench.s SELECT seq, {VALUES} FROM bench.seq_1_to_{changes};\n\
         DELIMITER //\n\
         CREATE PROCEDURE bench.fill(transactions BIGINT, size INT) BEGIN \
         DECLARE newest, oldest, done BIGINT DEFAULT 0; DECLARE i INT; \
         WHILE done < transactions * size DO \
           START TRANSACTION; SET i = 0; \
           WHILE i < size DO \
             CASE WHEN done % 10 IN (2, 5, 9) AND newest > {UPDATED_BEHIND} + 10 THEN \
               UPDATE bench.orders SET amount = amount + 1, state = 'paid', changed = changed + INTERVAL 1 SECOND \
               WHERE id = newest - {UPDATED_BEHIND} - i; \
             WHEN done % 10 = 7 AND newest > oldest + 2 * {UPDATED_BEHIND} THEN \
               SET oldest = oldest + 1; DELETE FROM bench.orders WHERE id = oldest; \
             ELSE SET newest = newest + 1; INSERT INTO bench.orders SELECT * FROM bench.s WHERE id = newest; END CASE; \
             SET i = i + 1, done = done + 1; \
           END WHILE; \
           COMMIT; \
         END WHILE; END//\n\
         DELIMITER ;\n\
         CALL bench.fill({transactions}, {size})"
    ));
    transactions
}
