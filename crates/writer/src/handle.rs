//! What others hold of a running writer: its interval, its status, a bell to wake it, its end.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidelake_core::{CommitSeq, Error, Result};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Shortest and longest interval.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);

/// What a writer is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriterState {
    /// Polling.
    #[default]
    Running,
    /// Ended cleanly.
    Stopped,
    /// Ended with an error; nothing is lost, the buffer keeps what was not applied.
    Failed,
}

/// Figures of a writer since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriterStatus {
    /// What it is doing.
    pub state: WriterState,
    /// Why it failed; empty otherwise.
    pub reason: String,
    /// Newest applied seq.
    pub applied: CommitSeq,
    /// Applied transactions and control records.
    pub transactions: u64,
    /// Applied row images: an update counts once.
    pub rows: u64,
}

/// A running writer. Clones are of the same writer.
#[derive(Clone)]
pub struct WriterHandle {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) interval: watch::Sender<Duration>,
    pub(crate) bell: Notify,
    pub(crate) status: watch::Sender<WriterStatus>,
    task: Mutex<Option<JoinHandle<Result<()>>>>,
}

impl Shared {
    pub(crate) fn new(interval: Duration, applied: CommitSeq) -> Arc<Shared> {
        let status = WriterStatus { applied, ..WriterStatus::default() };
        Arc::new(Shared {
            interval: watch::Sender::new(interval),
            bell: Notify::new(),
            status: watch::Sender::new(status),
            task: Mutex::new(None),
        })
    }

    pub(crate) fn ended(&self, result: &Result<()>) {
        self.status.send_modify(|status| match result {
            Ok(()) => status.state = WriterState::Stopped,
            Err(error) => {
                status.state = WriterState::Failed;
                status.reason = error.to_string();
            }
        });
    }
}

impl WriterHandle {
    pub(crate) fn new(shared: Arc<Shared>, task: JoinHandle<Result<()>>) -> WriterHandle {
        *shared.task.lock() = Some(task);
        WriterHandle { shared }
    }

    /// Of a writer that has not begun: it does nothing, and keeps the interval for one that does.
    #[must_use]
    pub fn idle(interval: Duration) -> WriterHandle {
        WriterHandle { shared: Shared::new(interval, CommitSeq::ZERO) }
    }

    /// How often it polls now.
    #[must_use]
    pub fn interval(&self) -> Duration {
        *self.shared.interval.borrow()
    }

    /// Polls this often from now on; a wait under way is cut to the new length.
    ///
    /// # Errors
    /// [`Error::Invalid`] outside 1 ms to 60 s.
    pub fn set_interval(&self, interval: Duration) -> Result<()> {
        if !INTERVALS.contains(&interval) {
            return Err(Error::Invalid(format!("interval {interval:?} is not between 1 ms and 60 s")));
        }
        self.shared.interval.send_replace(interval);
        Ok(())
    }

    /// Polls now.
    pub fn poke(&self) {
        self.shared.bell.notify_one();
    }

    /// Figures now.
    #[must_use]
    pub fn status(&self) -> WriterStatus {
        self.shared.status.borrow().clone()
    }

    /// Figures as they change.
    #[must_use]
    pub fn watch_status(&self) -> watch::Receiver<WriterStatus> {
        self.shared.status.subscribe()
    }

    /// Why it failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let status = self.shared.status.borrow();
        (status.state == WriterState::Failed)
            .then(|| format!("the writer stopped after seq {}: {}", status.applied, status.reason))
    }

    /// Waits for its end. The first caller gets the error, if it failed.
    ///
    /// # Errors
    /// What it failed with.
    pub async fn join(&self) -> Result<()> {
        let task = self.shared.task.lock().take();
        match task {
            None => Ok(()),
            Some(task) => task.await.map_err(|e| Error::Internal(format!("the writer's task: {e}")))?,
        }
    }
}
