//! What an engine is opened with.

use std::path::PathBuf;

use crate::fault::Faults;
use crate::storage::ObjectPlace;

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
    /// So many small chunks of published rows in memory are joined to one; 0: never.
    pub join_chunks: usize,
    /// How base files are compressed. Files are read whatever they are compressed with.
    pub compression: Compression,
    /// Rows of a Parquet row group.
    pub row_group_rows: usize,
    /// Row groups are cut for readers that want more splits than there are groups, but not to fewer rows than this.
    pub split_rows: usize,
    /// Bytes of a row group that a reader has in memory at a time, about, before they are decoded.
    pub read_bytes: u64,
    /// A table with more small files than this, or with more sorted files than this over one key, is compacted after
    /// a flush.
    pub max_files: usize,
    /// Merges cut their output at this size: a file of the base level is about so large.
    pub base_file_bytes: u64,
    /// Merges cut their output at this many rows too.
    pub base_file_rows: u64,
    /// Files go to the base level when the base files that have to be rewritten with them have at most this many
    /// times their bytes. More writes less often; fewer dead rows and look-ups in between with less.
    pub base_ratio: u64,
    /// Merges write at most so many bytes per second; `None`: as fast as they can.
    pub merge_bytes_per_second: Option<u64>,
    /// A file with more than this part of its rows dead below the horizon is compacted (0.0 to 1.0).
    pub max_dead: f64,
    /// Where the files are; `None`: in `dir`. Else `dir` is a cache of them, and has what is not durable yet.
    pub objects: Option<ObjectPlace>,
    /// Most bytes of data files in `dir` if they are in an object store. Files that are being read, and the last one that
    /// came, may be more for a while; key indexes and death logs do not count.
    pub cache_bytes: u64,
    #[doc(hidden)]
    pub faults: Faults,
}

impl EngineOptions {
    /// Defaults for a server: 256 MiB memtable, groups of 1M rows, at most 8 files over a key, base files of 128 MiB.
    pub fn new(dir: impl Into<PathBuf>) -> EngineOptions {
        EngineOptions {
            dir: dir.into(),
            memtable_bytes: 256 << 20,
            spill_bytes: None,
            join_chunks: 32,
            compression: Compression::default(),
            row_group_rows: 1 << 20,
            split_rows: 1 << 16,
            read_bytes: 8 << 20,
            max_files: 8,
            base_file_bytes: 128 << 20,
            base_file_rows: 1 << 30,
            base_ratio: 4,
            merge_bytes_per_second: None,
            max_dead: 0.3,
            objects: None,
            cache_bytes: 16 << 30,
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

    /// What data files are like; a row group is in memory while it is written.
    pub(crate) fn file_shape(&self) -> FileShape {
        let group_bytes = (self.memtable_bytes / 2).clamp(4 << 20, 128 << 20) as usize;
        FileShape { group_rows: self.row_group_rows, group_bytes, base: self.compression }
    }
}

/// How base files are compressed (docs/adr/0013).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// LZ4_RAW: fast to read.
    #[default]
    Lz4,
    /// ZSTD: smaller.
    Zstd,
}

/// What data files are like.
#[derive(Clone, Copy)]
pub(crate) struct FileShape {
    /// Most rows and bytes of a row group.
    pub(crate) group_rows: usize,
    pub(crate) group_bytes: usize,
    /// Compression of base files.
    pub(crate) base: Compression,
}
