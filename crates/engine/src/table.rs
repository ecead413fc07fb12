//! One table in the engine: its generations in memory, its files, and finding rows in both.

use std::sync::Arc;

use parking_lot::RwLock;
use tidelake_core::{CommitSeq, Result, TableDef, TableId};

use crate::file::DataFile;
use crate::keys::KeyMaker;
use crate::memory::{Generation, Slot};
use crate::pki::BlockCursor;

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
    pub(crate) files: Vec<Arc<DataFile>>,
    pub(crate) retired: Vec<Arc<DataFile>>,
    /// The newest seq staged for it.
    pub(crate) last_seq: CommitSeq,
    /// Counts what makes a running compaction worthless: truncations, new keys, discarded rows.
    pub(crate) disturbed: u64,
    /// Files that a running merge reads: they stay on disk.
    pub(crate) merging: Vec<u64>,
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
            retired: Vec::new(),
            last_seq: CommitSeq::ZERO,
            disturbed: 0,
            merging: Vec::new(),
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

    /// Looks up keys in ascending order, file by file: `wanted` has the keys that are still looked for;
    /// `found(i, place)` says whether key `i` wants more rows.
    pub(crate) fn find_in_files(
        &self,
        wanted: &mut Vec<(usize, u64, &[u8])>,
        mut found: impl FnMut(usize, Place) -> bool,
    ) -> Result<()> {
        for (at, file) in self.files.iter().enumerate().rev() {
            if wanted.is_empty() {
                return Ok(());
            }
            if file.dead_at() != CommitSeq::MAX {
                continue;
            }
            let pki = file.pki.read().clone();
            let deaths = file.deaths.read();
            let mut cursor = BlockCursor::default();
            let mut failed = None;
            wanted.retain(|(i, hash, key)| {
                let mut more = true;
                let looked = pki.find(key, *hash, &mut cursor, |row| {
                    if !deaths.is_dead(row) {
                        more = found(*i, Place::File(at as u32, row));
                    }
                    more
                });
                if let Err(e) = looked {
                    failed = Some(e);
                }
                more
            });
            if let Some(e) = failed {
                return Err(e);
            }
        }
        Ok(())
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
    }

    /// Bytes in memory.
    pub(crate) fn memory(&self) -> u64 {
        let files = self.files.iter().chain(&self.retired);
        let indexes: u64 = files.map(|f| f.pki.read().memory() + f.deaths.read().memory()).sum();
        indexes + self.generations.iter().map(Generation::bytes).sum::<u64>()
    }
}
