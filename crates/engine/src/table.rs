//! One table in the engine: its generations in memory, its files, and finding rows in both.

use std::sync::Arc;

use parking_lot::RwLock;
use tidelake_core::{CommitSeq, Result, TableDef, TableId};

use crate::file::DataFile;
use crate::keys::KeyMaker;
use crate::memory::{Generation, Slot};
use crate::pki::{BlockCursor, KeyRange, Pki};

/// A table. Only the holder of the engine's gate changes its units; readers copy what they need.
pub(crate) struct Table {
    pub(crate) id: TableId,
    pub(crate) units: RwLock<Units>,
}

/// What a table consists of. `files` are what the writer sees; `retired` only older snapshots still read.
pub(crate) struct Units {
    /// The newest version, staged ones included.
    pub(crate) def: Arc<TableDef>,
    pub(crate) keys: Arc<KeyMaker>,
    /// Never empty; the last one takes new rows.
    pub(crate) generations: Vec<Generation>,
    /// First the base files in the order of their keys, then the others, oldest first ([`Units::arrange`]).
    pub(crate) files: Vec<Arc<DataFile>>,
    /// Number of base files.
    bases: usize,
    pub(crate) retired: Vec<Arc<DataFile>>,
    /// The newest seq staged for it.
    pub(crate) last_seq: CommitSeq,
    /// Counts what makes a running compaction worthless: truncations, new keys, discarded rows.
    pub(crate) disturbed: u64,
    /// Files that a running merge reads: they stay on disk.
    pub(crate) merging: Vec<u64>,
    /// Where a running merge may put base files.
    pub(crate) merging_keys: Option<KeyRange>,
}

/// Where a live row is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// In a generation (its index in `generations`).
    Memory(u32, Slot),
    /// In a file (its index in `files`), at a row.
    File(u32, u32),
    /// Born in the step that is being checked: its row there.
    Born(u32),
}

impl Table {
    pub(crate) fn new(def: Arc<TableDef>, generation: u64) -> Result<Table> {
        let units = Units {
            keys: Arc::new(KeyMaker::new(&def)?),
            generations: vec![Generation::new(generation, def.clone())],
            files: Vec::new(),
            bases: 0,
            retired: Vec::new(),
            last_seq: CommitSeq::ZERO,
            disturbed: 0,
            merging: Vec::new(),
            merging_keys: None,
            def: def.clone(),
        };
        Ok(Table { id: def.id, units: RwLock::new(units) })
    }
}

impl Units {
    pub(crate) fn active(&mut self) -> &mut Generation {
        self.generations.last_mut().expect("a table always has a generation that takes rows")
    }

    /// New rows go into a new generation.
    pub(crate) fn rotate(&mut self, id: u64) {
        let def = self.def.clone();
        if self.active().chunks.is_empty() {
            self.generations.pop();
        }
        self.generations.push(Generation::new(id, def));
    }

    /// One live row of a key in memory.
    pub(crate) fn find_in_memory(&self, hash: u64, key: &[u8]) -> Option<Place> {
        let living = self.generations.iter().enumerate().rev().filter(|(_, g)| g.dead_at == CommitSeq::MAX);
        let mut found = living.filter_map(|(i, g)| g.index.find(hash, key).map(|s| Place::Memory(i as u32, s)));
        found.next()
    }

    /// Live rows of a key in memory, up to `most`.
    pub(crate) fn find_many_in_memory(&self, hash: u64, key: &[u8], most: usize) -> Vec<Place> {
        let mut places = Vec::new();
        for (i, generation) in self.generations.iter().enumerate().rev() {
            if generation.dead_at == CommitSeq::MAX && places.len() < most {
                let slots = generation.index.find_many(hash, key, most - places.len());
                places.extend(slots.into_iter().map(|s| Place::Memory(i as u32, s)));
            }
        }
        places
    }

    /// Puts the files in order. To be called whenever files came or went, died or revived, or the key changed.
    pub(crate) fn arrange(&mut self) {
        let signature = self.keys.signature();
        let is_base = |f: &DataFile| f.dead_at() == CommitSeq::MAX && f.is_base(signature);
        let (mut files, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.files).into_iter().partition(|f| is_base(f));
        files.sort_by_cached_key(|f| f.keys().map(|k| k.first.clone()));
        self.bases = files.len();
        files.extend(others);
        self.files = files;
    }

    /// Living files whose key ranges do not overlap each other, in the order of their keys.
    pub(crate) fn base_files(&self) -> &[Arc<DataFile>] {
        &self.files[..self.bases]
    }

    /// All other files, oldest first.
    pub(crate) fn l0_files(&self) -> &[Arc<DataFile>] {
        &self.files[self.bases..]
    }

    /// Looks up keys in ascending order: in the files of L0, newest first, then each in the one base file whose range
    /// has it. `wanted` has the keys that are still looked for; `found(i, place)` says whether key `i` wants more rows.
    pub(crate) fn find_in_files(
        &self,
        wanted: &mut Vec<(usize, u64, &[u8])>,
        mut found: impl FnMut(usize, Place) -> bool,
    ) -> Result<()> {
        for (at, file) in self.files.iter().enumerate().skip(self.bases).rev() {
            if wanted.is_empty() {
                return Ok(());
            }
            if file.dead_at() != CommitSeq::MAX {
                continue;
            }
            let mut lookup = FileLookup::new(at, file);
            if lookup.misses(wanted) {
                continue;
            }
            wanted_retain(wanted, |(i, hash, key)| lookup.find(key, *hash, |place| found(*i, place)))?;
        }
        let mut current: Option<FileLookup<'_>> = None;
        wanted_retain(wanted, |(i, hash, key)| {
            let from = current.as_ref().map_or(0, |c| c.at);
            let at = from
                + self.base_files()[from..].partition_point(|f| f.pki.read().range().is_none_or(|r| *r.last < **key));
            let Some(file) = self.base_files().get(at) else { return Ok(true) };
            if current.as_ref().is_none_or(|c| c.at != at) {
                current = Some(FileLookup::new(at, file));
            }
            let lookup = current.as_mut().expect("just set");
            lookup.find(key, *hash, |place| found(*i, place))
        })
    }

    /// Everything that lives dies with the table or its content.
    pub(crate) fn kill_all(&mut self, seq: CommitSeq, next_generation: u64) {
        self.rotate(next_generation);
        for generation in &mut self.generations {
            if generation.dead_at == CommitSeq::MAX && !generation.chunks.is_empty() {
                generation.dead_at = seq;
            }
        }
        for file in self.files.iter().filter(|f| f.dead_at() == CommitSeq::MAX) {
            file.set_dead_at(seq);
        }
        self.disturbed += 1;
        self.last_seq = self.last_seq.max(seq);
        self.arrange();
    }

    /// Bytes in memory.
    pub(crate) fn memory(&self) -> u64 {
        let files = self.files.iter().chain(&self.retired);
        let indexes: u64 = files.map(|f| f.pki.read().memory() + f.deaths.read().memory()).sum();
        indexes + self.generations.iter().map(Generation::bytes).sum::<u64>()
    }
}

/// Looking up ascending keys in one file.
struct FileLookup<'a> {
    at: usize,
    file: &'a DataFile,
    pki: Arc<Pki>,
    cursor: BlockCursor,
}

impl<'a> FileLookup<'a> {
    fn new(at: usize, file: &'a DataFile) -> FileLookup<'a> {
        FileLookup { at, file, pki: file.pki.read().clone(), cursor: BlockCursor::default() }
    }

    /// True if the file has none of these ascending keys.
    fn misses(&self, wanted: &[(usize, u64, &[u8])]) -> bool {
        let Some(range) = self.pki.range() else { return true };
        let first = wanted.partition_point(|w| *w.2 < *range.first);
        wanted.get(first).is_none_or(|w| *w.2 > *range.last)
    }

    /// Offers the living rows of a key; true if more are wanted.
    fn find(&mut self, key: &[u8], hash: u64, mut found: impl FnMut(Place) -> bool) -> Result<bool> {
        let (file, at) = (self.file, self.at as u32);
        let mut more = true;
        self.pki.find(key, hash, &mut self.cursor, |row| {
            if !file.deaths.read().is_dead(row) {
                more = found(Place::File(at, row));
            }
            more
        })?;
        Ok(more)
    }
}

/// `Vec::retain` with a condition that may fail; then what is left is of no use.
fn wanted_retain<T>(wanted: &mut Vec<T>, mut keep: impl FnMut(&T) -> Result<bool>) -> Result<()> {
    let mut failed = None;
    wanted.retain(|w| {
        failed.is_none()
            && keep(w).unwrap_or_else(|e| {
                failed = Some(e);
                false
            })
    });
    failed.map_or(Ok(()), Err)
}
