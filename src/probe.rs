//! What the Latch Service asks when a reader wants the upstream's latest: where is the upstream's head, and which
//! seq covers it here.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tidelake_core::ports::{Buffer, Source};
use tidelake_core::{Catalog, CommitSeq, Error, Moment, Result, SourcePosition, TableName};
use tidelake_latch::FreshnessProbe;
use tidelake_writer::WriterHandle;

/// Asks the source, waits for buffer and copies, wakes the writer.
pub struct PipelineProbe {
    source: Arc<dyn Source>,
    buffer: Arc<dyn Buffer>,
    writers: Mutex<BTreeMap<usize, WriterHandle>>,
}

impl PipelineProbe {
    /// For one pipeline.
    pub fn new(source: Arc<dyn Source>, buffer: Arc<dyn Buffer>) -> PipelineProbe {
        PipelineProbe { source, buffer, writers: Mutex::default() }
    }

    /// The writer to wake, once it runs (it needs an epoch from the latch, which needs this probe), or runs anew.
    pub fn wake(&self, writer: WriterHandle) {
        self.wake_at(0, writer);
    }

    /// The same of one of several engines.
    pub fn wake_at(&self, engine: usize, writer: WriterHandle) {
        self.writers.lock().insert(engine, writer);
    }

    /// The newest seq at or before a position, if everything up to it was read. One that is named in the upstream's words has no
    /// order, so all that was read with it counts.
    fn covering(&self, position: &SourcePosition) -> Result<Option<CommitSeq>> {
        if position.name().is_none() {
            return Ok(self.buffer.seq_covering(position));
        }
        let read = self.buffer.read_position().borrow().clone().unwrap_or_default();
        if !read.is_known() || !self.source.has_read(&read, position)? {
            return Ok(None);
        }
        Ok(self.buffer.seq_covering(&read))
    }
}

#[async_trait]
impl FreshnessProbe for PipelineProbe {
    /// Wanted tables that the catalog does not even name yet are part of the latest state: their copies come first.
    async fn seq_of_latest(&self) -> Result<CommitSeq> {
        loop {
            let head = self.source.head().await?;
            let mut complete = self.source.copy_complete();
            complete.wait_for(|done| *done).await.map_err(|_| Error::Closed("the source has ended".into()))?;
            let seq = self.seq_of(&head).await?;
            if self.source.still_follows(&head) {
                return Ok(seq);
            }
        }
    }

    fn missing_table(&self, catalog: &Catalog) -> Option<TableName> {
        catalog.awaiting_copy().filter(|_| self.source.can_copy()).cloned()
    }

    /// Something later that was read says that nothing is missing before it; else the source is asked for its head.
    async fn read_past(&self, moment: &Moment) -> Result<()> {
        let us = match moment {
            Moment::Position(position) => return self.seq_of(position).await.map(|_| ()),
            Moment::Time(us) => *us,
        };
        loop {
            let newest = *self.buffer.head().borrow();
            if self.buffer.commit_time(newest)?.is_some_and(|time| time > us) {
                return Ok(());
            }
            let head = self.source.head().await?;
            self.seq_of(&head).await?;
            if self.source.still_follows(&head) {
                return Ok(());
            }
        }
    }

    fn seq_at(&self, moment: &Moment) -> Result<Option<CommitSeq>> {
        self.buffer.seq_at(moment)
    }

    fn commit_time(&self, seq: CommitSeq) -> Result<Option<i64>> {
        self.buffer.commit_time(seq)
    }

    async fn seq_of(&self, position: &SourcePosition) -> Result<CommitSeq> {
        let mut read = self.buffer.read_position();
        loop {
            read.mark_unchanged();
            if let Some(seq) = self.covering(position)? {
                self.writers.lock().values().for_each(WriterHandle::poke);
                return Ok(seq);
            }
            read.changed().await.map_err(|_| Error::Closed("the data buffer is closed".into()))?;
        }
    }
}
