//! Upstreams that go away: restarts, frozen servers, cut lines. Those that come back with another history: `histories`.

use std::time::Duration;

use tidelake_testkit::{MariaDb, MariaDbOptions, ServerKind, TcpProxy};

use crate::audit::Auditor;
use crate::compare::assert_same_contents;
use crate::crashes::wait_copied;
use crate::load::{Load, Workload, with_sequences};
use crate::tidelake::{Tidelake, wait_for};
use crate::{bank, store};

fn clients() -> Vec<Box<dyn Workload>> {
    vec![Box::new(bank::Teller(1)), Box::new(store::Clerk::new(1))]
}

fn upstream_with(kind: ServerKind, sql: &str) -> MariaDb {
    let upstream = MariaDb::start(MariaDbOptions::of(kind));
    upstream.execute(&with_sequences(&upstream, sql));
    upstream
}

#[test]
fn an_upstream_that_restarts_or_is_killed_is_followed_again() {
    restarts_are_followed(ServerKind::MariaDb);
}

#[test]
fn a_mysql_9_that_restarts_or_is_killed_is_followed_again() {
    restarts_are_followed(ServerKind::MySqlNew);
}

fn restarts_are_followed(kind: ServerKind) {
    let mut upstream = upstream_with(kind, &(bank::setup() + &store::setup()));
    let tidelake = Tidelake::run(&upstream.source_url(), &["--interval", "20ms"]);
    wait_copied(&tidelake);
    let auditor = Auditor::start(tidelake.address());
    let load = Load::start(&upstream, clients(), Duration::from_millis(5));
    std::thread::sleep(Duration::from_secs(1));
    upstream.restart();
    std::thread::sleep(Duration::from_secs(1));
    upstream.kill9();
    std::thread::sleep(Duration::from_millis(500));
    upstream.restart();
    upstream.execute("FLUSH BINARY LOGS");
    std::thread::sleep(Duration::from_secs(1));
    load.stop();
    assert_same_contents(&upstream, &tidelake);
    assert!(auditor.finish().bank > 5);
}

#[test]
fn a_cut_line_is_mended_in_the_copy_and_in_the_stream() {
    a_cut_line_is_mended(ServerKind::MariaDb);
}

#[test]
fn a_cut_line_to_mysql_9_is_mended_in_the_copy_and_in_the_stream() {
    a_cut_line_is_mended(ServerKind::MySqlNew);
}

#[test]
fn a_cut_line_to_mysql_5_6_is_mended_in_the_copy_and_in_the_stream() {
    a_cut_line_is_mended(ServerKind::MySqlOld);
}

fn a_cut_line_is_mended(kind: ServerKind) {
    let upstream = upstream_with(kind, &(bank::setup() + &store::setup()));
    let proxy = TcpProxy::start(upstream.port());
    let source = format!("mysql://tidelake:tide@127.0.0.1:{}", proxy.port());
    let load = Load::start(&upstream, clients(), Duration::from_millis(5));
    let tidelake = Tidelake::run(&source, &["--interval", "20ms", "--copy-chunk-rows", "500"]);
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        proxy.reset();
    }
    wait_copied(&tidelake);
    proxy.cut();
    wait_for("the lost line in the status", Duration::from_secs(30), || {
        (tidelake.status()["source"]["state"] == "reconnecting").then_some(())
    });
    std::thread::sleep(Duration::from_secs(1));
    proxy.heal();
    load.stop();
    assert_same_contents(&upstream, &tidelake);
    assert_eq!(tidelake.status()["source"]["state"], "streaming");
}

#[test]
fn a_frozen_upstream_hurts_nobody() {
    a_freeze_hurts_nobody(ServerKind::MariaDb);
}

#[test]
fn a_frozen_mysql_9_hurts_nobody() {
    a_freeze_hurts_nobody(ServerKind::MySqlNew);
}

fn a_freeze_hurts_nobody(kind: ServerKind) {
    let mut upstream = upstream_with(kind, &bank::setup());
    let tidelake = Tidelake::run(&upstream.source_url(), &["--interval", "20ms"]);
    wait_copied(&tidelake);
    upstream.freeze();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(tidelake.client().batch_text("SELECT COUNT(*) FROM bank.accounts"), b"200\n");
    upstream.thaw();
    upstream.execute("UPDATE bank.clock SET ticks = 41 WHERE teller = 1");
    assert_eq!(tidelake.latest("SELECT ticks FROM bank.clock WHERE teller = 1"), b"41\n");
}

/// A server ends connections that take nothing for `net_write_timeout`. The stream asks for a longer one.
fn slow_reader_is_kept(kind: ServerKind) {
    let upstream = MariaDb::start(MariaDbOptions::of(kind).arg("--net-write-timeout=1").arg("--max-binlog-size=1G"));
    upstream.execute("CREATE DATABASE slow; CREATE TABLE slow.t (id INT PRIMARY KEY, b LONGBLOB NOT NULL)");
    let mut tidelake = Tidelake::run(&upstream.source_url(), &["--interval", "20ms"]);
    tidelake.latest("SELECT 1");
    wait_copied(&tidelake);
    let writer = upstream.client();
    // more than the sockets between the two hold
    let rows: String =
        (0..12).map(|id| format!("INSERT INTO slow.t VALUES ({id}, REPEAT('x{id}', 2500000));")).collect();
    std::thread::scope(|scope| {
        scope.spawn(move || drop(writer.batch_text(&rows)));
        tidelake.freeze_for(Duration::from_secs(8));
    });
    let sums = "SELECT COUNT(*), SUM(LENGTH(b)), SUM(CRC32(b)) FROM slow.t";
    assert_eq!(tidelake.latest(sums), upstream.batch_text(sums));
    assert!(!tidelake.printed().contains("lost the upstream"), "{}", tidelake.printed());
}

#[test]
fn a_mariadb_waits_for_a_slow_reader() {
    slow_reader_is_kept(ServerKind::MariaDb);
}

#[test]
fn a_mysql_9_waits_for_a_slow_reader() {
    slow_reader_is_kept(ServerKind::MySqlNew);
}
