//! The oracle: a store engine in memory, in the simplest way that is obviously right.
//!
//! A row is its cells, its birth and its death; a reader at `seq` sees rows with `birth <= seq < death`. Nothing
//! is ever merged, moved or dropped. Durable is a copy of everything that was published at the last flush;
//! [`MemStore::crash`] goes back to that copy.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::catalog::{Catalog, SchemaChange, TableState};
use crate::change::{ChangeBatch, DecodedStep, RowOp};
use crate::error::{Error, Result};
use crate::ports::{BatchStream, Progress, ScanPlan, ScanRequest, ScanSplit, StoreEngine, StoreWriter, TableStats};
use crate::position::SourcePosition;
use crate::schema::TableDef;
use crate::seq::{ColumnId, CommitSeq, TableId, WriterEpoch};
use crate::types::arrow::data_type;
use crate::types::widen::{check_alter, widen};
use crate::value::{CellValue, array_of, cell_at};

/// The oracle store. Clones share one state.
#[derive(Clone)]
pub struct MemStore {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    durable_image: Mutex<State>,
    published: watch::Sender<Progress>,
    durable: watch::Sender<Progress>,
}

#[derive(Clone)]
struct State {
    tables: BTreeMap<TableId, MemTable>,
    /// Ascending; staged ones at the end.
    catalogs: Vec<(CommitSeq, Arc<Catalog>)>,
    published: Progress,
    horizon: CommitSeq,
    epoch: WriterEpoch,
    /// Counts `open_writer`, so that a second writer of the same epoch fences the first.
    writers: u64,
    /// The newest staged seq.
    staged: CommitSeq,
}

#[derive(Clone, Default)]
struct MemTable {
    rows: Vec<MemRow>,
    last_seq: CommitSeq,
    /// Live rows by identity, for one table version; rebuilt when missing.
    index: Option<HashMap<String, Vec<usize>>>,
}

#[derive(Clone)]
struct MemRow {
    def: Arc<TableDef>,
    cells: Arc<[CellValue]>,
    birth: CommitSeq,
    death: CommitSeq,
}

impl Default for MemStore {
    fn default() -> Self {
        MemStore::new()
    }
}

impl MemStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> MemStore {
        MemStore::at(State {
            tables: BTreeMap::new(),
            catalogs: vec![(CommitSeq::ZERO, Arc::new(Catalog::default()))],
            published: Progress::default(),
            horizon: CommitSeq::ZERO,
            epoch: WriterEpoch(0),
            writers: 0,
            staged: CommitSeq::ZERO,
        })
    }

    fn at(state: State) -> MemStore {
        let shared = Shared {
            published: watch::Sender::new(state.published.clone()),
            durable: watch::Sender::new(state.published.clone()),
            durable_image: Mutex::new(state.clone()),
            state: Mutex::new(state),
        };
        MemStore { shared: Arc::new(shared) }
    }

    /// The store as it would open after a crash: at the durable seq. The old handle goes on with its own state.
    #[must_use]
    pub fn crash(&self) -> MemStore {
        MemStore::at(self.shared.durable_image.lock().clone())
    }
}

impl State {
    fn newest_catalog(&self) -> Arc<Catalog> {
        self.catalogs.last().expect("the empty catalog is always there").1.clone()
    }

    fn check_readable(&self, seq: CommitSeq) -> Result<()> {
        if seq < self.horizon {
            return Err(Error::SnapshotExpired(format!("seq {seq} is below the horizon {}", self.horizon)));
        }
        if seq > self.published.seq {
            return Err(Error::Unavailable(format!("seq {seq} is not published yet ({})", self.published.seq)));
        }
        Ok(())
    }

    fn catalog(&self, seq: CommitSeq) -> Result<Arc<Catalog>> {
        self.check_readable(seq)?;
        let found = self.catalogs.iter().rev().find(|(s, _)| *s <= seq);
        Ok(found.expect("the empty catalog is at seq 0").1.clone())
    }

    fn readable_def(&self, seq: CommitSeq, table: TableId) -> Result<Arc<TableDef>> {
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

    /// Everything above the published seq is gone.
    fn discard_staged(&mut self) {
        let published = self.published.seq;
        self.staged = published;
        self.catalogs.retain(|(s, _)| *s <= published);
        let newest = self.newest_catalog().next_table;
        self.tables.retain(|id, _| *id < newest);
        for table in self.tables.values_mut() {
            table.rows.retain(|r| r.birth <= published);
            for row in &mut table.rows {
                if row.death > published {
                    row.death = CommitSeq::MAX;
                }
            }
            table.last_seq = table.last_seq.min(published);
            table.index = None;
        }
    }

    fn check_seq(&self, seq: CommitSeq) -> Result<()> {
        if seq <= self.published.seq {
            return Err(Error::Internal(format!("staged seq {seq} is published already ({})", self.published.seq)));
        }
        Ok(())
    }

    fn stage_rows(&mut self, batch: &ChangeBatch) -> Result<()> {
        let Some(first) = batch.seqs.first() else { return Ok(()) };
        self.check_seq(*first)?;
        let catalog = self.newest_catalog();
        let entry = catalog.table(batch.table)?;
        check_batch(batch, &entry.def, &entry.state)?;
        let table = self.tables.entry(batch.table).or_default();
        if *first < table.last_seq {
            return Err(Error::Internal(format!("{}: seq {first} staged after {}", entry.def.name, table.last_seq)));
        }
        table.apply(batch, &entry.def)?;
        self.staged = self.staged.max(*batch.seqs.last().expect("not empty"));
        Ok(())
    }

    fn stage_schema(&mut self, seq: CommitSeq, change: &SchemaChange) -> Result<()> {
        self.check_seq(seq)?;
        let before = self.newest_catalog();
        if seq < self.catalogs.last().expect("never empty").0 {
            return Err(Error::Internal(format!("schema change at {seq} staged after a later one")));
        }
        let mut after = (*before).clone();
        after.apply(seq, change)?;
        if let SchemaChange::AlterTable(def) = change {
            check_alter(&before.table(def.id)?.def, def)?;
        }
        if let SchemaChange::Truncate(id) = change {
            for row in self.tables.entry(*id).or_default().rows.iter_mut().filter(|r| r.death == CommitSeq::MAX) {
                row.death = seq;
            }
        }
        // Identity may have changed: look-ups rebuild.
        self.tables.values_mut().for_each(|t| t.index = None);
        self.catalogs.push((seq, Arc::new(after)));
        self.staged = self.staged.max(seq);
        Ok(())
    }
}

/// Rows must have the schema of the newest version, and the table must take rows.
fn check_batch(batch: &ChangeBatch, def: &TableDef, state: &TableState) -> Result<()> {
    if let TableState::Stopped { reason, .. } = state {
        return Err(Error::Internal(format!("rows staged for stopped table {}: {reason}", def.name)));
    }
    if batch.version != def.version {
        let (have, want) = (batch.version, def.version);
        return Err(Error::Internal(format!("rows of version {have} of {} staged at version {want}", def.name)));
    }
    let types = |s: &Schema| s.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
    if types(&batch.rows.schema()) != types(&def.arrow_schema()) {
        return Err(Error::Internal(format!(
            "rows of {} have other columns than its version {}",
            def.name, def.version
        )));
    }
    Ok(())
}

impl MemTable {
    /// Applies all rows or none.
    fn apply(&mut self, batch: &ChangeBatch, def: &Arc<TableDef>) -> Result<()> {
        self.ensure_index(def)?;
        let born_from = self.rows.len();
        let mut killed = Vec::new();
        for i in 0..batch.len() {
            if let Err(e) = self.apply_row(batch, i, def, &mut killed) {
                killed.iter().for_each(|k: &usize| self.rows[*k].death = CommitSeq::MAX);
                self.rows.truncate(born_from);
                self.index = None;
                return Err(e);
            }
        }
        self.last_seq = *batch.seqs.last().expect("not empty");
        Ok(())
    }

    fn apply_row(&mut self, batch: &ChangeBatch, i: usize, def: &Arc<TableDef>, killed: &mut Vec<usize>) -> Result<()> {
        let cells = batch.rows.columns().iter().map(|c| cell_at(c.as_ref(), i)).collect::<Result<Vec<_>>>()?;
        let key = identity(def, &cells);
        let (seq, op) = (batch.seqs[i], batch.ops[i]);
        let index = self.index.as_mut().expect("ensured by apply");
        let living = index.entry(key.clone()).or_default();
        let diverged = |reason: &str| Error::Diverged {
            table: def.name.to_string(),
            reason: format!("seq {seq}: {reason} {key}"),
        };
        let must_die = match op {
            RowOp::Delete if living.is_empty() => return Err(diverged("delete of a missing row")),
            RowOp::Insert if !living.is_empty() && !def.key.is_empty() => {
                return Err(diverged("insert of a row that exists,"));
            }
            // Without a key every row is a row of its own.
            RowOp::Upsert => !def.key.is_empty(),
            RowOp::Insert => false,
            RowOp::Delete | RowOp::DeleteIfExists => true,
        };
        if must_die && let Some(victim) = living.pop() {
            self.rows[victim].death = seq;
            killed.push(victim);
        }
        if op.births() {
            living.push(self.rows.len());
            self.rows.push(MemRow { def: def.clone(), cells: cells.into(), birth: seq, death: CommitSeq::MAX });
        }
        Ok(())
    }

    fn ensure_index(&mut self, def: &Arc<TableDef>) -> Result<()> {
        if self.index.is_some() {
            return Ok(());
        }
        let mut index: HashMap<String, Vec<usize>> = HashMap::new();
        for (i, row) in self.rows.iter().enumerate().filter(|(_, r)| r.death == CommitSeq::MAX) {
            index.entry(identity(def, &row.cells_as(def)?)).or_default().push(i);
        }
        self.index = Some(index);
        Ok(())
    }
}

impl MemRow {
    fn visible(&self, seq: CommitSeq) -> bool {
        self.birth <= seq && seq < self.death
    }

    /// The row as another version of its table reads it.
    fn cells_as(&self, def: &TableDef) -> Result<Vec<CellValue>> {
        def.columns.iter().map(|c| self.cell_as(def, c.id)).collect()
    }

    fn cell_as(&self, def: &TableDef, id: ColumnId) -> Result<CellValue> {
        let target = &def.columns[def.index_of(id).ok_or_else(|| Error::NotFound(format!("column id {id}")))?];
        let Some(i) = self.def.index_of(id) else {
            return Ok(target.initial.clone().unwrap_or(CellValue::Null));
        };
        let (from, to) = (data_type(&self.def.columns[i].ty), data_type(&target.ty));
        if from == to {
            return Ok(self.cells[i].clone());
        }
        let stored = array_of(&from, std::slice::from_ref(&self.cells[i]))?;
        cell_at(widen(&stored, &to)?.as_ref(), 0)
    }
}

/// What makes a row itself: its key cells, or all cells without a key.
fn identity(def: &TableDef, cells: &[CellValue]) -> String {
    if def.key.is_empty() {
        return format!("{cells:?}");
    }
    let key: Vec<&CellValue> = def.key_indexes().into_iter().map(|i| &cells[i]).collect();
    format!("{key:?}")
}

struct MemWriter {
    shared: Arc<Shared>,
    epoch: WriterEpoch,
    number: u64,
}

impl MemWriter {
    fn state(&self) -> Result<parking_lot::MutexGuard<'_, State>> {
        let state = self.shared.state.lock();
        if state.writers != self.number {
            return Err(Error::Fenced { mine: self.epoch.0, newest: state.epoch.0 });
        }
        Ok(state)
    }
}

#[async_trait]
impl StoreWriter for MemWriter {
    async fn stage(&mut self, step: DecodedStep) -> Result<()> {
        let mut state = self.state()?;
        match &step {
            DecodedStep::Rows(batch) => state.stage_rows(batch),
            DecodedStep::Schema(seq, change) => state.stage_schema(*seq, change),
        }
    }

    async fn publish(&mut self, upto: CommitSeq, position: SourcePosition) -> Result<()> {
        let mut state = self.state()?;
        let (published, staged) = (state.published.seq, state.staged);
        if upto < staged || upto < published || (upto == published && staged > published) {
            return Err(Error::Internal(format!("publish {upto} with {published} published and {staged} staged")));
        }
        state.published = Progress { seq: upto, position };
        state.staged = upto;
        let progress = state.published.clone();
        // Told without the lock: a reader that still looks at the old value may ask for anything else meanwhile.
        drop(state);
        self.shared.published.send_replace(progress);
        Ok(())
    }
}

#[async_trait]
impl StoreEngine for MemStore {
    async fn open_writer(&self, epoch: WriterEpoch) -> Result<Box<dyn StoreWriter>> {
        let mut state = self.shared.state.lock();
        if epoch < state.epoch {
            return Err(Error::Fenced { mine: epoch.0, newest: state.epoch.0 });
        }
        state.epoch = epoch;
        state.writers += 1;
        state.discard_staged();
        Ok(Box::new(MemWriter { shared: self.shared.clone(), epoch, number: state.writers }))
    }

    fn published(&self) -> watch::Receiver<Progress> {
        self.shared.published.subscribe()
    }

    fn durable(&self) -> watch::Receiver<Progress> {
        self.shared.durable.subscribe()
    }

    fn catalog(&self, seq: CommitSeq) -> Result<Arc<Catalog>> {
        self.shared.state.lock().catalog(seq)
    }

    async fn plan_scan(&self, request: &ScanRequest) -> Result<ScanPlan> {
        let state = self.shared.state.lock();
        let def = state.readable_def(request.seq, request.table)?;
        let columns = request.projection.clone().unwrap_or_else(|| def.columns.iter().map(|c| c.id).collect());
        let schema = Arc::new(projected(&def, &columns)?);
        let parts = request.target_splits.max(1);
        let live = state.live_rows(request.table, request.seq);
        let split = |part| ScanSplit {
            seq: request.seq,
            table: request.table,
            columns: columns.clone(),
            predicates: request.predicates.clone(),
            part: format!("[{part},{parts}]"),
            text_views: false,
            batch_bytes: 0,
            rows: live / parts as u64,
            bytes: 0,
        };
        let exact = request.predicates.is_empty() && request.limit.is_none();
        Ok(ScanPlan {
            schema,
            splits: (0..parts).map(split).collect(),
            exact_rows: exact.then_some(live),
            bounds: Vec::new(),
        })
    }

    async fn read_split(&self, split: &ScanSplit) -> Result<BatchStream> {
        let state = self.shared.state.lock();
        let def = state.readable_def(split.seq, split.table)?;
        let (part, parts): (usize, usize) =
            serde_json::from_str(&split.part).map_err(|e| Error::Invalid(format!("scan split {}: {e}", split.part)))?;
        let none = Vec::new();
        let rows = state.tables.get(&split.table).map_or(&none, |t| &t.rows);
        let mine: Vec<&MemRow> = rows
            .iter()
            .enumerate()
            .filter(|(i, r)| i % parts.max(1) == part && r.visible(split.seq))
            .map(|(_, r)| r)
            .collect();
        let schema = Arc::new(projected(&def, &split.columns)?);
        let mut arrays = Vec::new();
        for (field, id) in schema.fields().iter().zip(&split.columns) {
            let cells = mine.iter().map(|r| r.cell_as(&def, *id)).collect::<Result<Vec<_>>>()?;
            arrays.push(array_of(field.data_type(), &cells)?);
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(mine.len()));
        let batch = RecordBatch::try_new_with_options(schema, arrays, &options)?;
        Ok(futures::stream::iter([Ok(batch)]).boxed())
    }

    fn horizon(&self) -> CommitSeq {
        self.shared.state.lock().horizon
    }

    fn set_horizon(&self, seq: CommitSeq) {
        let mut state = self.shared.state.lock();
        state.horizon = state.horizon.max(seq.min(state.published.seq));
    }

    async fn flush(&self) -> Result<CommitSeq> {
        let mut image = self.shared.state.lock().clone();
        image.discard_staged();
        let durable = image.published.clone();
        *self.shared.durable_image.lock() = image;
        self.shared.durable.send_replace(durable.clone());
        Ok(durable.seq)
    }

    fn table_stats(&self, table: TableId) -> Result<TableStats> {
        let state = self.shared.state.lock();
        let published = state.published.seq;
        state.catalog(published)?.table(table)?;
        Ok(TableStats { live_rows: state.live_rows(table, published), ..TableStats::default() })
    }

    fn unflushed_bytes(&self) -> u64 {
        let state = self.shared.state.lock();
        let durable = self.shared.durable.borrow().seq;
        let rows = state.tables.values().flat_map(|t| &t.rows);
        64 * rows.filter(|r| r.birth > durable && r.birth <= state.published.seq).count() as u64
    }
}

impl State {
    fn live_rows(&self, table: TableId, seq: CommitSeq) -> u64 {
        self.tables.get(&table).map_or(0, |t| t.rows.iter().filter(|r| r.visible(seq)).count() as u64)
    }
}

fn projected(def: &TableDef, columns: &[ColumnId]) -> Result<Schema> {
    let all = def.arrow_schema();
    let pick = |id: &ColumnId| {
        let i = def.index_of(*id).ok_or_else(|| Error::NotFound(format!("column id {id} of {}", def.name)))?;
        Ok(all.field(i).clone())
    };
    Ok(Schema::new(columns.iter().map(pick).collect::<Result<Vec<_>>>()?))
}
