//! The memtable of a table: generations of chunks.
//!
//! A *chunk* is the rows that one staged step brought; only its deaths change. A *generation* is a run of chunks
//! of one table version with an index of its live keys; a flush turns a generation into a file. Small chunks are joined
//! when they are published ([`Generation::join_small`]).

mod index;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::concat_batches;
use tidelake_core::{CommitSeq, Error, Result, TableDef};

use crate::adapt::{Target, column_ids};
use crate::keys::{KeyMaker, Keys};

pub(crate) use index::{KeyIndex, Slot};

/// Chunks below so many rows are joined: first those of single transactions, then what became of them.
const JOINED_ROWS: [usize; 2] = [256, 8192];
/// Bytes of chunks that are joined at once.
const JOINED_BYTES: u64 = 16 << 20;

/// Rows of one staged step. Births ascend. A chunk is published as a whole.
pub(crate) struct Chunk {
    pub(crate) rows: RecordBatch,
    pub(crate) births: Vec<u64>,
    deaths: Vec<AtomicU64>,
    /// Number of deaths, and the newest one ever: with both most snapshots are counted without a look at the rows.
    dead: AtomicU64,
    last_death: AtomicU64,
    pub(crate) bytes: u64,
    key_bytes: u64,
}

impl Chunk {
    pub(crate) fn new(rows: RecordBatch, births: Vec<u64>, key_bytes: u64) -> Chunk {
        let data: usize = rows
            .columns()
            .iter()
            .map(|c| c.to_data().get_slice_memory_size().unwrap_or_else(|_| c.get_array_memory_size()))
            .sum();
        // Births, deaths, and an index entry with its share of free slots.
        let bytes = data as u64 + key_bytes + births.len() as u64 * (16 + 24) + 256;
        let deaths = births.iter().map(|_| AtomicU64::new(u64::MAX)).collect();
        Chunk { rows, births, deaths, dead: AtomicU64::new(0), last_death: AtomicU64::new(0), bytes, key_bytes }
    }

    pub(crate) fn len(&self) -> usize {
        self.births.len()
    }

    pub(crate) fn first_birth(&self) -> u64 {
        self.births.first().copied().unwrap_or(u64::MAX)
    }

    pub(crate) fn last_birth(&self) -> u64 {
        self.births.last().copied().unwrap_or(0)
    }

    pub(crate) fn death(&self, row: usize) -> u64 {
        self.deaths[row].load(Ordering::Acquire)
    }

    /// The row, which lives, dies at `seq`.
    pub(crate) fn set_death(&self, row: usize, seq: u64) {
        // In this order: who counts a death knows that one so new was there.
        self.last_death.fetch_max(seq, Ordering::AcqRel);
        self.deaths[row].store(seq, Ordering::Release);
        self.dead.fetch_add(1, Ordering::AcqRel);
    }

    fn undo_deaths_above(&self, seq: u64) {
        for death in &self.deaths {
            let at = death.load(Ordering::Acquire);
            if at > seq && at != u64::MAX {
                // The newest death stays as it was: until newer ones are published, rows are looked at.
                death.store(u64::MAX, Ordering::Release);
                self.dead.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    /// One chunk of several that follow each other.
    fn joined(chunks: &[Arc<Chunk>]) -> Result<Chunk> {
        let rows = concat_batches(&chunks[0].rows.schema(), chunks.iter().map(|c| &c.rows))?;
        let births = chunks.iter().flat_map(|c| c.births.iter().copied()).collect();
        let chunk = Chunk::new(rows, births, 0);
        let deaths = chunks.iter().flat_map(|c| (0..c.len()).map(|row| c.death(row)));
        deaths.enumerate().filter(|(_, death)| *death != u64::MAX).for_each(|(row, death)| chunk.set_death(row, death));
        // Their keys are the same bytes as before.
        let before: u64 = chunks.iter().map(|c| c.bytes).sum();
        let keys: u64 = chunks.iter().map(|c| c.key_bytes).sum();
        Ok(Chunk { bytes: before.min(chunk.bytes + keys), key_bytes: keys, ..chunk })
    }

    /// Rows born in `births` that a reader at `seq` sees; `None`: all of them.
    pub(crate) fn visible(&self, seq: CommitSeq, births: &std::ops::Range<u64>) -> Option<BooleanArray> {
        let (from, to) = (births.start, births.end.min(seq.0.saturating_add(1)));
        let mask = if from <= self.first_birth() && self.last_birth() < to {
            BooleanBuffer::collect_bool(self.len(), |i| seq.0 < self.death(i))
        } else {
            let born = |i: usize| from <= self.births[i] && self.births[i] < to;
            BooleanBuffer::collect_bool(self.len(), |i| born(i) && seq.0 < self.death(i))
        };
        let mask = BooleanArray::new(mask, None);
        if mask.true_count() == self.len() { None } else { Some(mask) }
    }

    /// Number of rows that a reader at `seq` sees.
    pub(crate) fn count(&self, seq: CommitSeq) -> u64 {
        let dead = self.dead.load(Ordering::Acquire);
        if self.last_birth() <= seq.0 && self.last_death.load(Ordering::Acquire) <= seq.0 {
            return self.len() as u64 - dead;
        }
        (0..self.len()).filter(|i| self.births[*i] <= seq.0 && seq.0 < self.death(*i)).count() as u64
    }
}

/// A run of chunks of one table version.
pub(crate) struct Generation {
    pub(crate) id: u64,
    pub(crate) def: Arc<TableDef>,
    pub(crate) chunks: Vec<Arc<Chunk>>,
    pub(crate) index: KeyIndex,
    /// When the table was truncated or dropped under it.
    pub(crate) dead_at: CommitSeq,
}

impl Generation {
    pub(crate) fn new(id: u64, def: Arc<TableDef>) -> Generation {
        Generation { id, def, chunks: Vec::new(), index: KeyIndex::default(), dead_at: CommitSeq::MAX }
    }

    pub(crate) fn push(&mut self, chunk: Chunk, keys: Keys) {
        self.index.push(Arc::new(keys), &chunk);
        self.chunks.push(Arc::new(chunk));
    }

    pub(crate) fn kill(&mut self, slot: Slot, seq: CommitSeq) {
        let (chunk, row) = self.index.place(slot);
        self.chunks[chunk].set_death(row, seq.0);
        self.index.remove(slot);
    }

    /// Joins the last chunks if they are many, small and published, so that scans and flushes meet few of them however
    /// small transactions are: chunks of a few rows to some hundred rows, and these to some thousand. Readers that hold
    /// the old chunks see in them what they saw. Returns the bytes that are less.
    pub(crate) fn join_small(&mut self, published: CommitSeq, at_least: usize) -> Result<u64> {
        if at_least == 0 || self.published_chunks(published) < self.chunks.len() {
            return Ok(0);
        }
        let mut freed = 0;
        for rows in JOINED_ROWS {
            let mut bytes = 0;
            let small = |c: &&Arc<Chunk>| {
                bytes += c.bytes;
                c.len() < rows && bytes < JOINED_BYTES
            };
            let tail = self.chunks.iter().rev().take_while(small).count();
            if tail >= at_least.max(2) {
                freed += self.join_last(tail)?;
            }
        }
        Ok(freed)
    }

    fn join_last(&mut self, count: usize) -> Result<u64> {
        let from = self.chunks.len() - count;
        let joined = Chunk::joined(&self.chunks[from..])?;
        let keys = Keys::joined(&self.index.keys[from..])?;
        let before: u64 = self.chunks.drain(from..).map(|c| c.bytes).sum();
        self.index.join(from, keys);
        let freed = before - joined.bytes;
        self.chunks.push(Arc::new(joined));
        Ok(freed)
    }

    /// Live rows of a key born at or below `seq`, as (chunk, row).
    pub(crate) fn living_rows_of_key(&self, hash: u64, key: &[u8], seq: CommitSeq) -> Vec<(usize, usize)> {
        let slots = self.index.find_many(hash, key, usize::MAX).into_iter();
        let rows = slots.map(|s| self.index.place(s));
        rows.filter(|(chunk, row)| self.chunks[*chunk].births[*row] <= seq.0).collect()
    }

    /// Rows that a reader at `seq` sees and that are not in the index: they died later. As (chunk, row).
    pub(crate) fn rows_that_died_after(&self, seq: CommitSeq) -> Vec<(usize, usize)> {
        let mut rows = Vec::new();
        for (at, chunk) in self.chunks.iter().enumerate().filter(|(_, c)| c.first_birth() <= seq.0) {
            let later = |row: &usize| (seq.0 + 1..u64::MAX).contains(&chunk.death(*row)) && chunk.births[*row] <= seq.0;
            rows.extend((0..chunk.len()).filter(later).map(|row| (at, row)));
        }
        rows
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.chunks.iter().map(|c| c.bytes).sum()
    }

    /// Takes the chunks after `keep` out, into a generation of their own.
    pub(crate) fn split_off(&mut self, keep: usize, id: u64) -> Generation {
        let mut rest = Generation::new(id, self.def.clone());
        rest.dead_at = self.dead_at;
        let keys: Vec<Arc<Keys>> = self.index.keys.drain(keep..).collect();
        let chunks: Vec<Arc<Chunk>> = self.chunks.drain(keep..).collect();
        self.index.forget_chunks_from(keep);
        for (chunk, keys) in chunks.into_iter().zip(keys) {
            rest.index.push(keys, &chunk);
            rest.chunks.push(chunk);
        }
        rest
    }

    /// Number of leading chunks that are published.
    pub(crate) fn published_chunks(&self, published: CommitSeq) -> usize {
        self.chunks.partition_point(|c| c.last_birth() <= published.0)
    }

    /// Drops unpublished chunks and takes back unpublished deaths. Returns the bytes that went.
    pub(crate) fn undo_above(&mut self, published: CommitSeq) -> u64 {
        let keep = self.published_chunks(published);
        let gone = self.chunks.drain(keep..).map(|c| c.bytes).sum();
        let keys: Vec<Arc<Keys>> = self.index.keys.drain(..).take(keep).collect();
        self.index = KeyIndex::default();
        for (chunk, keys) in self.chunks.iter().zip(keys) {
            chunk.undo_deaths_above(published.0);
            self.index.push(keys, chunk);
        }
        if self.dead_at > published {
            self.dead_at = CommitSeq::MAX;
        }
        gone
    }

    /// The index as another version of the table identifies rows.
    pub(crate) fn rekeyed(&self, def: &Arc<TableDef>, maker: &KeyMaker) -> Result<KeyIndex> {
        let target = Target::of_any_row(def.clone())?;
        let have = column_ids(&self.def);
        let mut index = KeyIndex::default();
        for chunk in &self.chunks {
            let keys = maker.keys(&target.adapt(&chunk.rows, &have)?)?;
            if keys.len() != chunk.len() {
                return Err(Error::Internal("keys of a chunk are not as many as its rows".into()));
            }
            index.push(Arc::new(keys), chunk);
        }
        Ok(index)
    }
}
