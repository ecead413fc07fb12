//! Steps on their way from decoding to staging, in pieces: neither a transaction nor a window has to fit in memory.

use tidelake_core::{ChangeBatch, DecodedStep, Result};

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
            self.rows += row_changes(batch);
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

/// Births, and deaths that are not the first half of an update: a death right before a birth of the same transaction.
fn row_changes(batch: &ChangeBatch) -> u64 {
    let (ops, seqs) = (&batch.ops, &batch.seqs);
    let is_update = |i: &usize| !ops[i - 1].births() && ops[*i].births() && seqs[i - 1] == seqs[*i];
    (ops.len() - (1..ops.len()).filter(is_update).count()) as u64
}

#[cfg(test)]
mod tests {
    use tidelake_core::RowOp::{Delete, Insert};
    use tidelake_core::testing::tables::{accounts, changes, int, null};

    use super::*;

    #[test]
    fn an_update_counts_once_and_transactions_are_not_mixed() {
        let def = accounts(1, "t");
        let row = || vec![int(1), int(1), null()];
        let count = |ops: &[(u64, tidelake_core::RowOp)]| {
            let ops: Vec<_> = ops.iter().map(|(seq, op)| (*seq, *op, row())).collect();
            let mut out = |_| Ok(());
            let mut steps = Steps::new(&mut out);
            steps.push(changes(&def, &ops)).unwrap();
            steps.rows
        };
        assert_eq!(count(&[(1, Insert), (2, Delete), (2, Insert), (3, Delete)]), 3, "2 is an update");
        assert_eq!(count(&[(1, Delete), (2, Insert)]), 2);
    }
}
