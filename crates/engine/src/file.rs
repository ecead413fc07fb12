//! Data files: what the manifest says of them, and what is known of them while the engine runs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::PageIndexPolicy;
use serde::{Deserialize, Serialize};
use tidelake_core::{ColumnId, CommitSeq, Error, Result, TableId};

use crate::adapt::viewed_schema;
use crate::deaths::FileDeaths;
use crate::extent::{Extents, extents};
use crate::parquet_file::crc_of;
use crate::pki::{KeyRange, Pki};
use crate::storage::{Storage, Whole};

/// Where a file is among the files of its table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Sorted, over any keys.
    #[default]
    L0,
    /// Sorted, and no other base file has keys between its first and its last one.
    Base,
}

impl Level {
    /// Its name in paths and figures.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Level::L0 => "l0",
            Level::Base => "base",
        }
    }
}

fn yes() -> bool {
    true
}

/// A data file as the manifest knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FileMeta {
    /// Unique in the engine.
    pub(crate) id: u64,
    pub(crate) table: TableId,
    #[serde(default)]
    pub(crate) level: Level,
    /// The file has the hidden column of births. Outputs of merges have none: who may read them sees all their rows.
    #[serde(default = "yes")]
    pub(crate) with_births: bool,
    /// The memtable generation that became this file.
    pub(crate) generation: Option<u64>,
    /// Column ids, in the file's order; the hidden birth column, if there is one, comes after them.
    pub(crate) columns: Vec<ColumnId>,
    /// Signature of the key the rows are sorted by.
    pub(crate) sorted_by: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// CRC-32 of the whole file.
    pub(crate) crc: u32,
    /// Smallest and largest birth.
    pub(crate) births: (CommitSeq, CommitSeq),
    /// Readers at or above this seq use it ...
    pub(crate) valid_from: CommitSeq,
    /// ... and below this.
    pub(crate) valid_to: CommitSeq,
    /// Kept until the horizon is above it (for plans made before a compaction); only with `valid_to`.
    pub(crate) kept_until: CommitSeq,
    /// When the table was truncated or dropped.
    pub(crate) dead_at: CommitSeq,
    /// Of each column; empty: as the file's footer has them, in files of before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) extents: Extents,
}

impl FileMeta {
    /// Its path below the engine's directory.
    pub(crate) fn path(&self, dir: &Path) -> PathBuf {
        table_dir(dir, self.table).join(self.level.name()).join(format!("{}.parquet", self.id))
    }

    /// Path of its key index of this signature.
    pub(crate) fn pki_path(&self, dir: &Path, signature: &str) -> PathBuf {
        let name = format!("{}-{:08x}.pki", self.id, crc32fast::hash(signature.as_bytes()));
        table_dir(dir, self.table).join(self.level.name()).join(name)
    }

    /// Columns of the Parquet file.
    fn file_columns(&self) -> usize {
        self.columns.len() + usize::from(self.with_births)
    }
}

/// The directory of a table's files.
pub(crate) fn table_dir(dir: &Path, table: TableId) -> PathBuf {
    dir.join("table").join(table.to_string())
}

/// A data file in use.
pub(crate) struct DataFile {
    pub(crate) meta: FileMeta,
    pub(crate) path: PathBuf,
    storage: Arc<Storage>,
    pub(crate) deaths: RwLock<FileDeaths>,
    pub(crate) pki: RwLock<Arc<Pki>>,
    dead_at: AtomicU64,
    valid_to: AtomicU64,
    kept_until: AtomicU64,
    footer: OnceLock<ArrowReaderMetadata>,
    /// The same for readers who want texts as views.
    viewing_footer: OnceLock<ArrowReaderMetadata>,
    /// The same with least and greatest values of pages, for scans with predicates.
    paged_footer: OnceLock<ArrowReaderMetadata>,
    /// Of the footer, if the manifest does not have them.
    extents: OnceLock<Extents>,
    /// By this process: then its bytes need no check.
    written_here: bool,
    /// Not yet, if it was spilled and no flush came since.
    in_manifest: AtomicBool,
}

impl DataFile {
    pub(crate) fn new(
        meta: FileMeta,
        storage: &Arc<Storage>,
        pki: impl Into<Arc<Pki>>,
        deaths: FileDeaths,
    ) -> DataFile {
        DataFile {
            path: meta.path(storage.dir()),
            storage: storage.clone(),
            deaths: RwLock::new(deaths),
            pki: RwLock::new(pki.into()),
            dead_at: AtomicU64::new(meta.dead_at.0),
            valid_to: AtomicU64::new(meta.valid_to.0),
            kept_until: AtomicU64::new(meta.kept_until.0),
            footer: OnceLock::new(),
            viewing_footer: OnceLock::new(),
            paged_footer: OnceLock::new(),
            extents: OnceLock::new(),
            written_here: true,
            in_manifest: AtomicBool::new(true),
            meta,
        }
    }

    /// The same for a file of an earlier process.
    pub(crate) fn recovered(
        meta: FileMeta,
        storage: &Arc<Storage>,
        pki: impl Into<Arc<Pki>>,
        deaths: FileDeaths,
    ) -> DataFile {
        DataFile { written_here: false, ..DataFile::new(meta, storage, pki, deaths) }
    }

    /// The same for a file that no manifest names yet.
    pub(crate) fn private(meta: FileMeta, storage: &Arc<Storage>, pki: Pki, deaths: FileDeaths) -> DataFile {
        DataFile { in_manifest: AtomicBool::new(false), ..DataFile::new(meta, storage, pki, deaths) }
    }

    pub(crate) fn in_manifest(&self) -> bool {
        self.in_manifest.load(Ordering::Acquire)
    }

    pub(crate) fn set_in_manifest(&self) {
        self.in_manifest.store(true, Ordering::Release);
    }

    pub(crate) fn dead_at(&self) -> CommitSeq {
        CommitSeq(self.dead_at.load(Ordering::Acquire))
    }

    pub(crate) fn set_dead_at(&self, seq: CommitSeq) {
        self.dead_at.store(seq.0, Ordering::Release);
    }

    pub(crate) fn retire(&self, valid_to: CommitSeq, kept_until: CommitSeq) {
        self.kept_until.store(kept_until.0, Ordering::Release);
        self.valid_to.store(valid_to.0, Ordering::Release);
    }

    /// First and last key, as the table identifies rows now; `None` without an index.
    pub(crate) fn keys(&self) -> Option<Arc<KeyRange>> {
        self.pki.read().range().cloned()
    }

    /// True if look-ups of keys of this signature find it by its range.
    pub(crate) fn is_base(&self, signature: &str) -> bool {
        self.meta.level == Level::Base && self.meta.sorted_by == signature
    }

    /// True if new plans at `seq` must read it.
    pub(crate) fn covers(&self, seq: CommitSeq) -> bool {
        let valid_to = CommitSeq(self.valid_to.load(Ordering::Acquire));
        let in_time =
            self.meta.valid_from <= seq && seq < valid_to && self.meta.births.0 <= seq && seq < self.dead_at();
        // A file without a living row may be let go while the plan is in use.
        in_time && self.deaths.read().count_at(seq) < self.meta.rows
    }

    /// True if no readable seq at or above the horizon needs it any more.
    pub(crate) fn is_garbage(&self, horizon: CommitSeq) -> bool {
        let kept_until = CommitSeq(self.kept_until.load(Ordering::Acquire));
        self.dead_at() <= horizon || kept_until < horizon || self.deaths.read().count_at(horizon) == self.meta.rows
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// [`Error::SnapshotExpired`] if it was deleted meanwhile.
    pub(crate) fn open(&self) -> Result<File> {
        self.storage.open_file(&self.path, Some(self.whole()))
    }

    fn whole(&self) -> Whole {
        Whole { bytes: self.meta.bytes, crc: self.meta.crc }
    }

    /// Path of its key index of this signature.
    pub(crate) fn pki_path(&self, signature: &str) -> PathBuf {
        self.meta.pki_path(self.storage.dir(), signature)
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Its Parquet footer, read once.
    pub(crate) fn footer(&self) -> Result<ArrowReaderMetadata> {
        if let Some(footer) = self.footer.get() {
            return Ok(footer.clone());
        }
        self.check_crc()?;
        // Look-ups read single pages; files of before have no such index.
        let options = ArrowReaderOptions::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Optional);
        let footer = ArrowReaderMetadata::load(&self.open()?, options).map_err(|e| self.corrupt(e))?;
        let rows = footer.metadata().file_metadata().num_rows();
        let columns = footer.schema().fields().len();
        if rows != self.meta.rows as i64 || columns != self.meta.file_columns() {
            return Err(self.corrupt(format!(
                "{rows} rows and {columns} columns, the manifest has {} and {}",
                self.meta.rows,
                self.meta.file_columns()
            )));
        }
        Ok(self.footer.get_or_init(|| footer).clone())
    }

    /// Its footer for readers who want texts as views.
    pub(crate) fn viewing_footer(&self) -> Result<ArrowReaderMetadata> {
        if let Some(footer) = self.viewing_footer.get() {
            return Ok(footer.clone());
        }
        let footer = self.footer()?;
        let options = ArrowReaderOptions::new().with_schema(viewed_schema(footer.schema()));
        let viewing = ArrowReaderMetadata::try_new(footer.metadata().clone(), options).map_err(|e| self.corrupt(e))?;
        Ok(self.viewing_footer.get_or_init(|| viewing).clone())
    }

    /// Least and greatest values of its columns; of a file whose manifest does not have them out of its footer.
    pub(crate) fn extents(&self) -> Result<&Extents> {
        if !self.meta.extents.is_empty() {
            return Ok(&self.meta.extents);
        }
        if let Some(known) = self.extents.get() {
            return Ok(known);
        }
        let footer = self.footer()?;
        let found = extents(footer.schema(), footer.metadata(), self.meta.columns.len());
        Ok(self.extents.get_or_init(|| found))
    }

    /// True if reading it begins at once: the footer is known, and its bytes are on this machine.
    pub(crate) fn is_ready(&self) -> bool {
        self.footer.get().is_some() && self.storage.is_here(&self.path)
    }

    /// Its footer with what is known of pages, read once.
    pub(crate) fn paged_footer(&self) -> Result<ArrowReaderMetadata> {
        if let Some(footer) = self.paged_footer.get() {
            return Ok(footer.clone());
        }
        self.footer()?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let footer = ArrowReaderMetadata::load(&self.open()?, options).map_err(|e| self.corrupt(e))?;
        Ok(self.paged_footer.get_or_init(|| footer).clone())
    }

    /// Reads it through once, the first time an engine that did not write it uses it.
    fn check_crc(&self) -> Result<()> {
        if self.written_here {
            return Ok(());
        }
        let io = |e| Error::io(format!("read {}", self.path.display()), e);
        let crc = crc_of(self.open()?).map_err(io)?;
        if crc != self.meta.crc && !self.storage.fetch_anew(&self.path, Some(self.whole()))? {
            return Err(self.corrupt(format!("its checksum is {crc:08x}, the manifest has {:08x}", self.meta.crc)));
        }
        Ok(())
    }

    pub(crate) fn corrupt(&self, reason: impl std::fmt::Display) -> Error {
        Error::corrupt(self.path.display().to_string(), reason.to_string())
    }
}
