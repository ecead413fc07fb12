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
            row_group_rows: 1 << 20,
            max_files: 8,
            max_dead: 0.3,
            faults: Faults::default(),
        }
    }
}
