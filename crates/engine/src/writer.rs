//! The one writer: holds the engine's gate for each call, and is refused once a newer writer has come.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tidelake_core::ports::{Progress, StoreWriter};
use tidelake_core::{CommitSeq, DecodedStep, Error, Result, SourcePosition, WriterEpoch};
use tokio::sync::OwnedMutexGuard;

use crate::compact::is_behind;
use crate::engine::Inner;
use crate::meters::Timer;

/// Most that a step waits for merges.
const SLOW_DOWN: Duration = Duration::from_millis(50);

/// What only the one who changes rows may touch: the writer, and briefly a flush or compaction.
pub(crate) struct Gate {
    pub(crate) epoch: WriterEpoch,
    /// Counts `open_writer`, so that a second writer of the same epoch fences the first.
    pub(crate) writers: u64,
    /// The newest staged seq.
    pub(crate) staged: CommitSeq,
}

pub(crate) struct MagicWriter {
    inner: Arc<Inner>,
    epoch: WriterEpoch,
    number: u64,
}

impl MagicWriter {
    pub(crate) async fn open(inner: Arc<Inner>, epoch: WriterEpoch) -> Result<MagicWriter> {
        let mut gate = inner.gate.clone().lock_owned().await;
        inner.check_poison()?;
        if epoch < gate.epoch {
            return Err(Error::Fenced { mine: epoch.0, newest: gate.epoch.0 });
        }
        gate.epoch = epoch;
        gate.writers += 1;
        let number = gate.writers;
        let held = inner.clone();
        // A new key may have to be taken back, which reads files.
        blocking(move || held.discard_staged(&mut gate)).await?;
        Ok(MagicWriter { inner, epoch, number })
    }

    async fn gate(&self) -> Result<OwnedMutexGuard<Gate>> {
        let gate = self.inner.gate.clone().lock_owned().await;
        if gate.writers != self.number {
            return Err(Error::Fenced { mine: self.epoch.0, newest: gate.epoch.0 });
        }
        self.inner.check_poison()?;
        Ok(gate)
    }

    /// Gives merges that are far behind a little time: the last resort, and never more than [`SLOW_DOWN`] for a step.
    async fn wait_for_merges(&self, step: &DecodedStep) {
        let DecodedStep::Rows(batch) = step else { return };
        let Ok(table) = self.inner.table(batch.table) else { return };
        if !is_behind(&self.inner, &table) {
            return;
        }
        let _timer = Timer::start("tidelake_engine_merge_stall_seconds");
        metrics::counter!("tidelake_engine_merge_stalls_total").increment(1);
        let begun = Instant::now();
        while begun.elapsed() < SLOW_DOWN && is_behind(&self.inner, &table) {
            tokio::time::sleep(SLOW_DOWN / 10).await;
        }
    }

    /// Waits for a flush while memory is over twice its limit; the flush waits for no merge. What is staged is
    /// not waited for: it is spilled.
    async fn wait_for_memory(&self) -> Result<()> {
        let limit = self.inner.options.memtable_bytes.saturating_mul(2);
        if self.inner.memory.load(Ordering::Acquire) < limit || self.inner.unflushed() == 0 {
            return Ok(());
        }
        let _timer = Timer::start("tidelake_engine_stall_seconds");
        metrics::counter!("tidelake_engine_stalls_total").increment(1);
        crate::flush::flush(self.inner.clone()).await.map(drop)
    }
}

#[async_trait]
impl StoreWriter for MagicWriter {
    async fn stage(&mut self, step: DecodedStep) -> Result<()> {
        self.wait_for_memory().await?;
        self.wait_for_merges(&step).await;
        let mut gate = self.gate().await?;
        let inner = self.inner.clone();
        blocking(move || {
            inner.spill_if_needed(&gate)?;
            match &step {
                DecodedStep::Rows(batch) => inner.stage_rows(&mut gate, batch),
                DecodedStep::Schema(seq, change) => inner.stage_schema(&mut gate, *seq, change),
            }
        })
        .await
    }

    async fn publish(&mut self, upto: CommitSeq, position: SourcePosition) -> Result<()> {
        let mut gate = self.gate().await?;
        let published = self.inner.published.borrow().seq;
        let staged = gate.staged;
        if upto < staged || upto < published || (upto == published && staged > published) {
            return Err(Error::Internal(format!("publish {upto} with {published} published and {staged} staged")));
        }
        gate.staged = upto;
        self.inner.staged_bytes.store(0, Ordering::Release);
        self.inner.readable.store(upto.0, Ordering::Release);
        self.inner.published.send_replace(Progress { seq: upto, position });
        drop(gate);
        // Spilled rows are on disk already: naming them in the manifest frees the buffer early.
        let spilled = self.inner.spilled.swap(false, Ordering::AcqRel);
        if spilled || self.inner.unflushed() > self.inner.options.memtable_bytes {
            crate::flush::flush_in_background(&self.inner);
        }
        Ok(())
    }
}

/// Runs work that computes or reads files off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::Internal(format!("engine task ended: {e}"))),
    }
}
