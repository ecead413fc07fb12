//! Upstreams that have another history than the one that was read: purged, reset, restored from a backup, replaced. Each
//! is refused with its reason, and old rows are never passed off as the latest.

use std::path::Path;
use std::time::Duration;

use tidelake_testkit::{MariaDb, MariaDbOptions, ServerKind};

use crate::bank;
use crate::crashes::wait_copied;
use crate::load::with_sequences;
use crate::tidelake::{Tidelake, wait_for};

const REPLACED: &str = "reset, restored or replaced";

fn start() -> (MariaDb, Tidelake) {
    start_on(ServerKind::MariaDb)
}

fn start_on(kind: ServerKind) -> (MariaDb, Tidelake) {
    let upstream = MariaDb::start(MariaDbOptions::of(kind));
    upstream.execute(&with_sequences(&upstream, &bank::setup()));
    let tidelake = Tidelake::run(&upstream.source_url(), &["--interval", "20ms"]);
    wait_copied(&tidelake);
    assert_eq!(tidelake.latest("SELECT 1"), b"1\n");
    (upstream, tidelake)
}

/// Tidelake says why it does not go on, and ends; until then a reader who wants the latest gets an error.
fn assert_refuses_to_go_on(tidelake: &mut Tidelake, word: &str) {
    let latest = "SET tidelake_freshness_timeout = 2; SELECT * FROM bank.clock";
    wait_for("the reason", Duration::from_secs(60), || {
        if tidelake.address().get().is_some() {
            let answer = tidelake.try_latest(latest);
            assert!(answer.is_err(), "given as the latest: {answer:?}\n{}", tidelake.printed());
        }
        tidelake.printed().contains(word).then_some(())
    });
    assert!(!tidelake.wait_end().success());
    assert!(!tidelake.printed().contains("panicked"), "{}", tidelake.printed());
    assert!(tidelake.printed().contains("copied anew"), "{}", tidelake.printed());
}

#[test]
fn a_purged_binlog_is_a_gap_and_said() {
    let (upstream, mut tidelake) = start();
    tidelake.kill9();
    upstream.execute(
        "UPDATE bank.clock SET ticks = 5; FLUSH BINARY LOGS; UPDATE bank.clock SET ticks = 6; FLUSH BINARY LOGS",
    );
    // The server keeps a file while its old reader has not gone.
    wait_for("the purge", Duration::from_secs(30), || {
        upstream.execute("PURGE BINARY LOGS TO 'binlog.000003'");
        (!upstream.data_dir().join("binlog.000001").exists()).then_some(())
    });
    tidelake.spawn();
    assert_refuses_to_go_on(&mut tidelake, "purged");
}

/// Nothing was streamed before: all that Tidelake knows is where it began.
#[test]
fn an_upstream_that_was_reset_is_noticed() {
    let (upstream, mut tidelake) = start();
    tidelake.kill9();
    // The new first file grows past the place where Tidelake stopped in the old one.
    upstream.execute("RESET MASTER");
    for round in 0..40 {
        upstream
            .execute(&format!("UPDATE bank.accounts SET version = {round}; UPDATE bank.savings SET balance = balance"));
    }
    tidelake.spawn();
    assert_refuses_to_go_on(&mut tidelake, REPLACED);
}

#[test]
fn an_upstream_that_is_reset_under_a_running_tidelake_is_noticed() {
    let (upstream, mut tidelake) = start();
    upstream.execute("RESET MASTER; UPDATE bank.clock SET ticks = 77");
    assert_refuses_to_go_on(&mut tidelake, REPLACED);
}

/// Its data directory as it is; the server must be stopped.
fn copy_dir(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp starts");
    assert!(copied.success());
}

/// Writes some transactions that Tidelake reads, then puts the server back to where it was before them.
fn write_and_go_back(upstream: &mut MariaDb, tidelake: &Tidelake) {
    let backup = upstream.data_dir().with_extension("backup");
    upstream.stop();
    copy_dir(&upstream.data_dir(), &backup);
    upstream.restart();
    upstream.execute("UPDATE bank.clock SET ticks = 5; UPDATE bank.clock SET ticks = 6");
    assert_eq!(tidelake.latest("SELECT DISTINCT ticks FROM bank.clock"), b"6\n");
    upstream.stop();
    // a restore takes longer than the second by which the births of files are told apart
    std::thread::sleep(Duration::from_millis(1100));
    std::fs::remove_dir_all(upstream.data_dir()).expect("remove");
    std::fs::rename(&backup, upstream.data_dir()).expect("rename");
}

/// The clients do the same kind of work again: file names, offsets and even GTIDs are as before.
#[test]
fn an_upstream_that_was_restored_from_a_backup_is_noticed() {
    let (mut upstream, mut tidelake) = start();
    write_and_go_back(&mut upstream, &tidelake);
    upstream.restart();
    upstream.execute("UPDATE bank.clock SET ticks = 7; UPDATE bank.clock SET ticks = 8");
    assert_refuses_to_go_on(&mut tidelake, REPLACED);
}

fn restored_while_down(kind: ServerKind) {
    let (mut upstream, mut tidelake) = start_on(kind);
    write_and_go_back(&mut upstream, &tidelake);
    tidelake.kill9();
    upstream.restart();
    upstream.execute("UPDATE bank.clock SET ticks = 7; UPDATE bank.clock SET ticks = 8");
    upstream.execute("UPDATE bank.clock SET ticks = 9");
    tidelake.spawn();
    assert_refuses_to_go_on(&mut tidelake, REPLACED);
}

#[test]
fn an_upstream_that_was_restored_while_tidelake_was_down_is_noticed() {
    restored_while_down(ServerKind::MariaDb);
}

#[test]
fn a_mysql_9_that_was_restored_while_tidelake_was_down_is_noticed() {
    restored_while_down(ServerKind::MySqlNew);
}

fn lagging(kind: ServerKind) {
    let (mut upstream, mut tidelake) = start_on(kind);
    write_and_go_back(&mut upstream, &tidelake);
    upstream.restart();
    assert_refuses_to_go_on(&mut tidelake, REPLACED);
}

/// The server that took its place has not got everything yet that Tidelake read from the old one.
#[test]
fn a_lagging_replacement_is_noticed() {
    lagging(ServerKind::MariaDb);
}

#[test]
fn a_lagging_mysql_9_is_noticed() {
    lagging(ServerKind::MySqlNew);
}

#[test]
fn a_mysql_9_that_is_reset_under_a_running_tidelake_is_noticed() {
    let (upstream, mut tidelake) = start_on(ServerKind::MySqlNew);
    upstream.execute("RESET BINARY LOGS AND GTIDS; UPDATE bank.clock SET ticks = 77");
    assert_refuses_to_go_on(&mut tidelake, REPLACED);
}
