//! The engine equals the oracle: random transactions, schema changes, flushes, compactions, horizons and crashes,
//! over a tiny key space, compared at every readable seq.
//!
//! `TIDELAKE_SEED=<n>` replays one seed, `TIDELAKE_SEEDS=<n>` sets how many run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use tidelake_core::ports::{ColumnPredicate, PredicateOp, ScanPlan, ScanRequest, StoreEngine, StoreWriter};
use tidelake_core::testing::MemStore;
use tidelake_core::testing::tables::{
    Row, accounts, add_column, altered, changes, create, drop_column, events, int, lease, null, pairs, position,
    rows_at, scan, schema, sorted, text,
};
use tidelake_core::types::{TypeKind, UpstreamType};
use tidelake_core::{CellValue, ColumnId, CommitSeq, DecodedStep, RowOp, SchemaChange, TableDef, TableId, WriterEpoch};
use tidelake_engine::{EngineOptions, Faults, MagicEngine};

use crate::harness::{open, over_s3, small, tempdir};

/// Where merges wait for this test.
const HOLD: &str = "test: hold merges";

/// A transaction as it would come again from the buffer.
pub struct Transaction {
    seq: u64,
    steps: Vec<DecodedStep>,
}

/// One run: the engine, the oracle, and what the buffer still has.
pub struct Run {
    rng: StdRng,
    pub options: EngineOptions,
    engine: Option<Arc<MagicEngine>>,
    pub writer: Option<Box<dyn StoreWriter>>,
    oracle: MemStore,
    oracle_writer: Box<dyn StoreWriter>,
    epoch: u64,
    pub seq: u64,
    horizon: u64,
    /// What upstream has: definition and rows of each table.
    upstream: BTreeMap<TableId, (TableDef, Vec<Row>)>,
    next_table: u64,
    buffer: Vec<Transaction>,
    /// Plans made earlier, to be read whenever.
    plans: Vec<(u64, TableId, ScanPlan)>,
    _dir: TempDir,
}

impl Run {
    pub async fn new(seed: u64, faults: Faults) -> Run {
        let dir = tempdir();
        let options = small(&dir);
        Run::with(seed, faults, options, dir).await
    }

    /// The same with files in an object store.
    pub async fn over_s3(seed: u64, faults: Faults) -> Run {
        let dir = tempdir();
        // A cache of some dozen files: others are fetched again and again.
        let options = EngineOptions { cache_bytes: 60_000, ..over_s3(small(&dir)) };
        Run::with(seed, faults, options, dir).await
    }

    async fn with(seed: u64, faults: Faults, mut options: EngineOptions, dir: TempDir) -> Run {
        options.faults = faults;
        options.row_group_rows = 4;
        options.split_rows = 1;
        let engine = open(&options).await;
        let oracle = MemStore::new();
        Run {
            rng: StdRng::seed_from_u64(seed),
            writer: Some(engine.open_writer(WriterEpoch(1)).await.unwrap()),
            engine: Some(engine),
            oracle_writer: oracle.open_writer(WriterEpoch(1)).await.unwrap(),
            oracle,
            options,
            epoch: 1,
            seq: 0,
            horizon: 0,
            upstream: BTreeMap::new(),
            next_table: 1,
            buffer: Vec::new(),
            plans: Vec::new(),
            _dir: dir,
        }
    }

    pub fn engine(&self) -> Arc<MagicEngine> {
        self.engine.clone().expect("open")
    }

    pub async fn begin(&mut self) {
        let defs = [accounts(1, "t1"), pairs(2, "t2"), events(3, "t3")];
        self.seq += 1;
        let steps = defs.iter().map(|d| create(d, self.seq)).collect();
        for def in defs {
            self.upstream.insert(def.id, (def, Vec::new()));
        }
        self.next_table = 4;
        self.commit(steps).await;
    }

    /// Stages and publishes one transaction in both stores.
    async fn commit(&mut self, steps: Vec<DecodedStep>) {
        let seq = self.seq;
        for step in &steps {
            self.writer.as_mut().unwrap().stage(step.clone()).await.expect("engine stages");
            self.oracle_writer.stage(step.clone()).await.expect("oracle stages");
        }
        self.writer.as_mut().unwrap().publish(CommitSeq(seq), position(seq)).await.expect("engine publishes");
        self.oracle_writer.publish(CommitSeq(seq), position(seq)).await.expect("oracle publishes");
        self.buffer.push(Transaction { seq, steps });
    }

    /// Lets the engine go as a crash would.
    pub fn close(&mut self) -> Option<Arc<MagicEngine>> {
        self.engine.take()
    }

    /// Data files on disk.
    pub fn files(&self) -> Vec<std::path::PathBuf> {
        let list = |dir: &std::path::Path| std::fs::read_dir(dir).into_iter().flatten().map(|e| e.unwrap().path());
        let tables = list(&self.options.dir.join("table"));
        let mut files: Vec<_> = tables.flat_map(|t| list(&t.join("l0")).chain(list(&t.join("base")))).collect();
        files.sort();
        files
    }

    /// The next writer's epoch is above this.
    pub fn replay_from(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    fn random_transaction(&mut self) -> Vec<DecodedStep> {
        self.seq += 1;
        let mut steps = Vec::new();
        let ids: Vec<TableId> = self.upstream.keys().copied().collect();
        for id in ids {
            if self.rng.random_bool(0.1) {
                steps.extend(self.random_schema_change(id));
            }
            if self.rng.random_bool(0.7) {
                steps.extend(self.random_rows(id));
            }
        }
        steps
    }

    fn random_rows(&mut self, id: TableId) -> Option<DecodedStep> {
        let seq = self.seq;
        let (def, rows) = self.upstream.get_mut(&id)?;
        let mut ops = Vec::new();
        for _ in 0..self.rng.random_range(1..8) {
            let new = random_row(&mut self.rng, def);
            let same_key = rows.iter().position(|r| !def.key.is_empty() && key(def, r) == key(def, &new));
            let victim = (!rows.is_empty()).then(|| self.rng.random_range(0..rows.len()));
            match (self.rng.random_range(0..6), same_key, victim) {
                (0 | 1, None, _) => {
                    ops.push((seq, RowOp::Insert, new.clone()));
                    rows.push(new);
                }
                (2, _, Some(v)) => {
                    ops.push((seq, RowOp::Delete, rows.swap_remove(v)));
                }
                (3, Some(same), _) => {
                    ops.push((seq, RowOp::Delete, rows[same].clone()));
                    ops.push((seq, RowOp::Insert, new.clone()));
                    rows[same] = new;
                }
                (4, _, _) => {
                    ops.push((seq, RowOp::Upsert, new.clone()));
                    if let Some(same) = same_key {
                        rows.swap_remove(same);
                    }
                    rows.push(new);
                }
                (5, _, _) => {
                    ops.push((seq, RowOp::DeleteIfExists, new.clone()));
                    let there = if def.key.is_empty() { rows.iter().position(|r| *r == new) } else { same_key };
                    if let Some(there) = there {
                        rows.swap_remove(there);
                    }
                }
                _ => {}
            }
        }
        (!ops.is_empty()).then(|| changes(def, &ops))
    }

    fn random_schema_change(&mut self, id: TableId) -> Option<DecodedStep> {
        let seq = self.seq;
        let (def, rows) = self.upstream.get_mut(&id)?;
        match self.rng.random_range(0..6) {
            0 => {
                rows.clear();
                Some(schema(seq, SchemaChange::Truncate(id)))
            }
            1 if def.columns.len() < 6 => {
                let name = format!("c{}", def.next_column);
                let next = altered(def, |d| add_column(d, &name, UpstreamType::new(TypeKind::Int), int(5)));
                rows.iter_mut().for_each(|r| r.push(int(5)));
                *def = next.clone();
                Some(schema(seq, SchemaChange::AlterTable(Box::new(next))))
            }
            2 => {
                let at = def.columns.iter().position(|c| !def.key.contains(&c.id) && c.id != ColumnId(1))?;
                let name = def.columns[at].name.clone();
                let next = altered(def, |d| drop_column(d, &name));
                rows.iter_mut().for_each(|r| drop(r.remove(at)));
                *def = next.clone();
                Some(schema(seq, SchemaChange::AlterTable(Box::new(next))))
            }
            3 => {
                let column = def.columns.iter().position(|c| c.ty.kind == TypeKind::Int)?;
                let next = altered(def, |d| d.columns[column].ty = UpstreamType::new(TypeKind::BigInt));
                *def = next.clone();
                Some(schema(seq, SchemaChange::AlterTable(Box::new(next))))
            }
            4 => {
                let mut name = def.name.clone();
                name.table = format!("{}x", &name.table[..2]);
                let next = altered(def, |d| d.name = name.clone());
                *def = next;
                Some(schema(seq, SchemaChange::Rename(vec![(id, name)])))
            }
            _ if self.rng.random_bool(0.3) => {
                let name = def.name.table.clone();
                let kind = self.rng.random_range(0..3);
                self.upstream.remove(&id);
                let new = [accounts, pairs, events][kind](self.next_table, &name);
                self.next_table += 1;
                // Its CREATE comes at the end of the transaction.
                self.pending_create(new);
                Some(schema(seq, SchemaChange::DropTable(id)))
            }
            _ => None,
        }
    }

    fn pending_create(&mut self, def: TableDef) {
        self.upstream.insert(def.id, (def, Vec::new()));
    }

    /// CREATEs of tables that upstream has and the catalog does not.
    fn creates(&mut self, steps: &[DecodedStep]) -> Vec<DecodedStep> {
        let catalog = self.oracle.catalog(CommitSeq(self.seq - 1)).unwrap();
        let made: Vec<u64> = steps
            .iter()
            .filter_map(|s| match s {
                DecodedStep::Schema(_, c) => match &**c {
                    SchemaChange::CreateTable { def, .. } => Some(def.id.0),
                    _ => None,
                },
                DecodedStep::Rows(_) => None,
            })
            .collect();
        let missing = |id: &TableId| !catalog.tables.contains_key(id) && !made.contains(&id.0);
        self.upstream.iter().filter(|(id, _)| missing(id)).map(|(_, (def, _))| create(def, self.seq)).collect()
    }

    pub async fn crash(&mut self) {
        self.writer = None;
        self.engine = None;
        self.options.faults.clear();
        let engine = open(&self.options).await;
        let durable = engine.durable().borrow().seq.0;
        self.plans.retain(|p| p.0 <= durable);
        self.epoch += 1;
        let mut writer = engine.open_writer(WriterEpoch(self.epoch)).await.unwrap();
        // The buffer brings everything after durable again, in other batches than before.
        let mut staged = 0;
        for t in self.buffer.iter().filter(|t| t.seq > durable) {
            for step in &t.steps {
                writer.stage(step.clone()).await.expect("replay fits");
            }
            staged = t.seq;
            if self.rng.random_bool(0.5) {
                writer.publish(CommitSeq(t.seq), position(t.seq)).await.unwrap();
                staged = 0;
            }
        }
        if staged > 0 {
            writer.publish(CommitSeq(staged), position(staged)).await.unwrap();
        }
        self.writer = Some(writer);
        self.engine = Some(engine);
    }

    /// Stages part of a transaction, then a new writer takes over.
    async fn discard(&mut self) {
        let upstream = self.upstream.clone();
        let (seq, next_table) = (self.seq, self.next_table);
        let mut steps = self.random_transaction();
        let creates = self.creates(&steps);
        steps.extend(creates);
        let keep = self.rng.random_range(0..=steps.len());
        for step in steps.into_iter().take(keep) {
            self.writer.as_mut().unwrap().stage(step).await.unwrap();
        }
        (self.upstream, self.seq, self.next_table) = (upstream, seq, next_table);
        self.epoch += 1;
        self.writer = Some(self.engine().open_writer(WriterEpoch(self.epoch)).await.unwrap());
    }

    pub async fn flush(&mut self) {
        let durable = self.engine().flush().await.unwrap().0;
        self.buffer.retain(|t| t.seq > durable);
    }

    /// Compares all tables at one seq; an error says where they differ.
    async fn compare(&mut self, seq: u64) -> Result<(), String> {
        let engine = self.engine();
        let (mine, theirs) = (engine.catalog(CommitSeq(seq)), self.oracle.catalog(CommitSeq(seq)));
        let (Ok(mine), Ok(theirs)) = (mine, theirs) else { return Err(format!("catalog at {seq}")) };
        if mine != theirs {
            return Err(format!("catalogs differ at {seq}"));
        }
        for id in theirs.tables.keys() {
            let have = rows_at(&*engine, seq, *id).await.map_err(|e| format!("table {id} at {seq}: {e}"))?;
            let want = rows_at(&self.oracle, seq, *id).await.unwrap();
            if have != want {
                return Err(format!("table {id} at {seq}: have {have:?}, want {want:?}"));
            }
        }
        Ok(())
    }

    /// A scan with a predicate loses no matching row.
    async fn compare_predicate(&mut self) -> Result<(), String> {
        let seq = self.rng.random_range(self.horizon..=self.seq);
        let catalog = self.oracle.catalog(CommitSeq(seq)).unwrap();
        let Some((id, entry)) = catalog.tables.iter().next() else { return Ok(()) };
        let Some(at) = entry.def.columns.iter().position(|c| c.ty.is_integer()) else { return Ok(()) };
        let value = self.rng.random_range(0..8);
        let (op, holds): (_, fn(i64, i64) -> bool) = match self.rng.random_range(0..3) {
            0 => (PredicateOp::Eq, |a, b| a == b),
            1 => (PredicateOp::Lt, |a, b| a < b),
            _ => (PredicateOp::GtEq, |a, b| a >= b),
        };
        let mut request = ScanRequest::new(&lease(seq), *id);
        request.predicates = vec![ColumnPredicate { column: entry.def.columns[at].id, op, values: vec![int(value)] }];
        let keep = |rows: Vec<Row>| -> Vec<Row> {
            rows.into_iter().filter(|r| matches!(r[at], CellValue::Int(v) if holds(v, value))).collect()
        };
        let have = keep(scan(&*self.engine(), &request).await.map_err(|e| e.to_string())?);
        let want = keep(rows_at(&self.oracle, seq, *id).await.unwrap());
        if have == want { Ok(()) } else { Err(format!("{request:?}: have {have:?}, want {want:?}")) }
    }

    /// A plan made earlier still gives the rows of its seq.
    async fn compare_old_plan(&mut self) -> Result<(), String> {
        use futures::TryStreamExt;
        self.plans.retain(|p| p.0 >= self.horizon);
        if self.plans.is_empty() {
            return Ok(());
        }
        let at = self.rng.random_range(0..self.plans.len());
        let (seq, id, plan) = self.plans.swap_remove(at);
        let mut rows = Vec::new();
        for split in &plan.splits {
            let read = self.engine().read_split(split).await.map_err(|e| format!("old plan at {seq}: {e}"))?;
            let batches: Vec<_> = read.try_collect().await.map_err(|e| format!("old plan at {seq}: {e}"))?;
            for batch in batches {
                rows.extend(tidelake_core::testing::tables::cells_of(&batch).unwrap());
            }
        }
        let want = rows_at(&self.oracle, seq, id).await.unwrap();
        if sorted(rows) == want { Ok(()) } else { Err(format!("old plan of table {id} at {seq} reads other rows")) }
    }

    async fn make_plan(&mut self) {
        let seq = self.rng.random_range(self.horizon..=self.seq);
        let catalog = self.oracle.catalog(CommitSeq(seq)).unwrap();
        let Some(id) = catalog.tables.keys().next().copied() else { return };
        let mut request = ScanRequest::new(&lease(seq), id);
        request.target_splits = self.rng.random_range(1..5);
        request.text_views = seq.is_multiple_of(2);
        let plan = self.engine().plan_scan(&request).await.unwrap();
        self.plans.push((seq, id, plan));
    }

    /// One random transaction in both stores.
    pub async fn transaction(&mut self) {
        let mut steps = self.random_transaction();
        let creates = self.creates(&steps);
        steps.extend(creates);
        self.commit(steps).await;
    }

    /// Merges while transactions, flushes and a moving horizon go on beside.
    async fn merge_beside(&mut self) -> Result<(), String> {
        let faults = self.options.faults.clone();
        faults.set(HOLD);
        let engine = self.engine();
        let merging = tokio::spawn(async move { engine.compact().await });
        while !faults.reached(HOLD) && !merging.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for _ in 0..self.rng.random_range(1..5) {
            match self.rng.random_range(0..4) {
                0 | 1 => self.transaction().await,
                2 => self.flush().await,
                _ => self.advance_horizon(),
            }
        }
        faults.unset(HOLD);
        merging.await.map_err(|e| e.to_string())?.map_err(|e| format!("merge beside: {e}"))?;
        Ok(())
    }

    /// A horizon that no flush has written yet is not known after a crash: older is then readable too.
    fn advance_horizon(&mut self) {
        self.horizon = self.rng.random_range(self.horizon..=self.seq);
        self.engine().set_horizon(CommitSeq(self.horizon));
    }

    async fn step(&mut self) -> Result<(), String> {
        match self.rng.random_range(0..21) {
            0..=9 => self.transaction().await,
            10 | 11 => self.flush().await,
            12 => drop(self.engine().compact().await.map_err(|e| e.to_string())?),
            13 => self.crash().await,
            14 => self.discard().await,
            15 => self.advance_horizon(),
            16 => self.make_plan().await,
            17 => self.compare_old_plan().await?,
            18 => self.compare_predicate().await?,
            19 => self.merge_beside().await?,
            _ => {
                let seq = self.rng.random_range(self.horizon..=self.seq);
                self.compare(seq).await?;
            }
        }
        Ok(())
    }

    pub async fn compare_everything(&mut self) -> Result<(), String> {
        for seq in self.horizon..=self.seq {
            self.compare(seq).await?;
        }
        Ok(())
    }
}

fn key(def: &TableDef, row: &Row) -> Vec<CellValue> {
    def.key_indexes().into_iter().map(|i| row[i].clone()).collect()
}

fn random_row(rng: &mut StdRng, def: &TableDef) -> Row {
    def.columns
        .iter()
        .map(|c| match c.ty.kind {
            TypeKind::VarChar if c.nullable && rng.random_bool(0.2) => null(),
            TypeKind::VarChar => text(["", "a", "A", "ab", "é"][rng.random_range(0..5)]),
            _ => int(rng.random_range(0..6)),
        })
        .collect()
}

/// Runs one seed; an error is a difference from the oracle.
async fn run(seed: u64, faults: Faults, steps: usize, max_files: usize, s3: bool) -> Result<(), String> {
    // Half of the seeds compact only where the run says so: then deaths that are not durable yet meet merges.
    if seed % 2 == 1 {
        faults.set("test: no own compaction");
    }
    let mut run = if s3 { Run::over_s3(seed, faults).await } else { Run::new(seed, faults).await };
    run.options.max_files = max_files;
    if max_files < 100 {
        run.options.max_dead = 0.2;
    }
    // Base files of three or five rows: ranges split, and large generations are base files at once.
    if seed % 4 < 2 {
        run.options.base_file_rows = 3 + 2 * (seed % 2);
        run.options.base_ratio = if seed % 8 < 4 { 4 } else { 1 };
    }
    run.options.join_chunks = [2, 3, 32, 0][seed as usize % 4];
    // A third of the seeds spill before every step but the first of a transaction.
    if seed.is_multiple_of(3) {
        run.options.spill_bytes = Some(1);
    }
    run.crash().await;
    run.begin().await;
    for _ in 0..steps {
        run.step().await?;
    }
    run.compare_everything().await?;
    run.flush().await;
    run.compare_everything().await?;
    run.crash().await;
    run.compare_everything().await
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    match number("TIDELAKE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TIDELAKE_SEEDS").unwrap_or(default),
    }
}

fn check(default: u64, steps: usize, max_files: usize, s3: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for seed in seeds(default) {
        // A panic inside is an error of this seed too.
        let result = runtime.block_on(async { tokio::spawn(run(seed, Faults::armed(), steps, max_files, s3)).await });
        match result {
            Ok(Ok(())) => {}
            Ok(Err(e)) => panic!("TIDELAKE_SEED={seed}: {e}"),
            Err(e) => panic!("TIDELAKE_SEED={seed}: {e}"),
        }
    }
}

#[test]
fn inv1_whole_transactions_at_every_readable_seq() {
    check(1000, 60, 1000, false);
}

#[test]
fn inv2_nothing_lost_nothing_twice_with_compaction() {
    check(1000, 60, 2, false);
}

/// Files in an object store, with a cache that does not hold all of them.
#[test]
fn inv2_nothing_lost_nothing_twice_over_s3() {
    check(4, 30, 2, true);
}

/// Steps that make the bug matter, with the bug on: the comparison must notice.
async fn notices(bug: &'static str, seed: u64) -> bool {
    let faults = Faults::armed();
    // A merge right after its flush has no later deaths to carry over.
    faults.set("test: no own compaction");
    let mut run = Run::new(seed, faults.clone()).await;
    run.options.max_files = 1;
    run.options.base_file_rows = 3;
    run.crash().await;
    run.begin().await;
    for _ in 0..12 {
        faults.set(bug);
        let mut steps = run.random_transaction();
        let creates = run.creates(&steps);
        steps.extend(creates);
        // A bug may also be noticed by the strict checks of the next step.
        for step in &steps {
            if run.writer.as_mut().unwrap().stage(step.clone()).await.is_err() {
                return true;
            }
            run.oracle_writer.stage(step.clone()).await.unwrap();
        }
        run.writer.as_mut().unwrap().publish(CommitSeq(run.seq), position(run.seq)).await.unwrap();
        run.oracle_writer.publish(CommitSeq(run.seq), position(run.seq)).await.unwrap();
        if run.rng.random_bool(0.5) {
            run.engine().flush().await.unwrap();
        }
        if run.rng.random_bool(0.3) && run.engine().compact().await.is_err() {
            return true;
        }
        if run.compare_everything().await.is_err() {
            return true;
        }
    }
    false
}

/// The suite is worth something only if it fails on engines that are wrong.
#[test]
fn known_bugs_are_noticed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let bugs = [
        "bug: skip deaths during flush",
        "bug: skip deaths during compaction",
        "bug: seq off by one",
        "bug: empty mask",
        "bug: valid_from off by one",
        "bug: base files overlap",
        "bug: flush over base files",
    ];
    for bug in bugs {
        let noticed = (0..20).any(|seed| {
            let outcome = runtime.block_on(async { tokio::spawn(notices(bug, seed)).await });
            outcome.unwrap_or(true)
        });
        assert!(noticed, "{bug} went unnoticed");
    }
}
