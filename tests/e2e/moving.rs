//! The copy of large tables in parallel chunks, on every server: rows move across the chunks' borders all the time, and
//! Tidelake is killed again and again.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_testkit::{MariaDb, MariaDbOptions, ServerKind};

use crate::compare::assert_same_contents;
use crate::tidelake::Tidelake;

const ROWS: i64 = 6_000;
/// Transactions of each of the two clients.
const TRANSACTIONS: usize = 1_200;

/// A keyed table, one whose key ignores case, one without a key.
fn setup() -> String {
    let mut sql = "CREATE DATABASE mv; USE mv; CREATE TABLE t (id INT PRIMARY KEY, v INT NOT NULL, pad VARCHAR(40));
        CREATE TABLE ci (a VARCHAR(20) CHARACTER SET utf8 COLLATE utf8_general_ci NOT NULL, b INT NOT NULL, v INT, PRIMARY KEY (a, b));
        CREATE TABLE n (a INT, b VARCHAR(20)); CREATE TABLE digits (d INT);
        INSERT INTO digits VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9);"
        .to_owned();
    let number = "a.d + 10 * b.d + 100 * c.d + 1000 * e.d";
    let from = "digits a, digits b, digits c, digits e";
    sql += &format!("INSERT INTO t SELECT {number}, 0, REPEAT('x', a.d * 4) FROM {from} WHERE {number} < {ROWS};");
    sql += &format!(
        "INSERT INTO ci SELECT CONCAT(ELT(1 + a.d % 4, 'a', 'B', 'é', 'z'), {number}), b.d, 0 FROM {from} WHERE {number} < {ROWS};"
    );
    sql + &format!("INSERT INTO n SELECT a.d, 'twin' FROM {from} WHERE {number} < {ROWS};")
}

/// Statements of one client: rows that jump over many chunks and back, key chains, deletes and new rows.
fn statements(seed: u64) -> String {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut sql = String::from("USE mv;\n");
    for _ in 0..TRANSACTIONS {
        // each client moves its own rows: the other half is never locked
        let mut own = || rng.random_range(0..ROWS) * 2 + seed as i64;
        let (from, to) = (own(), own());
        let statement = match rng.random_range(0..8) {
            0 | 1 => format!("UPDATE IGNORE t SET id = {to}, v = v + 1 WHERE id = {from};"),
            2 => format!("START TRANSACTION; DELETE FROM t WHERE id = {from}; REPLACE INTO t VALUES ({to}, 1, 'new'); COMMIT;"),
            3 => format!(
                "START TRANSACTION; UPDATE t SET id = -1 - {seed} WHERE id = {from}; UPDATE IGNORE t SET id = {from} WHERE id = {to};
                 DELETE FROM t WHERE id = -1 - {seed}; COMMIT;"
            ),
            4 => format!("UPDATE IGNORE ci SET a = CONCAT(UPPER(a), ''), b = b + 1 WHERE a LIKE '%{}';", from % 1000),
            5 => format!("REPLACE INTO ci VALUES ('Z{from}', {seed}, 1); DELETE FROM ci WHERE a = 'z{to}' AND b = {seed};"),
            6 => format!("UPDATE n SET b = '{to}' WHERE a = {} AND b = 'twin' LIMIT 2;", from % 10),
            _ => format!("INSERT INTO n VALUES ({from}, 'twin'), ({from}, 'twin'); DELETE FROM n WHERE a = {} LIMIT 1;", to % 10),
        };
        sql += &statement;
        sql.push('\n');
    }
    sql
}

fn copied_while_rows_move(kind: ServerKind) {
    let upstream = MariaDb::start(MariaDbOptions::of(kind));
    upstream.execute(&setup());
    let options = ["--interval", "20ms", "--copy-chunk-rows", "100", "--copy-threads", "4", "--flush-interval", "1s"];
    let mut tidelake = Tidelake::prepare(&["run", "--source", &upstream.source_url()], &options);
    let mut rng = StdRng::seed_from_u64(5);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|seed| {
                let client = upstream.client();
                // a deadlock ends a statement, not the test
                scope.spawn(move || client.run(&["--batch", "--force"], &statements(seed)))
            })
            .collect();
        for _ in 0..5 {
            tidelake.restart();
            std::thread::sleep(Duration::from_millis(rng.random_range(100..700)));
            tidelake.kill9();
        }
        tidelake.restart();
        for client in clients {
            client.join().expect("the client runs").expect("its connection lasts");
        }
    });
    assert_same_contents(&upstream, &tidelake);
    tidelake.kill9();
    tidelake.restart();
    assert_same_contents(&upstream, &tidelake);
    assert!(!tidelake.printed().contains("panicked"), "{}", tidelake.printed());
}

#[test]
fn mariadb_10() {
    copied_while_rows_move(ServerKind::MariaDb);
}

#[test]
fn mariadb_11() {
    copied_while_rows_move(ServerKind::MariaDbNew);
}

#[test]
fn mysql_9() {
    copied_while_rows_move(ServerKind::MySqlNew);
}

#[test]
fn mysql_5_6() {
    copied_while_rows_move(ServerKind::MySqlOld);
}
