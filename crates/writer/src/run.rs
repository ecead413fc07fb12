//! The loop: wait, read a window, publish it, until cancelled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidelake_core::ports::StoreWriter;
use tidelake_core::{Catalog, DecodedStep, Error, Result, env};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinHandle;

use crate::WriterParts;
use crate::flush::Flusher;
use crate::handle::{Shared, WriterHandle};
use crate::publish::Publisher;
use crate::steps::Steps;
use crate::window::{WindowEnd, WindowReader};

/// Pieces decoded ahead of staging.
const PIECES_AHEAD: usize = 1;

pub(crate) async fn start(parts: WriterParts) -> Result<WriterHandle> {
    let store = parts.engine.open_writer(parts.epoch).await?;
    let published = parts.engine.published().borrow().clone();
    let catalog = (*parts.engine.catalog(published.seq)?).clone();
    let flusher = Arc::new(Flusher::new(&parts));
    let reader = WindowReader::open(&parts, published.clone(), catalog.clone(), flusher.clone())?;
    let shared = Shared::new(parts.options.interval, published.seq);
    let flushing = tokio::spawn(flusher.clone().run(parts.cancel.clone()));
    let work = Loop { store, catalog, flusher, shared: shared.clone(), flushing, parts };
    let task = tokio::spawn(work.run(reader));
    Ok(WriterHandle::new(shared, task))
}

struct Loop {
    parts: WriterParts,
    store: Box<dyn StoreWriter>,
    /// The engine's, as of the last publish.
    catalog: Catalog,
    flusher: Arc<Flusher>,
    shared: Arc<Shared>,
    flushing: JoinHandle<Result<()>>,
}

impl Loop {
    async fn run(mut self, reader: WindowReader) -> Result<()> {
        let polled = self.poll(reader).await;
        // The flusher ends with the token; after a failure of ours it must end too.
        self.parts.cancel.cancel();
        let flushed = self.join_flusher().await;
        let result = polled.and(flushed);
        if let Err(error) = &result {
            metrics::counter!("tidelake_writer_errors_total").increment(1);
            tracing::error!(%error, "the magic writer stopped; the buffer keeps what was not applied");
        }
        self.shared.ended(&result);
        result
    }

    async fn join_flusher(&mut self) -> Result<()> {
        let ended = std::mem::replace(&mut self.flushing, tokio::spawn(async { Ok(()) }));
        ended.await.map_err(|e| Error::Internal(format!("the flusher's task: {e}")))?
    }

    async fn poll(&mut self, mut reader: WindowReader) -> Result<()> {
        loop {
            let begun = env::now();
            while !self.parts.cancel.is_cancelled() && !self.flushing.is_finished() {
                let more;
                (reader, more) = self.window(reader).await?;
                if !more {
                    break;
                }
                self.wait_for_flush().await;
            }
            if !self.wait(begun).await? {
                return Ok(());
            }
        }
    }

    /// Decodes, stages and publishes one window; false at the buffer's head.
    async fn window(&mut self, reader: WindowReader) -> Result<(WindowReader, bool)> {
        // Where nobody may block, all of a window must find room.
        let ahead = if env::may_block() { PIECES_AHEAD } else { 1 << 12 };
        let (pieces, mut arriving) = mpsc::channel(ahead);
        let decoding = env::spawn_blocking(move || decode(reader, &pieces));
        let begun = env::now();
        let mut publisher = Publisher::new(&mut *self.store, &*self.parts.buffer, &mut self.catalog);
        while let Some(steps) = arriving.recv().await {
            publisher.stage(steps).await?;
        }
        let decoded = decoding.await.map_err(|e| Error::Internal(format!("decoding panicked: {e}")))?;
        let (mut reader, end) = decoded?;
        let Some(end) = end else { return Ok((reader, false)) };
        if publisher.publish(&end).await? {
            self.catalog = (*self.parts.engine.catalog(end.upto)?).clone();
            reader.set_catalog(self.catalog.clone());
        }
        self.published(&end, begun);
        Ok((reader, true))
    }

    fn published(&self, end: &WindowEnd, begun: Instant) {
        self.shared.status.send_modify(|status| {
            status.applied = end.upto;
            status.transactions += end.transactions;
            status.rows += end.rows;
        });
        metrics::counter!("tidelake_writer_transactions_total").increment(end.transactions);
        metrics::counter!("tidelake_writer_rows_total").increment(end.rows);
        metrics::histogram!("tidelake_writer_batch_transactions").record(end.transactions as f64);
        metrics::histogram!("tidelake_writer_publish_seconds").record(env::since(begun).as_secs_f64());
        if end.commit_time_us > 0 {
            let committed = end.commit_time_us as f64 / 1e6;
            metrics::gauge!("tidelake_writer_published_commit_time_seconds").set(committed);
            metrics::gauge!("tidelake_writer_lag_seconds").set(env::wall_us() as f64 / 1e6 - committed);
        }
        self.flusher.published();
    }

    /// While twice as much as starts a flush is not flushed, applying more would only fill memory.
    async fn wait_for_flush(&mut self) {
        let mut durable = self.parts.engine.durable();
        let most = self.parts.options.flush_bytes.saturating_mul(2);
        loop {
            durable.borrow_and_update();
            if self.parts.engine.unflushed_bytes() <= most || self.flushing.is_finished() {
                return;
            }
            tokio::select! {
                () = self.parts.cancel.cancelled() => return,
                _ = durable.changed() => {}
                () = env::sleep(Duration::from_millis(200)) => {}
            }
        }
    }

    /// Until the next poll is due; `false` once cancelled. A changed interval counts from the last poll on.
    async fn wait(&mut self, begun: Instant) -> Result<bool> {
        let mut interval = self.shared.interval.subscribe();
        loop {
            let due = begun + *interval.borrow_and_update();
            tokio::select! {
                biased;
                () = self.parts.cancel.cancelled() => return Ok(false),
                ended = &mut self.flushing => {
                    self.flushing = tokio::spawn(async { Ok(()) });
                    ended.map_err(|e| Error::Internal(format!("the flusher's task: {e}")))??;
                    if !self.parts.cancel.is_cancelled() {
                        return Err(Error::Internal("the flusher ended early".into()));
                    }
                }
                () = self.shared.bell.notified() => return Ok(true),
                () = env::sleep_until(due) => return Ok(true),
                changed = interval.changed() => changed.map_err(|_| Error::Closed("the interval's sender".into()))?,
            }
        }
    }
}

type Decoded = Result<(WindowReader, Option<WindowEnd>)>;

/// Reading and decoding block and compute: not on the runtime's own threads.
fn decode(mut reader: WindowReader, pieces: &mpsc::Sender<Vec<DecodedStep>>) -> Decoded {
    let ended = || Error::Closed("staging ended before decoding did".into());
    let mut out = |steps| match pieces.try_send(steps) {
        Ok(()) => Ok(()),
        Err(TrySendError::Full(steps)) => pieces.blocking_send(steps).map_err(|_| ended()),
        Err(TrySendError::Closed(_)) => Err(ended()),
    };
    let end = reader.next_window(&mut Steps::new(&mut out))?;
    Ok((reader, end))
}
