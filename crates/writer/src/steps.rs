//! Steps on their way from decoding to staging, in pieces: neither a transaction nor a window has to fit in memory.

use tidelake_core::{DecodedStep, Result, RowOp};

/// Row images in one piece, in bytes, about.
pub(crate) const PIECE_BYTES: usize = 4 << 20;

/// Collects steps and hands them on when there are enough.
pub(crate) struct Steps<'a> {
    pending: Vec<DecodedStep>,
    bytes: usize,
    /// Row changes so far; an update counts once.
    pub rows: u64,
    out: &'a mut (dyn FnMut(Vec<DecodedStep>) -> Result<()> + Send),
}

impl<'a> Steps<'a> {
    pub(crate) fn new(out: &'a mut (dyn FnMut(Vec<DecodedStep>) -> Result<()> + Send)) -> Steps<'a> {
        Steps { pending: Vec::new(), bytes: 0, rows: 0, out }
    }

    /// # Errors
    /// If whoever takes the pieces has ended.
    pub(crate) fn push(&mut self, step: DecodedStep) -> Result<()> {
        if let DecodedStep::Rows(batch) = &step {
            self.bytes += batch.rows.get_array_memory_size();
            self.rows += row_changes(&batch.ops);
        }
        self.pending.push(step);
        if self.bytes >= PIECE_BYTES { self.finish() } else { Ok(()) }
    }

    pub(crate) fn extend(&mut self, steps: Vec<DecodedStep>) -> Result<()> {
        steps.into_iter().try_for_each(|step| self.push(step))
    }

    /// Hands over the rest.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.bytes = 0;
        if self.pending.is_empty() { Ok(()) } else { (self.out)(std::mem::take(&mut self.pending)) }
    }
}

/// Births, and deaths that are not the first half of an update.
fn row_changes(ops: &[RowOp]) -> u64 {
    let is_update = |pair: &&[RowOp]| !pair[0].births() && pair[1].births();
    (ops.len() - ops.windows(2).filter(is_update).count()) as u64
}
