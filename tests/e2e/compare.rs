//! All contents, byte by byte, of the upstream and of Tidelake, at a moment without writers.

use tidelake_testkit::MariaDb;

use crate::tidelake::Tidelake;

/// Databases that are the server's own.
const OWN: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];

/// Compares names and all rows of all tables; panics with everything that differs.
pub fn assert_same_contents(upstream: &MariaDb, tidelake: &Tidelake) {
    let wanted = table_names(|sql| upstream.batch_text(sql));
    let found = table_names(|sql| tidelake.latest(sql));
    assert_eq!(found, wanted, "the lists of tables differ");
    let differences = wanted.iter().filter_map(|(schema, table)| {
        Some(match difference(upstream, tidelake, schema, table)? {
            Difference::Rows(text) => text,
            Difference::Refused(error) => format!("{schema}.{table}: {error}"),
        })
    });
    let wrong: Vec<String> = differences.collect();
    assert!(wrong.is_empty(), "{}\nstatus {}\n{}", wrong.join("\n"), tidelake.status(), tidelake.printed());
}

/// Database and name of every table that a server has, sorted.
pub fn table_names(ask: impl Fn(&str) -> Vec<u8>) -> Vec<(String, String)> {
    let list = "SELECT table_schema, table_name FROM information_schema.tables \
         WHERE table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')";
    let rows = ask(list);
    let mut names: Vec<(String, String)> = String::from_utf8_lossy(&rows)
        .lines()
        .map(|row| row.split_once('\t').expect("two columns were asked for"))
        // As spelled: a database may be called MYSQL.
        .filter(|(schema, _)| !OWN.contains(schema))
        .map(|(schema, table)| (schema.to_owned(), table.to_owned()))
        .collect();
    names.sort();
    names
}

/// How a table here is not as upstream.
pub enum Difference {
    /// Other rows: what is missing, what is wrong.
    Rows(String),
    /// Not answered, with the reason.
    Refused(String),
}

/// Compares `SELECT *` of a table.
pub fn difference(upstream: &MariaDb, tidelake: &Tidelake, schema: &str, table: &str) -> Option<Difference> {
    ordered_difference(upstream, tidelake, schema, table, &key_columns(upstream, schema, table))
}

/// The same without an order of the rows: how text sorts is another matter.
pub fn unordered_difference(upstream: &MariaDb, tidelake: &Tidelake, schema: &str, table: &str) -> Option<Difference> {
    ordered_difference(upstream, tidelake, schema, table, &[])
}

fn ordered_difference(
    upstream: &MariaDb,
    tidelake: &Tidelake,
    schema: &str,
    table: &str,
    keys: &[String],
) -> Option<Difference> {
    let order = if keys.is_empty() { String::new() } else { format!(" ORDER BY {}", keys.join(", ")) };
    let sql = format!("SELECT * FROM {}.{}{order}", quoted(schema), quoted(table));
    let wanted = upstream.batch_text(&format!("SET time_zone = '+00:00'; {sql}"));
    let found = match tidelake.try_latest(&sql) {
        Ok(found) => found,
        Err(error) => return Some(Difference::Refused(error)),
    };
    // Rows without a key have no order.
    let same = if keys.is_empty() { lines(&wanted) == lines(&found) } else { wanted == found };
    (!same).then(|| Difference::Rows(describe(&format!("{schema}.{table}"), &wanted, &found)))
}

fn key_columns(upstream: &MariaDb, schema: &str, table: &str) -> Vec<String> {
    let sql = format!(
        "SELECT column_name FROM information_schema.statistics WHERE index_name = 'PRIMARY' \
         AND table_schema = {} AND table_name = {} ORDER BY seq_in_index",
        literal(schema),
        literal(table)
    );
    let names = upstream.batch_text(&sql);
    String::from_utf8_lossy(&names).lines().map(quoted).collect()
}

fn describe(table: &str, wanted: &[u8], found: &[u8]) -> String {
    let (want, have) = (lines(wanted), lines(found));
    if want == have {
        let at = wanted.split(|b| *b == b'\n').zip(found.split(|b| *b == b'\n')).position(|(w, f)| w != f);
        return format!("{table}: the rows are the same, their order differs from row {at:?} on");
    }
    let missing = text(&without(&want, &have));
    let extra = text(&without(&have, &want));
    format!("{table}: {} rows upstream, {} here\n  missing: {missing:?}\n  wrong:   {extra:?}", want.len(), have.len())
}

/// Up to three lines of one sorted list that the other does not have.
fn without(these: &[Vec<u8>], those: &[Vec<u8>]) -> Vec<Vec<u8>> {
    these.iter().filter(|line| those.binary_search(line).is_err()).take(3).cloned().collect()
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    lines.pop();
    lines.sort_unstable();
    lines
}

fn text(lines: &[Vec<u8>]) -> Vec<String> {
    lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

/// An identifier.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
