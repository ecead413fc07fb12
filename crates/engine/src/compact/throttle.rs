//! How fast a merge may write.

use std::time::{Duration, Instant};

/// Keeps a merge below its bytes per second, and lets others run in between.
pub(super) struct Throttle {
    bytes_per_second: Option<u64>,
    begun: Instant,
}

/// A merge looks up so often at least, so that its sleep is no jump.
const NAP: Duration = Duration::from_millis(100);

impl Throttle {
    pub(super) fn new(bytes_per_second: Option<u64>) -> Throttle {
        Throttle { bytes_per_second, begun: Instant::now() }
    }

    /// Waits until `written` bytes are not too many.
    pub(super) fn wait(&self, written: u64) {
        std::thread::yield_now();
        let Some(rate) = self.bytes_per_second else { return };
        let due = Duration::from_secs_f64(written as f64 / rate.max(1) as f64);
        while let Some(early) = due.checked_sub(self.begun.elapsed()).filter(|e| !e.is_zero()) {
            std::thread::sleep(early.min(NAP));
        }
    }
}
