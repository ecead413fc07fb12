//! Row images of one table, collected in Arrow builders until they are handed over.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use tidelake_core::{ChangeBatch, CommitSeq, Result, RowOp, TableDef};

use super::block::{Block, Present};
use super::builder::ColumnBuilder;
use super::plan::TablePlan;
use super::{RowsEvent, RowsKind};
use crate::mysql::reader::Parsed;

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
    block: Block,
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
            block: Block::default(),
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

    /// Appends all rows of an event. Calls `full` whenever the batch should be handed over.
    ///
    /// # Errors
    /// The reason why the table must stop; whole blocks of rows before the damaged one stay.
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
        let before = (Present::new(event.present, event.columns), ops.0);
        let after = (Present::new(event.present_after, event.columns), ops.1);
        let (kinds, ops) = match event.kind {
            RowsKind::Write => (&[after.0][..], &[after.1][..]),
            RowsKind::Update => (&[before.0, after.0][..], &[before.1, after.1][..]),
            RowsKind::Delete => (&[before.0][..], &[before.1][..]),
        };
        let mut at = 0;
        while at < event.rows.len() {
            at = self.append_block(&event.rows, at, plan, kinds, seq, ops).map_err(|e| e.0)?;
            if self.is_full()
                && let Some(batch) = self.finish().map_err(|e| e.to_string())?
            {
                full(batch);
            }
        }
        Ok(())
    }

    /// Appends one block, whole or not at all.
    fn append_block(
        &mut self,
        data: &[u8],
        at: usize,
        plan: &TablePlan,
        kinds: &[Present<'_>],
        seq: CommitSeq,
        ops: &[RowOp],
    ) -> Parsed<usize> {
        let rows = self.ops.len();
        let parts = (&mut self.builders[..], &mut self.scratch);
        let end = plan.append_block(data, at, kinds, &mut self.block, parts).inspect_err(|_| {
            self.builders.iter_mut().for_each(|b| b.truncate(rows));
        })?;
        let images = self.block.images();
        self.dropped.extend(self.block.history().iter().map(|image| rows + image));
        self.bytes += (end - at) + 16 * self.builders.len() * images;
        self.seqs.resize(rows + images, seq);
        self.ops.extend(ops.iter().copied().cycle().take(images));
        Ok(end)
    }

    /// Takes the batch; `None` if it is empty.
    ///
    /// # Errors
    /// If the columns do not form a batch.
    pub fn finish(&mut self) -> Result<Option<ChangeBatch>> {
        let rows = self.ops.len();
        let columns: Vec<ArrayRef> = self.builders.iter_mut().map(ColumnBuilder::finish).collect::<Result<_>>()?;
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
