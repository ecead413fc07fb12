//! Engine, latch and SQL room in this process, over a directory of their own: what is measured without a wire.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::TryStreamExt;
use tempfile::TempDir;
use tidelake_access::Caller;
use tidelake_calc::session::{RowStream, SessionInfo, SqlOutcome, SqlService};
use tidelake_calc::sql::{SqlEngine, SqlOptions};
use tidelake_calc::wire::{WireOptions, WireServer};
use tidelake_core::catalog::{SchemaChange, TableState};
use tidelake_core::change::{ChangeBatch, DecodedStep, RowOp};
use tidelake_core::ports::{ColumnPredicate, PredicateOp, ScanRequest, SnapshotLease, StoreEngine, StoreWriter};
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{
    Catalog, CellValue, ColumnId, CommitSeq, Error, Moment, SourcePosition, TableDef, TableId, TableName, WriterEpoch,
};
use tidelake_engine::{Compression, EngineOptions, MagicEngine};
use tidelake_latch::{FreshnessProbe, LatchOptions, LocalLatch};
use tokio_util::sync::CancellationToken;

use crate::Codec;

/// A replica whose upstream is the benchmark.
pub struct Lab {
    /// Removed with it.
    dir: TempDir,
    engine: Arc<MagicEngine>,
    writer: Box<dyn StoreWriter>,
    sql: Arc<SqlEngine>,
    seq: u64,
}

/// Nobody asks for the latest.
struct NoUpstream;

#[async_trait]
impl FreshnessProbe for NoUpstream {
    async fn seq_of_latest(&self) -> tidelake_core::Result<CommitSeq> {
        Err(Error::Unavailable("a benchmark has no upstream".into()))
    }

    fn missing_table(&self, _: &Catalog) -> Option<TableName> {
        None
    }

    async fn seq_of(&self, _: &SourcePosition) -> tidelake_core::Result<CommitSeq> {
        Err(Error::Unavailable("a benchmark has no upstream".into()))
    }

    async fn read_past(&self, _: &Moment) -> tidelake_core::Result<()> {
        Err(Error::Unavailable("a benchmark has no upstream".into()))
    }

    fn seq_at(&self, _: &Moment) -> tidelake_core::Result<Option<CommitSeq>> {
        Ok(None)
    }

    fn commit_time(&self, _: CommitSeq) -> tidelake_core::Result<Option<i64>> {
        Ok(None)
    }
}

impl Lab {
    /// An empty replica with the defaults of `tidelake run`.
    pub async fn open() -> Result<Lab> {
        Lab::with(Codec::default()).await
    }

    /// With base files compressed so.
    pub async fn with(codec: Codec) -> Result<Lab> {
        let dir = tempfile::Builder::new().prefix("tidelake-bench-").tempdir()?;
        let compression = match codec {
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        };
        let options = EngineOptions { compression, ..EngineOptions::new(dir.path().join("engine")) };
        let engine = MagicEngine::open(options).await?;
        let writer = engine.open_writer(WriterEpoch(1)).await?;
        let sql = Lab::room(&dir, &engine)?;
        Ok(Lab { dir, engine, writer, sql, seq: 0 })
    }

    fn room(dir: &TempDir, engine: &Arc<MagicEngine>) -> Result<Arc<SqlEngine>> {
        let store = || Arc::clone(engine) as Arc<dyn StoreEngine>;
        let latch = Lab::latch_of(dir, engine)?;
        let mut options = SqlOptions::new(store(), latch, ServerFlavor::MySql);
        options.spill_dir = Some(dir.path().join("spill"));
        std::fs::create_dir_all(dir.path().join("spill"))?;
        Ok(SqlEngine::new(options)?)
    }

    fn latch_of(dir: &TempDir, engine: &Arc<MagicEngine>) -> Result<Arc<LocalLatch>> {
        let latch = LatchOptions::new(dir.path().join("latch"), CommitSeq::ZERO);
        std::fs::create_dir_all(&latch.dir)?;
        Ok(LocalLatch::open(latch, Arc::clone(engine) as Arc<dyn StoreEngine>, Arc::new(NoUpstream))?)
    }

    /// A latch of its own for readers that use no SQL.
    pub fn latch(&self) -> Result<Arc<LocalLatch>> {
        Lab::latch_of(&self.dir, &self.engine)
    }

    /// The engine.
    pub fn engine(&self) -> Arc<dyn StoreEngine> {
        self.engine.clone()
    }

    /// The next transaction's seq.
    fn next(&mut self) -> CommitSeq {
        self.seq += 1;
        CommitSeq(self.seq)
    }

    async fn publish(&mut self, seq: CommitSeq) -> Result<()> {
        let position =
            SourcePosition { major: 1, minor: seq.0, token: format!("tx {seq}"), commit_time_us: seq.0 as i64 };
        Ok(self.writer.publish(seq, position).await?)
    }

    /// CREATE DATABASE and CREATE TABLE.
    pub async fn create(&mut self, def: &TableDef) -> Result<()> {
        let database = SchemaChange::CreateDatabase(def.name.database.clone());
        let table = SchemaChange::CreateTable { def: Box::new(def.clone()), state: TableState::Live };
        for change in [database, table] {
            let seq = self.next();
            self.writer.stage(DecodedStep::Schema(seq, Box::new(change))).await?;
            self.publish(seq).await?;
        }
        Ok(())
    }

    /// One transaction of row images.
    pub async fn change(&mut self, def: &TableDef, ops: Vec<RowOp>, rows: RecordBatch) -> Result<()> {
        let seq = self.next();
        let batch = ChangeBatch::new(def.id, def.version, vec![seq; ops.len()], ops, rows)?;
        self.writer.stage(DecodedStep::Rows(batch)).await?;
        self.publish(seq).await
    }

    /// One transaction of new rows.
    pub async fn insert(&mut self, def: &TableDef, rows: RecordBatch) -> Result<()> {
        self.change(def, vec![RowOp::Insert; rows.num_rows()], rows).await
    }

    /// Everything into files.
    pub async fn flush(&self) -> Result<()> {
        self.engine.flush().await?;
        Ok(())
    }

    /// Everything into files, and these merged as far as the engine does it.
    pub async fn compact(&self) -> Result<()> {
        // Until old snapshots may go, merges have nothing to leave out.
        tokio::time::sleep(Duration::from_secs(6)).await;
        self.flush().await?;
        while self.engine.compact().await? > 0 {}
        Ok(())
    }

    /// Number of rows that the engine reads for one value of a key of one integer column.
    pub async fn rows_of_key(&self, table: TableId, column: ColumnId, key: i64) -> Result<usize> {
        let lease = SnapshotLease::new(self.seq, CommitSeq(self.seq), Arc::new(()));
        let mut request = ScanRequest::new(&lease, table);
        request.predicates = vec![ColumnPredicate { column, op: PredicateOp::Eq, values: vec![CellValue::Int(key)] }];
        let mut found = 0;
        for split in &self.engine.plan_scan(&request).await?.splits {
            let batches: Vec<RecordBatch> = self.engine.read_split(split).await?.try_collect().await?;
            found += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        }
        Ok(found)
    }

    /// A listener of the MySQL protocol.
    pub async fn listen(&self) -> Result<WireServer> {
        let (service, cancel) = (Arc::clone(&self.sql) as Arc<dyn SqlService>, CancellationToken::new());
        Ok(WireServer::bind("127.0.0.1:0".parse()?, service, WireOptions::default(), cancel).await?)
    }

    /// Files of a table.
    pub fn files(&self, def: &TableDef) -> Result<u64> {
        Ok(self.engine.table_stats(def.id)?.files)
    }

    /// The batches of a query's result.
    pub async fn query(&self, database: &str, sql: &str) -> Result<Vec<RecordBatch>> {
        Ok(self.rows(database, sql).await?.try_collect().await?)
    }

    /// Number of rows of a query's result, which are not kept.
    pub async fn drain(&self, database: &str, sql: &str) -> Result<u64> {
        let rows = self.rows(database, sql).await?;
        Ok(rows.try_fold(0, async |n, batch| Ok(n + batch.num_rows() as u64)).await?)
    }

    async fn rows(&self, database: &str, sql: &str) -> Result<RowStream> {
        let info = SessionInfo {
            caller: Caller::trusted("bench"),
            remote: None,
            database: Some(database.to_owned()),
            connection_id: 1,
        };
        let mut session = self.sql.open(info).await?;
        match session.execute(sql).await? {
            SqlOutcome::Rows(rows) => Ok(rows.rows),
            SqlOutcome::Done | SqlOutcome::Remembered => bail!("no rows: {sql}"),
        }
    }

    /// Bytes of the table's key indexes, deaths and rows in memory, and of its files.
    pub fn sizes(&self, def: &TableDef) -> Result<(u64, u64)> {
        let stats = self.engine.table_stats(def.id)?;
        Ok((stats.memory_bytes, stats.file_bytes))
    }

    /// Ends engine and SQL room, and opens them again over the same directory; how long opening took.
    pub async fn reopen(self) -> Result<(Lab, Duration)> {
        let Lab { dir, engine, writer, sql, seq } = self;
        drop((writer, sql));
        // The latch's sweeper lets go of the engine at its next turn.
        let mut waiting = Some(engine);
        while let Some(engine) = waiting.take() {
            if Arc::strong_count(&engine) > 1 {
                waiting = Some(engine);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let begun = Instant::now();
        let engine = MagicEngine::open(EngineOptions::new(dir.path().join("engine"))).await?;
        let writer = engine.open_writer(WriterEpoch(2)).await?;
        let sql = Lab::room(&dir, &engine)?;
        let took = begun.elapsed();
        Ok((Lab { dir, engine, writer, sql, seq }, took))
    }
}
