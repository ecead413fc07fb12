//! A latch of its own, two engines fed by one writer, and two SQL fronts, as processes: one moment over both engines, the same answers as
//! upstream, and nothing torn, lost or older when any of them is killed, frozen or replaced.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_testkit::{Etcd, MariaDb, MariaDbOptions, TcpProxy};

use crate::audit::Auditor;
use crate::compare::assert_same_contents;
use crate::crashes::wait_copied;
use crate::load::{Load, Workload};
use crate::processes::{REFUSALS, everything};
use crate::tidelake::{Tidelake, tidelake, wait_for};
use crate::{bank, store};

const MINUTE: Duration = Duration::from_secs(60);
/// How long readers wait for an engine.
const PATIENCE: &str = "2s";

/// A process behind a relay, so that it keeps its address when it starts again.
pub struct Behind {
    pub process: Tidelake,
    pub relay: TcpProxy,
}

impl Behind {
    fn start(mut process: Tidelake, port: fn(&Tidelake) -> u16) -> Behind {
        process.restart();
        let relay = TcpProxy::start(port(&process));
        Behind { process, relay }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.relay.port())
    }

    /// The same process once more, at the same address.
    pub fn restart(&mut self, port: fn(&Tidelake) -> u16) {
        self.process.restart();
        self.relay.lead_to(port(&self.process));
    }
}

pub fn magic(process: &Tidelake) -> u16 {
    process.ports().magic
}

pub fn latch_port(process: &Tidelake) -> u16 {
    process.ports().latch
}

/// All of them.
pub struct Fleet {
    pub upstream: MariaDb,
    pub etcd: Option<Etcd>,
    pub latches: Vec<Behind>,
    pub engines: Vec<Behind>,
    pub writer: Tidelake,
    pub fronts: Vec<Tidelake>,
}

fn list(all: &[Behind]) -> String {
    all.iter().map(Behind::address).collect::<Vec<_>>().join(",")
}

/// A latch over a directory of its own, or over etcd; started.
fn latch(etcd: Option<&Etcd>) -> Behind {
    let listeners = ["--latch-listen", "--http-listen"];
    let mut latch = Tidelake::part(&["latch", "--engine-patience", PATIENCE], &[], &listeners);
    match etcd {
        Some(etcd) => latch.add_options(&["--latch-backend", &etcd.url()]),
        None => latch.keep_data(),
    }
    Behind::start(latch, latch_port)
}

fn engine(latches: &str) -> Behind {
    let mut engine = Tidelake::part(&["engine", "--latch", latches], &[], &["--magic-listen", "--http-listen"]);
    engine.keep_data();
    Behind::start(engine, magic)
}

impl Fleet {
    /// All of them, listening. With etcd there are two latches.
    pub fn start(schema: &str, with_etcd: bool) -> Fleet {
        let upstream = MariaDb::start(MariaDbOptions::default());
        upstream.execute(schema);
        let etcd = with_etcd.then(Etcd::start);
        let latches: Vec<Behind> = (0..if with_etcd { 2 } else { 1 }).map(|_| latch(etcd.as_ref())).collect();
        let engines: Vec<Behind> = (0..2).map(|_| engine(&list(&latches))).collect();
        let mut fleet =
            Fleet { writer: Tidelake::part(&[], &[], &[]), upstream, etcd, latches, engines, fronts: Vec::new() };
        fleet.writer = fleet.another_writer();
        fleet.writer.wait_ports();
        for at in 0..2 {
            let mut front = fleet.another_front(at);
            front.wait_ports();
            fleet.fronts.push(front);
        }
        fleet
    }

    /// A writer with an empty data directory, started.
    pub fn another_writer(&self) -> Tidelake {
        let (source, latches, engines) = (self.upstream.source_url(), list(&self.latches), list(&self.engines));
        let command = ["writer", "--latch", &latches, "--engine", &engines, "--source", &source];
        let options = ["--interval", "20ms", "--copy-chunk-rows", "4000", "--flush-interval", "1s"];
        let mut writer = Tidelake::part(&command, &options, &["--http-listen"]);
        writer.keep_data();
        writer.spawn();
        writer
    }

    /// A front that asks this engine first, started.
    fn another_front(&self, first: usize) -> Tidelake {
        let latches = list(&self.latches);
        let mut engines: Vec<String> = self.engines.iter().map(Behind::address).collect();
        engines.rotate_left(first);
        let command = ["query", "--latch", &latches, "--engine", &engines.join(",")];
        let mut front = Tidelake::part(&command, &[], &["--mysql-listen", "--http-listen", "--flight-listen"]);
        front.spawn();
        front
    }

    /// Tellers and a clerk write; an auditor reads each front, and one both of them in turns.
    pub fn load(&self) -> (Load, Vec<Auditor>) {
        let clients: Vec<Box<dyn Workload>> =
            vec![Box::new(bank::Teller(1)), Box::new(bank::Teller(2)), Box::new(store::Clerk::new(1))];
        let load = Load::start(&self.upstream, clients, Duration::from_millis(40));
        let addresses: Vec<_> = self.fronts.iter().map(Tidelake::address).collect();
        let mut auditors: Vec<Auditor> =
            addresses.iter().map(|address| Auditor::start_despite(address.clone(), REFUSALS)).collect();
        auditors.push(Auditor::start_over(addresses, REFUSALS));
        (load, auditors)
    }

    /// The latch that leads.
    pub fn leader(&self) -> usize {
        wait_for("a latch to lead", MINUTE, || {
            self.latches.iter().position(|l| l.process.address().get().is_some() && l.process.status()["leads"] == true)
        })
    }

    /// Waits until readers are served, and both engines are in step.
    pub fn wait_whole(&self) {
        let begun = Instant::now();
        loop {
            // Another may lead each time: on a busy machine one can be too late to prolong its lease.
            let status = self.latches[self.leader()].process.status();
            let engines = status["engines"].as_array().cloned().unwrap_or_default();
            if engines.iter().filter(|engine| engine["standing"] == "in step").count() == 2 {
                break;
            }
            assert!(begun.elapsed() < MINUTE, "the engines are not in step: {status}\n{}", self.printed());
            std::thread::sleep(Duration::from_millis(5));
        }
        for front in &self.fronts {
            wait_for("readers to be served", MINUTE, || (front.get("/readyz").0 == 200).then_some(()));
        }
    }

    pub fn printed(&self) -> String {
        let behind = self.latches.iter().chain(&self.engines).map(|b| &b.process);
        let all = behind.chain([&self.writer]).chain(&self.fronts);
        all.map(Tidelake::printed).collect::<Vec<_>>().join("\n----\n")
    }

    /// No more is written: both engines are compared with upstream, and the readers asked for what they saw.
    pub fn finish(self, load: Load, auditors: Vec<Auditor>) {
        let committed: u64 = load.stop().iter().map(|done| done.committed).sum();
        self.wait_whole();
        wait_copied(&self.writer);
        for front in &self.fronts {
            assert_same_contents(&self.upstream, front);
        }
        for auditor in auditors {
            let seen = auditor.finish();
            assert!(committed > 50 && seen.bank > 5 && seen.store > 5, "{committed} transactions, {seen:?}");
        }
        assert!(!self.printed().contains("panicked at"), "{}", self.printed());
    }

    /// The published seq of an engine.
    fn seq(&self, engine: usize) -> u64 {
        self.engines[engine].process.status()["seq"]["published"].as_u64().expect("a seq")
    }
}

fn none_failed(auditors: &[Auditor], fleet: &Fleet) {
    assert!(!auditors.iter().any(Auditor::has_failed), "a reader met a wrong answer\n{}", fleet.printed());
}

/// The same SELECT gives the same text as upstream, whichever engine is read; what was just committed and the past too.
#[test]
fn two_engines_answer_like_the_upstream() {
    let fleet = Fleet::start(&everything(), false);
    wait_copied(&fleet.writer);
    fleet.wait_whole();
    let Fleet { upstream, fronts, writer, .. } = &fleet;
    for front in fronts {
        assert_same_contents(upstream, front);
    }
    upstream.execute(
        "CREATE DATABASE d; CREATE TABLE d.t (k INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO d.t VALUES (1, 'one')",
    );
    for n in 2..8 {
        upstream.execute(&format!("INSERT INTO d.t VALUES ({n}, 'ä{n}')"));
        let question = "SELECT k, v, VERSION() LIKE '%MariaDB%' FROM d.t ORDER BY k DESC";
        let wanted = upstream.batch_text(question);
        assert_eq!(fronts[n % 2].latest(question), wanted, "what was just committed");
        assert_eq!(fronts[(n + 1) % 2].client().batch_text(question), wanted, "what one has shown, the other shows");
    }
    std::thread::sleep(Duration::from_millis(1100));
    let time = String::from_utf8(upstream.batch_text("SELECT NOW()")).expect("utf-8");
    std::thread::sleep(Duration::from_millis(1100));
    upstream.execute("DELETE FROM d.t WHERE k > 2");
    assert_eq!(fronts[0].latest("SELECT COUNT(*) FROM d.t"), b"2\n");
    let past = format!("SELECT COUNT(*) FROM d.t AS OF TIMESTAMP '{}'", time.trim());
    for front in fronts {
        assert_eq!(front.client().batch_text(&past), b"7\n", "{past}");
    }
    let status = writer.status();
    let engines = status["engines"].as_array().expect("engines");
    assert!(engines.len() == 2 && engines.iter().all(|engine| engine["state"] == "writing"), "{status}");
    assert_eq!(writer.status()["source"]["state"], "streaming");
}

#[test]
fn inv2_each_of_them_may_be_killed() {
    let mut fleet = Fleet::start(&everything(), false);
    let (load, auditors) = fleet.load();
    let mut rng = StdRng::seed_from_u64(17);
    for round in 0..10 {
        std::thread::sleep(Duration::from_millis(rng.random_range(300..1500)));
        none_failed(&auditors, &fleet);
        let away = Duration::from_millis(rng.random_range(0..1500));
        match round % 5 {
            0 => {
                fleet.latches[0].process.kill9();
                std::thread::sleep(away);
                fleet.latches[0].restart(latch_port);
            }
            at @ (1 | 2) => {
                fleet.engines[at - 1].process.kill9();
                std::thread::sleep(away);
                fleet.engines[at - 1].restart(magic);
            }
            3 => {
                fleet.writer.kill9();
                std::thread::sleep(away);
                fleet.writer.restart();
            }
            _ => {
                let front = &mut fleet.fronts[round / 5];
                front.kill9();
                front.restart();
            }
        }
    }
    std::thread::sleep(Duration::from_secs(2));
    fleet.finish(load, auditors);
}

/// One engine is lost for long: the other one is read, what was just committed too, and the lost one catches up from the buffer.
#[test]
fn one_lost_engine_stalls_nobody() {
    let mut fleet = Fleet::start(&everything(), false);
    let (load, auditors) = fleet.load();
    wait_copied(&fleet.writer);
    fleet.wait_whole();
    fleet.engines[0].process.kill9();
    let before = fleet.seq(1);
    // Longer than what is shown waits for it.
    std::thread::sleep(Duration::from_secs(4));
    for front in &fleet.fronts {
        let count = front.latest("SELECT COUNT(*) FROM bank.accounts");
        assert_eq!(count, b"200\n");
    }
    assert!(fleet.seq(1) > before + 20, "the other engine goes on");
    none_failed(&auditors, &fleet);
    let status = fleet.writer.status();
    let lost = &status["engines"][0];
    assert!(lost["state"] == "waiting" && lost["needs_after"].as_u64() < status["seq"]["durable"].as_u64(), "{status}");
    fleet.engines[0].restart(magic);
    fleet.wait_whole();
    fleet.finish(load, auditors);
}

/// A frozen engine keeps its connections and answers nothing: readers go on with the other.
#[test]
fn a_frozen_engine_is_passed_over() {
    let mut fleet = Fleet::start(&everything(), false);
    let (load, auditors) = fleet.load();
    wait_copied(&fleet.writer);
    fleet.wait_whole();
    fleet.engines[0].process.freeze();
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs(4));
    // Both fronts, also the one that asked the frozen engine before.
    for front in &fleet.fronts {
        wait_for("an answer from the other engine", MINUTE, || {
            front.try_latest("SELECT COUNT(*) FROM bank.accounts").ok().filter(|count| count == b"200\n")
        });
    }
    assert!(begun.elapsed() < MINUTE, "{:?}", begun.elapsed());
    fleet.engines[0].process.thaw();
    fleet.wait_whole();
    fleet.finish(load, auditors);
}

/// A writer that is frozen while another takes over changes nothing at any engine when it goes on, and ends; started again it is refused.
#[test]
fn inv9_a_zombie_writer_is_fenced_everywhere() {
    let mut fleet = Fleet::start(&everything(), false);
    let (load, auditors) = fleet.load();
    wait_copied(&fleet.writer);
    fleet.writer.freeze();
    let mut second = fleet.another_writer();
    second.wait_ports();
    let before = [fleet.seq(0), fleet.seq(1)];
    wait_for("the second writer to publish", MINUTE, || {
        (fleet.seq(0) > before[0] + 20 && fleet.seq(1) > before[1] + 20).then_some(())
    });
    fleet.writer.thaw();
    let ended = fleet.writer.wait_end();
    let printed = fleet.writer.printed();
    let told = printed.contains("fenced") || printed.contains("another Data Buffer");
    assert!(!ended.success() && told, "{ended:?}\n{printed}");
    fleet.writer.spawn();
    let ended = fleet.writer.wait_end();
    let printed = fleet.writer.printed();
    assert!(!ended.success() && printed.contains("move the writer's data directory away"), "{ended:?}\n{printed}");
    fleet.writer = second;
    fleet.finish(load, auditors);
}

/// The writer is lost with its buffer, and both engines with what they had not made durable: readers wait until a new writer has read
/// again whatever they had seen.
#[test]
fn inv7_a_new_writer_reads_again_what_two_engines_served() {
    let mut fleet = Fleet::start(&everything(), false);
    let (load, auditors) = fleet.load();
    wait_copied(&fleet.writer);
    fleet.wait_whole();
    std::thread::sleep(Duration::from_secs(2));
    assert!(fleet.writer.interrupt().success(), "{}", fleet.printed());
    for engine in &mut fleet.engines {
        engine.process.kill9();
    }
    for engine in &mut fleet.engines {
        engine.restart(magic);
    }
    let mut second = fleet.another_writer();
    second.wait_ports();
    fleet.writer = second;
    fleet.wait_whole();
    std::thread::sleep(Duration::from_secs(1));
    fleet.finish(load, auditors);
}

/// The writer is lost with its buffer while one engine is further than the other: both go on with another writer's.
#[test]
fn a_new_writer_goes_on_with_engines_that_differ() {
    let mut fleet = Fleet::start(&everything(), false);
    let (load, auditors) = fleet.load();
    wait_copied(&fleet.writer);
    fleet.wait_whole();
    fleet.engines[1].relay.cut();
    std::thread::sleep(Duration::from_millis(1500));
    fleet.writer.kill9();
    fleet.engines[1].relay.heal();
    assert!(fleet.seq(0) > fleet.seq(1) + 5, "{} and {}", fleet.seq(0), fleet.seq(1));
    let mut second = fleet.another_writer();
    second.wait_ports();
    fleet.writer = second;
    fleet.wait_whole();
    let printed = fleet.writer.printed();
    assert!(
        printed.contains("an engine is further than this buffer") && !printed.contains("cannot go on"),
        "{printed}"
    );
    std::thread::sleep(Duration::from_secs(1));
    fleet.finish(load, auditors);
}

/// A program without gRPC: the lease is the latch's, the rows are an engine's.
#[test]
fn a_program_reads_an_engine_under_a_lease_of_the_latch() {
    let fleet = Fleet::start(&everything(), false);
    wait_copied(&fleet.writer);
    fleet.wait_whole();
    let call =
        |process: &Tidelake, name: &str, message: serde_json::Value| -> Result<serde_json::Value, (u16, String)> {
            let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
            let url = format!("http://127.0.0.1:{}/api/v1/magic/{name}", process.ports().http);
            let mut answer = agent.post(&url).send_json(message).expect("an answer");
            let text = answer.body_mut().read_to_string().expect("text");
            let code = answer.status().as_u16();
            if code == 200 { Ok(serde_json::from_str(&text).expect("JSON")) } else { Err((code, text)) }
        };
    let ask = serde_json::json!({"v": 1, "freshness": "any", "ttl_ms": 60000, "wait_ms": 1000});
    let lease = call(&fleet.latches[0].process, "acquire", ask.clone()).expect("a lease");
    assert_eq!(lease["term"], 1, "{lease}");
    for engine in fleet.engines.iter().map(|engine| &engine.process) {
        let catalog = call(engine, "catalog", serde_json::json!({"v": 1, "seq": lease["seq"]})).expect("a catalog");
        let tables = catalog["catalog"]["tables"].as_object().expect("tables");
        let accounts = tables.iter().find(|(_, entry)| entry["def"]["name"]["table"] == "accounts").expect("there").0;
        let table: u64 = accounts.parse().expect("an id");
        let plan = |lineage: &serde_json::Value| {
            let plan =
                serde_json::json!({"v": 1, "lineage": lineage, "seq": lease["seq"], "table": table, "splits": 1});
            call(engine, "plan", plan)
        };
        assert_eq!(plan(&lease["lineage"]).expect("a plan")["exact_rows"], 200);
        let (code, why) = plan(&"another".into()).expect_err("of another buffer");
        assert!(code == 410 && why.contains("another Data Buffer"), "{code} {why}");
        let (code, why) = call(engine, "acquire", ask.clone()).expect_err("no latch here");
        assert!(code == 400 && why.contains("--latch"), "{code} {why}");
    }
    let (code, _) =
        call(&fleet.latches[0].process, "catalog", serde_json::json!({"v": 1, "seq": 1})).expect_err("no engine");
    assert_eq!(code, 404);
}

/// Commands to a writer of several engines; a clean end of everything, after which readers are served without a writer.
#[test]
fn a_fleet_that_ended_well_serves_at_once() {
    let mut fleet = Fleet::start(&everything(), false);
    wait_copied(&fleet.writer);
    fleet.wait_whole();
    let http = format!("127.0.0.1:{}", fleet.writer.ports().http);
    for args in [vec!["verify"], vec!["interval", "30ms"], vec!["status"]] {
        let output = tidelake(&[args.clone(), vec!["--http", &http]].concat());
        let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {printed}");
        assert!(args != ["status"] || printed.contains("writing, published"), "{printed}");
    }
    let printed = fleet.printed();
    assert!(fleet.writer.interrupt().success(), "{printed}");
    for behind in fleet.engines.iter_mut().chain(&mut fleet.latches) {
        assert!(behind.process.interrupt().success(), "{printed}");
    }
    fleet.latches.iter_mut().for_each(|latch| latch.restart(latch_port));
    fleet.engines.iter_mut().for_each(|engine| engine.restart(magic));
    fleet.wait_whole();
    for front in &fleet.fronts {
        assert_eq!(front.client().batch_text("SELECT COUNT(*) FROM bank.accounts"), b"200\n");
    }
    fleet.writer.restart();
    fleet.upstream.execute("UPDATE bank.clock SET ticks = ticks");
    assert_same_contents(&fleet.upstream, &fleet.fronts[1]);
}

/// While etcd is away no latch leads; then one does, and goes on where it was.
#[test]
fn an_etcd_may_be_away() {
    let mut fleet = Fleet::start(&everything(), true);
    let (load, auditors) = fleet.load();
    wait_copied(&fleet.writer);
    fleet.wait_whole();
    let etcd = fleet.etcd.as_mut().expect("an etcd");
    etcd.kill9();
    std::thread::sleep(Duration::from_secs(8));
    assert!(fleet.latches.iter().all(|latch| latch.process.status()["leads"] == false), "{}", fleet.printed());
    fleet.etcd.as_mut().expect("an etcd").go_on();
    fleet.wait_whole();
    none_failed(&auditors, &fleet);
    std::thread::sleep(Duration::from_secs(2));
    fleet.finish(load, auditors);
}

/// Two latches at one etcd: the leader is killed, then frozen, under load.
#[test]
fn another_latch_takes_over() {
    let mut fleet = Fleet::start(&everything(), true);
    let (load, auditors) = fleet.load();
    wait_copied(&fleet.writer);
    fleet.wait_whole();
    std::thread::sleep(Duration::from_secs(1));
    let first = fleet.leader();
    let term = fleet.latches[first].process.status()["term"].as_u64().expect("a term");
    fleet.latches[first].process.kill9();
    let begun = Instant::now();
    let second = fleet.leader();
    assert_ne!(first, second);
    assert!(fleet.latches[second].process.status()["term"].as_u64() > Some(term));
    wait_for("an answer under the other latch", MINUTE, || {
        fleet.fronts[0].try_latest("SELECT COUNT(*) FROM bank.accounts").ok()
    });
    println!("another latch led after {:?}", begun.elapsed());
    fleet.latches[first].restart(latch_port);
    fleet.wait_whole();
    none_failed(&auditors, &fleet);
    // Frozen, it does not know that its time is over until it goes on.
    fleet.latches[second].process.freeze();
    wait_for("the first to lead again", MINUTE, || {
        (fleet.latches[first].process.status()["leads"] == true).then_some(())
    });
    for front in &fleet.fronts {
        wait_for("an answer under the first latch", MINUTE, || {
            front.try_latest("SELECT COUNT(*) FROM bank.accounts").ok()
        });
    }
    fleet.latches[second].process.thaw();
    wait_for("the second to know it", MINUTE, || {
        (fleet.latches[second].process.status()["leads"] == false).then_some(())
    });
    none_failed(&auditors, &fleet);
    std::thread::sleep(Duration::from_secs(2));
    fleet.finish(load, auditors);
}

/// An engine lost its directory: it cannot begin beside one that is filled, says so, and begins with that one's files.
#[test]
fn an_engine_begins_with_anothers_files() {
    let mut fleet = Fleet::start(&everything(), false);
    // Pieces of a megabyte, so that what both have is really let go of.
    fleet.writer.add_options(&["--buffer-limit", "4MiB"]);
    fleet.writer.restart();
    let (load, auditors) = fleet.load();
    wait_copied(&fleet.writer);
    fleet.wait_whole();
    fleet.upstream.execute("CREATE DATABASE d; CREATE TABLE d.big (id INT PRIMARY KEY AUTO_INCREMENT, t LONGTEXT)");
    for _ in 0..4 {
        fleet.upstream.execute("INSERT INTO d.big (t) VALUES (REPEAT('x', 1000000))");
        std::thread::sleep(Duration::from_millis(1500));
    }
    let [lost, other] = [0, 1].map(|at| fleet.engines[at].process.data_dir());
    fleet.engines[0].process.kill9();
    std::fs::remove_dir_all(&lost).expect("removed");
    fleet.engines[0].restart(magic);
    let refused = wait_for("the writer to refuse it", MINUTE, || {
        let status = fleet.writer.status();
        (status["engines"][0]["state"] == "refused").then_some(status)
    });
    assert_eq!(refused["engines"][1]["state"], "writing", "{refused}");
    assert_eq!(fleet.fronts[0].latest("SELECT COUNT(*) FROM bank.accounts"), b"200\n", "the other one is read");
    fleet.engines[0].process.kill9();
    assert!(fleet.engines[1].process.interrupt().success());
    std::fs::remove_dir_all(&lost).expect("removed");
    let copied = std::process::Command::new("cp").arg("-r").arg(&other).arg(&lost).status().expect("cp starts");
    assert!(copied.success());
    std::fs::remove_file(lost.join("engine-name")).expect("removed");
    fleet.engines[1].restart(magic);
    fleet.engines[0].restart(magic);
    fleet.wait_whole();
    none_failed(&auditors, &fleet);
    fleet.finish(load, auditors);
}

#[test]
fn what_a_fleet_lacks_is_said() {
    for (args, missing) in [
        (vec!["latch"], "--latch-backend"),
        (vec!["latch", "--data-dir", "d", "--latch-listen", "0.0.0.0:0"], "--insecure-listen"),
        (vec!["query", "--engine", "127.0.0.1:1", "--engine", "127.0.0.1:2"], "--latch"),
        (vec!["query", "--engine", "127.0.0.1:1,127.0.0.1:1", "--latch", "127.0.0.1:3"], "twice"),
        (vec!["latch", "--latch-backend", "etcd://nowhere"], "etcd://HOST:PORT"),
    ] {
        let output = tidelake(&args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(missing), "{args:?}: {error}");
    }
}
