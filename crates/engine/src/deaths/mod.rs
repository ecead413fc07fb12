//! Deaths of rows in one file: which rows are dead at a seq, and the bytes that keep them (`.dvlog`).
//!
//! In memory: a log of `(seq, row)` by ascending seq; *runs*, for seqs with many deaths in the file, as one bitmap
//! each, so that a transaction that kills every row costs bits and not entries; and a bitmap of the deaths at or
//! below the horizon, whose seqs no reader asks for any more.

mod log_file;

use std::sync::Arc;

use parking_lot::Mutex;
use roaring::RoaringBitmap;
use tidelake_core::CommitSeq;

pub use log_file::decode_deaths;
pub(crate) use log_file::encode_deaths;

/// Deaths of one seq in one file before they become a run.
const RUN: usize = 512;

/// Deaths on their way between memory and disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deaths {
    /// `(seq, row)`.
    pub(crate) pairs: Vec<(u64, u32)>,
    /// `(seq, rows)`.
    pub(crate) runs: Vec<(u64, RoaringBitmap)>,
}

/// Deaths of several files: `(file, deaths)`.
pub type DeathsByFile = Vec<(u64, Deaths)>;

impl Deaths {
    /// From pairs in any order.
    pub(crate) fn from_pairs(mut pairs: Vec<(u64, u32)>) -> Deaths {
        pairs.sort_unstable();
        let mut deaths = Deaths::default();
        for of_seq in pairs.chunk_by(|a, b| a.0 == b.0) {
            if of_seq.len() < RUN {
                deaths.pairs.extend_from_slice(of_seq);
            } else {
                deaths.runs.push((of_seq[0].0, of_seq.iter().map(|d| d.1).collect()));
            }
        }
        deaths
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.is_empty() && self.runs.is_empty()
    }

    /// Those at or below `seq` only.
    pub(crate) fn upto(mut self, seq: CommitSeq) -> Deaths {
        self.pairs.retain(|d| d.0 <= seq.0);
        self.runs.retain(|r| r.0 <= seq.0);
        self
    }
}

/// Deaths in one file.
#[derive(Default)]
pub(crate) struct FileDeaths {
    /// Every dead row, staged deaths included.
    all: RoaringBitmap,
    /// Rows dead at or below `folded_at`.
    folded: RoaringBitmap,
    folded_at: u64,
    log: Vec<(u64, u32)>,
    /// Ascending seqs.
    runs: Vec<(u64, RoaringBitmap)>,
    /// The mask made last, with the number of deaths in it.
    mask: Mutex<Option<(u64, Arc<RoaringBitmap>)>>,
}

impl FileDeaths {
    /// From deaths in any order; of several deaths of one row the first counts.
    pub(crate) fn from_parts(parts: impl IntoIterator<Item = Deaths>) -> FileDeaths {
        let (mut pairs, mut runs) = (Vec::new(), Vec::new());
        for part in parts {
            pairs.extend(part.pairs);
            runs.extend(part.runs);
        }
        pairs.sort_unstable();
        runs.sort_by_key(|r| r.0);
        let mut deaths = FileDeaths::default();
        let mut pairs = pairs.into_iter().peekable();
        for (seq, rows) in runs {
            while let Some((seq, row)) = pairs.next_if(|p| p.0 <= seq) {
                deaths.push_once(seq, row);
            }
            deaths.push_run(seq, rows);
        }
        pairs.for_each(|(seq, row)| deaths.push_once(seq, row));
        deaths
    }

    fn push_once(&mut self, seq: u64, row: u32) {
        if !self.all.contains(row) {
            self.push(CommitSeq(seq), row);
        }
    }

    fn push_run(&mut self, seq: u64, rows: RoaringBitmap) {
        let new = rows - &self.all;
        self.all |= &new;
        match self.runs.last_mut() {
            Some((last, have)) if *last == seq => *have |= new,
            _ => self.runs.push((seq, new)),
        }
    }

    pub(crate) fn is_dead(&self, row: u32) -> bool {
        self.all.contains(row)
    }

    /// The highest dead row.
    pub(crate) fn max_row(&self) -> Option<u32> {
        self.all.max()
    }

    /// Records a death; seqs never descend.
    pub(crate) fn push(&mut self, seq: CommitSeq, row: u32) {
        debug_assert!(self.log.last().is_none_or(|l| l.0 <= seq.0), "deaths are recorded in order");
        self.all.insert(row);
        if let Some((last, rows)) = self.runs.last_mut()
            && *last == seq.0
        {
            rows.insert(row);
            return;
        }
        self.log.push((seq.0, row));
        let begin = self.log.len().saturating_sub(RUN);
        if self.log.len() >= RUN && self.log[begin].0 == seq.0 {
            let rows = self.log.drain(begin..).map(|d| d.1).collect();
            self.runs.push((seq.0, rows));
        }
    }

    /// Takes back deaths above `seq`.
    pub(crate) fn undo_above(&mut self, seq: CommitSeq) {
        let keep = self.log.partition_point(|d| d.0 <= seq.0);
        for (_, row) in self.log.drain(keep..) {
            self.all.remove(row);
        }
        let keep = self.runs.partition_point(|r| r.0 <= seq.0);
        for (_, rows) in self.runs.drain(keep..) {
            self.all -= rows;
        }
        *self.mask.get_mut() = None;
    }

    /// Rows dead at `seq`.
    pub(crate) fn mask_at(&self, seq: CommitSeq) -> Arc<RoaringBitmap> {
        let count = self.count_at(seq);
        let mut cached = self.mask.lock();
        // Deaths are only ever added behind: as many are the same ones.
        if let Some((of, mask)) = cached.as_ref()
            && *of == count
        {
            return mask.clone();
        }
        let mask = if count == self.all.len() { self.all.clone() } else { self.gathered(seq) };
        let mask = Arc::new(mask);
        *cached = Some((count, mask.clone()));
        mask
    }

    fn gathered(&self, seq: CommitSeq) -> RoaringBitmap {
        let mut mask = self.folded.clone();
        let prefix = self.log.partition_point(|d| d.0 <= seq.0);
        mask.extend(self.log[..prefix].iter().map(|d| d.1));
        self.runs.iter().take_while(|r| r.0 <= seq.0).for_each(|r| mask |= &r.1);
        mask
    }

    /// Number of rows dead at `seq`.
    pub(crate) fn count_at(&self, seq: CommitSeq) -> u64 {
        let runs: u64 = self.runs.iter().take_while(|r| r.0 <= seq.0).map(|r| r.1.len()).sum();
        self.folded.len() + runs + self.log.partition_point(|d| d.0 <= seq.0) as u64
    }

    /// Forgets the seqs of deaths at or below the horizon.
    pub(crate) fn fold(&mut self, horizon: CommitSeq) {
        let pairs = self.log.partition_point(|d| d.0 <= horizon.0);
        let runs = self.runs.partition_point(|r| r.0 <= horizon.0);
        if pairs + runs == 0 {
            return;
        }
        self.folded.extend(self.log.drain(..pairs).map(|d| d.1));
        self.log.shrink_to(2 * self.log.len());
        self.runs.drain(..runs).for_each(|r| self.folded |= r.1);
        self.folded_at = self.folded_at.max(horizon.0);
        *self.mask.get_mut() = None;
    }

    /// Deaths with `after < seq <= upto`.
    pub(crate) fn between(&self, after: CommitSeq, upto: CommitSeq) -> Deaths {
        let inside = |seq: u64| after.0 < seq && seq <= upto.0;
        let from = self.log.partition_point(|d| d.0 <= after.0);
        let to = self.log.partition_point(|d| d.0 <= upto.0);
        Deaths {
            pairs: self.log[from..to.max(from)].to_vec(),
            runs: self.runs.iter().filter(|r| inside(r.0)).cloned().collect(),
        }
    }

    /// All deaths at or below `upto`; folded ones with the seq they were folded at.
    pub(crate) fn all_upto(&self, upto: CommitSeq) -> Deaths {
        let mut deaths = self.between(CommitSeq::ZERO, upto);
        if !self.folded.is_empty() {
            deaths.runs.insert(0, (self.folded_at, self.folded.clone()));
        }
        deaths
    }

    /// Deaths of all rows but `known`; folded ones with the seq they were folded at.
    pub(crate) fn except(&self, known: &RoaringBitmap) -> Deaths {
        if self.all.len() == known.len() {
            return Deaths::default();
        }
        let mut deaths = self.all_upto(CommitSeq::MAX);
        deaths.pairs.retain(|d| !known.contains(d.1));
        deaths.runs.iter_mut().for_each(|r| r.1 -= known);
        deaths.runs.retain(|r| !r.1.is_empty());
        deaths
    }

    pub(crate) fn memory(&self) -> u64 {
        let bitmaps = [&self.all, &self.folded].into_iter().chain(self.runs.iter().map(|r| &r.1));
        (bitmaps.map(RoaringBitmap::serialized_size).sum::<usize>() + 16 * self.log.capacity()) as u64
    }
}

#[cfg(test)]
mod tests;
