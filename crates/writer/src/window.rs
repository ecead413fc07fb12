//! Windows: what one poll takes from the buffer, decoded.

use std::sync::Arc;

use tidelake_core::ports::store::Progress;
use tidelake_core::ports::{Buffer, BufferReader, BufferedPayload, BufferedTransaction, TransactionDecoder};
use tidelake_core::{Catalog, CommitSeq, Error, Result, SourcePosition};

use crate::copies::Copies;
use crate::flush::Flusher;
use crate::steps::{PIECE_BYTES, Steps};
use crate::{DecoderFactory, WriterParts};

/// The end of a window; its steps were handed over before.
#[derive(Clone, Debug)]
pub(crate) struct WindowEnd {
    /// The last transaction in it.
    pub upto: CommitSeq,
    /// The upstream's position right after it.
    pub position: SourcePosition,
    /// Commit time of its last upstream transaction, microseconds since 1970 UTC; 0 without one.
    pub commit_time_us: i64,
    /// Number of transactions and control records.
    pub transactions: u64,
    /// Number of row changes; an update counts once.
    pub rows: u64,
}

/// Reads windows in order. Owns the working catalog: it is always as of the last window read.
pub(crate) struct WindowReader {
    buffer: Arc<dyn Buffer>,
    reader: Box<dyn BufferReader>,
    decoder: Box<dyn TransactionDecoder>,
    decoders: DecoderFactory,
    catalog: Catalog,
    position: SourcePosition,
    flusher: Arc<Flusher>,
    window_bytes: u64,
}

impl WindowReader {
    pub(crate) fn open(
        parts: &WriterParts,
        published: Progress,
        catalog: Catalog,
        flusher: Arc<Flusher>,
    ) -> Result<WindowReader> {
        let head = *parts.buffer.head().borrow();
        if head < published.seq {
            let engine = published.seq;
            return Err(Error::Invalid(format!(
                "the data buffer ends at seq {head}, before the engine's {engine}: they are of different data \
                 directories, or the buffer's files were removed"
            )));
        }
        Ok(WindowReader {
            buffer: parts.buffer.clone(),
            reader: parts.buffer.read_after(published.seq)?,
            decoder: (parts.decoders)(),
            decoders: parts.decoders.clone(),
            catalog,
            position: published.position,
            flusher,
            window_bytes: parts.options.window_bytes,
        })
    }

    /// Replaces the working catalog by the engine's, after a publish that stopped a table.
    pub(crate) fn set_catalog(&mut self, catalog: Catalog) {
        self.catalog = catalog;
    }

    /// The next window; its steps go into `steps`. `None` at the buffer's head.
    ///
    /// # Errors
    /// What stops the whole pipeline: bytes that cannot be decoded, with their position.
    pub(crate) fn next_window(&mut self, steps: &mut Steps<'_>) -> Result<Option<WindowEnd>> {
        let (mut upto, mut commit_time_us, mut transactions, mut bytes) = (None, 0, 0, 0);
        while bytes < self.window_bytes {
            let Some(transaction) = self.reader.next()? else { break };
            upto = Some(transaction.seq);
            transactions += 1;
            bytes += transaction.bytes;
            if matches!(transaction.payload, BufferedPayload::Events(_)) {
                commit_time_us = transaction.position.commit_time_us;
            }
            self.take_transaction(transaction, steps)?;
        }
        let Some(upto) = upto else { return Ok(None) };
        steps.extend(self.decoder.take()?)?;
        steps.finish()?;
        Ok(Some(WindowEnd { upto, position: self.position.clone(), commit_time_us, transactions, rows: steps.rows }))
    }

    fn take_transaction(&mut self, transaction: BufferedTransaction, steps: &mut Steps<'_>) -> Result<()> {
        if transaction.position.covers(&self.position) {
            self.position = transaction.position.clone();
        }
        if let BufferedPayload::Control(record) = &transaction.payload {
            // Rows decoded so far happened before the record.
            steps.extend(self.decoder.take()?)?;
            let mut copies = Copies {
                buffer: &*self.buffer,
                decoders: &self.decoders,
                catalog: &mut self.catalog,
                flusher: &self.flusher,
                position: &self.position,
            };
            return copies.apply(transaction.seq, record, steps);
        }
        self.decoder.decode_in_pieces(transaction, &mut self.catalog, PIECE_BYTES, &mut |s| steps.extend(s))?;
        if self.decoder.pending_bytes() >= PIECE_BYTES {
            steps.extend(self.decoder.take()?)?;
        }
        Ok(())
    }
}
