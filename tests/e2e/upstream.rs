//! Sessions answer as the upstream's would: its kind, its version, its time zone; also while it is away.

use tidelake_testkit::{MariaDb, MariaDbOptions, ServerKind};

use crate::crashes::wait_copied;
use crate::tidelake::Tidelake;

const TABLE: &str = "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, ts TIMESTAMP NULL, f FLOAT, x DOUBLE)";
const READ: &str =
    "SELECT *, UNIX_TIMESTAMP(ts), CONVERT_TZ('2026-01-15 12:00:00', 'SYSTEM', '+00:00') FROM d.t ORDER BY id";

/// What a client reads that sets nothing.
fn same_text(upstream: &MariaDb, tidelake: &Tidelake, sql: &str) {
    let latest = format!("SET tidelake_freshness = 'latest'; {sql}");
    let (here, there) = (tidelake.client().batch_text(&latest), upstream.batch_text(sql));
    assert_eq!(String::from_utf8_lossy(&here), String::from_utf8_lossy(&there), "{sql}");
}

fn version(tidelake: &Tidelake) -> String {
    String::from_utf8_lossy(&tidelake.client().batch_text("SELECT VERSION()")).trim().to_owned()
}

#[test]
fn sessions_begin_in_the_upstreams_time_zone_and_dialect() {
    for (kind, zone) in [(ServerKind::MariaDb, "+05:30"), (ServerKind::MySqlNew, "-03:00")] {
        let upstream = MariaDb::start(MariaDbOptions::of(kind).arg(format!("--default-time-zone={zone}")));
        upstream.execute(&format!("{TABLE}; INSERT INTO d.t VALUES (1, '2026-07-01 00:00:00', -0e0, -0e0)"));
        let tidelake = Tidelake::run(&upstream.source_url(), &[]);
        upstream.execute("INSERT INTO d.t VALUES (2, '2038-01-19 00:00:00', 1e10, -0e0), (3, NULL, 3.4e38, 1e300)");
        same_text(&upstream, &tidelake, READ);
        same_text(&upstream, &tidelake, "SELECT @@time_zone");
        let numbers = upstream.batch_text("SELECT SUBSTRING_INDEX(VERSION(), '-', 1)");
        let version = version(&tidelake);
        assert!(version.starts_with(String::from_utf8_lossy(&numbers).trim()), "{version}");
        assert_eq!(version.contains("MariaDB"), !kind.is_mysql(), "{version}");
    }
}

#[test]
fn a_replica_starts_while_its_upstream_is_away() {
    let mut upstream = MariaDb::start(MariaDbOptions::default().arg("--default-time-zone=+01:00"));
    upstream.execute(&format!("{TABLE}; INSERT INTO d.t VALUES (1, '2026-07-01 00:00:00', 1, 1)"));
    let mut tidelake = Tidelake::run(&upstream.source_url(), &[]);
    wait_copied(&tidelake);
    same_text(&upstream, &tidelake, READ);
    let before = version(&tidelake);
    tidelake.kill9();
    upstream.kill9();
    tidelake.restart();
    assert_eq!(tidelake.client().batch_text("SELECT ts FROM d.t"), b"2026-07-01 00:00:00\n");
    assert_eq!(version(&tidelake), before);
    assert!(tidelake.printed().contains("the replica is served as it is"), "{}", tidelake.printed());
    upstream.restart();
    upstream.execute("INSERT INTO d.t VALUES (2, NULL, 2, 2)");
    same_text(&upstream, &tidelake, READ);
}
