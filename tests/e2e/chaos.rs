//! Engine, writer and two SQL fronts under whatever happens to processes and lines, by seeds: killed, frozen, cut off, taken over, one after the
//! other and at once. Meanwhile bank transfers go on upstream; readers check totals, order and freshness in every answer; an answer may be
//! refused, in time and with a reason, and is never wrong.
//!
//! CI runs one seed. By hand: `TIDELAKE_CHAOS_SEEDS=1..40 TIDELAKE_CHAOS_SECONDS=30`; a failure prints its seed and what was done.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_testkit::SqlClient;

use crate::audit::Auditor;
use crate::processes::{self, Processes, REFUSALS};
use crate::tidelake::{Address, Tidelake};

/// Errors that a reader of the latest may get: nobody answers, lapsed, too late.
const NOT_NOW: &[&str] =
    &["ERROR 2002", "ERROR 2003", "ERROR 2013", "ERROR 2026", "ERROR 1053", "ERROR 1205", "ERROR 3024"];
/// Before the first copy is whole.
const NOT_YET: &[&str] = &["ERROR 1049", "ERROR 1146", "still being copied"];
/// A blocked reader has its error by then: its own patience, and that with a silent peer.
const DEADLINE: Duration = Duration::from_secs(90);

pub fn seeds() -> Range<u64> {
    let text = std::env::var("TIDELAKE_CHAOS_SEEDS").unwrap_or_else(|_| "1..2".to_owned());
    let parse = |text: &str| text.parse().expect("TIDELAKE_CHAOS_SEEDS is FIRST..END");
    let (first, end) = text.split_once("..").expect("TIDELAKE_CHAOS_SEEDS is FIRST..END");
    parse(first)..parse(end)
}

pub fn time() -> Duration {
    let text = std::env::var("TIDELAKE_CHAOS_SECONDS").unwrap_or_else(|_| "25".to_owned());
    Duration::from_secs(text.parse().expect("TIDELAKE_CHAOS_SECONDS is a number"))
}

#[test]
fn nothing_is_torn_lost_or_older_whatever_happens() {
    for seed in seeds() {
        println!("seed {seed}");
        Chaos::new(seed).run(time());
    }
}

struct Chaos {
    rng: StdRng,
    processes: Processes,
    second: Tidelake,
    /// What was done, for a failure.
    done: String,
    begun: Instant,
}

impl Chaos {
    fn new(seed: u64) -> Chaos {
        let processes = Processes::start(&(processes::everything() + MARK));
        let mut second = processes::query(&processes.relay);
        second.wait_ports();
        let rng = StdRng::seed_from_u64(seed);
        Chaos { rng, processes, second, done: format!("seed {seed}:"), begun: Instant::now() }
    }

    fn run(mut self, time: Duration) {
        let (load, auditor) = self.processes.load();
        let other = Auditor::start_despite(self.second.address(), REFUSALS);
        let latest = Latest::start(self.processes.upstream.client(), self.processes.query.address());
        while self.begun.elapsed() < time && !auditor.has_failed() && !other.has_failed() && !latest.has_failed() {
            self.pause(1200);
            let what = self.happen();
            let _ = write!(self.done, " {:.1}s {what};", self.begun.elapsed().as_secs_f64());
        }
        println!("{}", self.done);
        std::thread::sleep(Duration::from_secs(2));
        let seen = other.finish();
        assert!(seen.bank > 0 && seen.store > 0, "the second front answered {seen:?}");
        let fresh = latest.finish();
        assert!(fresh > 0, "nobody read what was just committed");
        assert!(!self.second.printed().contains("panicked at"), "{}", self.second.printed());
        self.processes.finish(load, auditor);
    }

    fn pause(&mut self, most_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.rng.random_range(0..most_ms)));
    }

    fn happen(&mut self) -> &'static str {
        match self.rng.random_range(0..10) {
            0 => self.kill_engine(),
            1 => self.kill_writer(),
            2 => self.kill_front(),
            3 => self.freeze_engine(),
            4 => self.freeze_writer(),
            5 => self.kill_both(),
            6 => self.take_over(),
            7 => self.freeze_front(),
            8 => {
                self.processes.relay.reset();
                "all lines broken"
            }
            _ => {
                self.processes.relay.cut();
                self.pause(2500);
                self.processes.relay.heal();
                "cut off"
            }
        }
    }

    fn kill_engine(&mut self) -> &'static str {
        self.processes.engine.kill9();
        self.pause(800);
        self.processes.restart_engine();
        "engine killed"
    }

    fn kill_writer(&mut self) -> &'static str {
        self.processes.writer.kill9();
        self.pause(800);
        self.processes.writer.restart();
        "writer killed"
    }

    fn kill_front(&mut self) -> &'static str {
        let front = if self.rng.random() { &mut self.processes.query } else { &mut self.second };
        front.kill9();
        front.restart();
        "front killed"
    }

    fn freeze_engine(&mut self) -> &'static str {
        let time = self.rng.random_range(50..4000);
        self.processes.engine.freeze_for(Duration::from_millis(time));
        "engine frozen"
    }

    fn freeze_writer(&mut self) -> &'static str {
        let time = self.rng.random_range(50..4000);
        self.processes.writer.freeze_for(Duration::from_millis(time));
        "writer frozen"
    }

    fn freeze_front(&mut self) -> &'static str {
        let time = self.rng.random_range(50..4000);
        self.second.freeze_for(Duration::from_millis(time));
        "front frozen"
    }

    fn kill_both(&mut self) -> &'static str {
        self.processes.writer.kill9();
        self.processes.engine.kill9();
        self.pause(800);
        self.processes.restart_engine();
        self.pause(800);
        self.processes.writer.restart();
        "engine and writer killed"
    }

    /// The writer is lost with its buffer, or frozen until another one writes.
    fn take_over(&mut self) -> &'static str {
        let lost = self.rng.random();
        if lost {
            self.processes.writer.kill9();
        } else {
            self.processes.writer.freeze();
        }
        let mut next = processes::writer(&self.processes.upstream, &self.processes.relay);
        next.wait_ports();
        let mut before = std::mem::replace(&mut self.processes.writer, next);
        if lost {
            return "another writer instead of a lost one";
        }
        self.pause(500);
        before.thaw();
        let ended = before.wait_end();
        assert!(!ended.success() && !before.printed().contains("panicked at"), "{ended:?}\n{}", before.printed());
        "another writer instead of a frozen one"
    }
}

pub const MARK: &str = "CREATE DATABASE chaos; CREATE TABLE chaos.mark (id INT PRIMARY KEY, n BIGINT); \
                    INSERT INTO chaos.mark VALUES (1, 0);";

/// Commits a number and reads it back, again and again.
pub struct Latest {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64, String>>,
}

impl Latest {
    pub fn start(upstream: SqlClient, front: Address) -> Latest {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        Latest { stop, thread: std::thread::spawn(move || read_back(&told, &upstream, &front)) }
    }

    pub fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// How many times it was read.
    pub fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic").unwrap_or_else(|wrong| panic!("{wrong}"))
    }
}

fn read_back(stop: &AtomicBool, upstream: &SqlClient, front: &Address) -> Result<u64, String> {
    let (mut committed, mut answers) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let Some(ports) = front.get() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        committed += 1;
        let _ = upstream.batch_text(&format!("UPDATE chaos.mark SET n = {committed}"));
        let begun = Instant::now();
        let ask = "SET tidelake_freshness = 'latest'; SELECT n FROM chaos.mark";
        match SqlClient::root(ports.mysql).try_batch_text(ask) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let n: u64 = text.trim().parse().map_err(|_| format!("not a number: {text:?}"))?;
                if n < committed {
                    return Err(format!("{committed} was committed before, and the latest is said to be {n}"));
                }
                answers += 1;
            }
            Err(error) if NOT_NOW.iter().any(|code| error.contains(code)) => {}
            Err(error) if answers == 0 && NOT_YET.iter().any(|code| error.contains(code)) => {}
            Err(error) => return Err(format!("{ask}\n{error}")),
        }
        if begun.elapsed() > DEADLINE {
            return Err(format!("an answer took {:?}", begun.elapsed()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(answers)
}
