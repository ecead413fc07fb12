//! Small tables, rows and changes for tests, and reading a table back as sorted cells.

use arrow::array::{Array, RecordBatch};
use futures::TryStreamExt;

use crate::catalog::{SchemaChange, TableState};
use crate::change::{ChangeBatch, DecodedStep, RowOp};
use crate::error::Result;
use crate::ports::{ScanRequest, ScanSplit, SnapshotLease, StoreEngine};
use crate::position::SourcePosition;
use crate::schema::{ColumnDef, TableDef, TableName};
use crate::seq::{ColumnId, CommitSeq, TableId};
use crate::types::{TypeKind, UpstreamType};
use crate::value::{CellValue, array_of, cell_at};

/// One row as cells, in the table's column order.
pub type Row = Vec<CellValue>;

/// A signed integer cell.
#[must_use]
pub fn int(v: i64) -> CellValue {
    CellValue::Int(v)
}

/// A text cell.
#[must_use]
pub fn text(v: &str) -> CellValue {
    CellValue::Str(v.to_owned())
}

/// SQL NULL.
#[must_use]
pub fn null() -> CellValue {
    CellValue::Null
}

fn varchar() -> UpstreamType {
    UpstreamType::new(TypeKind::VarChar).with_length(50).with_charset("utf8mb4", "utf8mb4_general_ci")
}

/// `bank.<name>(id INT key, balance INT, note VARCHAR NULL)`.
#[must_use]
pub fn accounts(id: u64, name: &str) -> TableDef {
    let columns = vec![
        ColumnDef::new(1, "id", UpstreamType::new(TypeKind::Int)),
        ColumnDef::new(2, "balance", UpstreamType::new(TypeKind::Int)),
        ColumnDef::new(3, "note", varchar()).nullable(),
    ];
    with_id(TableDef::new(TableName::new("bank", name), columns, &["id"]), id)
}

/// `bank.<name>(a VARCHAR, b VARCHAR, n INT)` with key `(b, a)`.
#[must_use]
pub fn pairs(id: u64, name: &str) -> TableDef {
    let columns = vec![
        ColumnDef::new(1, "a", varchar()),
        ColumnDef::new(2, "b", varchar()),
        ColumnDef::new(3, "n", UpstreamType::new(TypeKind::Int)),
    ];
    with_id(TableDef::new(TableName::new("bank", name), columns, &["b", "a"]), id)
}

/// `bank.<name>(n INT, what VARCHAR NULL)` without a key.
#[must_use]
pub fn events(id: u64, name: &str) -> TableDef {
    let columns =
        vec![ColumnDef::new(1, "n", UpstreamType::new(TypeKind::Int)), ColumnDef::new(2, "what", varchar()).nullable()];
    with_id(TableDef::new(TableName::new("bank", name), columns, &[]), id)
}

/// The definition with this table id.
#[must_use]
pub fn with_id(mut def: TableDef, id: u64) -> TableDef {
    def.id = TableId(id);
    def
}

/// The next version of a table, changed by `change`.
#[must_use]
pub fn altered(def: &TableDef, change: impl FnOnce(&mut TableDef)) -> TableDef {
    let mut next = def.clone();
    change(&mut next);
    next.version = def.version + 1;
    next
}

/// Adds a column at the end, with what old rows hold.
pub fn add_column(def: &mut TableDef, name: &str, ty: UpstreamType, initial: CellValue) {
    let mut column = ColumnDef::new(def.next_column.0, name, ty);
    column.nullable = initial == CellValue::Null;
    column.initial = Some(initial);
    def.next_column = ColumnId(def.next_column.0 + 1);
    def.columns.push(column);
}

/// Drops a column by name.
pub fn drop_column(def: &mut TableDef, name: &str) {
    def.columns.retain(|c| c.name != name);
}

/// Rows as a batch with the table's schema.
///
/// # Panics
/// If a cell does not fit its column: a mistake in the test.
#[must_use]
pub fn batch(def: &TableDef, rows: &[Row]) -> RecordBatch {
    let schema = def.arrow_schema();
    let columns = (0..def.columns.len())
        .map(|c| {
            let cells: Vec<CellValue> = rows.iter().map(|r| r[c].clone()).collect();
            array_of(schema.field(c).data_type(), &cells).expect("cells fit their column")
        })
        .collect();
    RecordBatch::try_new(schema, columns).expect("rows fit the table")
}

/// A step of row changes: `(seq, what, row)` in order.
///
/// # Panics
/// If the rows do not fit the table or seqs descend: a mistake in the test.
#[must_use]
pub fn changes(def: &TableDef, ops: &[(u64, RowOp, Row)]) -> DecodedStep {
    let rows: Vec<Row> = ops.iter().map(|o| o.2.clone()).collect();
    let seqs = ops.iter().map(|o| CommitSeq(o.0)).collect();
    let what = ops.iter().map(|o| o.1).collect();
    let batch = ChangeBatch::new(def.id, def.version, seqs, what, batch(def, &rows)).expect("seqs ascend");
    DecodedStep::Rows(batch)
}

/// A step that inserts rows.
#[must_use]
pub fn inserts(def: &TableDef, seq: u64, rows: &[Row]) -> DecodedStep {
    changes(def, &rows.iter().map(|r| (seq, RowOp::Insert, r.clone())).collect::<Vec<_>>())
}

/// A step that creates a live table.
#[must_use]
pub fn create(def: &TableDef, seq: u64) -> DecodedStep {
    schema(seq, SchemaChange::CreateTable { def: Box::new(def.clone()), state: TableState::Live })
}

/// A step that creates a copying table.
#[must_use]
pub fn create_copying(def: &TableDef, seq: u64, copy_id: u64) -> DecodedStep {
    let state = TableState::Copying { copy_id, from: position(seq), cursor: String::new() };
    schema(seq, SchemaChange::CreateTable { def: Box::new(def.clone()), state })
}

/// A schema step.
#[must_use]
pub fn schema(seq: u64, change: SchemaChange) -> DecodedStep {
    DecodedStep::Schema(CommitSeq(seq), Box::new(change))
}

/// A position for tests: right after transaction `n`.
#[must_use]
pub fn position(n: u64) -> SourcePosition {
    SourcePosition { major: 1, minor: n, token: format!("tx {n}"), commit_time_us: n as i64 }
}

/// A lease that nothing checks.
#[must_use]
pub fn lease(seq: u64) -> SnapshotLease {
    SnapshotLease::new(seq, CommitSeq(seq), std::sync::Arc::new(()))
}

/// All cells of a batch, row by row.
///
/// # Errors
/// If a column is not of a stored type.
pub fn cells_of(batch: &RecordBatch) -> Result<Vec<Row>> {
    (0..batch.num_rows())
        .map(|r| batch.columns().iter().map(|c| cell_at(c.as_ref() as &dyn Array, r)).collect())
        .collect()
}

/// All rows of a table at a seq, sorted, after checking that the plan keeps its promises (schema of every
/// batch, exact row count).
///
/// # Errors
/// What planning and reading give.
///
/// # Panics
/// If the plan's promises are broken.
pub async fn rows_at(engine: &dyn StoreEngine, seq: u64, table: TableId) -> Result<Vec<Row>> {
    let mut request = ScanRequest::new(&lease(seq), table);
    request.target_splits = 3;
    // Views and texts are the same rows: one seq is read so, the next otherwise.
    request.text_views = seq.is_multiple_of(2);
    scan(engine, &request).await
}

/// All rows of a scan, sorted by their debug form.
///
/// # Errors
/// What planning and reading give.
///
/// # Panics
/// If the plan's promises are broken.
pub async fn scan(engine: &dyn StoreEngine, request: &ScanRequest) -> Result<Vec<Row>> {
    let plan = engine.plan_scan(request).await?;
    let mut rows = Vec::new();
    for split in &plan.splits {
        // Of any size are they the same rows: that of one seq is the engine's, of the next small, then large.
        let batch_bytes = (request.seq.0 as usize % 3) << 19;
        let split = ScanSplit { batch_bytes, ..split.clone() };
        let batches: Vec<RecordBatch> = engine.read_split(&split).await?.try_collect().await?;
        for batch in batches {
            assert_eq!(batch.schema(), plan.schema, "every batch has the plan's schema");
            rows.extend(cells_of(&batch)?);
        }
    }
    if let Some(exact) = plan.exact_rows {
        assert_eq!(exact, rows.len() as u64, "exact_rows of the plan");
    }
    rows.sort_by_cached_key(|r| format!("{r:?}"));
    Ok(rows)
}

/// Rows in the order of [`rows_at`].
#[must_use]
pub fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_cached_key(|r| format!("{r:?}"));
    rows
}
