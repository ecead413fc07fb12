//! DDL in the stream, between rows that need the schema of their own place.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use tidelake_testkit::{MariaDb, MariaDbOptions, ServerKind};

use crate::audit::Auditor;
use crate::compare::assert_same_contents;
use crate::crashes::wait_copied;
use crate::load::{Load, Workload};
use crate::tidelake::{Tidelake, tidelake_prints, wait_for};
use crate::{bank, store};

/// One round of changes; `@round` is its number. Rows stand before, between and after all of them.
const ROUND: &[&str] = &[
    "CREATE TABLE ddl.plain (id INT PRIMARY KEY, a INT, b VARCHAR(20)) DEFAULT CHARSET utf8mb4",
    "INSERT INTO ddl.plain VALUES (1, 10, 'x'), (2, 20, 'y'), (3, NULL, NULL)",
    // Two of the same width, with rows between them.
    "ALTER TABLE ddl.plain ADD COLUMN c INT NOT NULL DEFAULT 7 AFTER id",
    "INSERT INTO ddl.plain VALUES (4, 1, 2, 'four')",
    "ALTER TABLE ddl.plain DROP COLUMN a, ADD COLUMN d INT NULL FIRST",
    "INSERT INTO ddl.plain (d, id, c, b) VALUES (@round, 5, 6, 'five')",
    "UPDATE ddl.plain SET d = id * 2",
    "ALTER TABLE ddl.plain MODIFY c BIGINT NOT NULL, CHANGE b text TEXT NULL",
    "UPDATE ddl.plain SET c = 5000000000, text = REPEAT('t', 300) WHERE id IN (1, 5)",
    "ALTER TABLE ddl.plain ADD COLUMN at DATETIME(3) NOT NULL DEFAULT '2024-05-06 07:08:09.123', ADD COLUMN e ENUM('a', 'b') DEFAULT 'b'",
    "ALTER TABLE ddl.plain MODIFY e ENUM('a', 'b', 'c') DEFAULT 'c'",
    "INSERT INTO ddl.plain (id, c) VALUES (6, 6)",
    "DELETE FROM ddl.plain WHERE id = 2",
    // A swap under everybody's eyes, as online schema changers do.
    "CREATE TABLE ddl.shadow LIKE ddl.plain",
    "ALTER TABLE ddl.shadow ADD COLUMN extra INT DEFAULT 1",
    "INSERT INTO ddl.shadow SELECT p.*, 2 FROM ddl.plain p",
    "RENAME TABLE ddl.plain TO ddl.old, ddl.shadow TO ddl.plain",
    "INSERT INTO ddl.plain (id, c, extra) VALUES (7, 7, 7)",
    "INSERT INTO ddl.old (id, c) VALUES (8, 8)",
    "DROP TABLE ddl.old",
    // The same name again, with another meaning.
    "CREATE TABLE ddl.twice (id INT PRIMARY KEY, v INT)",
    "INSERT INTO ddl.twice VALUES (1, 1), (2, 2)",
    "DROP TABLE ddl.twice",
    "CREATE TABLE ddl.twice (v VARCHAR(10), id BIGINT PRIMARY KEY)",
    "INSERT INTO ddl.twice VALUES ('one', 1)",
    "TRUNCATE TABLE ddl.twice",
    "INSERT INTO ddl.twice VALUES ('two', 1)",
    // Another key.
    "ALTER TABLE ddl.twice DROP PRIMARY KEY, ADD PRIMARY KEY (v, id)",
    "INSERT INTO ddl.twice VALUES ('three', 1), ('two', 2)",
    "ALTER TABLE ddl.twice DROP PRIMARY KEY",
    "INSERT INTO ddl.twice VALUES ('two', 2), ('two', 2)",
    "DELETE FROM ddl.twice WHERE v = 'two' LIMIT 1",
    "CREATE TABLE ddl.chosen AS SELECT id, v FROM ddl.twice",
    "CREATE DATABASE brief",
    "CREATE TABLE brief.gone (id INT)",
    "INSERT INTO brief.gone VALUES (1)",
    "DROP DATABASE brief",
    "ALTER TABLE ddl.plain RENAME TO ddl.moved",
    "INSERT INTO ddl.moved (id, c) VALUES (9, 9)",
    // What the bank and the store have, while they are used.
    "ALTER TABLE bank.accounts ADD COLUMN added INT NOT NULL DEFAULT 3 AFTER owner",
    "ALTER TABLE store.orders ADD COLUMN rating TINYINT NULL",
    "DO SLEEP(0.2)",
    "ALTER TABLE bank.accounts DROP COLUMN added",
    "ALTER TABLE store.orders DROP COLUMN rating",
];

#[test]
fn ddl_in_the_stream_changes_tables_at_its_own_place() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&(bank::setup() + &store::setup() + "CREATE DATABASE ddl;"));
    let mut tidelake = Tidelake::run(&upstream.source_url(), &["--interval", "20ms", "--flush-interval", "1s"]);
    wait_copied(&tidelake);
    let auditor = Auditor::start(tidelake.address());
    let workloads: Vec<Box<dyn Workload>> = vec![Box::new(bank::Teller(1)), Box::new(store::Clerk::new(1))];
    let load = Load::start(&upstream, workloads, Duration::from_millis(5));
    for round in 1..=3 {
        // Down for the second round: it is read back with schemas that are gone when it is read.
        if round == 2 {
            tidelake.kill9();
        }
        let clean = "DROP TABLE IF EXISTS ddl.moved, ddl.twice, ddl.chosen;";
        upstream.execute(&format!("SET @round = {round}; {clean} {};", ROUND.join(";\n")));
        if round == 2 {
            tidelake.restart();
        }
        assert!(!auditor.has_failed(), "{:?}", auditor.finish());
    }
    load.stop();
    assert_same_contents(&upstream, &tidelake);
    let seen = auditor.finish();
    assert!(seen.bank > 5, "{seen:?}");
}

#[test]
fn a_table_that_is_altered_while_it_is_copied_is_copied_again() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(
        &(store::setup() + "CREATE TABLE store.later (id INT PRIMARY KEY); INSERT INTO store.later VALUES (1)"),
    );
    let tidelake = Tidelake::run(&upstream.source_url(), &["--copy-chunk-rows", "200", "--interval", "20ms"]);
    upstream.execute("ALTER TABLE store.ledger ADD COLUMN second INT NOT NULL DEFAULT 2 AFTER id");
    upstream.execute("UPDATE store.ledger SET second = 5 WHERE id % 1000 = 0");
    upstream.execute("RENAME TABLE store.later TO store.renamed");
    upstream.execute("TRUNCATE TABLE store.items; INSERT INTO store.items VALUES (1, 1, 'sku', 1, 1)");
    assert_same_contents(&upstream, &tidelake);
}

/// MySQL logs CREATE TABLE IF NOT EXISTS also where it does nothing: here while the table waits for its copy.
fn a_no_op_makes_no_table(kind: ServerKind) {
    let upstream = MariaDb::start(MariaDbOptions::of(kind));
    upstream.execute(
        "CREATE DATABASE d; USE d; CREATE TABLE a (id INT PRIMARY KEY); INSERT INTO a VALUES (1);
         CREATE TABLE b (id INT PRIMARY KEY, v INT); INSERT INTO b VALUES (1, 1), (2, 2); CREATE TABLE c LIKE b; INSERT INTO c VALUES (5, 5)",
    );
    let options = ["--interval", "20ms", "--copy-threads", "1", "--tables", "none.*"];
    let tidelake = Tidelake::run(&upstream.source_url(), &options);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut locked = runtime.block_on(upstream.connect());
    runtime.block_on(locked.query_drop("LOCK TABLES d.a WRITE")).expect("a lock");
    tidelake_prints(&["tables", "add", "d.*", "--http", &format!("127.0.0.1:{}", tidelake.ports().http)]);
    let states = || -> Vec<(String, String)> {
        let status = tidelake.status();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let tables = status["tables"].as_array().cloned().unwrap_or_default();
        tables.iter().map(|t| (text(&t["name"]), text(&t["state"]))).collect()
    };
    wait_for("the copy that waits for the lock", Duration::from_secs(30), || {
        states().iter().any(|(_, state)| state == "copying").then_some(())
    });
    upstream.execute("USE d; CREATE TABLE IF NOT EXISTS b (id INT PRIMARY KEY, v INT); CREATE TABLE IF NOT EXISTS c (id INT PRIMARY KEY, v INT) ENGINE=InnoDB; INSERT INTO b VALUES (3, 3); INSERT INTO c VALUES (6, 6)");
    std::thread::sleep(Duration::from_secs(1));
    runtime.block_on(locked.query_drop("UNLOCK TABLES")).expect("no lock any more");
    wait_for("all copies", Duration::from_secs(30), || {
        let states = states();
        (states.len() == 3 && states.iter().all(|(_, state)| state == "live")).then_some(())
    });
    assert_same_contents(&upstream, &tidelake);
}

#[test]
fn a_table_that_waits_for_its_copy_is_not_made_by_a_statement_that_does_nothing() {
    a_no_op_makes_no_table(ServerKind::MySqlNew);
    a_no_op_makes_no_table(ServerKind::MySqlOld);
}
