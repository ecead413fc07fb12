//! The writer is lost with its Data Buffer while the engines have nothing but copies, of an upstream that stood meanwhile: another one with an
//! empty data directory reads on from where the copies say that the upstream was, and goes on with a copy that was in its middle.

use std::time::Duration;

use tidelake_testkit::MariaDb;

use crate::compare::assert_same_contents;
use crate::crashes::wait_copied;
use crate::fleet::Fleet;
use crate::processes::{self, Processes, everything};
use crate::tidelake::{Tidelake, wait_for};

const ROWS: u64 = 400_000;
/// Each of 4000 rows, as writers are started.
const CHUNKS: u64 = 100;
const MINUTE: Duration = Duration::from_secs(60);

/// A table of a hundred chunks, and one without a key.
fn large() -> String {
    format!(
        "CREATE DATABASE large; USE large; CREATE TABLE large.t (k INT PRIMARY KEY, v INT NOT NULL, pad VARCHAR(40)); \
         INSERT INTO large.t SELECT seq, 0, REPEAT('x', 30) FROM seq_1_to_{ROWS}; \
         CREATE TABLE large.n (a INT, b VARCHAR(20)); INSERT INTO large.n SELECT seq % 100, 'twin' FROM seq_1_to_2000"
    )
}

/// What nobody reads when it is committed: rows of every part of the large tables, and a table more.
fn meanwhile(upstream: &MariaDb) {
    upstream.execute(
        "UPDATE large.t SET v = v + 1 WHERE k % 7 = 0; DELETE FROM large.t WHERE k % 11 = 0; \
         UPDATE large.t SET k = k + 1000000 WHERE k % 13 = 0; DELETE FROM large.n WHERE a = 5; \
         UPDATE large.n SET b = 'other' WHERE a = 6 LIMIT 3; \
         CREATE TABLE large.later (k INT PRIMARY KEY); INSERT INTO large.later VALUES (1), (2)",
    );
}

/// Waits until a part of the large table, and not all of it, is in the engines.
fn wait_middle(writer: &Tidelake) {
    wait_for("the middle of the copy", MINUTE, || {
        let status = writer.status();
        let tables = status["tables"].as_array().expect("tables");
        let large = tables.iter().find(|t| t["table"] == "t" && t["database"] == "large")?;
        let published = status["seq"]["published"].as_u64()?;
        assert!(large["state"] == "copying" && published < CHUNKS, "too late: {status}");
        // of the chunks a good part, after the beginnings of the copies
        (published > CHUNKS / 10).then_some(())
    });
}

#[test]
fn where_a_copy_ended_nothing_is_missed() {
    let mut processes = Processes::start(&(everything() + &large()));
    wait_copied(&processes.writer);
    processes.writer.kill9();
    meanwhile(&processes.upstream);
    processes.writer = processes::writer(&processes.upstream, &processes.relay);
    processes.writer.wait_ports();
    let question = "SELECT COUNT(*), SUM(v), SUM(k) FROM large.t";
    assert_eq!(processes.query.latest(question), processes.upstream.batch_text(question), "committed before it began");
    processes.upstream.execute("UPDATE large.t SET v = 5 WHERE k = 1; INSERT INTO large.later VALUES (3)");
    assert_same_contents(&processes.upstream, &processes.query);
    let printed = processes.writer.printed();
    assert!(!printed.contains("the initial copy begins"), "nothing is copied again:\n{printed}");
}

#[test]
fn in_its_middle_a_copy_goes_on() {
    let mut processes = Processes::start(&large());
    wait_middle(&processes.writer);
    processes.writer.kill9();
    meanwhile(&processes.upstream);
    processes.writer = processes::writer(&processes.upstream, &processes.relay);
    processes.writer.wait_ports();
    wait_copied(&processes.writer);
    assert_same_contents(&processes.upstream, &processes.query);
    processes.upstream.execute("UPDATE large.t SET v = 5 WHERE k < 100");
    assert_same_contents(&processes.upstream, &processes.query);
    let printed = processes.writer.printed();
    assert!(printed.contains("the initial copy goes on"), "it was no copy's middle:\n{printed}");
}

#[test]
fn two_engines_miss_nothing_where_a_copy_ended() {
    let mut fleet = Fleet::start(&(everything() + &large()), false);
    wait_copied(&fleet.writer);
    fleet.wait_whole();
    fleet.writer.kill9();
    meanwhile(&fleet.upstream);
    fleet.writer = fleet.another_writer();
    fleet.writer.wait_ports();
    fleet.wait_whole();
    for front in &fleet.fronts {
        assert_same_contents(&fleet.upstream, front);
    }
    fleet.upstream.execute("UPDATE large.t SET v = 5 WHERE k = 1");
    for front in &fleet.fronts {
        assert_same_contents(&fleet.upstream, front);
    }
}

/// The two have not got equally far: what is in no bin log comes from the one that has more of it, and the other is refused.
#[test]
fn of_two_engines_the_one_with_more_of_a_copy_goes_on() {
    let mut fleet = Fleet::start(&large(), false);
    fleet.engines[1].relay.cut();
    wait_middle(&fleet.writer);
    std::thread::sleep(Duration::from_millis(200));
    fleet.writer.kill9();
    fleet.engines[1].relay.heal();
    meanwhile(&fleet.upstream);
    fleet.writer = fleet.another_writer();
    fleet.writer.wait_ports();
    wait_copied(&fleet.writer);
    for front in &fleet.fronts {
        assert_same_contents(&fleet.upstream, front);
    }
    let status = fleet.writer.status();
    let states: Vec<_> = ["state", "reason"].iter().map(|field| status["engines"][1][field].clone()).collect();
    assert_eq!((&status["engines"][0]["state"], &states[0]), (&"writing".into(), &"refused".into()), "{status}");
}
