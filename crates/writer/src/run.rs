//! The loop: wait, read a window, publish it, until cancelled.

use std::sync::Arc;
use std::time::Instant;

use tidelake_core::ports::StoreWriter;
use tidelake_core::{Error, Result};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::WriterParts;
use crate::flush::Flusher;
use crate::handle::{Shared, WriterHandle};
use crate::publish::Publisher;
use crate::window::{Window, WindowReader};

pub(crate) async fn start(parts: WriterParts) -> Result<WriterHandle> {
    let store = parts.engine.open_writer(parts.epoch).await?;
    let published = parts.engine.published().borrow().clone();
    let catalog = (*parts.engine.catalog(published.seq)?).clone();
    let flusher = Arc::new(Flusher::new(&parts));
    let reader = WindowReader::open(&parts, published.clone(), catalog, flusher.clone())?;
    let shared = Shared::new(parts.options.interval, published.seq);
    let flushing = tokio::spawn(flusher.clone().run(parts.cancel.clone()));
    let work = Loop { store, flusher, shared: shared.clone(), cancel: parts.cancel, flushing };
    let task = tokio::spawn(work.run(reader));
    Ok(WriterHandle::new(shared, task))
}

struct Loop {
    store: Box<dyn StoreWriter>,
    flusher: Arc<Flusher>,
    shared: Arc<Shared>,
    cancel: CancellationToken,
    flushing: JoinHandle<Result<()>>,
}

impl Loop {
    async fn run(mut self, reader: WindowReader) -> Result<()> {
        let polled = self.poll(reader).await;
        // The flusher ends with the token; after a failure of ours it must end too.
        self.cancel.cancel();
        let flushed = (&mut self.flushing).await.map_err(|e| Error::Internal(format!("the flusher's task: {e}")));
        let result = polled.and(flushed.and_then(|r| r));
        if let Err(error) = &result {
            metrics::counter!("tidelake_writer_errors_total").increment(1);
            tracing::error!(%error, "the magic writer stopped; the buffer keeps what was not applied");
        }
        self.shared.ended(&result);
        result
    }

    async fn poll(&mut self, mut reader: WindowReader) -> Result<()> {
        loop {
            let begun = Instant::now();
            while !self.cancel.is_cancelled() {
                let (back, window) = read_window(reader).await?;
                reader = back;
                let Some(window) = window else { break };
                self.apply(window, &mut reader).await?;
            }
            if !self.wait(begun).await? {
                return Ok(());
            }
        }
    }

    async fn apply(&mut self, window: Window, reader: &mut WindowReader) -> Result<()> {
        let begun = Instant::now();
        let (upto, transactions, rows) = (window.upto, window.transactions, window.rows);
        let commit_time_us = window.position.commit_time_us;
        Publisher::new(&mut *self.store, reader.catalog_mut()).publish(window).await?;
        self.shared.status.send_modify(|status| {
            status.applied = upto;
            status.transactions += transactions;
            status.rows += rows;
        });
        metrics::counter!("tidelake_writer_transactions_total").increment(transactions);
        metrics::counter!("tidelake_writer_rows_total").increment(rows);
        metrics::histogram!("tidelake_writer_publish_seconds").record(begun.elapsed().as_secs_f64());
        metrics::gauge!("tidelake_writer_published_commit_time_seconds").set(commit_time_us as f64 / 1e6);
        self.flusher.published();
        Ok(())
    }

    /// Until the next poll is due; `false` once cancelled. A changed interval counts from the last poll on.
    async fn wait(&mut self, begun: Instant) -> Result<bool> {
        let mut interval = self.shared.interval.subscribe();
        loop {
            let due = begun + *interval.borrow_and_update();
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Ok(false),
                () = self.shared.bell.notified() => return Ok(true),
                () = tokio::time::sleep_until(due.into()) => return Ok(true),
                changed = interval.changed() => changed.map_err(|_| Error::Closed("the interval's sender".into()))?,
                ended = &mut self.flushing => {
                    self.flushing = tokio::spawn(async { Ok(()) });
                    ended.map_err(|e| Error::Internal(format!("the flusher's task: {e}")))??;
                    if !self.cancel.is_cancelled() {
                        return Err(Error::Internal("the flusher ended early".into()));
                    }
                }
            }
        }
    }
}

/// Reading and decoding block and compute: not on the runtime's own threads.
async fn read_window(mut reader: WindowReader) -> Result<(WindowReader, Option<Window>)> {
    tokio::task::spawn_blocking(move || {
        let window = reader.next_window()?;
        Ok((reader, window))
    })
    .await
    .map_err(|e| Error::Internal(format!("decoding panicked: {e}")))?
}
