//! Whatever the bytes are: an answer, no panic, no deep recursion.

use proptest::prelude::*;

use super::*;

/// Pieces that statements are made of.
const PIECES: &[&str] = &[
    "CREATE",
    "OR",
    "REPLACE",
    "TABLE",
    "ALTER",
    "DROP",
    "RENAME",
    "TO",
    "TRUNCATE",
    "IF",
    "NOT",
    "EXISTS",
    "ADD",
    "COLUMN",
    "MODIFY",
    "CHANGE",
    "t",
    "`a`",
    "a",
    "b",
    "int",
    "varchar",
    "(",
    ")",
    "(3)",
    ",",
    "'x'",
    "\"y\"",
    "1",
    "-",
    "1.5e3",
    "DEFAULT",
    "NULL",
    "PRIMARY",
    "KEY",
    "UNIQUE",
    "FOREIGN",
    "REFERENCES",
    "CHECK",
    "CONSTRAINT",
    "AS",
    "GENERATED",
    "ALWAYS",
    "VIRTUAL",
    "enum",
    "set",
    "decimal",
    "(10,2)",
    "timestamp",
    "ON",
    "UPDATE",
    "now()",
    "CHARACTER",
    "SET",
    "utf8mb4",
    "COLLATE",
    "PARTITION",
    "BY",
    "LIKE",
    "SELECT",
    "/*!50001",
    "*/",
    "/*",
    "--",
    "#",
    ";",
    ".",
    "=",
    "FIRST",
    "AFTER",
    "CONVERT",
    "INDEX",
    "COMMENT",
    "x'41'",
    "b'1'",
    "0x",
    "ENGINE",
    "WITH",
    "SYSTEM",
    "VERSIONING",
    "DATABASE",
    "d",
    "STATEMENT",
    "FOR",
    "\\",
    "é",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_is_answered(sql in any::<String>()) {
        answer(&sql);
    }

    #[test]
    fn any_tokens_are_answered(words in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        answer(&words.join(" "));
        answer(&format!("CREATE TABLE t (a int, {}", words.join(" ")));
        answer(&format!("ALTER TABLE t {}", words.join(" ")));
    }

    /// Every statement that is followed leaves a catalog that the next one fits.
    #[test]
    fn followed_statements_apply(words in prop::collection::vec(prop::sample::select(PIECES), 1..12)) {
        let mut upstream = Upstream::with(&["CREATE TABLE t (a int primary key, b varchar(9), c enum('x'))"]);
        let sql = format!("ALTER TABLE t {}", words.join(" "));
        if let DdlOutcome::Changes(changes) | DdlOutcome::Resync { changes, .. } = upstream.outcome(&sql) {
            upstream.apply(&changes);
        }
        for entry in upstream.catalog.tables.values() {
            prop_assert_eq!(entry.def.key.len(), entry.def.key_indexes().len());
        }
    }
}

fn answer(sql: &str) {
    let upstream = Upstream::with(&["CREATE TABLE t (a int primary key, b varchar(9))"]);
    let _ = upstream.outcome(sql);
    for flavor in [ServerFlavor::MariaDb, ServerFlavor::MySql, ServerFlavor::TiDb] {
        let _ = parse_create_table(sql, "d", flavor, &SessionDefaults::default());
    }
}

#[test]
fn deep_parentheses_cost_nothing() {
    let deep = 200_000;
    let sql = format!("CREATE TABLE t (a int default {}1{}, b int)", "(".repeat(deep), ")".repeat(deep));
    let def = create(&sql, ServerFlavor::MariaDb);
    assert_eq!(names(&def), ["a", "b"]);
    answer(&format!("ALTER TABLE t ADD c int AS {}", "(".repeat(deep)));
    answer(&"/*!50001 ".repeat(deep));
}

#[test]
fn what_is_cut_off_is_a_resync_not_a_guess() {
    let whole = "ALTER TABLE t ADD COLUMN (c varchar(10) NOT NULL DEFAULT 'abc' COMMENT 'x', d int), ADD KEY k (c(3)), COMMENT 'y'";
    let upstream = Upstream::with(&["CREATE TABLE t (a int primary key)"]);
    let DdlOutcome::Changes(_) = upstream.outcome(whole) else { panic!("the whole statement is followed") };
    for cut in ["'abc", "(c(3", "COMMENT '", "NOT ", "varchar(1", "ADD COLUMN ("] {
        let end = whole.find(cut).unwrap() + cut.len();
        let outcome = upstream.outcome(&whole[..end]);
        assert!(matches!(&outcome, DdlOutcome::Resync { tables, .. } if tables.len() == 1), "{cut}: {outcome:?}");
    }
}
