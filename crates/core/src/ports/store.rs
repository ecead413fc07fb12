//! Store engines: persist rows and read them at a seq.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::catalog::Catalog;
use crate::change::DecodedStep;
use crate::error::Result;
use crate::ports::latch::SnapshotLease;
use crate::position::SourcePosition;
use crate::seq::{ColumnId, CommitSeq, TableId, WriterEpoch};
use crate::value::CellValue;

/// How far an engine is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The newest seq.
    pub seq: CommitSeq,
    /// The upstream's position right after it.
    pub position: SourcePosition,
}

/// Record batches of one split.
pub type BatchStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

/// A store engine.
///
/// Guarantees:
/// 1. *Whole transactions*: a scan at a published seq sees exactly the rows of all transactions at or below it,
///    over all tables, whatever is staged, flushed or compacted meanwhile.
/// 2. *Atomic publish*: all tables or none; also across a crash (`durable` moves over all tables at once, with
///    its position).
/// 3. *Repeatable*: as long as a seq is at or above the horizon, plans and splits of it give the same rows, also
///    after a flush, a compaction or a restart (at or below `durable`).
/// 4. *Readable seqs*: every seq that was published is a readable seq; seqs between two publishes may be refused.
/// 5. *Fencing*: after `open_writer(e)`, writers of epochs below `e` change nothing and get `Fenced`.
/// 6. *Catalog by seq*: `catalog(s)` is the catalog right after `s`; a table that is copying is in it, but cannot be scanned
///    (`NotFound`); a stopped table is refused with its reason.
#[async_trait]
pub trait StoreEngine: Send + Sync {
    /// Takes over writing. Everything staged but unpublished is gone; published but not durable rows of an earlier
    /// writer in this process stay.
    async fn open_writer(&self, epoch: WriterEpoch) -> Result<Box<dyn StoreWriter>>;

    /// The newest published seq; changes wake waiters.
    fn published(&self) -> watch::Receiver<Progress>;

    /// The newest published seq, without a guard: what `published().borrow()` gives keeps the writer from publishing as
    /// long as it is held, so it is no argument for another call.
    fn published_seq(&self) -> CommitSeq {
        self.published().borrow().seq
    }

    /// The newest durable seq; changes wake waiters.
    fn durable(&self) -> watch::Receiver<Progress>;

    /// The catalog right after `seq` (horizon <= seq <= published).
    fn catalog(&self, seq: CommitSeq) -> Result<Arc<Catalog>>;

    /// Plans a scan: splits that together hold each matching row once.
    async fn plan_scan(&self, request: &ScanRequest) -> Result<ScanPlan>;

    /// Reads one split. Any number of times, in any order, by anyone who holds the lease.
    async fn read_split(&self, split: &ScanSplit) -> Result<BatchStream>;

    /// Reads one split for a reader who needs only the rows that `filter` keeps. The engine may leave out others, so
    /// that it need not read their other columns; it may as well give all.
    async fn read_filtered(&self, split: &ScanSplit, _filter: Arc<dyn RowFilter>) -> Result<BatchStream> {
        self.read_split(split).await
    }

    /// The oldest seq that can be read.
    fn horizon(&self) -> CommitSeq;

    /// Versions that only snapshots below `seq` can see may go.
    fn set_horizon(&self, seq: CommitSeq);

    /// Makes everything published so far durable. Returns the durable seq.
    async fn flush(&self) -> Result<CommitSeq>;

    /// Live rows, bytes and files of a table at the newest published seq.
    fn table_stats(&self, table: TableId) -> Result<TableStats>;

    /// Bytes of published rows that are not durable yet.
    fn unflushed_bytes(&self) -> u64;
}

/// The one writer of an engine.
#[async_trait]
pub trait StoreWriter: Send {
    /// Takes a step, invisibly. Steps of one table must be staged in stream order. The engine checks rows against what is
    /// stored: a step that does not fit is `Diverged`, names the table, and changes nothing.
    async fn stage(&mut self, step: DecodedStep) -> Result<()>;

    /// Makes every staged step visible at once. All staged seqs are at or below `upto`, `upto` is above (or equal
    /// to, with nothing staged) the published seq; `position` is the upstream's right after `upto`.
    async fn publish(&mut self, upto: CommitSeq, position: SourcePosition) -> Result<()>;
}

/// What to scan. Needs a lease: a scan without one does not compile.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// The snapshot.
    pub seq: CommitSeq,
    /// The lease's number at its latch: an engine in another process checks it with every read.
    pub lease: Option<u64>,
    /// The table.
    pub table: TableId,
    /// Columns to return, in this order; `None`: all.
    pub projection: Option<Vec<ColumnId>>,
    /// All must hold. For pruning: an engine may return rows that do not match.
    pub predicates: Vec<ColumnPredicate>,
    /// At most this many rows are needed (of those that match). Without predicates, a split may end after as many.
    pub limit: Option<usize>,
    /// How many splits the reader would like.
    pub target_splits: usize,
    /// Texts are welcome as views (`Utf8View`), which are not copied out of files. An engine may give `Utf8` all the same, and its plan says which.
    pub text_views: bool,
}

impl ScanRequest {
    /// All rows of a table at the lease's snapshot.
    #[must_use]
    pub fn new(lease: &SnapshotLease, table: TableId) -> ScanRequest {
        ScanRequest {
            seq: lease.seq(),
            lease: Some(lease.id()),
            table,
            projection: None,
            predicates: Vec::new(),
            limit: None,
            target_splits: 1,
            text_views: false,
        }
    }
}

/// A simple condition on one column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnPredicate {
    /// Which column.
    pub column: ColumnId,
    /// The comparison, in the order of the stored values.
    pub op: PredicateOp,
    /// One value; for `In` any number; none for the null tests.
    pub values: Vec<CellValue>,
}

/// Comparisons of [`ColumnPredicate`]. In JSON they are as the Magic API has them.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredicateOp {
    Eq,
    Lt,
    LtEq,
    Gt,
    GtEq,
    In,
    IsNull,
    IsNotNull,
}

/// A condition on rows that only the reader can evaluate.
pub trait RowFilter: Send + Sync {
    /// The columns that it is about, each once, at least one; of the table's version at the split's seq.
    fn columns(&self) -> &[ColumnId];

    /// Which rows are kept, one value per row. `rows` has the columns of [`Self::columns`], in that order, as stored.
    /// Never fails: rows that cannot be judged are kept. May be asked about rows that no snapshot sees.
    fn keep(&self, rows: &RecordBatch) -> BooleanArray;

    /// False while it keeps too many rows to be worth asking before the other columns are read.
    fn pays(&self) -> bool;
}

/// A planned scan.
#[derive(Clone, Debug)]
pub struct ScanPlan {
    /// Schema of the batches: the projected columns of the table's version at the seq.
    pub schema: SchemaRef,
    /// Parts to read, each once.
    pub splits: Vec<ScanSplit>,
    /// Exact number of live rows over all splits if no predicate or limit was given and it is known.
    pub exact_rows: Option<u64>,
    /// What is known of the columns' values without reading them, in the schema's order; empty if nothing is.
    pub bounds: Vec<Option<ColumnBounds>>,
}

/// Least and greatest value of a column over all splits of a plan (NULLs aside).
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnBounds {
    /// No value is below it, in the order of the stored values ...
    pub least: CellValue,
    /// ... and none above this one.
    pub greatest: CellValue,
    /// Rows with exactly these values are in the plan.
    pub exact: bool,
}

/// A part of a scan; serialises, so another process can read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScanSplit {
    /// The snapshot.
    pub seq: CommitSeq,
    /// The table.
    pub table: TableId,
    /// Columns, in order.
    pub columns: Vec<ColumnId>,
    /// For pruning within the split.
    pub predicates: Vec<ColumnPredicate>,
    /// The engine's own description of the part, JSON by convention.
    pub part: String,
    /// Texts come as views.
    #[serde(default)]
    pub text_views: bool,
    /// About so many bytes of values are welcome in one batch; 0: as many as suits a reader in the engine's process. Each batch costs a reader
    /// elsewhere a message.
    #[serde(default)]
    pub batch_bytes: usize,
    /// Estimated rows.
    pub rows: u64,
    /// Estimated bytes.
    pub bytes: u64,
}

/// Figures of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableStats {
    /// Live rows.
    pub live_rows: u64,
    /// Bytes in files.
    pub file_bytes: u64,
    /// Number of files.
    pub files: u64,
    /// Bytes in memory.
    pub memory_bytes: u64,
}
