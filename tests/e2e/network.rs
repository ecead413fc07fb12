//! Upstreams that go away: restarts, frozen servers, cut lines; and upstreams that come back with another history.

use std::time::Duration;

use tidelake_testkit::{MariaDb, MariaDbOptions, TcpProxy};

use crate::audit::Auditor;
use crate::compare::assert_same_contents;
use crate::crashes::wait_copied;
use crate::load::{Load, Workload};
use crate::tidelake::{Tidelake, wait_for};
use crate::{bank, store};

fn clients() -> Vec<Box<dyn Workload>> {
    vec![Box::new(bank::Teller(1)), Box::new(store::Clerk::new(1))]
}

#[test]
fn an_upstream_that_restarts_or_is_killed_is_followed_again() {
    let mut upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&(bank::setup() + &store::setup()));
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
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&(bank::setup() + &store::setup()));
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
    let mut upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&bank::setup());
    let tidelake = Tidelake::run(&upstream.source_url(), &["--interval", "20ms"]);
    wait_copied(&tidelake);
    upstream.freeze();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(tidelake.client().batch_text("SELECT COUNT(*) FROM bank.accounts"), b"200\n");
    upstream.thaw();
    upstream.execute("UPDATE bank.clock SET ticks = 41 WHERE teller = 1");
    assert_eq!(tidelake.latest("SELECT ticks FROM bank.clock WHERE teller = 1"), b"41\n");
}

/// After the upstream's history was cut off: Tidelake says so, and never passes old rows off as the latest.
fn assert_refuses_to_go_on(tidelake: &mut Tidelake, words: &[&str]) {
    tidelake.spawn();
    let reason = wait_for("the gap in the history", Duration::from_secs(60), || {
        let printed = tidelake.printed().to_lowercase();
        words.iter().any(|word| printed.contains(word)).then_some(printed)
    });
    assert!(!reason.contains("panicked"), "{reason}");
    if tidelake.listens_within(Duration::from_secs(2)) {
        let latest = "SET tidelake_freshness_timeout = 2; SELECT * FROM bank.clock";
        assert!(tidelake.try_latest(latest).is_err(), "old rows were given as the latest");
    }
}

#[test]
fn a_purged_binlog_is_a_gap_and_said() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&bank::setup());
    let mut tidelake = Tidelake::run(&upstream.source_url(), &["--interval", "20ms"]);
    wait_copied(&tidelake);
    assert_eq!(tidelake.latest("SELECT 1"), b"1\n");
    tidelake.kill9();
    upstream.execute(
        "UPDATE bank.clock SET ticks = 5; FLUSH BINARY LOGS; UPDATE bank.clock SET ticks = 6; FLUSH BINARY LOGS",
    );
    // The server keeps a file while its old reader has not gone.
    wait_for("the purge", Duration::from_secs(30), || {
        upstream.execute("PURGE BINARY LOGS TO 'binlog.000003'");
        (!upstream.data_dir().join("binlog.000001").exists()).then_some(())
    });
    assert_refuses_to_go_on(&mut tidelake, &["purged", "no longer", "gone", "gap"]);
}
