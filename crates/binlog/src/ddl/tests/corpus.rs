//! Every DDL statement of the sample binlogs (MariaDB 10.11 and 11.8, MySQL 5.0 to 9.7), as it stands in the events.

use super::*;

/// Runs all statements; a re-sync is fine where the rows are not known, but every statement must be read.
fn run(text: &str, flavor: ServerFlavor, sql_mode: u64) -> Upstream {
    let mut upstream = Upstream { flavor, sql_mode, ..Upstream::new() };
    for sql in text.split("\n;;\n") {
        match upstream.outcome(sql) {
            DdlOutcome::Ignore => {}
            DdlOutcome::Changes(changes) => upstream.apply(&changes),
            DdlOutcome::Resync { changes, tables, reason } => {
                assert!(!tables.is_empty() && !reason.contains("cannot read"), "{sql}: {reason}");
                upstream.apply(&changes);
            }
        }
    }
    upstream
}

#[test]
fn mariadb_statements_are_read() {
    let upstream = run(include_str!("corpus-mariadb.txt"), ServerFlavor::MariaDb, STRICT);
    assert!(upstream.catalog.tables.len() > 20);
    assert_eq!(names(&upstream.table("mi")), ["f0", "id", "j", "t"]);
}

#[test]
fn mysql_statements_are_read() {
    let upstream = run(include_str!("corpus-mysql.txt"), ServerFlavor::MySql, STRICT);
    assert!(upstream.catalog.tables.len() > 20);
    assert_eq!(names(&upstream.table("inst")), ["first_c", "id", "bb"]);
    assert_eq!(key_names(&upstream.table("gipk")), ["my_row_id"]);
}
