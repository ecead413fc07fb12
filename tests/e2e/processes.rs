//! Engine, writer and SQL front as processes of their own: the same answers, and nothing torn, lost or older when any of them is killed,
//! frozen, or another one takes its place.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_testkit::{MariaDb, MariaDbOptions, ServerKind, TcpProxy};

use crate::audit::Auditor;
use crate::compare::assert_same_contents;
use crate::crashes::wait_copied;
use crate::load::{Load, Workload};
use crate::tidelake::{Tidelake, tidelake, wait_for};
use crate::{bank, kinds, store};

/// What a reader may be told while the engine or the writer is away: lapsed, too late.
pub const REFUSALS: &[&str] = &["ERROR 1205", "ERROR 3024"];
const MINUTE: Duration = Duration::from_secs(60);

/// All processes. The engine is reached through a relay, so that it keeps its address when it starts again.
pub struct Processes {
    pub upstream: MariaDb,
    pub relay: TcpProxy,
    pub engine: Tidelake,
    pub writer: Tidelake,
    pub query: Tidelake,
}

fn engine() -> Tidelake {
    let mut engine = Tidelake::part(&["engine"], &[], &["--magic-listen", "--http-listen"]);
    engine.keep_data();
    engine.restart();
    engine
}

/// A writer with an empty data directory, started.
pub fn writer(upstream: &MariaDb, relay: &TcpProxy) -> Tidelake {
    let (source, engine) = (upstream.source_url(), format!("127.0.0.1:{}", relay.port()));
    let options = ["--interval", "20ms", "--copy-chunk-rows", "4000", "--flush-interval", "1s"];
    let mut writer =
        Tidelake::part(&["writer", "--engine", &engine, "--source", &source], &options, &["--http-listen"]);
    writer.keep_data();
    writer.spawn();
    writer
}

/// A SQL front, started.
pub fn query(relay: &TcpProxy) -> Tidelake {
    let engine = format!("127.0.0.1:{}", relay.port());
    let listeners = ["--mysql-listen", "--http-listen", "--flight-listen"];
    let mut query = Tidelake::part(&["query", "--engine", &engine], &[], &listeners);
    query.spawn();
    query
}

impl Processes {
    /// All of them, listening.
    pub fn start(schema: &str) -> Processes {
        let upstream = MariaDb::start(MariaDbOptions::default());
        upstream.execute(schema);
        let engine = engine();
        let relay = TcpProxy::start(engine.ports().magic);
        let (mut writer, mut query) = (writer(&upstream, &relay), query(&relay));
        writer.wait_ports();
        query.wait_ports();
        Processes { upstream, relay, engine, writer, query }
    }

    /// The engine again, at the same address.
    pub fn restart_engine(&mut self) {
        self.engine.restart();
        self.relay.lead_to(self.engine.ports().magic);
    }

    /// Tellers and a clerk write, an auditor reads from now on.
    pub fn load(&self) -> (Load, Auditor) {
        let clients: Vec<Box<dyn Workload>> =
            vec![Box::new(bank::Teller(1)), Box::new(bank::Teller(2)), Box::new(store::Clerk::new(1))];
        // No more than a busy machine applies step by step over the wire.
        let load = Load::start(&self.upstream, clients, Duration::from_millis(30));
        (load, Auditor::start_despite(self.query.address(), REFUSALS))
    }

    pub fn printed(&self) -> String {
        format!(
            "engine:\n{}\nwriter:\n{}\nquery:\n{}",
            self.engine.printed(),
            self.writer.printed(),
            self.query.printed()
        )
    }

    /// Waits until readers are served again.
    pub fn wait_ready(&self) {
        wait_for("readers to be served", MINUTE, || (self.query.get("/readyz").0 == 200).then_some(()));
    }

    /// No more is written: both sides are compared, and the readers ask for what they saw.
    pub fn finish(self, load: Load, auditor: Auditor) {
        let committed: u64 = load.stop().iter().map(|done| done.committed).sum();
        self.wait_ready();
        wait_copied(&self.writer);
        assert_same_contents(&self.upstream, &self.query);
        let seen = auditor.finish();
        assert!(committed > 50 && seen.bank > 5 && seen.store > 5, "{committed} transactions, {seen:?}");
        assert!(!self.printed().contains("panicked at"), "{}", self.printed());
    }
}

/// Databases, tables and first rows of everybody.
pub fn everything() -> String {
    bank::setup() + &store::setup() + &kinds::setup(ServerKind::MariaDb)
}

/// The same SELECT gives the same text as upstream, through two fronts; the past and the latest too.
#[test]
fn they_answer_like_the_upstream() {
    let processes = Processes::start(&everything());
    let mut second = query(&processes.relay);
    second.wait_ports();
    let Processes { upstream, query, engine, writer, .. } = &processes;
    wait_copied(writer);
    assert_same_contents(upstream, query);
    upstream.execute(
        "CREATE DATABASE d; CREATE TABLE d.t (k INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO d.t VALUES (1, 'one')",
    );
    for n in 2..6 {
        upstream.execute(&format!("INSERT INTO d.t VALUES ({n}, 'ä{n}')"));
        let question = "SELECT k, v, VERSION() LIKE '%MariaDB%' FROM d.t ORDER BY k DESC";
        let wanted = upstream.batch_text(question);
        assert_eq!(query.latest(question), wanted, "what was just committed");
        assert_eq!(second.latest(question), wanted, "through the other front");
    }
    // A place that the upstream names, judged by the writer's process.
    let place = upstream.batch_text("INSERT INTO d.t VALUES (6, 'six'); SELECT @@last_gtid");
    let place = String::from_utf8(place).expect("utf-8");
    let at_least = format!("SET tidelake_freshness = 'at_least:{}'; SELECT MAX(k) FROM d.t", place.trim());
    assert_eq!(second.client().batch_text(&at_least), b"6\n", "{at_least}");
    upstream.execute("DELETE FROM d.t WHERE k = 6");
    std::thread::sleep(Duration::from_millis(1100));
    let time = String::from_utf8(upstream.batch_text("SELECT NOW()")).expect("utf-8");
    std::thread::sleep(Duration::from_millis(1100));
    upstream.execute("DELETE FROM d.t WHERE k > 2");
    assert_eq!(query.latest("SELECT COUNT(*) FROM d.t"), b"2\n");
    let past = format!("SELECT COUNT(*) FROM d.t AS OF TIMESTAMP '{}'", time.trim());
    assert_eq!(query.client().batch_text(&past), b"5\n", "{past}");
    assert!(engine.get("/readyz").0 == 200 && writer.get("/healthz").0 == 200);
    let refused = query.client().try_batch_text("DELETE FROM d.t").expect_err("a replica");
    assert!(refused.contains("1290"), "{refused}");
}

#[test]
fn inv2_each_may_be_killed_at_any_moment() {
    let mut processes = Processes::start(&everything());
    let (load, auditor) = processes.load();
    let mut rng = StdRng::seed_from_u64(31);
    for round in 0..9 {
        std::thread::sleep(Duration::from_millis(rng.random_range(100..1500)));
        assert!(!auditor.has_failed(), "{:?}", auditor.finish());
        match round % 3 {
            0 => {
                processes.engine.kill9();
                std::thread::sleep(Duration::from_millis(rng.random_range(0..800)));
                processes.restart_engine();
            }
            1 => {
                processes.writer.kill9();
                std::thread::sleep(Duration::from_millis(rng.random_range(0..800)));
                processes.writer.restart();
            }
            _ => {
                processes.query.kill9();
                processes.query.restart();
            }
        }
    }
    std::thread::sleep(Duration::from_secs(2));
    processes.finish(load, auditor);
}

/// A writer that is frozen while another takes over changes nothing when it goes on, and ends; started again it is refused.
#[test]
fn inv9_a_zombie_writer_is_fenced() {
    let mut processes = Processes::start(&everything());
    let (load, auditor) = processes.load();
    wait_copied(&processes.writer);
    processes.writer.freeze();
    let mut second = writer(&processes.upstream, &processes.relay);
    second.wait_ports();
    let before = seq(&processes.engine);
    wait_for("the second writer to publish", MINUTE, || (seq(&processes.engine) > before + 20).then_some(()));
    processes.writer.thaw();
    let ended = processes.writer.wait_end();
    let printed = processes.writer.printed();
    // After a long freeze its connection is gone: then it learns so when it begins again.
    let told = printed.contains("fenced") || printed.contains("another Data Buffer");
    assert!(!ended.success() && told, "{ended:?}\n{printed}");
    std::thread::sleep(Duration::from_secs(1));
    processes.writer.spawn();
    let ended = processes.writer.wait_end();
    let printed = processes.writer.printed();
    assert!(!ended.success() && printed.contains("move the writer's data directory away"), "{ended:?}\n{printed}");
    processes.writer = second;
    processes.finish(load, auditor);
}

/// The writer is lost with its buffer, and the engine with what it had not made durable: readers wait until a new writer has read
/// again whatever they had seen.
#[test]
fn inv7_a_new_writer_reads_again_what_was_served() {
    let mut processes = Processes::start(&everything());
    let (load, auditor) = processes.load();
    wait_copied(&processes.writer);
    std::thread::sleep(Duration::from_secs(2));
    processes.writer.kill9();
    processes.engine.kill9();
    processes.restart_engine();
    // Nobody knows how far readers were.
    let (code, reason) = processes.engine.get("/readyz");
    assert!(code == 503 && reason.contains("no writer"), "{code} {reason}");
    let mut second = writer(&processes.upstream, &processes.relay);
    second.wait_ports();
    processes.writer = second;
    processes.wait_ready();
    std::thread::sleep(Duration::from_secs(1));
    processes.finish(load, auditor);
}

/// A clean end leaves an engine that serves readers before any writer is back.
#[test]
fn an_engine_that_ended_well_serves_at_once() {
    let mut processes = Processes::start(&everything());
    wait_copied(&processes.writer);
    assert!(processes.writer.interrupt().success(), "{}", processes.printed());
    assert!(processes.engine.interrupt().success(), "{}", processes.printed());
    processes.restart_engine();
    processes.wait_ready();
    let counted = processes.query.client().batch_text("SELECT COUNT(*) FROM bank.accounts");
    assert_eq!(counted, b"200\n");
    // The latest is asked of a writer, and there is none.
    let begun = Instant::now();
    let ask =
        "SET tidelake_freshness = 'latest'; SET tidelake_freshness_timeout = 2; SELECT 1 FROM bank.accounts LIMIT 1";
    let refused = processes.query.client().try_batch_text(ask).expect_err("nobody to ask");
    assert!(refused.contains("3024") && refused.contains("no writer is connected"), "{refused}");
    assert!(begun.elapsed() < MINUTE);
    processes.writer.restart();
    assert_same_contents(&processes.upstream, &processes.query);
}

/// An engine that does not answer is an error within the time that a silent peer is given; nothing is wrong after.
#[test]
fn a_frozen_engine_is_an_error_in_time() {
    let mut processes = Processes::start(&everything());
    wait_copied(&processes.writer);
    processes.engine.freeze();
    let begun = Instant::now();
    let refused = processes.query.client().try_batch_text("SELECT COUNT(*) FROM bank.accounts").expect_err("no answer");
    assert!(refused.contains("1053") || refused.contains("3024"), "{refused}");
    assert!(begun.elapsed() < 2 * MINUTE, "{:?}", begun.elapsed());
    processes.upstream.execute("UPDATE bank.clock SET ticks = ticks");
    processes.engine.thaw();
    processes.wait_ready();
    wait_copied(&processes.writer);
    assert_same_contents(&processes.upstream, &processes.query);
}

/// A front over `tidelake run`.
#[test]
fn a_front_over_the_all_in_one() {
    let upstream = MariaDb::start(MariaDbOptions::default());
    upstream.execute(&everything());
    let replica = Tidelake::run(&upstream.source_url(), &[]);
    wait_copied(&replica);
    let relay = TcpProxy::start(replica.ports().flight);
    let mut front = query(&relay);
    front.wait_ports();
    assert_same_contents(&upstream, &front);
}

#[test]
fn what_is_missing_is_said() {
    for (args, missing) in [
        (vec!["engine"], "--data-dir"),
        (vec!["writer", "--source", "mysql://u@127.0.0.1:1"], "--engine"),
        (vec!["query"], "--engine"),
        (vec!["engine", "--data-dir", "d", "--magic-listen", "0.0.0.0:0"], "--insecure-listen"),
    ] {
        let output = tidelake(&args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(missing), "{args:?}: {error}");
    }
}

/// The engine's published seq.
fn seq(engine: &Tidelake) -> u64 {
    engine.status()["seq"]["published"].as_u64().expect("a seq")
}
