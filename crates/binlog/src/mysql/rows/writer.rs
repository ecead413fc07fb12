//! Row images of one table, collected in Arrow builders until they are handed over.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use tidelake_core::{ChangeBatch, CommitSeq, Result, RowOp, TableDef};

use super::builder::ColumnBuilder;
use super::plan::{Image, TablePlan};
use super::{RowsEvent, RowsKind, bit};
use crate::mysql::reader::{Malformed, Parsed, Reader};

/// Rows after which a batch is handed over.
pub const MAX_ROWS: usize = 64 * 1024;
/// Bytes after which a batch is handed over.
pub const MAX_BYTES: usize = 64 << 20;

/// What row images mean for the table: (before image, after image).
pub type Ops = (RowOp, RowOp);

/// An open batch of one table version.
pub struct TableWriter {
    def: Arc<TableDef>,
    schema: SchemaRef,
    builders: Vec<ColumnBuilder>,
    scratch: String,
    seqs: Vec<CommitSeq>,
    ops: Vec<RowOp>,
    /// Images that are no rows of the replica (history), by index.
    dropped: Vec<usize>,
    bytes: usize,
}

impl TableWriter {
    /// An empty batch for rows of `def`.
    ///
    /// # Errors
    /// If a column has no stored form.
    pub fn new(def: &Arc<TableDef>) -> Result<TableWriter> {
        let schema = def.arrow_schema();
        let builders = schema.fields().iter().map(|f| ColumnBuilder::new(f.data_type())).collect::<Result<_>>()?;
        Ok(TableWriter {
            def: Arc::clone(def),
            schema,
            builders,
            scratch: String::new(),
            seqs: Vec::new(),
            ops: Vec::new(),
            dropped: Vec::new(),
            bytes: 0,
        })
    }

    /// The version of the table that the rows are of.
    #[must_use]
    pub fn def(&self) -> &Arc<TableDef> {
        &self.def
    }

    /// Bytes held, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True if it is time to hand over.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.ops.len() >= MAX_ROWS || self.bytes >= MAX_BYTES
    }

    pub(super) fn parts(&mut self) -> (&mut [ColumnBuilder], &mut String) {
        (&mut self.builders, &mut self.scratch)
    }

    /// Appends all rows of an event. Calls `full` whenever the batch should be handed over.
    ///
    /// # Errors
    /// The reason why the table must stop; whole rows before the damaged one stay.
    pub fn append_rows(
        &mut self,
        event: &RowsEvent<'_>,
        plan: &TablePlan,
        seq: CommitSeq,
        ops: Ops,
        mut full: impl FnMut(ChangeBatch),
    ) -> Result<(), String> {
        plan.check_image(event.columns, event.present, event.kind == RowsKind::Write)?;
        plan.check_image(event.columns, event.present_after, event.kind != RowsKind::Delete)?;
        let mut r = Reader::new(&event.rows);
        let first = if event.kind == RowsKind::Write { ops.1 } else { ops.0 };
        let before_full = (0..event.columns).all(|i| bit(event.present, i));
        let after_full = (0..event.columns).all(|i| bit(event.present_after, i));
        while !r.is_empty() {
            self.append_row(&mut r, plan, (event.present, before_full), seq, first).map_err(|e| e.0)?;
            if event.kind == RowsKind::Update {
                self.append_row(&mut r, plan, (event.present_after, after_full), seq, ops.1).map_err(|e| e.0)?;
            }
            if self.is_full()
                && let Some(batch) = self.finish().map_err(|e| e.to_string())?
            {
                full(batch);
            }
        }
        Ok(())
    }

    #[inline]
    fn append_row(
        &mut self,
        r: &mut Reader<'_>,
        plan: &TablePlan,
        (present, full): (&[u8], bool),
        seq: CommitSeq,
        op: RowOp,
    ) -> Parsed<()> {
        let before = r.rest().len();
        let content = plan.append_image(r, present, full, self)?;
        let image = before - r.rest().len();
        if image == 0 {
            return Err(Malformed::because("row image without a byte"));
        }
        if content == Image::History {
            self.dropped.push(self.ops.len());
        }
        self.bytes += image + 16 * self.builders.len();
        self.seqs.push(seq);
        self.ops.push(op);
        Ok(())
    }

    /// Takes the batch; `None` if it is empty. A row that could not be decoded to its end is dropped.
    ///
    /// # Errors
    /// If the columns do not form a batch.
    pub fn finish(&mut self) -> Result<Option<ChangeBatch>> {
        let rows = self.ops.len();
        let columns: Vec<ArrayRef> = self.builders.iter_mut().map(|b| b.finish().slice(0, rows)).collect();
        self.bytes = 0;
        let (mut seqs, mut ops) = (std::mem::take(&mut self.seqs), std::mem::take(&mut self.ops));
        let dropped = std::mem::take(&mut self.dropped);
        if rows == dropped.len() {
            return Ok(None);
        }
        let mut batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        if !dropped.is_empty() {
            let mut keep = vec![true; rows];
            dropped.into_iter().for_each(|i| keep[i] = false);
            batch = filter_record_batch(&batch, &BooleanArray::from(keep.clone()))?;
            let mut kept = keep.iter();
            seqs.retain(|_| *kept.next().unwrap_or(&true));
            let mut kept = keep.iter();
            ops.retain(|_| *kept.next().unwrap_or(&true));
        }
        Ok(Some(ChangeBatch::new(self.def.id, self.def.version, seqs, ops, batch)?))
    }
}
