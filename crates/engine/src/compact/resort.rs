//! Sorting a file anew: its rows are in the order of an older key of the table. Pieces of it are sorted in memory, each
//! becomes a file of L0; later merges do the rest.

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use tidelake_core::Result;

use super::Merge;
use super::merge::{Reading, audit};
use super::output::{Merged, Outputs};
use crate::engine::Inner;
use crate::keys::{KeyMaker, Keys};
use crate::scan::read::BATCH_ROWS;

/// Rows that are sorted together.
#[derive(Default)]
struct Piece {
    rows: Vec<RecordBatch>,
    keys: Vec<Keys>,
    bytes: u64,
}

pub(super) fn run(inner: &Inner, merge: &Merge, maker: &KeyMaker) -> Result<Vec<Merged>> {
    let mut outputs = Outputs::new(inner, merge);
    let mut piece = Piece::default();
    let most = inner.options.merge_bytes() / 2;
    for input in &merge.inputs {
        let mut reading = Reading::open(merge, input, most / 8)?;
        while let Some(rows) = reading.next()? {
            piece.bytes += rows.get_array_memory_size() as u64;
            piece.keys.push(maker.keys(&rows)?);
            piece.rows.push(rows);
            if piece.bytes >= most {
                std::mem::take(&mut piece).write(merge, &mut outputs)?;
            }
        }
    }
    piece.write(merge, &mut outputs)?;
    outputs.finish()
}

impl Piece {
    fn write(self, merge: &Merge, outputs: &mut Outputs<'_>) -> Result<()> {
        let places = |(batch, keys): (usize, &Keys)| (0..keys.len()).map(move |row| (batch, row)).collect::<Vec<_>>();
        let mut order: Vec<(usize, usize)> = self.keys.iter().enumerate().flat_map(places).collect();
        order.sort_unstable_by(|a, b| self.keys[a.0].get(a.1).cmp(self.keys[b.0].get(b.1)));
        let batches: Vec<&RecordBatch> = self.rows.iter().collect();
        let mut last_key = None;
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(outputs.room()).min(BATCH_ROWS));
            for (batch, row) in part {
                let key = self.keys[*batch].get(*row);
                audit(merge, &mut last_key, key)?;
                outputs.push_key(key)?;
            }
            outputs.write(&interleave_record_batch(&batches, part)?)?;
            rest = after;
        }
        outputs.cut()
    }
}
