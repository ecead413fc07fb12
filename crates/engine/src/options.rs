//! What an engine is opened with.

use std::path::PathBuf;

use crate::fault::Faults;

/// How to open a [`MagicEngine`](crate::MagicEngine).
#[derive(Clone)]
pub struct EngineOptions {
    /// The engine's own directory; made if missing.
    pub dir: PathBuf,
    /// Published rows above this many bytes are flushed without being asked. Writing waits for the flush at twice
    /// this size.
    pub memtable_bytes: u64,
    /// Staged rows above this many bytes are written to private files before they are published; `None`: half of
    /// `memtable_bytes`.
    pub spill_bytes: Option<u64>,
    /// Rows of a Parquet row group.
    pub row_group_rows: usize,
    /// A table with more files than this is compacted after a flush.
    pub max_files: usize,
    /// A file with more than this part of its rows dead below the horizon is compacted (0.0 to 1.0).
    pub max_dead: f64,
    #[doc(hidden)]
    pub faults: Faults,
}

impl EngineOptions {
    /// Defaults for a server: 256 MiB memtable, groups of 1M rows, at most 8 files a table.
    pub fn new(dir: impl Into<PathBuf>) -> EngineOptions {
        EngineOptions {
            dir: dir.into(),
            memtable_bytes: 256 << 20,
            spill_bytes: None,
            row_group_rows: 1 << 20,
            max_files: 8,
            max_dead: 0.3,
            faults: Faults::default(),
        }
    }

    /// Staged bytes that are too many.
    pub(crate) fn spill_limit(&self) -> u64 {
        self.spill_bytes.unwrap_or(self.memtable_bytes / 2).max(1)
    }

    /// Bytes of rows that a merge holds, about.
    pub(crate) fn merge_bytes(&self) -> u64 {
        self.memtable_bytes.clamp(4 << 20, 64 << 20)
    }

    /// Most files in one merge: each has pages of each column in memory besides its batches.
    pub(crate) fn merge_inputs(&self) -> usize {
        (self.merge_bytes() >> 20).clamp(4, 16) as usize
    }

    /// Limits of a row group; it is in memory while it is written.
    pub(crate) fn row_groups(&self) -> RowGroups {
        RowGroups { rows: self.row_group_rows, bytes: (self.memtable_bytes / 2).clamp(4 << 20, 128 << 20) as usize }
    }
}

/// Most rows and bytes of a row group.
#[derive(Clone, Copy)]
pub(crate) struct RowGroups {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}
