//! What happens to the processes: by the seed, until it is time to heal.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidelake_core::env;
use tidelake_core::ports::StoreEngine;

use super::processes::{ENGINES, FRONTS, LATCHES, Processes, WRITERS};
use super::world::{Command, NodeEnv, World};

/// What a world goes through.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long the upstream's load goes on.
    pub lasts: Duration,
    /// Milliseconds between two troubles at most; `None`: nothing happens to anybody.
    pub pause_ms: Option<u64>,
    /// Writers are lost with their disks more often than anything else happens.
    pub replaces: bool,
    /// Milliseconds between two transactions at most.
    pub load_ms: u64,
}

/// Whoever does things to processes.
pub struct Trouble {
    own: Arc<Processes>,
    envs: Vec<Arc<NodeEnv>>,
    /// How many writers took over from another.
    replaced: AtomicUsize,
}

impl Trouble {
    pub fn new(own: Arc<Processes>, envs: Vec<Arc<NodeEnv>>) -> Arc<Trouble> {
        Arc::new(Trouble { own, envs, replaced: AtomicUsize::new(0) })
    }

    /// Transactions, one after the other.
    pub async fn load(self: Arc<Self>, plan: Plan) {
        while self.own.shared.now() < plan.lasts {
            let shared = &self.own.shared;
            // Now and then nothing is written for a while.
            let pause = if shared.once_in(60) { shared.ms(500..4000) } else { shared.ms(1..plan.load_ms) };
            env::sleep(pause).await;
            if shared.now() < plan.lasts {
                self.own.upstream.transfer();
            }
            if shared.once_in(30) {
                for at in 0..ENGINES.len() {
                    *self.own.older[at].lock() = self.own.stores[at].lock().crash();
                }
            }
        }
    }

    /// Until it is time to heal.
    pub async fn run(self: Arc<Self>, plan: Plan) {
        let Some(pause_ms) = plan.pause_ms else { return };
        let mut writer = 0;
        // An engine that has nothing when a buffer is lost begins with the other's files (docs/open-ends.md).
        for at in 0..ENGINES.len() {
            let mut durable = self.own.stores[at].lock().durable();
            let _ = durable.wait_for(|durable| durable.seq.0 > 0).await;
        }
        env::sleep(self.own.shared.ms(1..2000)).await;
        self.own.etcd.is_flaky(true);
        while self.own.shared.now() < plan.lasts {
            self.own.seen.disturb();
            if plan.replaces && writer + 1 < WRITERS.len() && self.own.shared.once_in(4) {
                self.replace(&mut writer).await;
            } else {
                self.happen(&mut writer).await;
            }
            env::sleep(self.own.shared.ms(1..pause_ms)).await;
        }
    }

    fn command(&self, command: Command) {
        self.own.seen.disturb();
        self.own.shared.command(command);
    }

    fn one(&self, of: &[usize]) -> usize {
        of[self.own.shared.pick(0..of.len() as u64) as usize]
    }

    /// Any process that is in use.
    fn any(&self, writer: usize) -> usize {
        self.one(&[&LATCHES[..], &ENGINES[..], &FRONTS[..], &WRITERS[..=writer]].concat())
    }

    /// Mostly short; now and then longer than anybody waits.
    fn time(&self) -> Duration {
        let shared = &self.own.shared;
        if shared.once_in(8) { shared.ms(6000..32_000) } else { shared.ms(20..5000) }
    }

    async fn happen(self: &Arc<Self>, writer: &mut usize) {
        let (shared, time) = (self.own.shared.clone(), self.time());
        match shared.pick(0..16) {
            0 | 1 => self.restart(self.one(&LATCHES), time.min(Duration::from_secs(8))),
            2 | 3 => self.restart(self.one(&ENGINES), time.min(Duration::from_secs(8))),
            4 => self.restart(WRITERS[*writer], time.min(Duration::from_secs(4))),
            5 => self.restart(self.one(&FRONTS), Duration::from_millis(300)),
            6 => {
                let all = [LATCHES, ENGINES].concat();
                all.into_iter().for_each(|node| self.restart(node, shared.ms(1..3000)));
            }
            7..=9 => self.freeze(self.any(*writer), time),
            10 | 11 => self.cut(self.any(*writer), self.any(*writer), shared.once_in(2), time),
            12 => {
                let alone = self.any(*writer);
                let others = [&LATCHES[..], &ENGINES, &FRONTS, &WRITERS].concat();
                others.into_iter().for_each(|other| self.cut(alone, other, true, time));
            }
            13 => self.etcd_away(self.one(&LATCHES), time),
            14 => self.slow_or_jump(*writer, time),
            _ => match *writer + 1 < WRITERS.len() && shared.once_in(3) {
                true => self.replace(writer).await,
                false => self.away_from_upstream(time.min(Duration::from_secs(5))),
            },
        }
    }

    fn restart(self: &Arc<Self>, node: usize, after: Duration) {
        let power = self.own.shared.once_in(2);
        self.command(Command::Kill { node, power });
        let own = self.clone();
        tokio::spawn(async move {
            env::sleep(after).await;
            own.command(Command::Start(node));
        });
    }

    fn freeze(self: &Arc<Self>, node: usize, time: Duration) {
        self.command(Command::Freeze(node));
        let own = self.clone();
        tokio::spawn(async move {
            env::sleep(time).await;
            own.command(Command::Thaw(node));
        });
    }

    fn cut(self: &Arc<Self>, one: usize, other: usize, both: bool, time: Duration) {
        if one == other {
            return;
        }
        self.own.shared.note(|| format!("cut {one} {other} {both} {time:?}"));
        self.own.net.cut(one, other);
        if both {
            self.own.net.cut(other, one);
        }
        let own = self.clone();
        tokio::spawn(async move {
            env::sleep(time).await;
            own.own.seen.disturb();
            own.own.net.heal(one, other);
            own.own.net.heal(other, one);
        });
    }

    fn etcd_away(self: &Arc<Self>, latch: usize, time: Duration) {
        self.own.shared.note(|| format!("etcd away from {latch} {time:?}"));
        self.own.etcd.cut(latch, true);
        let own = self.clone();
        tokio::spawn(async move {
            env::sleep(time).await;
            own.own.seen.disturb();
            own.own.etcd.cut(latch, false);
        });
    }

    fn slow_or_jump(self: &Arc<Self>, writer: usize, time: Duration) {
        let shared = &self.own.shared;
        if shared.once_in(2) {
            let by = shared.pick(0..7_200_000_000) as i64 - 3_600_000_000;
            let node = self.any(writer);
            shared.note(|| format!("the clock of {node} jumps by {by} us"));
            World::jump(&self.envs[node], by);
            return;
        }
        let slow = shared.pick(20..400);
        shared.note(|| format!("messages take up to {slow} ms for {time:?}"));
        self.own.net.slow(slow);
        let own = self.clone();
        tokio::spawn(async move {
            env::sleep(time).await;
            own.own.seen.disturb();
            own.own.net.slow(4);
        });
    }

    fn away_from_upstream(self: &Arc<Self>, time: Duration) {
        self.own.cut_from_upstream.send_replace(true);
        let own = self.clone();
        tokio::spawn(async move {
            env::sleep(time).await;
            own.own.seen.disturb();
            own.own.cut_from_upstream.send_replace(false);
        });
    }

    /// A writer with an empty disk takes over; the one before comes back, or never does.
    async fn replace(self: &Arc<Self>, writer: &mut usize) {
        let before = WRITERS[*writer];
        *writer += 1;
        self.replaced.store(*writer, Ordering::Relaxed);
        if self.own.shared.once_in(2) {
            self.freeze(before, self.own.shared.ms(3000..15_000));
        } else {
            self.command(Command::Kill { node: before, power: true });
        }
        env::sleep(self.own.shared.ms(1..800)).await;
        self.command(Command::Start(WRITERS[*writer]));
    }

    /// How many writers took over from another.
    pub fn replaced(&self) -> usize {
        self.replaced.load(Ordering::Relaxed)
    }

    /// Whatever was done to anybody is undone, also by writers that were replaced.
    pub fn heal(&self) {
        let all: Vec<usize> = [&LATCHES[..], &ENGINES, &FRONTS, &WRITERS].concat();
        for &one in &all {
            all.iter().for_each(|&other| self.own.net.heal(one, other));
            self.own.shared.command(Command::Thaw(one));
        }
        LATCHES.into_iter().for_each(|latch| self.own.etcd.cut(latch, false));
        self.own.etcd.is_flaky(false);
        self.own.net.slow(4);
        self.own.cut_from_upstream.send_replace(false);
        let used = [&LATCHES[..], &ENGINES, &FRONTS, &WRITERS[..=self.replaced()]].concat();
        used.into_iter().for_each(|node| self.own.shared.command(Command::Start(node)));
        self.own.seen.disturb();
    }
}
