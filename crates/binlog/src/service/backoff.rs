//! Waiting longer after each failure, and never in step with others.

use std::time::Duration;

use rand::Rng;

const FIRST: Duration = Duration::from_millis(200);

/// Exponential backoff with jitter: each wait is between half of and the whole step; steps double from 0.2 s.
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// Never waits longer than `longest`.
    pub fn new(longest: Duration) -> Backoff {
        Backoff { next: FIRST.min(longest), longest }
    }

    /// The next wait.
    pub fn next(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.longest);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// After a success: begins anew.
    pub fn reset(&mut self) {
        self.next = FIRST.min(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_limit_and_starts_anew() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        let waits: Vec<Duration> = (0..6).map(|_| backoff.next()).collect();
        assert!(waits[0] <= Duration::from_millis(200) && waits[5] >= Duration::from_millis(500));
        assert!(waits.iter().all(|w| *w <= Duration::from_secs(1)));
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(200));
    }
}
