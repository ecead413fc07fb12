//! Flushing: makes published rows durable now and then, and lets the buffer go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tidelake_core::ports::{Buffer, StoreEngine};
use tidelake_core::{CommitSeq, Error, Result, env};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{WriterOptions, WriterParts};

/// How often the flush policy looks at the engine at least.
const LOOK: Duration = Duration::from_millis(500);

/// Flushes the engine by size and by age.
pub struct Flusher {
    buffer: Arc<dyn Buffer>,
    engine: Arc<dyn StoreEngine>,
    options: WriterOptions,
    published: Notify,
    /// Nothing is released before the replay of a restart has passed this: chunks there may need older transactions.
    replay_end: CommitSeq,
    /// For a chunk at the key's seq, transactions after the value's seq must be there if it is applied again.
    needs: Mutex<BTreeMap<CommitSeq, CommitSeq>>,
}

impl Flusher {
    pub(crate) fn new(parts: &WriterParts) -> Flusher {
        Flusher {
            buffer: parts.buffer.clone(),
            engine: parts.engine.clone(),
            options: parts.options.clone(),
            published: Notify::new(),
            replay_end: *parts.buffer.head().borrow(),
            needs: Mutex::new(BTreeMap::new()),
        }
    }

    /// Something was published.
    pub(crate) fn published(&self) {
        self.published.notify_one();
    }

    /// Until `chunk` is durable, transactions after `after` must be kept.
    pub(crate) fn needs(&self, chunk: CommitSeq, after: CommitSeq) {
        let mut needs = self.needs.lock();
        let kept = needs.entry(chunk).or_insert(after);
        *kept = (*kept).min(after);
    }

    /// Until cancelled; then flushes a last time.
    pub(crate) async fn run(self: Arc<Self>, cancel: CancellationToken) -> Result<()> {
        let mut last = env::now();
        while !cancel.is_cancelled() {
            tokio::select! {
                () = cancel.cancelled() => break,
                () = self.published.notified() => {}
                () = env::sleep(LOOK) => {}
            }
            if self.is_due(last) {
                self.flush().await?;
                last = env::now();
            } else if self.is_filling() {
                // what a copy kept may be free by now, and nothing new can come while there is no room
                let durable = self.engine.durable().borrow().seq;
                self.let_go(durable).await?;
            }
        }
        self.flush().await
    }

    fn is_due(&self, last: Instant) -> bool {
        let behind = self.engine.durable().borrow().seq < self.engine.published_seq();
        // A buffer that fills up must be let go before fetching has to wait.
        let full = self.is_filling() && env::since(last) > Duration::from_secs(1);
        behind
            && (full
                || self.engine.unflushed_bytes() >= self.options.flush_bytes
                || env::since(last) >= self.options.flush_interval)
    }

    fn is_filling(&self) -> bool {
        let (bytes, limit) = self.buffer.bytes();
        bytes > limit / 2
    }

    async fn flush(self: &Arc<Self>) -> Result<()> {
        let begun = env::now();
        let durable = self.engine.flush().await?;
        metrics::counter!("tidelake_writer_flushes_total").increment(1);
        metrics::histogram!("tidelake_writer_flush_seconds").record(env::since(begun).as_secs_f64());
        self.let_go(durable).await
    }

    async fn let_go(self: &Arc<Self>, durable: CommitSeq) -> Result<()> {
        let flusher = self.clone();
        let released = env::spawn_blocking(move || flusher.release(durable)).await;
        released.map_err(|e| {
            // Work that had not begun when the process ended: the next start releases the buffer.
            let ended = e.is_cancelled();
            if ended {
                Error::Closed("the process is ending".into())
            } else {
                Error::Internal(format!("releasing the buffer panicked: {e}"))
            }
        })?
    }

    fn release(&self, durable: CommitSeq) -> Result<()> {
        let mut needs = self.needs.lock();
        needs.retain(|chunk, _| *chunk > durable);
        if durable < self.replay_end {
            return Ok(());
        }
        let upto = needs.values().copied().min().map_or(durable, |needed| needed.min(durable));
        self.buffer.release(upto)
    }
}
