//! One open transaction: small ones collect in memory, bigger ones are written as chunks while they arrive.

use tidelake_core::ports::TransactionAppender;
use tidelake_core::{CommitSeq, Error, Result, SourcePosition};

use crate::DiskBuffer;
use crate::format::{MAX_EVENT_BYTES, RecordPlace, put_event};
use crate::log::CommitBody;

/// An open transaction of a [`DiskBuffer`].
pub(crate) struct DiskAppender<'a> {
    buffer: &'a DiskBuffer,
    id: String,
    stream: u64,
    /// The transaction is in the log already: take nothing.
    known: Option<CommitSeq>,
    /// Framed events not written yet.
    events: Vec<u8>,
    /// Bytes of all events.
    bytes: u64,
    chunks: Vec<RecordPlace>,
}

impl<'a> DiskAppender<'a> {
    /// `events`: empty, perhaps with room.
    pub(crate) fn new(
        buffer: &'a DiskBuffer,
        id: &str,
        stream: u64,
        known: Option<CommitSeq>,
        events: Vec<u8>,
    ) -> DiskAppender<'a> {
        DiskAppender { buffer, id: id.to_owned(), stream, known, events, bytes: 0, chunks: Vec::new() }
    }

    fn write_chunk(&mut self) -> Result<()> {
        let place = self.buffer.shared.log.lock().chunk(self.stream, &self.events)?;
        self.chunks.push(place);
        self.events.clear();
        Ok(())
    }
}

impl TransactionAppender for DiskAppender<'_> {
    fn push(&mut self, event: &[u8]) -> Result<()> {
        if event.len() > MAX_EVENT_BYTES {
            return Err(Error::Limit(format!("event of {} bytes in transaction {}", event.len(), self.id)));
        }
        if self.known.is_some() {
            return Ok(());
        }
        if !self.events.is_empty() && self.events.len() + event.len() > self.buffer.spill_bytes {
            self.write_chunk()?;
        }
        put_event(&mut self.events, event);
        self.bytes += event.len() as u64;
        Ok(())
    }

    fn commit(mut self: Box<Self>, position: SourcePosition) -> Result<CommitSeq> {
        if position.token.len() > 1 << 20 {
            return Err(Error::Limit(format!("position token of {} bytes", position.token.len())));
        }
        if let Some(seq) = self.known {
            return Ok(seq);
        }
        if !self.chunks.is_empty() && !self.events.is_empty() {
            self.write_chunk()?;
        }
        let mut log = self.buffer.shared.log.lock();
        let body = match self.chunks.is_empty() {
            true => CommitBody::Whole(&self.events),
            false => CommitBody::Chunks { stream: self.stream, places: &self.chunks },
        };
        let seq = log.commit(&self.id, position, self.bytes, body)?;
        let mut events = std::mem::take(&mut self.events);
        if events.capacity() <= 2 * self.buffer.spill_bytes {
            events.clear();
            log.spare = events;
        }
        Ok(seq)
    }
}

impl Drop for DiskAppender<'_> {
    fn drop(&mut self) {
        if !self.chunks.is_empty() {
            self.buffer.shared.log.lock().open.remove(&self.stream);
        }
    }
}
