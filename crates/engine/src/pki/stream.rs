//! Reading a key index from its first entry to its last.

use std::sync::Arc;

use tidelake_core::Result;

use super::{BlockCursor, Pki};

/// Entries of an index in the order of their keys; one block in memory.
pub(crate) struct PkiStream {
    pki: Arc<Pki>,
    cursor: BlockCursor,
    block: usize,
    at: usize,
}

impl PkiStream {
    pub(crate) fn new(pki: Arc<Pki>) -> Result<PkiStream> {
        let mut stream = PkiStream { pki, cursor: BlockCursor::default(), block: 0, at: 0 };
        stream.load()?;
        Ok(stream)
    }

    /// Key and row; `None` at the end.
    pub(crate) fn entry(&self) -> Option<(&[u8], u32)> {
        let row = *self.cursor.rows.get(self.at)?;
        Some((self.cursor.key(self.at), row))
    }

    pub(crate) fn advance(&mut self) -> Result<()> {
        self.at += 1;
        if self.at < self.cursor.rows.len() {
            return Ok(());
        }
        self.block += 1;
        self.at = 0;
        self.load()
    }

    fn load(&mut self) -> Result<()> {
        if self.block < self.pki.blocks.len() {
            return self.pki.load(self.block, &mut self.cursor);
        }
        self.cursor.rows.clear();
        Ok(())
    }
}
