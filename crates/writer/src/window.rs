//! Windows: what one poll takes from the buffer, decoded.

use std::sync::Arc;

use tidelake_core::ports::store::Progress;
use tidelake_core::ports::{Buffer, BufferReader, BufferedPayload, BufferedTransaction, TransactionDecoder};
use tidelake_core::{Catalog, CommitSeq, DecodedStep, Result, RowOp, SourcePosition};

use crate::copies::Copies;
use crate::flush::Flusher;
use crate::{DecoderFactory, WriterParts};

/// Decoded transactions, ready to stage.
pub(crate) struct Window {
    /// In stream order.
    pub steps: Vec<DecodedStep>,
    /// The last transaction in it.
    pub upto: CommitSeq,
    /// The upstream's position right after it.
    pub position: SourcePosition,
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

    /// The working catalog, for a publisher that has to stop a table.
    pub(crate) fn catalog_mut(&mut self) -> &mut Catalog {
        &mut self.catalog
    }

    /// The next window; `None` at the buffer's head.
    ///
    /// # Errors
    /// What stops the whole pipeline: bytes that cannot be decoded, with their position.
    pub(crate) fn next_window(&mut self) -> Result<Option<Window>> {
        let (mut steps, mut upto, mut transactions, mut bytes) = (Vec::new(), None, 0, 0);
        while bytes < self.window_bytes {
            let Some(transaction) = self.reader.next()? else { break };
            upto = Some(transaction.seq);
            transactions += 1;
            bytes += transaction.bytes;
            self.take_transaction(transaction, &mut steps)?;
        }
        let Some(upto) = upto else { return Ok(None) };
        steps.extend(self.decoder.take()?);
        let rows = steps.iter().map(row_changes).sum();
        Ok(Some(Window { steps, upto, position: self.position.clone(), transactions, rows }))
    }

    fn take_transaction(&mut self, transaction: BufferedTransaction, steps: &mut Vec<DecodedStep>) -> Result<()> {
        let seq = transaction.seq;
        if let BufferedPayload::Control(record) = &transaction.payload {
            // Rows decoded so far happened before the record.
            steps.extend(self.decoder.take()?);
            let mut copies = Copies {
                buffer: &*self.buffer,
                decoders: &self.decoders,
                catalog: &mut self.catalog,
                flusher: &self.flusher,
            };
            return copies.apply(seq, record, steps);
        }
        self.position = transaction.position.clone();
        self.decoder.decode(transaction, &mut self.catalog)
    }
}

/// Births, and deaths that are not the first half of an update.
fn row_changes(step: &DecodedStep) -> u64 {
    let DecodedStep::Rows(batch) = step else { return 0 };
    let births = batch.ops.iter().filter(|op| op.births()).count();
    let deaths = batch.len() - births;
    let is_update = |pair: &[RowOp]| !pair[0].births() && pair[1].births();
    let updates = batch.ops.windows(2).filter(|pair| is_update(pair)).count();
    (births + deaths - updates) as u64
}
