//! `tidelake verify`: equal means equal, and what differs is found and named, while both sides are busy.

use std::time::Duration;

use tidelake_testkit::{MariaDb, MariaDbOptions, ServerKind};

use crate::crashes::wait_copied;
use crate::load::{Load, Workload, with_sequences};
use crate::tidelake::{Tidelake, tidelake, tidelake_prints};
use crate::{bank, kinds, store};

fn http(replica: &Tidelake) -> String {
    format!("127.0.0.1:{}", replica.ports().http)
}

/// Exit by success, and what it printed.
fn verify(replica: &Tidelake, args: &[&str]) -> (bool, String) {
    let http = http(replica);
    let output = tidelake(&[&["verify", "--http", &http], args].concat());
    let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), printed)
}

#[test]
fn a_busy_replica_is_equal_in_every_type_and_kind_of_key() {
    busy_and_equal(ServerKind::MariaDb);
}

#[test]
fn a_busy_replica_of_mysql_9_is_equal_in_every_type_and_kind_of_key() {
    busy_and_equal(ServerKind::MySqlNew);
}

#[test]
fn a_busy_replica_of_mysql_5_6_is_equal_in_every_type_and_kind_of_key() {
    busy_and_equal(ServerKind::MySqlOld);
}

fn busy_and_equal(kind: ServerKind) {
    let upstream = MariaDb::start(MariaDbOptions::of(kind));
    upstream.execute(&with_sequences(&upstream, &(bank::setup() + &store::setup() + &kinds::setup(kind))));
    let engine = if kind.is_mysql() { "MyISAM" } else { "Aria" };
    upstream.execute(&with_sequences(
        &upstream,
        &format!(
            "CREATE DATABASE d; USE d; CREATE TABLE n (a INT, b VARCHAR(9)); INSERT INTO n SELECT seq DIV 3, 'x' FROM seq_1_to_5000;
             CREATE TABLE m (id INT PRIMARY KEY) ENGINE={engine}; GRANT LOCK TABLES ON d.* TO 'tidelake'@'127.0.0.1'"
        ),
    ));
    let replica = Tidelake::run(&upstream.source_url(), &["--interval", "20ms"]);
    wait_copied(&replica);
    let clients: Vec<Box<dyn Workload>> = vec![
        Box::new(bank::Teller(1)),
        Box::new(bank::Teller(2)),
        Box::new(store::Clerk::new(1)),
        Box::new(kinds::Tinkerer(kind)),
    ];
    let load = Load::start(&upstream, clients, Duration::from_millis(2));
    for _ in 0..3 {
        upstream.execute("UPDATE d.n SET b = 'y' WHERE a = 7; INSERT INTO d.n VALUES (7, 'y')");
        let (equal, printed) = verify(&replica, &[]);
        assert!(equal, "{printed}");
        let lines = printed.lines().filter(|line| line.starts_with("equal ")).count();
        assert!(lines > 10 && printed.contains("skipped    d.m"), "{printed}");
    }
    load.stop();
    let json: serde_json::Value =
        serde_json::from_str(&tidelake_prints(&["verify", "d.n", "--json", "--http", &http(&replica)])).unwrap();
    assert_eq!(json[0]["upstream_rows"], 5003);
    assert_eq!(json[0]["replica_rows"], 5003);
}

#[test]
fn what_differs_is_found_and_named() {
    differences_are_named(ServerKind::MariaDb);
}

#[test]
fn what_differs_from_mysql_9_is_found_and_named() {
    differences_are_named(ServerKind::MySqlNew);
}

fn differences_are_named(kind: ServerKind) {
    let upstream = MariaDb::start(MariaDbOptions::of(kind));
    upstream.execute(&with_sequences(&upstream, &bank::setup()));
    upstream.execute(&with_sequences(
        &upstream,
        "CREATE DATABASE d; USE d; CREATE TABLE t (a INT, k VARCHAR(20), v INT, PRIMARY KEY (k, a));
         INSERT INTO t SELECT seq, 'key', 0 FROM seq_1_to_4000; CREATE TABLE n (a INT, b INT);
         INSERT INTO n SELECT seq, 1 FROM seq_1_to_4000; CREATE TABLE same (id INT PRIMARY KEY)",
    ));
    let replica = Tidelake::run(&upstream.source_url(), &["--interval", "20ms"]);
    wait_copied(&replica);
    let (equal, printed) = verify(&replica, &["d.*"]);
    assert!(equal, "{printed}");
    let load = Load::start(&upstream, vec![Box::new(bank::Teller(1)) as Box<dyn Workload>], Duration::from_millis(3));
    upstream.execute(
        "SET sql_log_bin = 0; UPDATE d.t SET v = 1 WHERE a = 77; DELETE FROM d.t WHERE a = 78; INSERT INTO d.t VALUES (9001, 'k y', 0);
         INSERT INTO d.n VALUES (5, 1)",
    );
    let (equal, printed) = verify(&replica, &[]);
    assert!(!equal);
    for line in [
        "DIFFERENT  d.t  4000 rows upstream, 4000 in the replica",
        "k=key, a=77: other value of v",
        "k=key, a=78: only in the replica",
        "k=\"k y\", a=9001: missing in the replica",
        "a=5, b=1: 2 times upstream, 1 times in the replica",
        "equal      d.same",
        "equal      bank.accounts",
        "2 tables differ, 0 could not be compared, of 7",
    ] {
        assert!(printed.contains(line), "no {line:?} in\n{printed}");
    }
    for table in ["d.t", "d.n"] {
        tidelake_prints(&["resync", table, "--wait", "--http", &http(&replica)]);
    }
    let (equal, printed) = verify(&replica, &["d.*"]);
    assert!(equal, "{printed}");
    load.stop();
    let (found, printed) = verify(&replica, &["d.nothing"]);
    assert!(!found && printed.contains("no table of the replica"), "{printed}");
}
