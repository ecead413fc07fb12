//! From raw events to columns.

use crate::catalog::Catalog;
use crate::change::DecodedStep;
use crate::error::Result;
use crate::ports::buffer::BufferedTransaction;

/// Decodes the upstream transactions that one kind of source put into the buffer.
///
/// Guarantees:
/// 1. Rows are decoded with the schema that `catalog` has at that place of the stream; the decoder applies the
///    stream's own schema changes to it (`Catalog::apply`) before it decodes what follows.
/// 2. Rows of a visible table with state `Live` come as `Insert` and `Delete`; rows of a copying table *with a
///    key* as `Upsert` and `DeleteIfExists`, and only those after the copy's `from` position; rows of a copying
///    table without a key, and of stopped tables, are left out. A name that is live *and* copying gives both.
/// 3. What cannot be decoded for one table becomes a `SetState { Stopped }` with position and reason, never
///    missing rows; what leaves the whole stream undecodable is an error.
/// 4. Deterministic: the same transactions and catalog give the same steps.
/// 5. Memory: row images are handed over in batches; [`TransactionDecoder::pending_bytes`] tells what is held.
pub trait TransactionDecoder: Send {
    /// Decodes one transaction. Row images collect in open batches per table, across transactions.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) or [`Error::Unsupported`](crate::Error::Unsupported): the pipeline must stop here.
    fn decode(&mut self, transaction: BufferedTransaction, catalog: &mut Catalog) -> Result<()>;

    /// As [`TransactionDecoder::decode`], but gives steps to `out` whenever about `limit` bytes of row images are held, so
    /// that a transaction of any size fits in memory. The default holds the whole transaction.
    ///
    /// # Errors
    /// As for `decode`, and what `out` returns.
    fn decode_in_pieces(
        &mut self,
        transaction: BufferedTransaction,
        catalog: &mut Catalog,
        limit: usize,
        out: &mut dyn FnMut(Vec<DecodedStep>) -> Result<()>,
    ) -> Result<()> {
        let _ = (limit, out);
        self.decode(transaction, catalog)
    }

    /// Closes the open batches and hands over all steps since the last call, in order.
    ///
    /// # Errors
    /// If a batch cannot be closed.
    fn take(&mut self) -> Result<Vec<DecodedStep>>;

    /// Bytes held in open batches.
    fn pending_bytes(&self) -> usize;
}
