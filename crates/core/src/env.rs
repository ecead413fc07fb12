//! Time, chance and work that blocks, as the surroundings give them: the machine's, or in a simulation those of a seed.
//!
//! What follows the protocol between processes (latch, Magic API, writer) takes its time from here only, so that a simulation runs the very
//! same code in virtual time (docs/adr/0014). An [`Env`] is entered by the thread that drives the simulation; threads that entered none have
//! the machine's clocks and tokio's timers.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// Longer than anything waits: what a time that cannot be added counts as.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Surroundings of a process in a simulation.
pub trait Env: Send + Sync {
    /// The steady clock. Never goes back.
    fn now(&self) -> Instant;

    /// The wall clock, microseconds since 1970 UTC. May jump.
    fn wall_us(&self) -> i64;

    /// Rings the alarm once the steady clock has come to `at`.
    fn ring_at(&self, at: Instant, alarm: Arc<Alarm>);

    /// How long the next work that may block takes before it is done.
    fn work_takes(&self) -> Duration;

    /// A random number, unless it is the machine's.
    fn chance(&self) -> Option<u128>;

    /// True if this bug is put in, to see that it is found.
    fn is_flawed(&self, name: &str) -> bool {
        let _ = name;
        false
    }
}

/// What is rung when a time has come.
#[derive(Default)]
pub struct Alarm(Mutex<Option<Waker>>);

impl Alarm {
    /// Wakes who waits, if anybody still does.
    pub fn ring(&self) {
        let waker = self.0.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// False once nobody waits any more.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.lock().is_some()
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<dyn Env>>> = const { RefCell::new(None) };
}

fn current() -> Option<Arc<dyn Env>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Until it is dropped, this thread has these surroundings.
pub struct Entered(Option<Arc<dyn Env>>);

/// Enters surroundings; those of before come back when the answer is dropped.
#[must_use]
pub fn enter(env: Arc<dyn Env>) -> Entered {
    Entered(CURRENT.replace(Some(env)))
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// The steady clock.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is where it comes from")]
pub fn now() -> Instant {
    current().map_or_else(Instant::now, |env| env.now())
}

/// The time that passed since.
#[must_use]
pub fn since(begun: Instant) -> Duration {
    now().saturating_duration_since(begun)
}

/// The wall clock, microseconds since 1970 UTC.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is where it comes from")]
pub fn wall_us() -> i64 {
    let machine =
        || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX));
    current().map_or_else(machine, |env| env.wall_us())
}

/// Waits so long.
pub fn sleep(duration: Duration) -> Sleep {
    let now = now();
    sleep_until(now.checked_add(duration).unwrap_or_else(|| now + FOREVER))
}

/// Waits until then.
#[allow(clippy::disallowed_methods, reason = "this is where it comes from")]
pub fn sleep_until(at: Instant) -> Sleep {
    Sleep(match current() {
        None => Waits::Machine(Box::pin(tokio::time::sleep_until(at.into()))),
        Some(env) => Waits::Simulated { env, at, alarm: None },
    })
}

/// The future of [`sleep`].
#[must_use]
pub struct Sleep(Waits);

enum Waits {
    Machine(Pin<Box<tokio::time::Sleep>>),
    Simulated { env: Arc<dyn Env>, at: Instant, alarm: Option<Arc<Alarm>> },
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Waits::Machine(sleep) => sleep.as_mut().poll(cx),
            Waits::Simulated { env, at, .. } if env.now() >= *at => Poll::Ready(()),
            Waits::Simulated { env, at, alarm } => {
                let rings = alarm.is_some();
                let alarm = alarm.get_or_insert_default();
                *alarm.0.lock() = Some(cx.waker().clone());
                if !rings {
                    env.ring_at(*at, alarm.clone());
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Waits::Simulated { alarm: Some(alarm), .. } = &self.0 {
            alarm.0.lock().take();
        }
    }
}

/// It was not done in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it took too long")
    }
}

impl std::error::Error for Elapsed {}

/// Does it, but no longer than so long.
///
/// # Errors
/// [`Elapsed`] if it was not done by then; it is dropped.
pub async fn timeout<F: Future>(limit: Duration, work: F) -> Result<F::Output, Elapsed> {
    let (mut work, mut late) = (pin!(work), sleep(limit));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        ready!(Pin::new(&mut late).poll(cx));
        Poll::Ready(Err(Elapsed))
    })
    .await
}

/// Runs what may block where it holds up nobody. In a simulation it takes virtual time, and then is done at once.
#[allow(clippy::disallowed_methods, reason = "this is where it comes from")]
pub fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match current() {
        None => tokio::task::spawn_blocking(work),
        Some(env) => tokio::spawn(async move {
            sleep(env.work_takes()).await;
            work()
        }),
    }
}

/// A random number of the simulation; `None` outside of one.
#[must_use]
pub fn chance() -> Option<u128> {
    current().and_then(|env| env.chance())
}

/// True if a simulation puts in the bug of this name. Nothing is flawed outside of one.
#[must_use]
pub fn is_flawed(name: &str) -> bool {
    CURRENT.with_borrow(|env| env.as_ref().is_some_and(|env| env.is_flawed(name)))
}

/// False where nothing may wait without giving way: the time of a simulation does not go on meanwhile.
#[must_use]
pub fn may_block() -> bool {
    current().is_none()
}

#[cfg(test)]
mod tests;
