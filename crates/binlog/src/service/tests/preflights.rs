//! What a user is told about an upstream that is not set up right.

use tidelake_testkit::{MariaDb, MariaDbOptions, ServerKind};

use crate::filter::TableFilter;
use crate::service::{Finding, Preflight, ServiceOptions, preflight};

async fn check(url: &str, filter: &str) -> Preflight {
    let mut options = ServiceOptions::new(url);
    options.filter = TableFilter::parse(filter).unwrap();
    preflight(&options).await.unwrap()
}

fn error_about<'a>(found: &'a Preflight, what: &str) -> &'a Finding {
    found.errors().find(|f| f.what.contains(what)).unwrap_or_else(|| panic!("nothing about {what}: {found:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_upstream_has_no_errors() {
    let server = MariaDb::start(MariaDbOptions::default());
    server.execute("CREATE DATABASE a; CREATE TABLE a.t (id INT PRIMARY KEY); CREATE VIEW a.v AS SELECT * FROM a.t");
    let found = check(&server.source_url(), "").await;
    assert!(found.is_ok(), "{found:#?}");
    assert_eq!(found.tables, 1);
    assert!(found.server.unwrap().is_mariadb());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_named_with_what_mends_them() {
    let options = MariaDbOptions::default()
        .arg("--binlog-format=STATEMENT")
        .arg("--binlog-row-image=MINIMAL")
        .arg("--binlog-row-metadata=MINIMAL")
        .arg("--expire-logs-days=0.5")
        .arg("--lower-case-table-names=1")
        .arg("--binlog-do-db=other");
    let server = MariaDb::start(options);
    server.execute(
        "SET SESSION binlog_format = ROW; CREATE DATABASE a; CREATE TABLE a.p (id INT PRIMARY KEY);
         CREATE TABLE a.c (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES a.p (id) ON DELETE CASCADE);
         CREATE TABLE a.h (id INT PRIMARY KEY) WITH SYSTEM VERSIONING",
    );
    let found = check(&server.source_url(), "").await;
    assert!(error_about(&found, "binlog_format is STATEMENT").fix.contains("SET GLOBAL binlog_format = 'ROW'"));
    assert!(error_about(&found, "binlog_row_image is MINIMAL").fix.contains("binlog_row_image = FULL"));
    error_about(&found, "binlog_do_db is other");
    error_about(&found, "lower_case_table_names is 1");
    let warned: Vec<&str> = found.warnings().map(|f| f.what.as_str()).collect();
    assert!(warned.contains(&"binlog_row_metadata is MINIMAL"), "{warned:?}");
    assert!(warned.contains(&"binlog files are kept for 12.0 hours"), "{warned:?}");
    assert!(warned.iter().any(|w| w.contains("a.c (CONSTRAINT")), "{warned:?}");
    assert!(warned.contains(&"system-versioned tables are wanted: a.h"), "{warned:?}");
    let text = found.errors().next().unwrap().to_string();
    assert!(text.contains("why: ") && text.contains("fix: "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_privileges_are_named() {
    let server = MariaDb::start(MariaDbOptions::default());
    server.execute(
        "CREATE DATABASE a; CREATE TABLE a.t (id INT PRIMARY KEY);
         CREATE USER 'few'@'%' IDENTIFIED BY 'few'; GRANT INSERT ON a.t TO 'few'@'%'",
    );
    let url = format!("mysql://few:few@127.0.0.1:{}", server.port());
    let found = check(&url, "").await;
    assert!(error_about(&found, "bin log's position").fix.contains("BINLOG MONITOR"));
    assert!(error_about(&found, "a.t").fix.contains("GRANT SELECT"));
    server.execute("GRANT BINLOG MONITOR ON *.* TO 'few'@'%'");
    let found = check(&url, "").await;
    assert!(error_about(&found, "may not read the bin log").fix.contains("REPLICATION SLAVE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_only_the_copy_needs_are_asked_for_too() {
    let server = MariaDb::start(MariaDbOptions::of(ServerKind::MySqlNew));
    server.execute("CREATE DATABASE a; CREATE TABLE a.t (id INT PRIMARY KEY)");
    let found = check(&server.source_url(), "").await;
    assert!(found.is_ok() && found.warnings().next().is_none(), "{found:#?}");
    server.execute(
        "REVOKE RELOAD ON *.* FROM 'tidelake'@'127.0.0.1'; CREATE TABLE a.m (id INT PRIMARY KEY) ENGINE=MyISAM;
         CREATE DATABASE b; CREATE TABLE b.m (id INT PRIMARY KEY) ENGINE=MyISAM; GRANT LOCK TABLES ON b.* TO 'tidelake'@'127.0.0.1'",
    );
    let found = check(&server.source_url(), "").await;
    let warned: Vec<&str> = found.warnings().map(|f| f.what.as_str()).collect();
    assert!(found.is_ok() && warned.len() == 2 && warned[0].ends_with("global read lock"), "{found:#?}");
    assert!(warned[1].ends_with("which the user may not take: a.m (MyISAM)"), "{warned:?}");
    server.execute("SET GLOBAL gtid_mode = ON_PERMISSIVE");
    let found = check(&server.source_url(), "").await;
    assert!(error_about(&found, "global read lock").fix.contains("GRANT RELOAD"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bin_log_no_login_no_server() {
    let mut server = MariaDb::start(MariaDbOptions::default());
    let url = format!("mysql://tidelake:wr0ng@127.0.0.1:{}", server.port());
    let found = check(&url, "").await;
    let finding = error_about(&found, "Access denied");
    assert!(finding.fix.contains("password") && !finding.to_string().contains("wr0ng"));
    server.restart_with("--skip-log-bin");
    let found = check(&server.source_url(), "").await;
    error_about(&found, "log_bin is OFF");
    server.stop();
    let found = check(&server.source_url(), "").await;
    assert!(error_about(&found, "no connection").fix.contains("firewall"));
}
