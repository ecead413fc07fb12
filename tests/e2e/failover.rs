//! Servers that take over: the address leads to another server, by a new `--source` or while Tidelake runs. One that has exactly
//! what was read, and more, is followed from that place on; one that lags, has a history of its own or has purged
//! what is missing is refused. Transactions come under several domains (MariaDB), UUIDs and tags (MySQL), with gaps.

use std::time::Duration;

use tidelake_testkit::{MariaDb, MariaDbOptions, ServerKind, TcpProxy};

use crate::compare::assert_same_contents;
use crate::crashes::wait_copied;
use crate::tidelake::{Tidelake, wait_for};

/// A UUID that belongs to no server here.
const STRANGER: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";

fn server(kind: ServerKind, id: u32) -> MariaDb {
    MariaDb::start(MariaDbOptions::of(kind).arg(format!("--server-id={id}")).arg("--log-slave-updates=ON"))
}

fn setup() -> String {
    let mut sql =
        "CREATE DATABASE f; USE f; CREATE TABLE t (id INT PRIMARY KEY, v INT NOT NULL); CREATE TABLE n (v INT);
        CREATE TABLE x (id INT PRIMARY KEY, v INT);"
            .to_owned();
    for id in 0..200 {
        sql += &format!("INSERT INTO t VALUES ({id}, 0);");
    }
    sql
}

/// Transactions under GTIDs of many origins, with gaps; `round` is a number from 1 on.
fn write(server: &MariaDb, round: u32) {
    let change =
        |n: u32| format!("UPDATE f.t SET v = v + 1 WHERE id % 7 = {}; INSERT INTO f.n VALUES ({round}), ({n});", n % 7);
    let mut sql = String::new();
    for n in 0..6 {
        let (number, next) = (round * 1000 + n * 3, n + 1);
        if server.kind().is_mysql() {
            // numbers that are never filled, of another server, with and without a tag
            sql += &format!("SET GTID_NEXT = '{STRANGER}:{number}'; INSERT INTO f.n VALUES ({number});");
            sql += &format!(
                "SET GTID_NEXT = '{STRANGER}:tag_{n}:{round}'; UPDATE f.t SET v = {number} WHERE id = {next};"
            );
            sql += "SET GTID_NEXT = AUTOMATIC;";
            sql += &format!(
                "SET GTID_NEXT = 'AUTOMATIC:own'; INSERT INTO f.n VALUES ({number}); SET GTID_NEXT = AUTOMATIC;"
            );
        } else {
            sql +=
                &format!("SET gtid_domain_id = {}, gtid_seq_no = {number}; INSERT INTO f.n VALUES ({number});", n % 3);
        }
        sql += &change(n);
        if n == 3 {
            sql += "FLUSH LOGS;";
        }
    }
    // rolled back, with rows that are not
    sql += &format!("BEGIN; INSERT INTO f.t VALUES ({}, 1); ROLLBACK; ", 10_000 + round);
    server.execute(&sql);
}

fn killed_and_started(tidelake: &mut Tidelake) {
    tidelake.kill9();
    tidelake.restart();
}

/// Tidelake says why it does not go on, and ends; nobody is given old rows as the latest.
fn assert_refuses(tidelake: &mut Tidelake, word: &str) {
    let before = tidelake.printed().len();
    tidelake.spawn();
    let ended = tidelake.wait_end();
    assert!(
        !ended.success() && tidelake.printed()[before..].contains(word),
        "{ended}\n{}",
        &tidelake.printed()[before..]
    );
    let printed = tidelake.printed();
    let new = &printed[before..];
    assert!(new.contains("copied anew") && !new.contains("panicked"), "{new}");
}

/// GTIDs of many origins with gaps, over restarts, kills and rotation of either side, and a purge.
fn many_origins(kind: ServerKind) {
    let mut upstream = server(kind, 21);
    upstream.execute(&setup());
    write(&upstream, 1);
    let mut tidelake = Tidelake::run(&upstream.source_url(), &["--interval", "20ms", "--flush-interval", "1s"]);
    wait_copied(&tidelake);
    write(&upstream, 2);
    assert_same_contents(&upstream, &tidelake);
    killed_and_started(&mut tidelake);
    write(&upstream, 3);
    upstream.restart();
    write(&upstream, 4);
    tidelake.kill9();
    upstream.kill9();
    upstream.restart();
    write(&upstream, 5);
    tidelake.restart();
    assert_same_contents(&upstream, &tidelake);
    // what was read may go
    upstream.execute("FLUSH LOGS");
    tidelake.latest("SELECT 1");
    let newest = newest_log(&upstream);
    wait_for("the purge", Duration::from_secs(30), || {
        upstream.execute(&format!("PURGE BINARY LOGS TO '{newest}'"));
        (!upstream.data_dir().join("binlog.000001").exists()).then_some(())
    });
    killed_and_started(&mut tidelake);
    write(&upstream, 6);
    assert_same_contents(&upstream, &tidelake);
    // what was not read may not
    tidelake.kill9();
    write(&upstream, 7);
    upstream.execute("FLUSH LOGS");
    let newest = newest_log(&upstream);
    wait_for("the purge", Duration::from_secs(30), || {
        upstream.execute(&format!("PURGE BINARY LOGS TO '{newest}'"));
        upstream.batch_text("SHOW BINARY LOGS").starts_with(newest.as_bytes()).then_some(())
    });
    assert_refuses(&mut tidelake, "purged");
}

fn newest_log(server: &MariaDb) -> String {
    let logs = String::from_utf8(server.batch_text("SHOW BINARY LOGS")).expect("names");
    logs.lines().last().and_then(|line| line.split('\t').next()).expect("a file").to_owned()
}

/// A whole life: lagging, promoted, back again.
fn taken_over(kind: ServerKind) {
    let (mut first, second, diverged) = (server(kind, 31), server(kind, 32), server(kind, 33));
    diverged.execute("CREATE DATABASE of_its_own");
    first.execute(&setup());
    for replica in [&second, &diverged] {
        replica.replicate_from(&first);
    }
    write(&first, 1);
    let mut tidelake = Tidelake::run(&first.source_url(), &["--interval", "20ms"]);
    wait_copied(&tidelake);
    write(&first, 2);
    second.wait_replicated(&first);
    second.replicate(false);
    write(&first, 3);
    // prepared here, ended there
    first.execute("XA START 'over'; INSERT INTO f.x VALUES (1, 1); XA END 'over'; XA PREPARE 'over'");
    first.execute("INSERT INTO f.x VALUES (2, 2)");
    diverged.wait_replicated(&first);
    assert_same_contents(&first, &tidelake);
    tidelake.kill9();
    tidelake.set_option("--source", &diverged.source_url());
    assert_refuses(&mut tidelake, "Nor can it be followed as a server that took over: it has");
    tidelake.set_option("--source", &second.source_url());
    assert_refuses(&mut tidelake, "Nor can it be followed as a server that took over: its bin log lacks");
    second.replicate(true);
    second.wait_replicated(&first);
    second.promote();
    first.kill9();
    write(&second, 4);
    second.execute("XA COMMIT 'over'");
    tidelake.restart();
    assert_same_contents(&second, &tidelake);
    assert!(tidelake.printed().contains("which has everything that was read"), "{}", tidelake.printed());
    write(&second, 5);
    killed_and_started(&mut tidelake);
    assert_same_contents(&second, &tidelake);
    // the first one comes back as a replica, and has purged what Tidelake lacks
    tidelake.kill9();
    first.restart();
    if !kind.is_mysql() {
        first.execute("SET GLOBAL gtid_slave_pos = @@GLOBAL.gtid_binlog_pos");
    }
    first.replicate_from(&second);
    write(&second, 6);
    first.wait_replicated(&second);
    first.execute("FLUSH LOGS");
    first.execute(&format!("PURGE BINARY LOGS TO '{}'", newest_log(&first)));
    tidelake.set_option("--source", &first.source_url());
    assert_refuses(&mut tidelake, "Nor can it be followed as a server that took over: its");
    tidelake.set_option("--source", &second.source_url());
    tidelake.restart();
    assert_same_contents(&second, &tidelake);
}

/// A server that has all the names of what was read, for other transactions: as one does that was restored, and then replicated.
#[test]
fn gtids_that_were_used_again_are_refused() {
    let (first, second) = (server(ServerKind::MariaDb, 51), server(ServerKind::MariaDb, 52));
    let write = |server: &MariaDb, value: u32| {
        let table = "CREATE DATABASE f; CREATE TABLE f.t (id INT PRIMARY KEY, v INT NOT NULL)";
        server.execute(&format!("SET SESSION server_id = 51; {table}; INSERT INTO f.t VALUES (1, {value})"));
    };
    write(&first, 1);
    let mut tidelake = Tidelake::run(&first.source_url(), &["--interval", "20ms"]);
    wait_copied(&tidelake);
    tidelake.kill9();
    // the times of MariaDB's transactions are whole seconds
    std::thread::sleep(Duration::from_millis(1100));
    write(&second, 2);
    let state = "SELECT @@GLOBAL.gtid_binlog_state";
    assert_eq!(first.batch_text(state), second.batch_text(state));
    tidelake.set_option("--source", &second.source_url());
    assert_refuses(&mut tidelake, "another one of the same name");
}

/// The address moves while Tidelake runs and copies; the old server lives on, so connections to it do too.
fn moved_while_running(kind: ServerKind) {
    let (first, second) = (server(kind, 41), server(kind, 42));
    first.execute(&setup());
    second.replicate_from(&first);
    write(&first, 1);
    let proxy = TcpProxy::start(first.port());
    let source = format!("mysql://tidelake:tide@127.0.0.1:{}", proxy.port());
    let tidelake = Tidelake::run(&source, &["--interval", "20ms", "--copy-chunk-rows", "20"]);
    write(&first, 2);
    second.wait_replicated(&first);
    second.promote();
    // at first only new connections notice
    proxy.lead_to(second.port());
    std::thread::sleep(Duration::from_millis(300));
    proxy.reset();
    // one that nobody follows any more, and that goes on by itself
    first.execute("INSERT INTO f.t VALUES (5000, 1); UPDATE f.t SET v = 77");
    write(&second, 3);
    wait_copied(&tidelake);
    assert_same_contents(&second, &tidelake);
    for round in 4..7 {
        write(&second, round);
        let sum = "SELECT COUNT(*), SUM(v) FROM f.n";
        assert_eq!(tidelake.latest(sum), second.batch_text(sum), "the latest of the server that took over");
    }
    assert_same_contents(&second, &tidelake);
}

#[test]
fn mariadb_11_with_many_domains_is_followed_over_everything() {
    many_origins(ServerKind::MariaDbNew);
}

#[test]
fn mysql_9_with_many_uuids_is_followed_over_everything() {
    many_origins(ServerKind::MySqlNew);
}

#[test]
fn a_promoted_mariadb_11_is_followed_and_others_are_refused() {
    taken_over(ServerKind::MariaDbNew);
}

#[test]
fn a_promoted_mysql_9_is_followed_and_others_are_refused() {
    taken_over(ServerKind::MySqlNew);
}

#[test]
fn an_address_that_moves_to_another_mariadb_10_is_followed() {
    moved_while_running(ServerKind::MariaDb);
}

#[test]
fn an_address_that_moves_to_another_mysql_9_is_followed() {
    moved_while_running(ServerKind::MySqlNew);
}
