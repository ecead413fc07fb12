//! SHOW CREATE TABLE of real servers: what they print parses, and prints again as they printed it.
//!
//! `mariadb-10.11.txt` pairs statements with what a server of that version answered; the other files hold answers only.

use pretty::assert_same;
use tidelake_core::show_create::show_create_table;
use tidelake_core::types::text::ServerFlavor;

use super::create;

mod pretty {
    /// Compares line by line, so that a failure names the line.
    pub fn assert_same(got: &str, want: &str, what: &str) {
        for (got, want) in got.lines().zip(want.lines()) {
            assert_eq!(got, want, "in {what}");
        }
        assert_eq!(got.lines().count(), want.lines().count(), "lines of {what}");
    }
}

/// Sections of a golden file: heading and text.
fn sections(text: &str) -> Vec<(&str, String)> {
    let mut out: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("== "), out.last_mut()) {
            (Some(heading), _) => out.push((heading, String::new())),
            (None, Some((_, body))) => {
                body.push_str(line);
                body.push('\n');
            }
            (None, None) => {}
        }
    }
    out
}

/// Without what a definition does not keep: partitions, and options other than engine, charset and comment.
fn kept(show: &str, flavor: ServerFlavor) -> String {
    let end = show.rfind("\n) ENGINE=").expect("table options");
    let (body, options) = show.split_at(end);
    let first = options[1..].lines().next().expect("a line of options");
    let comment = first.find(" COMMENT='").map_or("", |at| &first[at..]);
    let options: Vec<&str> = first[..first.len() - comment.len()]
        .split(' ')
        .filter(|w| {
            let (name, _) = w.split_once('=').unwrap_or((w, ""));
            matches!(name, ")" | "ENGINE" | "DEFAULT" | "CHARSET" | "COLLATE")
        })
        .collect();
    let options = options.join(" ");
    // MySQL 5.6 leaves out the collation if it is the charset's default, and calls utf8mb3 utf8.
    let collation = if options.contains("COLLATE=") || flavor == ServerFlavor::MariaDb {
        ""
    } else {
        let charset = options.rsplit('=').next().unwrap_or("");
        if charset == "latin1" { " COLLATE=latin1_swedish_ci" } else { " COLLATE=utf8mb4_general_ci" }
    };
    let body = body
        .replace("CHARACTER SET latin1 DEFAULT", "CHARACTER SET latin1 COLLATE latin1_swedish_ci DEFAULT")
        // The storage of old temporal types, and where MariaDB 11 puts INVISIBLE.
        .replace(" /* mariadb-5.3 */", "")
        .replace(" DEFAULT 7 INVISIBLE", " INVISIBLE DEFAULT 7");
    format!("{body}\n{options}{collation}{comment}")
}

fn check_shown(text: &str, flavor: ServerFlavor) -> usize {
    let mut checked = 0;
    for (heading, show) in sections(text) {
        if heading != "as shown" || show.contains("SEQUENCE=1") {
            continue;
        }
        let def = create(&show, flavor);
        assert_same(&show_create_table(&def, flavor), &kept(&show, flavor), &show);
        checked += 1;
    }
    checked
}

#[test]
fn mariadb_10_11_prints_again() {
    assert_eq!(check_shown(include_str!("mariadb-10.11.txt"), ServerFlavor::MariaDb), 8);
}

#[test]
fn mariadb_11_8_prints_again() {
    assert!(check_shown(include_str!("mariadb-11.8.txt"), ServerFlavor::MariaDb) > 10);
}

#[test]
fn mysql_9_7_prints_again() {
    assert!(check_shown(include_str!("mysql-9.7.txt"), ServerFlavor::MySql) > 10);
}

#[test]
fn mysql_5_6_prints_again() {
    assert!(check_shown(include_str!("mysql-5.6.txt"), ServerFlavor::MySql) >= 3);
}

/// The statement that a user wrote comes to the same definition as the server's own text of it. Expressions are kept
/// as written, so columns and checks with one are compared without it.
#[test]
fn statements_mean_what_the_server_shows() {
    let session =
        super::SessionDefaults { collation: Some("utf8mb4_general_ci".into()), ..super::SessionDefaults::default() };
    let golden = sections(include_str!("mariadb-10.11.txt"));
    assert!(golden.len() >= 16);
    for pair in golden.chunks(2) {
        let [(_, written), (_, shown)] = pair else { panic!("a statement without its answer") };
        let mut from_text =
            super::parse_create_table(written, "d", ServerFlavor::MariaDb, &session).expect("the statement");
        let mut from_show = create(shown, ServerFlavor::MariaDb);
        for def in [&mut from_text, &mut from_show] {
            def.columns.iter_mut().for_each(without_expressions);
            def.indexes.retain(|i| !i.sql.contains(" CHECK ("));
            def.indexes.sort_by(|a, b| a.sql.cmp(&b.sql));
        }
        assert_same(
            &show_create_table(&from_text, ServerFlavor::MariaDb),
            &show_create_table(&from_show, ServerFlavor::MariaDb),
            written,
        );
        assert_eq!(from_text, from_show);
    }
}

fn without_expressions(column: &mut tidelake_core::ColumnDef) {
    if let Some(at) = column.extra_sql.find("CHECK (").or_else(|| column.extra_sql.find("AS (")) {
        column.extra_sql.truncate(at);
    }
    if column.default_sql.as_ref().is_some_and(|d| d.contains('(') && !d.starts_with("current")) {
        column.default_sql = Some("(...)".into());
    }
}
