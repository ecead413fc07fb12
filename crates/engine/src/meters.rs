//! The engine's figures for `/metrics`, all named `tidelake_engine_*`.

use std::time::Instant;

/// Records how long something took, in seconds, when dropped.
pub(crate) struct Timer(&'static str, Instant);

impl Timer {
    pub(crate) fn start(name: &'static str) -> Timer {
        Timer(name, Instant::now())
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        metrics::histogram!(self.0).record(self.1.elapsed().as_secs_f64());
    }
}

/// Sets a gauge of bytes or counts.
pub(crate) fn gauge(name: &'static str, value: u64) {
    metrics::gauge!(name).set(value as f64);
}
