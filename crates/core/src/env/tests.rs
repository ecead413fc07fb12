use std::collections::BinaryHeap;

use super::*;

/// An alarm, and when it is to ring.
type Set = (Instant, Arc<Alarm>);

/// A clock that a test moves.
#[derive(Default)]
struct Moved {
    state: Mutex<(Duration, Vec<Set>)>,
    zero: std::sync::OnceLock<Instant>,
}

impl Moved {
    #[allow(clippy::disallowed_methods, reason = "some beginning")]
    fn zero(&self) -> Instant {
        *self.zero.get_or_init(Instant::now)
    }

    fn advance(&self, by: Duration) {
        self.state.lock().0 += by;
        let now = self.now();
        let due: Vec<_> = {
            let mut state = self.state.lock();
            let (due, rest) = state.1.drain(..).partition(|(at, _)| *at <= now);
            state.1 = rest;
            due
        };
        due.iter().for_each(|(_, alarm): &Set| alarm.ring());
    }
}

impl Env for Moved {
    fn now(&self) -> Instant {
        self.zero() + self.state.lock().0
    }

    fn wall_us(&self) -> i64 {
        42
    }

    fn ring_at(&self, at: Instant, alarm: Arc<Alarm>) {
        self.state.lock().1.push((at, alarm));
    }

    fn work_takes(&self) -> Duration {
        Duration::ZERO
    }

    fn chance(&self) -> Option<u128> {
        Some(7)
    }
}

fn polled<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_simulations_time_is_what_it_says() {
    let env = Arc::new(Moved::default());
    let _inside = enter(env.clone());
    assert_eq!((wall_us(), chance()), (42, Some(7)));
    assert!(!may_block());
    let hour = Duration::from_secs(3600);
    let begun = now();
    let mut done = pin!(timeout(hour, std::future::pending::<()>()));
    assert!(polled(done.as_mut()).is_pending());
    env.advance(hour - Duration::from_millis(1));
    assert!(polled(done.as_mut()).is_pending());
    env.advance(Duration::from_millis(1));
    assert_eq!(polled(done.as_mut()), Poll::Ready(Err(Elapsed)));
    assert_eq!(since(begun), hour);
}

#[test]
fn who_waits_no_more_is_not_woken() {
    let env = Arc::new(Moved::default());
    let _inside = enter(env.clone());
    {
        let mut waits = pin!(sleep(Duration::from_secs(1)));
        assert!(polled(waits.as_mut()).is_pending());
        assert!(env.state.lock().1.iter().all(|(_, alarm)| alarm.is_set()));
    }
    let left: BinaryHeap<bool> = env.state.lock().1.iter().map(|(_, alarm)| alarm.is_set()).collect();
    assert_eq!(left.into_vec(), [false]);
}

#[tokio::test]
async fn outside_time_is_the_machines() {
    assert!(may_block());
    assert!(wall_us() > 1_700_000_000_000_000);
    assert_eq!(timeout(Duration::from_millis(5), std::future::pending::<()>()).await, Err(Elapsed));
    assert_eq!(timeout(Duration::from_secs(60), async { 7 }).await, Ok(7));
    assert_eq!(spawn_blocking(|| 8).await.expect("joined"), 8);
    sleep(Duration::MAX.min(Duration::from_millis(1))).await;
}
