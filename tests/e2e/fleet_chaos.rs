//! Two latches at an etcd, two engines, a writer and two SQL fronts under whatever happens to processes and lines, by seeds: as in `chaos`, and
//! readers ask the fronts in turns, so that nothing one engine has shown may be missing at the other.
//!
//! CI runs one seed. By hand: `TIDELAKE_CHAOS_SEEDS=1..40 TIDELAKE_CHAOS_SECONDS=30`; a failure prints its seed and what was done.

use std::fmt::Write;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::chaos::{Latest, MARK, seeds, time};
use crate::fleet::{Fleet, latch_port, magic};
use crate::processes::everything;

#[test]
fn nothing_is_torn_lost_or_older_over_two_engines() {
    for seed in seeds() {
        println!("seed {seed}");
        let fleet = Fleet::start(&(everything() + MARK), true);
        let rng = StdRng::seed_from_u64(seed);
        Chaos { rng, fleet, done: format!("seed {seed}:"), begun: Instant::now() }.run(time());
    }
}

struct Chaos {
    rng: StdRng,
    fleet: Fleet,
    /// What was done, for a failure.
    done: String,
    begun: Instant,
}

impl Chaos {
    fn run(mut self, time: Duration) {
        let (load, auditors) = self.fleet.load();
        let latest = Latest::start(self.fleet.upstream.client(), self.fleet.fronts[0].address());
        while self.begun.elapsed() < time && !auditors.iter().any(|a| a.has_failed()) && !latest.has_failed() {
            self.pause(1500);
            let what = self.happen();
            let _ = write!(self.done, " {:.1}s {what};", self.begun.elapsed().as_secs_f64());
        }
        println!("{}", self.done);
        std::thread::sleep(Duration::from_secs(2));
        let fresh = latest.finish();
        assert!(fresh > 0, "nobody read what was just committed");
        self.fleet.finish(load, auditors);
    }

    fn pause(&mut self, most_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.rng.random_range(0..most_ms)));
    }

    /// One of the two.
    fn one(&mut self) -> usize {
        self.rng.random_range(0..2)
    }

    fn happen(&mut self) -> String {
        let (at, time) = (self.one(), Duration::from_millis(self.rng.random_range(50..5000)));
        match self.rng.random_range(0..12) {
            0 => {
                self.kill_latch(at);
                format!("latch {at} killed")
            }
            1 => {
                self.kill_engine(at);
                format!("engine {at} killed")
            }
            2 => {
                self.fleet.writer.kill9();
                self.pause(800);
                self.fleet.writer.restart();
                "writer killed".into()
            }
            3 => {
                let front = &mut self.fleet.fronts[at];
                front.kill9();
                front.restart();
                format!("front {at} killed")
            }
            4 => {
                self.fleet.engines[at].process.freeze_for(time);
                format!("engine {at} frozen {time:?}")
            }
            5 => {
                let leader = self.fleet.leader();
                self.fleet.latches[leader].process.freeze_for(2 * time);
                format!("leading latch {leader} frozen {:?}", 2 * time)
            }
            6 => {
                self.fleet.writer.freeze_for(time);
                format!("writer frozen {time:?}")
            }
            7 => {
                self.fleet.latches.iter_mut().for_each(|latch| latch.process.kill9());
                self.fleet.engines.iter_mut().for_each(|engine| engine.process.kill9());
                self.pause(800);
                self.fleet.engines.iter_mut().for_each(|engine| engine.restart(magic));
                self.pause(800);
                self.fleet.latches.iter_mut().for_each(|latch| latch.restart(latch_port));
                "both latches and both engines killed".into()
            }
            8 => {
                self.fleet.engines[at].relay.cut();
                std::thread::sleep(time);
                self.fleet.engines[at].relay.heal();
                format!("engine {at} cut off {time:?}")
            }
            9 => {
                self.fleet.latches[at].relay.cut();
                std::thread::sleep(time);
                self.fleet.latches[at].relay.heal();
                format!("latch {at} cut off {time:?}")
            }
            10 => {
                let etcd = self.fleet.etcd.as_mut().expect("an etcd");
                etcd.kill9();
                std::thread::sleep(time);
                etcd.go_on();
                format!("etcd away {time:?}")
            }
            _ => self.take_over(),
        }
    }

    fn kill_latch(&mut self, at: usize) {
        self.fleet.latches[at].process.kill9();
        self.pause(800);
        self.fleet.latches[at].restart(latch_port);
    }

    fn kill_engine(&mut self, at: usize) {
        self.fleet.engines[at].process.kill9();
        self.pause(800);
        self.fleet.engines[at].restart(magic);
    }

    /// The writer is lost with its buffer, or frozen until another one writes.
    fn take_over(&mut self) -> String {
        // What is lost with a buffer while a copy is under way at the hindmost engine, or while another one waits for that buffer, is
        // lost to one of the two: that is said in docs/open-ends.md, and not tried here.
        self.fleet.wait_whole();
        crate::crashes::wait_copied(&self.fleet.writer);
        let lost = self.rng.random();
        if lost {
            self.fleet.writer.kill9();
        } else {
            self.fleet.writer.freeze();
        }
        let mut next = self.fleet.another_writer();
        next.wait_ports();
        let mut before = std::mem::replace(&mut self.fleet.writer, next);
        if lost {
            return "another writer instead of a lost one".into();
        }
        self.pause(500);
        before.thaw();
        let ended = before.wait_end();
        assert!(!ended.success() && !before.printed().contains("panicked at"), "{ended:?}\n{}", before.printed());
        "another writer instead of a frozen one".into()
    }
}
