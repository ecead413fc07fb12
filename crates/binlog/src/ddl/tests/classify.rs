//! What kind of statement a QUERY event holds.

use crate::ddl::{StatementClass as C, XaVerb, classify, is_dml};

#[test]
fn statements_have_their_class() {
    for (sql, class) in [
        ("BEGIN", C::Begin),
        ("START TRANSACTION", C::Begin),
        ("START TRANSACTION READ ONLY", C::Begin),
        ("START SLAVE", C::Other),
        ("BEGIN NOT ATOMIC SELECT 1; END", C::Other),
        ("COMMIT", C::Commit),
        ("commit /* added */", C::Commit),
        ("ROLLBACK", C::Rollback),
        ("ROLLBACK WORK", C::Rollback),
        ("SAVEPOINT `a b`", C::Savepoint("a b".into())),
        ("ROLLBACK TO `a b`", C::RollbackTo("a b".into())),
        ("rollback work to savepoint x", C::RollbackTo("x".into())),
        ("RELEASE SAVEPOINT x", C::ReleaseSavepoint("x".into())),
        ("XA START X'7831',X'',1", C::Xa(XaVerb::Start, "X'7831',X'',1".into())),
        ("XA END X'7831',X'',1", C::Xa(XaVerb::End, "X'7831',X'',1".into())),
        ("XA PREPARE X'7831',X'',1", C::Xa(XaVerb::Prepare, "X'7831',X'',1".into())),
        ("XA COMMIT X'7831',X'',1", C::Xa(XaVerb::Commit, "X'7831',X'',1".into())),
        ("XA COMMIT X'7831',X'',1 ONE PHASE", C::Xa(XaVerb::CommitOnePhase, "X'7831',X'',1".into())),
        ("XA ROLLBACK 'x'", C::Xa(XaVerb::Rollback, "'x'".into())),
        ("XA RECOVER", C::Other),
        ("/* hint */ INSERT INTO t VALUES (1)", C::Dml),
        ("# note\n-- another\nUPDATE t SET a=1", C::Dml),
        ("delete from t", C::Dml),
        ("REPLACE INTO t VALUES (1)", C::Dml),
        ("LOAD DATA INFILE 'x' INTO TABLE t", C::Dml),
        ("SET STATEMENT max_statement_time=1, sql_mode=concat('FOR','x') FOR UPDATE t SET a=1", C::Dml),
        ("WITH x AS (SELECT 1), y(a) AS (SELECT 2) DELETE FROM t", C::Dml),
        ("WITH x AS (DELETE) SELECT 1", C::Other),
        ("CREATE TABLE t (a int)", C::Ddl),
        ("TRUNCATE t", C::Ddl),
        ("SET @a = 1", C::Other),
        ("", C::Other),
        ("'INSERT'", C::Other),
    ] {
        assert_eq!(classify(sql), class, "{sql}");
    }
}

#[test]
fn dml_is_told_from_the_head_of_a_huge_statement() {
    let huge = format!("INSERT INTO t VALUES ('{}", "é".repeat(1_000_000));
    assert!(is_dml(&huge));
    assert!(!is_dml("ANALYZE TABLE t"));
}
