//! What the sources of feeds have in common: what they tell about themselves, and the thread they read on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidelake_core::ports::{SourceState, SourceStatus};
use tidelake_core::{Error, Result, SourcePosition};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::assembler::Held;
use super::place::{FeedPlace, time_us};

/// A watermark that stands so long while events wait for it is told in the status.
const STALLED_AFTER: Duration = Duration::from_secs(10);

/// What the reading thread tells.
pub struct FeedProgress {
    state: watch::Sender<(SourceState, String)>,
    /// Everything up to here is in the Data Buffer.
    position: watch::Sender<SourcePosition>,
    /// Bytes of the feed read.
    pub bytes_read: AtomicU64,
    watermark: AtomicU64,
    complete: watch::Sender<bool>,
}

impl Default for FeedProgress {
    fn default() -> FeedProgress {
        FeedProgress {
            state: watch::Sender::new((SourceState::Starting, String::new())),
            position: watch::Sender::new(SourcePosition::default()),
            bytes_read: AtomicU64::new(0),
            watermark: AtomicU64::new(0),
            complete: watch::Sender::new(true),
        }
    }
}

impl FeedProgress {
    /// Sets the state; `reason` is what a person should know of it.
    pub fn set(&self, state: SourceState, reason: impl Into<String>) {
        let new = (state, reason.into());
        self.state.send_if_modified(|old| {
            *old != new && {
                *old = new;
                true
            }
        });
    }

    /// Everything up to here is in the Data Buffer, durably.
    pub fn reached(&self, place: &FeedPlace) {
        self.watermark.store(place.tso, Ordering::Relaxed);
        self.position.send_replace(place.to_source());
    }

    /// The last place reached.
    #[must_use]
    pub fn position(&self) -> SourcePosition {
        self.position.borrow().clone()
    }

    /// For [`Source::status`](tidelake_core::ports::Source::status).
    #[must_use]
    pub fn status(&self) -> SourceStatus {
        let (state, reason) = self.state.borrow().clone();
        let watermark = self.watermark.load(Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64);
        let behind =
            if watermark == 0 || state == SourceState::Finished { 0 } else { (now - time_us(watermark)).max(0) };
        SourceStatus {
            state,
            reason,
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            bytes_total: None,
            lag_seconds: behind as f64 / 1e6,
        }
    }

    /// Where the feed ends; waits until a finite one was read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it could not be read.
    pub async fn end(&self) -> Result<SourcePosition> {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|(s, _)| matches!(s, SourceState::Finished | SourceState::Failed)).await;
        match ended.map(|s| s.clone()) {
            Ok((SourceState::Finished, _)) => Ok(self.position.borrow().clone()),
            Ok((_, reason)) => Err(Error::Unavailable(format!("the feed could not be read: {reason}"))),
            Err(_) => Err(Error::Closed("source".into())),
        }
    }

    /// Always true: these sources copy nothing by themselves.
    #[must_use]
    pub fn complete(&self) -> watch::Receiver<bool> {
        self.complete.subscribe()
    }

    /// Runs `read` on a thread of its own: appending waits as long as the buffer is full.
    ///
    /// # Errors
    /// What `read` returns.
    pub async fn run(
        self: &Arc<Self>,
        name: &str,
        cancel: &CancellationToken,
        read: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let (done, result) = tokio::sync::oneshot::channel();
        let progress = Arc::clone(self);
        let thread = std::thread::Builder::new().name(name.into());
        thread
            .spawn(move || {
                let result = read();
                if let Err(e) = &result {
                    progress.set(SourceState::Failed, e.to_string());
                }
                drop(done.send(result));
            })
            .map_err(|e| Error::io(format!("start the thread {name}"), e))?;
        let result =
            async { result.await.unwrap_or_else(|_| Err(Error::Internal("reading the feed panicked".into()))) };
        tokio::pin!(result);
        tokio::select! {
            result = &mut result => result,
            // appending may be waiting for a buffer that nobody empties any more
            () = async { cancel.cancelled().await; tokio::time::sleep(Duration::from_secs(2)).await } => Ok(()),
        }
    }
}

/// Notices a watermark that stands still while events wait for it.
pub struct StallWatch {
    watermark: u64,
    since: Instant,
}

impl Default for StallWatch {
    fn default() -> StallWatch {
        StallWatch { watermark: 0, since: Instant::now() }
    }
}

impl StallWatch {
    /// What a person should know, if something.
    pub fn look(&mut self, watermark: u64, held: Held) -> String {
        if watermark != self.watermark || held.events == 0 {
            (self.watermark, self.since) = (watermark, Instant::now());
        }
        let stands = self.since.elapsed();
        if stands < STALLED_AFTER {
            return String::new();
        }
        format!(
            "the watermark stands at {watermark} for {} s; {} events wait above it ({:.1} MiB in memory, {:.1} MiB on disk): look at the changefeed",
            stands.as_secs(),
            held.events,
            held.memory_bytes as f64 / 1_048_576.0,
            held.disk_bytes as f64 / 1_048_576.0
        )
    }
}
