//! The JDBC driver of Flight SQL, as it is published, in a Java program: over TLS, with user and password.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tidelake_testkit::{MariaDb, MariaDbOptions};

use crate::security::mysql;
use crate::tidelake::{Tidelake, wait_for};

const PASSWORD: &str = "readers-password";

const KINDS: &str = "CREATE TABLE shop.kinds (id INT PRIMARY KEY, big BIGINT UNSIGNED, price DECIMAL(10,2), ratio DOUBLE, small FLOAT, name VARCHAR(20), \
     doc LONGTEXT, born DATE, met DATETIME(6), kind ENUM('red','green'), marks SET('a','b','c'), year YEAR, raw VARBINARY(10) NOT NULL); \
     INSERT INTO shop.kinds VALUES (1, 9223372036854775807, -12.5, 0.25, 1.5, 'ä', REPEAT('long ', 3), '2024-02-29', '2024-02-29 12:34:56.5', 'green', 'a,c', 2024, x'ff0001'), \
     (2, NULL, NULL, NULL, NULL, 'it''s', NULL, NULL, NULL, NULL, NULL, NULL, ''), \
     (3, 18446744073709551615, 0.01, -1e300, 0, '', 'x', '1999-12-31', '1999-12-31 23:59:59.000001', 'red', '', 1999, x'00')";

fn cert(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/certs").join(name)
}

fn upstream() -> MariaDb {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&format!(
        "CREATE DATABASE shop; CREATE DATABASE hr; CREATE TABLE hr.pay (id INT PRIMARY KEY); {KINDS}; \
         CREATE TABLE shop.pairs (b INT, a INT, v INT, PRIMARY KEY (b, a)); USE shop; \
         INSERT INTO pairs SELECT seq % 100, seq, 0 FROM seq_1_to_20000"
    ));
    upstream
}

/// With a certificate, and a user who reads `shop`.
fn replica(upstream: &MariaDb, dir: &Path) -> Tidelake {
    let config = dir.join("tidelake.toml");
    let (cert, key) = (cert("server.pem"), cert("server.key"));
    let (cert, key) = (cert.display(), key.display());
    let text = format!(
        "tls-cert = '{cert}'\ntls-key = '{key}'\n[[users]]\nname = 'bi'\npassword = '{PASSWORD}'\ntables = 'shop.*'\n"
    );
    std::fs::write(&config, text).expect("write");
    Tidelake::run(&upstream.source_url(), &["--config", config.to_str().expect("UTF-8")])
}

/// What the program prints, with statements or without.
fn checked(replica: &Tidelake, statements: &[&str]) -> String {
    let libs = tidelake_testkit::component("jdbc").join("libs");
    let jar = std::fs::read_dir(libs).expect("the driver").next().expect("a jar").expect("a jar").path();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/jdbc/Check.java");
    let url = format!(
        "jdbc:arrow-flight-sql://localhost:{}/?useEncryption=true&tlsRootCerts={}",
        replica.ports().flight,
        cert("ca.pem").display()
    );
    let mut java = Command::new("java");
    java.args(["--add-opens=java.base/java.nio=ALL-UNNAMED", "-Dfile.encoding=UTF-8", "-Duser.timezone=UTC", "-cp"]);
    let output =
        java.arg(jar).arg(program).args([&url, "bi", PASSWORD]).args(statements).output().expect("Java starts");
    let (printed, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}\n{errors}");
    printed.into_owned()
}

/// With the copy done.
fn copied(upstream: &MariaDb, dir: &Path) -> Tidelake {
    let replica = replica(upstream, dir);
    let counted = |table: &str| {
        let sql = format!("SELECT COUNT(*) FROM shop.{table}");
        mysql(replica.ports().mysql, "bi", PASSWORD, &sql).ok()
    };
    wait_for("the copy", Duration::from_secs(60), || {
        (counted("pairs")? == "20000\n" && counted("kinds")? == "3\n").then_some(())
    });
    replica
}

#[test]
fn the_jdbc_driver_reads_binds_and_browses() {
    let (upstream, dir) = (upstream(), tempfile::tempdir().expect("a temporary directory"));
    let jdbc = checked(&copied(&upstream, dir.path()), &[]);
    let text = |sql: &str| String::from_utf8(upstream.batch_text(sql)).expect("UTF-8");
    // Java prints some values in its own way.
    let (ratio, small) = ("REPLACE(ratio, '-1e300', '-1.0E300')", "IF(small = 0, '0.0', small)");
    let mut wanted = text(&format!(
        "SELECT id, big, price, {ratio}, {small}, name, doc, born, TRIM(TRAILING '0' FROM met), kind, marks, year, HEX(raw) FROM shop.kinds ORDER BY id"
    ));
    wanted += "9223372036854775807 -12.50 0.25 2024-02-29 2024-02-29T12:34:56.500 3 false\n";
    for least in 0..3 {
        wanted += &text(&format!(
            "SELECT id, name FROM shop.kinds WHERE id > {least} AND name <> 'it''s' ORDER BY id LIMIT 2"
        ));
    }
    wanted += "1\n0\n";
    wanted += "Tidelake true `\ninformation_schema\nshop\n";
    wanted += "shop\tkinds\tBASE TABLE\nshop\tpairs\tBASE TABLE\n";
    wanted += &text(
        "SELECT table_name, column_name, ordinal_position, is_nullable FROM information_schema.columns WHERE table_name = 'kinds' ORDER BY 3",
    );
    wanted += "pairs\ta\t2\tPRIMARY\npairs\tb\t1\tPRIMARY\n";
    wanted += "BASE TABLE\nSYSTEM VIEW\nVIEW\n";
    let (same, rest) = jdbc.split_at(jdbc.find("error: ").expect("errors"));
    assert_eq!(same, wanted);
    let errors: Vec<&str> = rest.lines().collect();
    let parts = [
        "1146",
        "denied",
        "1064",
        "read-only replica",
        "read-only replica",
        "no effect on the next one",
        "read-only replica",
        "20000 400020000",
        "refused: ",
        "refused: ",
    ];
    assert_eq!(errors.len(), parts.len(), "{rest}");
    for (line, part) in errors.iter().zip(parts) {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

/// Statements whose columns are in no text, and what is wrong in several ways.
const STATEMENTS: &[&str] = &[
    "SELECT @@version, @@version_comment, DATABASE()",
    "(SELECT 1 AS a) UNION SELECT 2 ORDER BY a",
    "SHOW DATABASES",
    "SHOW TABLES FROM shop",
    "SHOW FULL TABLES FROM shop LIKE 'p%'",
    "SHOW CREATE TABLE shop.kinds",
    "SHOW COLUMNS FROM shop.kinds WHERE Field = 'big'",
    "SHOW INDEX FROM shop.pairs",
    "SHOW VARIABLES LIKE 'version%'",
    "SHOW WARNINGS",
    "DESCRIBE shop.kinds",
    "DESC shop.kinds name",
    "EXPLAIN SELECT * FROM shop.kinds WHERE id = 1",
    "SET STATEMENT tidelake_freshness = 'latest' FOR SELECT COUNT(*) FROM shop.pairs",
    "SELCT 1",
    "SELECT nothing FROM shop.pairs",
    "SELECT * FROM shop.nothing",
    "SELECT a FROM shop.pairs WHERE",
    "SELECT * FROM hr.pay",
    "SELECT INET_ATON('1.2.3.4')",
    "SHOW TABLES",
    "SHOW TABLES FROM nowhere",
    "SHOW CREATE TABLE shop.nothing",
    "DESCRIBE shop.nothing",
    "EXPLAIN SELECT nothing FROM shop.pairs",
];

/// What a session of the MySQL protocol answers, rows or an error's text, twice: JDBC runs a statement as it is, and prepared.
#[test]
fn the_jdbc_driver_is_answered_like_a_mysql_client() {
    let (upstream, dir) = (upstream(), tempfile::tempdir().expect("a temporary directory"));
    let replica = copied(&upstream, dir.path());
    let printed = checked(&replica, STATEMENTS);
    let mut lines = printed.lines();
    for sql in STATEMENTS {
        let answer = mysql(replica.ports().mysql, "bi", PASSWORD, sql);
        for _ in 0..2 {
            match &answer {
                Ok(rows) => rows.lines().for_each(|row| assert_eq!(lines.next(), Some(row), "{sql}\n{printed}")),
                Err(error) => {
                    let (_, text) = error.trim().split_once(" at line 1: ").expect("an error of the server");
                    let line = lines.next().unwrap_or_default();
                    assert!(line.starts_with("error: ") && line.contains(text), "{sql}: {line}, not {text}");
                }
            }
        }
    }
    assert_eq!(lines.next(), None);
}
