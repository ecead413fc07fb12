//! Transactions of a [`TransactionGrouper`](super::group::TransactionGrouper) into the Data Buffer.

use std::collections::HashMap;

use tidelake_core::ports::{Buffer, TransactionAppender};
use tidelake_core::{Error, Result, SourcePosition};

use super::group::TransactionSink;

/// A [`TransactionSink`] that appends to a buffer. It never calls [`Buffer::sync`]: the caller does, when its input
/// pauses and at least every few milliseconds.
pub struct BufferSink<'a> {
    buffer: &'a dyn Buffer,
    open: Option<Box<dyn TransactionAppender + 'a>>,
    held: HashMap<String, Box<dyn TransactionAppender + 'a>>,
    /// Transactions committed so far.
    pub committed: u64,
}

impl<'a> BufferSink<'a> {
    /// Into `buffer`.
    pub fn new(buffer: &'a dyn Buffer) -> BufferSink<'a> {
        BufferSink { buffer, open: None, held: HashMap::new(), committed: 0 }
    }
}

impl TransactionSink for BufferSink<'_> {
    fn begin(&mut self, id: &str) -> Result<()> {
        self.open = Some(self.buffer.begin(id)?);
        Ok(())
    }

    fn push(&mut self, item: &[u8]) -> Result<()> {
        match &mut self.open {
            Some(open) => open.push(item),
            None => Err(Error::Internal("event pushed outside of a transaction".into())),
        }
    }

    fn commit(&mut self, position: SourcePosition) -> Result<()> {
        let open = self.open.take().ok_or_else(|| Error::Internal("commit outside of a transaction".into()))?;
        open.commit(position)?;
        self.committed += 1;
        Ok(())
    }

    fn abandon(&mut self) {
        self.open = None;
    }

    fn hold(&mut self, xid: &str) {
        if let Some(open) = self.open.take() {
            self.held.insert(xid.to_owned(), open);
        }
    }

    fn unhold(&mut self, xid: &str) -> bool {
        self.open = self.held.remove(xid);
        self.open.is_some()
    }

    fn note_read(&mut self, position: SourcePosition) {
        self.buffer.note_read(position);
    }
}
