//! Decoded changes on their way from the writer into an engine.

use std::sync::Arc;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::catalog::SchemaChange;
use crate::error::{Error, Result};
use crate::seq::{CommitSeq, TableId};

/// What happens with one row image. An UPDATE is `Delete` of the before image, then `Insert` of the after image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum RowOp {
    /// The row (by key; without key, one row of equal content) must exist and dies.
    Delete = 0,
    /// The row is born; its key must not exist.
    Insert = 1,
    /// Copying tables only: dies if it exists.
    DeleteIfExists = 2,
    /// Copying tables only: the row is born; a row of the same key dies. Without a key every row is one of its
    /// own, so nothing dies.
    Upsert = 3,
}

impl RowOp {
    /// True if the image is of a row that is born.
    #[must_use]
    pub fn births(self) -> bool {
        matches!(self, RowOp::Insert | RowOp::Upsert)
    }
}

/// Row images of one table, in the order they happened; several transactions in one batch, seqs ascending.
///
/// `rows` has the schema of `TableDef::arrow_schema` at `version`; row *i* belongs to `seqs[i]` and `ops[i]`.
#[derive(Clone, Debug)]
pub struct ChangeBatch {
    /// Whose rows.
    pub table: TableId,
    /// The table's schema version the rows were decoded with.
    pub version: u32,
    /// The transaction of each row, ascending.
    pub seqs: Arc<[CommitSeq]>,
    /// What happens with each row.
    pub ops: Arc<[RowOp]>,
    /// The row images, whole rows for every op.
    pub rows: RecordBatch,
}

impl ChangeBatch {
    /// Checks lengths and order.
    ///
    /// # Errors
    /// [`Error::Internal`] if the parts do not belong together.
    pub fn new(table: TableId, version: u32, seqs: Vec<CommitSeq>, ops: Vec<RowOp>, rows: RecordBatch) -> Result<Self> {
        if seqs.len() != rows.num_rows() || ops.len() != rows.num_rows() {
            let (s, o, r) = (seqs.len(), ops.len(), rows.num_rows());
            return Err(Error::Internal(format!("change batch of {r} rows with {s} seqs and {o} ops")));
        }
        if !seqs.is_sorted() {
            return Err(Error::Internal("change batch with descending seqs".into()));
        }
        Ok(ChangeBatch { table, version, seqs: seqs.into(), ops: ops.into(), rows })
    }

    /// Number of row images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// True without row images.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// One step on the way from decoded transactions into an engine. Steps of one table are in stream order; a
/// schema change comes after every row decoded with the version before it.
#[derive(Clone, Debug)]
pub enum DecodedStep {
    /// Row images.
    Rows(ChangeBatch),
    /// A step of the catalog at this seq.
    Schema(CommitSeq, Box<SchemaChange>),
}
