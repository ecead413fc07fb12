//! The world of one seed: virtual time, processes that are runtimes of their own, and the order in which things happen.
//!
//! A process is a tokio runtime without drivers. Everything happens on one thread: each process runs until nothing of it can go on without
//! time or a message, then the clock moves to the next alarm. A *kill* drops the runtime with all tasks; a *freeze* does not run it.

use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::flaws::Flaw;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_core::env::{self, Alarm, Env};
use tokio::runtime::{Builder, Handle, Runtime};

/// 30 November 2026: where the wall clocks begin.
const WALL_US: i64 = 1_795_996_800_000_000;

/// What all processes of a world share.
pub struct Shared {
    time: Mutex<Time>,
    rng: Mutex<StdRng>,
    trace: Mutex<Trace>,
    violations: Mutex<Vec<String>>,
    commands: Mutex<Vec<Command>>,
    flaw: Option<Flaw>,
}

#[derive(Default)]
struct Time {
    now: Duration,
    order: u64,
    alarms: BTreeMap<(Duration, u64), Arc<Alarm>>,
}

#[derive(Default)]
struct Trace {
    hash: DefaultHasher,
    text: Vec<String>,
}

/// What is done to processes from outside of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Ends it in the middle of whatever it does; a machine that loses its power also loses what was not synced.
    Kill { node: usize, power: bool },
    /// Starts it, if it does not run.
    Start(usize),
    /// It does nothing ...
    Freeze(usize),
    /// ... until now.
    Thaw(usize),
}

impl Shared {
    /// Virtual time since the beginning.
    pub fn now(&self) -> Duration {
        self.time.lock().now
    }

    /// A number of the seed's.
    pub fn pick(&self, range: std::ops::Range<u64>) -> u64 {
        self.rng.lock().random_range(range)
    }

    /// True once in so many.
    pub fn once_in(&self, many: u64) -> bool {
        self.pick(0..many) == 0
    }

    /// Up to so many milliseconds, in microseconds' steps.
    pub fn ms(&self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_micros(self.pick(range.start * 1000..range.end * 1000))
    }

    /// Notes what happened: two runs of one seed have the same notes.
    pub fn note(&self, what: impl FnOnce() -> String) {
        let now = self.now();
        let mut trace = self.trace.lock();
        let line = format!("{:>10.6} {}", now.as_secs_f64(), what());
        tracing::info!("{line}");
        line.hash(&mut trace.hash);
        trace.text.push(line);
    }

    /// Something that must not be.
    pub fn violation(&self, what: String) {
        self.note(|| format!("VIOLATION {what}"));
        self.violations.lock().push(what);
    }

    /// To be done once nothing goes on.
    pub fn command(&self, command: Command) {
        self.commands.lock().push(command);
    }

    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().clone()
    }

    /// Hash and number of the notes.
    pub fn trace(&self) -> (u64, u64) {
        let trace = self.trace.lock();
        (trace.hash.finish(), trace.text.len() as u64)
    }

    pub fn lines(&self) -> Vec<String> {
        self.trace.lock().text.clone()
    }

    fn next_alarm(&self) -> Option<Duration> {
        let mut time = self.time.lock();
        while let Some(first) = time.alarms.first_entry() {
            if first.get().is_set() {
                return Some(first.key().0);
            }
            first.remove();
        }
        None
    }

    /// Moves the clock if nothing else does.
    pub fn at_least(&self, now: Duration) {
        let mut time = self.time.lock();
        time.now = time.now.max(now);
    }

    /// Moves the clock and rings what is due.
    fn advance(&self, to: Duration) {
        let due: Vec<Arc<Alarm>> = {
            let mut time = self.time.lock();
            time.now = to;
            let later = time.alarms.split_off(&(to, u64::MAX));
            std::mem::replace(&mut time.alarms, later).into_values().collect()
        };
        due.iter().for_each(|alarm| alarm.ring());
    }
}

/// Surroundings of one process.
pub struct NodeEnv {
    shared: Arc<Shared>,
    wall_jump_us: AtomicI64,
}

fn zero() -> Instant {
    static ZERO: OnceLock<Instant> = OnceLock::new();
    *ZERO.get_or_init(Instant::now)
}

impl Env for NodeEnv {
    fn now(&self) -> Instant {
        zero() + self.shared.now()
    }

    fn wall_us(&self) -> i64 {
        WALL_US + self.shared.now().as_micros() as i64 + self.wall_jump_us.load(Ordering::Relaxed)
    }

    fn ring_at(&self, at: Instant, alarm: Arc<Alarm>) {
        let mut time = self.shared.time.lock();
        let at = at.saturating_duration_since(zero()).max(time.now);
        time.order += 1;
        let order = time.order;
        time.alarms.insert((at, order), alarm);
    }

    fn work_takes(&self) -> Duration {
        self.shared.ms(0..4)
    }

    fn chance(&self) -> Option<u128> {
        let mut rng = self.shared.rng.lock();
        Some(rng.random())
    }

    fn is_flawed(&self, name: &str) -> bool {
        self.shared.flaw.is_some_and(|flaw| flaw.name() == name)
    }
}

/// Says when a runtime has nothing to do any more.
#[derive(Default)]
struct Idle {
    parks: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

struct UntilIdle<'a>(&'a Idle);

impl Future for UntilIdle<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.parks.swap(false, Ordering::Relaxed) {
            return Poll::Ready(());
        }
        *self.0.waker.lock() = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A process.
pub struct Node {
    pub env: Arc<NodeEnv>,
    pub frozen: bool,
    idle: Arc<Idle>,
    runtime: Option<Runtime>,
}

impl Node {
    pub fn runs(&self) -> bool {
        self.runtime.is_some()
    }

    fn has_work(&self) -> bool {
        !self.frozen && self.runtime.as_ref().is_some_and(|runtime| runtime.metrics().global_queue_depth() > 0)
    }

    fn run(&self) {
        let Some(runtime) = &self.runtime else { return };
        let _inside = env::enter(self.env.clone());
        runtime.block_on(UntilIdle(&self.idle));
    }
}

/// A world.
pub struct World {
    pub shared: Arc<Shared>,
    pub nodes: Vec<Node>,
}

impl World {
    /// Of so many processes, none of which runs.
    pub fn new(seed: u64, count: usize, flaw: Option<Flaw>) -> World {
        let shared = Arc::new(Shared {
            time: Mutex::default(),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            trace: Mutex::default(),
            flaw,
            violations: Mutex::default(),
            commands: Mutex::default(),
        });
        let node = || Node {
            env: Arc::new(NodeEnv { shared: shared.clone(), wall_jump_us: AtomicI64::new(0) }),
            frozen: false,
            idle: Arc::default(),
            runtime: None,
        };
        World { nodes: std::iter::repeat_with(node).take(count).collect(), shared }
    }

    /// Starts a process; `main` is given its runtime to be within.
    pub fn start(&mut self, node: usize, main: impl FnOnce(Handle)) {
        let node = &mut self.nodes[node];
        let idle = Arc::new(Idle::default());
        let parked = idle.clone();
        let mut runtime = Builder::new_current_thread();
        runtime.on_thread_park(move || {
            parked.parks.store(true, Ordering::Relaxed);
            if let Some(waker) = parked.waker.lock().take() {
                waker.wake();
            }
        });
        let runtime = runtime.build().expect("a runtime without drivers");
        let handle = runtime.handle().clone();
        (node.idle, node.runtime, node.frozen) = (idle, Some(runtime), false);
        let _inside = env::enter(node.env.clone());
        let _runtime = handle.enter();
        main(handle.clone());
    }

    /// Its memory is gone.
    pub fn kill(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        let _inside = env::enter(node.env.clone());
        drop(node.runtime.take());
        node.frozen = false;
    }

    /// The wall clock of a process jumps.
    pub fn jump(env: &NodeEnv, by: i64) {
        env.wall_jump_us.fetch_add(by, Ordering::Relaxed);
    }

    /// Lets everything happen up to a time. `obey` is given each command.
    pub fn run(&mut self, until: Duration, mut obey: impl FnMut(&mut World, Command)) {
        loop {
            self.settle();
            let commands = std::mem::take(&mut *self.shared.commands.lock());
            if !commands.is_empty() {
                commands.into_iter().for_each(|command| obey(self, command));
                continue;
            }
            match self.shared.next_alarm() {
                Some(next) if next <= until => self.shared.advance(next),
                _ => return,
            }
        }
    }

    /// Until nobody can go on without time.
    fn settle(&mut self) {
        while self.nodes.iter().any(Node::has_work) {
            self.nodes.iter().filter(|node| node.has_work()).for_each(Node::run);
        }
    }
}
