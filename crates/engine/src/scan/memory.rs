//! Reading a memtable generation: chunk by chunk, small ones joined.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{BatchCoalescer, filter_record_batch};
use futures::StreamExt;
use tidelake_core::ports::BatchStream;
use tidelake_core::{ColumnId, CommitSeq, Result};

use super::lookup::Lookup;
use super::read::BATCH_ROWS;
use crate::adapt::{Target, column_ids};
use crate::memory::{Chunk, Generation};

/// The rows of a generation born in `births` that a reader at `seq` sees.
pub(super) fn stream_memory(
    generation: &Generation,
    target: Target,
    seq: CommitSeq,
    births: &Range<u64>,
) -> BatchStream {
    let overlaps =
        |c: &&Arc<Chunk>| c.first_birth() <= seq.0 && c.first_birth() < births.end && c.last_birth() >= births.start;
    let chunks: Vec<_> = generation.chunks.iter().filter(overlaps).cloned().collect();
    let small = BatchCoalescer::new(target.schema.clone(), BATCH_ROWS);
    let have = column_ids(&generation.def);
    let reading = Reading { chunks: chunks.into_iter(), have, target, seq, births: births.clone(), ready: None, small };
    futures::stream::iter(reading).boxed()
}

/// The rows of some keys, among those.
pub(super) fn stream_keys(
    generation: &Generation,
    lookup: &Lookup,
    target: &Target,
    seq: CommitSeq,
    births: &Range<u64>,
) -> Result<BatchStream> {
    let have = column_ids(&generation.def);
    let mut batches = Vec::new();
    for (chunk, rows) in lookup.memory_rows(generation, seq, births) {
        for row in rows {
            let row = generation.chunks[chunk].rows.slice(row as usize, 1);
            batches.push(target.adapt(&row, &have));
        }
    }
    Ok(futures::stream::iter(batches).boxed())
}

struct Reading {
    chunks: std::vec::IntoIter<Arc<Chunk>>,
    have: Vec<ColumnId>,
    target: Target,
    seq: CommitSeq,
    births: Range<u64>,
    /// What is left of a large chunk.
    ready: Option<RecordBatch>,
    /// Rows of small chunks.
    small: BatchCoalescer,
}

impl Iterator for Reading {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        self.advance().transpose()
    }
}

impl Reading {
    fn advance(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.small.next_completed_batch() {
                return Ok(Some(batch));
            }
            if let Some(rows) = self.ready.take() {
                if rows.num_rows() > BATCH_ROWS {
                    self.ready = Some(rows.slice(BATCH_ROWS, rows.num_rows() - BATCH_ROWS));
                }
                return Ok(Some(rows.slice(0, BATCH_ROWS.min(rows.num_rows()))));
            }
            let Some(chunk) = self.chunks.next() else {
                self.small.finish_buffered_batch()?;
                return Ok(self.small.next_completed_batch());
            };
            let rows = self.visible(&chunk)?;
            if rows.num_rows() >= BATCH_ROWS / 2 || rows.num_columns() == 0 {
                self.ready = Some(rows).filter(|r| r.num_rows() > 0);
            } else if rows.num_rows() > 0 {
                self.small.push_batch(rows)?;
            }
        }
    }

    fn visible(&self, chunk: &Chunk) -> Result<RecordBatch> {
        // Only the wanted columns are filtered.
        let kept: Vec<usize> = (0..self.have.len()).filter(|i| self.target.columns.contains(&self.have[*i])).collect();
        let ids: Vec<ColumnId> = kept.iter().map(|i| self.have[*i]).collect();
        let rows = chunk.rows.project(&kept)?;
        let rows = match chunk.visible(self.seq, &self.births) {
            Some(mask) => filter_record_batch(&rows, &mask)?,
            None => rows,
        };
        self.target.adapt(&rows, &ids)
    }
}
