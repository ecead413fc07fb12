//! The manifest: everything the engine knows that must survive, as a log of atomic edits over all tables.
//!
//! One file, `manifest/<n>.log`: a header, one *snapshot* of the whole [`State`], then [`Edit`]s. A record is
//! `magic, length, CRC-32, JSON`. A new file replaces the old one at every open and when edits outgrow the
//! snapshot; it gets its name only when it is whole, so the highest number is always readable.

mod log;
mod objects;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tidelake_core::ports::Progress;
use tidelake_core::{Catalog, CommitSeq, Result, SchemaChange, TableId, WriterEpoch};

use crate::file::FileMeta;
pub(crate) use log::ManifestLog;
pub use log::read_manifest;

/// Everything that must survive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Counts the opens of this directory.
    pub(crate) incarnation: u64,
    pub(crate) epoch: WriterEpoch,
    pub(crate) durable: Progress,
    pub(crate) horizon: CommitSeq,
    /// Ascending; the first is the one of the horizon.
    pub(crate) catalogs: Vec<(CommitSeq, Catalog)>,
    pub(crate) files: BTreeMap<u64, FileMeta>,
    /// Death logs and their tables.
    pub(crate) deaths: BTreeMap<u64, TableId>,
    /// Bytes of files ever written, by table.
    #[serde(default)]
    pub(crate) written: BTreeMap<TableId, Written>,
}

/// Bytes of data files of a table ever written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// By flushes and spills.
    pub(crate) flushed: u64,
    /// By merges.
    pub(crate) merged: u64,
}

impl Written {
    /// All bytes written for each byte flushed.
    pub(crate) fn amplification(self) -> Option<f64> {
        (self.flushed > 0).then(|| (self.flushed + self.merged) as f64 / self.flushed as f64)
    }
}

/// One atomic step over all tables.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Edit {
    pub(crate) epoch: WriterEpoch,
    pub(crate) durable: Progress,
    pub(crate) horizon: CommitSeq,
    pub(crate) schema: Vec<(CommitSeq, SchemaChange)>,
    pub(crate) add_files: Vec<FileMeta>,
    /// Files of truncated and dropped tables.
    pub(crate) dead_files: Vec<(u64, CommitSeq)>,
    /// Files that a compaction replaced: `(id, valid_to, kept_until)`.
    pub(crate) retire_files: Vec<(u64, CommitSeq, CommitSeq)>,
    pub(crate) remove_files: Vec<u64>,
    pub(crate) add_deaths: Vec<(u64, TableId)>,
    pub(crate) remove_deaths: Vec<u64>,
}

impl State {
    /// The state of an engine that was never written to.
    pub(crate) fn empty() -> State {
        State { catalogs: vec![(CommitSeq::ZERO, Catalog::default())], ..State::default() }
    }

    /// Leaves out what is left of tables that no readable seq has any more: a merge that read their files when the horizon
    /// passed their end kept these from the flush that would have let them go.
    pub(crate) fn forget_gone_tables(&mut self) {
        let known: BTreeSet<TableId> = self.catalogs.iter().flat_map(|c| c.1.tables.keys().copied()).collect();
        let horizon = self.horizon;
        self.files.retain(|_, file| file.dead_at > horizon || known.contains(&file.table));
        self.deaths.retain(|_, table| known.contains(table));
    }

    /// Applies one edit; on an error the state is of no use any more.
    pub(crate) fn apply(&mut self, edit: &Edit) -> Result<()> {
        self.epoch = self.epoch.max(edit.epoch);
        self.durable = edit.durable.clone();
        self.horizon = self.horizon.max(edit.horizon);
        for (seq, change) in &edit.schema {
            let mut next = self.catalogs.last().map(|c| c.1.clone()).unwrap_or_default();
            next.apply(*seq, change)?;
            self.catalogs.push((*seq, next));
        }
        let needed = self.catalogs.partition_point(|c| c.0 <= self.horizon).saturating_sub(1);
        self.catalogs.drain(..needed);
        for file in &edit.add_files {
            let written = self.written.entry(file.table).or_default();
            // Only what was in memory has a generation.
            if file.generation.is_some() {
                written.flushed += file.bytes
            } else {
                written.merged += file.bytes
            }
            self.files.insert(file.id, file.clone());
        }
        for (id, seq) in &edit.dead_files {
            if let Some(file) = self.files.get_mut(id) {
                file.dead_at = *seq;
            }
        }
        for (id, valid_to, kept_until) in &edit.retire_files {
            if let Some(file) = self.files.get_mut(id) {
                (file.valid_to, file.kept_until) = (*valid_to, *kept_until);
            }
        }
        for id in &edit.remove_files {
            self.files.remove(id);
        }
        for (id, table) in &edit.add_deaths {
            self.deaths.insert(*id, *table);
        }
        for id in &edit.remove_deaths {
            self.deaths.remove(id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
