//! Reading the past: what the upstream had at a time is read again later, also after flushes, kills and restarts, over all
//! tables at once; what is outside the window is refused with the window.

use std::time::Duration;

use tidelake_testkit::{MariaDb, MariaDbOptions};

use crate::crashes::wait_copied;
use crate::tidelake::{Tidelake, wait_for};

/// The upstream's clock, and what both tables held then.
struct State {
    time: String,
    sums: String,
}

const SUMS: &str = "SELECT (SELECT SUM(v) FROM d.a), (SELECT SUM(v) FROM d.b), (SELECT COUNT(*) FROM d.a)";

/// The same question with the clause behind each table.
fn sums_as_of(time: &str) -> String {
    ["d.a)", "d.b)"]
        .iter()
        .fold(SUMS.to_owned(), |sql, t| sql.replace(t, &t.replace(')', &format!(" AS OF TIMESTAMP {time})"))))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("utf-8").trim().to_owned()
}

/// Moves money for a second, then notes time and sums within a second in which nothing is written.
fn write_and_note(upstream: &MariaDb, round: u32) -> State {
    for n in 0..5 {
        let row = round * 10 + n;
        upstream.execute(&format!(
            "BEGIN; INSERT INTO d.a VALUES ({row}, {row}); UPDATE d.b SET v = v - {row} WHERE k = 1; COMMIT; \
             DELETE FROM d.a WHERE k = {row} - 10"
        ));
    }
    std::thread::sleep(Duration::from_millis(1100));
    let client = upstream.client();
    let time = text(client.batch_text("SELECT NOW()"));
    let sums = text(client.batch_text(SUMS));
    std::thread::sleep(Duration::from_millis(1100));
    State { time, sums }
}

fn check(replica: &Tidelake, states: &[State]) {
    for State { time, sums } in states {
        let client = replica.client();
        assert_eq!(text(client.batch_text(&sums_as_of(&format!("'{time}'")))), *sums, "as of {time}");
        let set = format!("SET tidb_snapshot = '{time}'; {SUMS}");
        assert_eq!(text(client.batch_text(&set)), *sums, "tidb_snapshot = {time}");
        let held = format!("START TRANSACTION READ ONLY AS OF TIMESTAMP '{time}'; {SUMS}; COMMIT");
        assert_eq!(text(client.batch_text(&held)), *sums, "a transaction as of {time}");
    }
}

#[test]
fn inv8_the_past_is_what_upstream_had() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(
        "CREATE DATABASE d; CREATE TABLE d.a (k INT PRIMARY KEY, v INT); CREATE TABLE d.b (k INT PRIMARY KEY, v INT); \
         INSERT INTO d.a VALUES (0, 0); INSERT INTO d.b VALUES (1, 0)",
    );
    let before = text(upstream.client().batch_text("SELECT NOW() - INTERVAL 1 HOUR"));
    let mut replica = Tidelake::run(&upstream.source_url(), &["--interval", "20ms", "--flush-interval", "1s"]);
    wait_copied(&replica);
    let mut states: Vec<State> = (1..=3).map(|round| write_and_note(&upstream, round)).collect();
    // A clock that a session sets back must not show later commits to who asks for an earlier time.
    upstream.execute("SET timestamp = 1000000; INSERT INTO d.a VALUES (900, 900); DELETE FROM d.a WHERE k = 900");
    check(&replica, &states);
    replica.kill9();
    replica.restart();
    states.extend((4..=5).map(|round| write_and_note(&upstream, round)));
    check(&replica, &states);

    let refused = replica.client().try_batch_text(&sums_as_of(&format!("'{before}'")));
    assert!(refused.as_ref().is_err_and(|e| e.contains("outside the window")), "{refused:?}");
    let future = replica.client().try_batch_text(&sums_as_of("NOW() + INTERVAL 1 HOUR"));
    assert!(future.as_ref().is_err_and(|e| e.contains("future")), "{future:?}");
    let mixed = replica.client().try_batch_text("SELECT COUNT(*) FROM d.a AS OF TIMESTAMP NOW(), d.b");
    assert!(mixed.as_ref().is_err_and(|e| e.contains("8135")), "{mixed:?}");

    // A seq is a state too.
    let seq = replica.status()["seq"]["published"].as_u64().expect("a seq");
    let now = text(replica.latest(SUMS));
    write_and_note(&upstream, 6);
    assert_ne!(text(replica.latest(SUMS)), now);
    let read = format!("SET tidelake_read_seq = {seq}; {SUMS}");
    assert_eq!(text(replica.client().batch_text(&read)), now);
}

/// The window moves on, and with it what is kept; a transaction that began inside goes on reading.
#[test]
fn what_left_the_window_is_refused_and_let_go() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute("CREATE DATABASE d; CREATE TABLE d.a (k INT PRIMARY KEY, v INT); CREATE TABLE d.b LIKE d.a");
    upstream.execute("INSERT INTO d.a VALUES (0, 0); INSERT INTO d.b VALUES (1, 0)");
    let replica = Tidelake::run(&upstream.source_url(), &["--retention", "3s", "--flush-interval", "1s"]);
    wait_copied(&replica);
    let state = write_and_note(&upstream, 1);
    let as_of = sums_as_of(&format!("'{}'", state.time));
    let oldest = || replica.status()["seq"]["oldest"].as_u64().expect("a seq");
    let before = oldest();
    let mut round = 1;
    let refused = wait_for("the window to move on", Duration::from_secs(60), || {
        round += 1;
        write_and_note(&upstream, round);
        replica.client().try_batch_text(&as_of).err()
    });
    assert!(refused.contains("outside the window") && refused.contains("3s"), "{refused}");
    assert!(oldest() > before, "the horizon moved from {before} to {}", oldest());
}
