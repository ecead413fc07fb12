//! The engine as its port shows it.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tidelake_core::ports::{
    BatchStream, Progress, RowFilter, ScanPlan, ScanRequest, ScanSplit, StoreEngine, StoreWriter, TableStats,
};
use tidelake_core::{Catalog, CommitSeq, Error, Result, SchemaChange, TableDef, TableId, TableState, WriterEpoch};
use tokio::sync::watch;

use crate::manifest::{ManifestLog, Written};
use crate::options::EngineOptions;
use crate::storage::Storage;
use crate::table::Table;
use crate::writer::{Gate, MagicWriter, blocking};

/// The Magic Engine over one directory.
pub struct MagicEngine {
    pub(crate) inner: Arc<Inner>,
}

/// What writer, readers and flushes share.
pub(crate) struct Inner {
    pub(crate) options: EngineOptions,
    pub(crate) storage: Arc<Storage>,
    pub(crate) tables: RwLock<BTreeMap<TableId, Arc<Table>>>,
    pub(crate) catalogs: RwLock<CatalogHistory>,
    pub(crate) published: watch::Sender<Progress>,
    /// The seq in `published`, for checks that must not wait behind a publish that waits for a reader.
    pub(crate) readable: AtomicU64,
    pub(crate) durable: watch::Sender<Progress>,
    horizon: AtomicU64,
    pub(crate) gate: Arc<tokio::sync::Mutex<Gate>>,
    /// Held by the one flush that runs, and by a merge while it begins and while it is installed. Before the gate.
    pub(crate) manifest: Arc<tokio::sync::Mutex<ManifestLog>>,
    /// Held by the one merge that runs. Before the manifest.
    pub(crate) merging: Mutex<()>,
    /// Bytes of all chunks, and of those not yet published.
    pub(crate) memory: AtomicU64,
    pub(crate) staged_bytes: AtomicU64,
    /// Bytes of files ever written, as the manifest has them.
    pub(crate) written: RwLock<BTreeMap<TableId, Written>>,
    /// Staged rows are in private files since the last publish.
    pub(crate) spilled: AtomicBool,
    pub(crate) flushing: AtomicBool,
    pub(crate) compacting: AtomicBool,
    poison: Mutex<Option<String>>,
    pub(crate) incarnation: u64,
    next_id: AtomicU64,
    /// Durable when this engine opened.
    pub(crate) opened_at: CommitSeq,
    /// Keeps other engines out of the directory.
    _lock: File,
}

/// Catalog versions by seq, staged ones at the end, and the changes since the last flush.
pub(crate) struct CatalogHistory {
    versions: Vec<(CommitSeq, Arc<Catalog>)>,
    changes: Vec<(CommitSeq, SchemaChange)>,
}

impl CatalogHistory {
    pub(crate) fn new(versions: Vec<(CommitSeq, Arc<Catalog>)>) -> CatalogHistory {
        CatalogHistory { versions, changes: Vec::new() }
    }

    pub(crate) fn newest(&self) -> (CommitSeq, Arc<Catalog>) {
        self.versions.last().expect("the version of the horizon is always kept").clone()
    }

    fn at(&self, seq: CommitSeq) -> Option<Arc<Catalog>> {
        let after = self.versions.partition_point(|v| v.0 <= seq);
        Some(self.versions[after.checked_sub(1)?].1.clone())
    }

    pub(crate) fn push(&mut self, seq: CommitSeq, catalog: Catalog, change: SchemaChange) {
        self.versions.push((seq, Arc::new(catalog)));
        self.changes.push((seq, change));
    }

    pub(crate) fn undo_above(&mut self, seq: CommitSeq) {
        self.versions.retain(|v| v.0 <= seq);
        self.changes.retain(|c| c.0 <= seq);
    }

    /// Changes at or below `seq` that no flush has made durable.
    pub(crate) fn changes_upto(&self, seq: CommitSeq) -> Vec<(CommitSeq, SchemaChange)> {
        self.changes.iter().filter(|c| c.0 <= seq).cloned().collect()
    }

    pub(crate) fn flushed(&mut self, seq: CommitSeq, horizon: CommitSeq) {
        self.changes.retain(|c| c.0 > seq);
        let needed = self.versions.partition_point(|v| v.0 <= horizon).saturating_sub(1);
        self.versions.drain(..needed);
    }

    /// True if some version still has this table.
    pub(crate) fn mention(&self, table: TableId) -> bool {
        self.versions.iter().any(|v| v.1.tables.contains_key(&table))
    }
}

/// What recovery found.
pub(crate) struct Recovered {
    pub(crate) tables: BTreeMap<TableId, Arc<Table>>,
    pub(crate) manifest: ManifestLog,
    pub(crate) storage: Arc<Storage>,
    pub(crate) lock: File,
}

impl Inner {
    pub(crate) fn new(options: EngineOptions, recovered: Recovered) -> Inner {
        let state = recovered.manifest.state();
        let versions = state.catalogs.iter().map(|(s, c)| (*s, Arc::new(c.clone()))).collect();
        let gate = Gate { epoch: state.epoch, writers: 0, staged: state.durable.seq };
        Inner {
            catalogs: RwLock::new(CatalogHistory::new(versions)),
            published: watch::Sender::new(state.durable.clone()),
            readable: AtomicU64::new(state.durable.seq.0),
            durable: watch::Sender::new(state.durable.clone()),
            horizon: AtomicU64::new(state.horizon.0),
            gate: Arc::new(tokio::sync::Mutex::new(gate)),
            memory: AtomicU64::new(0),
            staged_bytes: AtomicU64::new(0),
            written: RwLock::new(state.written.clone()),
            spilled: AtomicBool::new(false),
            merging: Mutex::new(()),
            flushing: AtomicBool::new(false),
            compacting: AtomicBool::new(false),
            poison: Mutex::new(None),
            incarnation: state.incarnation,
            next_id: AtomicU64::new(first_id(state.incarnation)),
            opened_at: state.durable.seq,
            options,
            storage: recovered.storage,
            tables: RwLock::new(recovered.tables),
            manifest: Arc::new(tokio::sync::Mutex::new(recovered.manifest)),
            _lock: recovered.lock,
        }
    }

    /// An id for a generation, file or death log: never used before in this directory.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn horizon(&self) -> CommitSeq {
        CommitSeq(self.horizon.load(Ordering::Acquire))
    }

    pub(crate) fn newest_catalog(&self) -> Arc<Catalog> {
        self.catalogs.read().newest().1
    }

    pub(crate) fn check_poison(&self) -> Result<()> {
        match &*self.poison.lock() {
            None => Ok(()),
            Some(why) => Err(Error::Closed(format!("the engine stopped writing: {why}; restart it"))),
        }
    }

    /// After a failed write nothing is known about the disk: no further write is tried.
    pub(crate) fn poison(&self, why: &Error) {
        tracing::error!(error = %why, "the engine stops writing");
        metrics::counter!("tidelake_engine_poisoned_total").increment(1);
        self.poison.lock().get_or_insert_with(|| why.to_string());
    }

    pub(crate) fn check_stage_seq(&self, seq: CommitSeq) -> Result<()> {
        let published = self.published.borrow().seq;
        if seq <= published {
            return Err(Error::Internal(format!("staged seq {seq} is published already ({published})")));
        }
        Ok(())
    }

    pub(crate) fn check_readable(&self, seq: CommitSeq) -> Result<()> {
        let (horizon, published) = (self.horizon(), CommitSeq(self.readable.load(Ordering::Acquire)));
        if seq < horizon {
            return Err(Error::SnapshotExpired(format!("seq {seq} is below the horizon {horizon}")));
        }
        if seq > published {
            return Err(Error::Unavailable(format!("seq {seq} is not published yet ({published} is)")));
        }
        Ok(())
    }

    pub(crate) fn catalog(&self, seq: CommitSeq) -> Result<Arc<Catalog>> {
        self.check_readable(seq)?;
        let found = self.catalogs.read().at(seq);
        found.ok_or_else(|| Error::SnapshotExpired(format!("the catalog of seq {seq} was let go")))
    }

    /// The version of a table that a reader at `seq` sees.
    pub(crate) fn readable_def(&self, seq: CommitSeq, table: TableId) -> Result<Arc<TableDef>> {
        let catalog = self.catalog(seq)?;
        let entry = catalog.table(table)?;
        match &entry.state {
            TableState::Live => Ok(entry.def.clone()),
            TableState::Copying { .. } => Err(Error::NotFound(format!("table {} (still copying)", entry.def.name))),
            TableState::Stopped { reason, at } => {
                Err(Error::Invalid(format!("table {} is stopped: {reason} (at {at})", entry.def.name)))
            }
        }
    }

    pub(crate) fn add_memory(&self, bytes: u64, _gate: &Gate) {
        self.memory.fetch_add(bytes, Ordering::AcqRel);
        self.staged_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(crate) fn sub_memory(&self, bytes: u64) {
        self.memory.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Bytes of published rows in memory.
    pub(crate) fn unflushed(&self) -> u64 {
        self.memory.load(Ordering::Acquire).saturating_sub(self.staged_bytes.load(Ordering::Acquire))
    }
}

/// Ids of one open of the directory are above those of all opens before.
fn first_id(incarnation: u64) -> u64 {
    (incarnation << 32) + 1
}

/// Which open of the directory gave out an id.
pub(crate) fn incarnation_of(id: u64) -> u64 {
    id >> 32
}

impl MagicEngine {
    /// Opens the engine at its durable state; what is not part of it is removed.
    ///
    /// # Errors
    /// [`Error::Corrupt`] or [`Error::Invalid`] with the file's name if the directory holds damaged or foreign
    /// files, [`Error::Unavailable`] if another engine has it open, [`Error::Io`].
    pub async fn open(options: EngineOptions) -> Result<Arc<MagicEngine>> {
        blocking(move || {
            let recovered = crate::recovery::recover(&options)?;
            Ok(Arc::new(MagicEngine { inner: Arc::new(Inner::new(options, recovered)) }))
        })
        .await
    }

    /// Merges files of tables that have too many of them, or too many dead rows. A flush does it on its own.
    /// Returns the number of merges.
    ///
    /// # Errors
    /// As for `flush`; [`Error::Internal`] if a merge finds one key alive twice.
    pub async fn compact(&self) -> Result<usize> {
        let inner = self.inner.clone();
        blocking(move || crate::compact::compact_all(&inner)).await
    }

    /// Why it can do no more until it is opened again, if so.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.inner.poison.lock().clone()
    }

    /// Bytes of rows in memory: published ones that no flush has written yet, and staged ones.
    #[must_use]
    pub fn memtable_bytes(&self) -> u64 {
        self.inner.memory.load(Ordering::Acquire)
    }
}

#[async_trait]
impl StoreEngine for MagicEngine {
    async fn open_writer(&self, epoch: WriterEpoch) -> Result<Box<dyn StoreWriter>> {
        Ok(Box::new(MagicWriter::open(self.inner.clone(), epoch).await?))
    }

    fn published(&self) -> watch::Receiver<Progress> {
        self.inner.published.subscribe()
    }

    fn durable(&self) -> watch::Receiver<Progress> {
        self.inner.durable.subscribe()
    }

    fn catalog(&self, seq: CommitSeq) -> Result<Arc<Catalog>> {
        self.inner.catalog(seq)
    }

    async fn plan_scan(&self, request: &ScanRequest) -> Result<ScanPlan> {
        if let Some(plan) = crate::scan::plan::plan_at_once(&self.inner, request)? {
            return Ok(plan);
        }
        let (inner, request) = (self.inner.clone(), request.clone());
        blocking(move || crate::scan::plan::plan(&inner, &request)).await
    }

    async fn read_split(&self, split: &ScanSplit) -> Result<BatchStream> {
        crate::scan::split::read_split(&self.inner, split, None)
    }

    async fn read_filtered(&self, split: &ScanSplit, filter: Arc<dyn RowFilter>) -> Result<BatchStream> {
        crate::scan::split::read_split(&self.inner, split, Some(filter))
    }

    fn horizon(&self) -> CommitSeq {
        self.inner.horizon()
    }

    fn set_horizon(&self, seq: CommitSeq) {
        let published = self.inner.published.borrow().seq;
        self.inner.horizon.fetch_max(seq.min(published).0, Ordering::AcqRel);
    }

    async fn flush(&self) -> Result<CommitSeq> {
        crate::flush::flush(self.inner.clone()).await
    }

    fn table_stats(&self, table: TableId) -> Result<TableStats> {
        crate::scan::plan::table_stats(&self.inner, table)
    }

    fn unflushed_bytes(&self) -> u64 {
        self.inner.unflushed()
    }
}
