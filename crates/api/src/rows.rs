//! Changes as record batches: the table's columns, then `_seq` and `_op`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt8Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, UInt8Type, UInt64Type};
use tidelake_core::{ChangeBatch, CommitSeq, Error, Result, RowOp, TableId};

/// The column of seqs.
pub const SEQ: &str = "_seq";
/// The column of what happens: 0 delete, 1 insert, 2 delete if it exists, 3 upsert.
pub const OP: &str = "_op";

/// A batch of changes with both columns behind its own.
///
/// # Errors
/// If Arrow refuses the parts.
pub fn to_batch(changes: &ChangeBatch) -> Result<RecordBatch> {
    let mut fields: Vec<Arc<Field>> = changes.rows.schema().fields().iter().cloned().collect();
    let mut columns: Vec<ArrayRef> = changes.rows.columns().to_vec();
    fields.push(Arc::new(Field::new(SEQ, DataType::UInt64, false)));
    columns.push(Arc::new(changes.seqs.iter().map(|seq| seq.0).collect::<UInt64Array>()));
    fields.push(Arc::new(Field::new(OP, DataType::UInt8, false)));
    columns.push(Arc::new(changes.ops.iter().map(|op| *op as u8).collect::<UInt8Array>()));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// The changes that a batch holds.
///
/// # Errors
/// [`Error::Invalid`] if one of both columns is missing, has NULLs or an unknown op, or seqs descend.
pub fn of_batch(table: TableId, version: u32, batch: &RecordBatch) -> Result<ChangeBatch> {
    let wrong =
        || Error::Invalid(format!("rows of table {table}: the last two columns must be {SEQ} and {OP}, without NULLs"));
    let own = batch.num_columns().checked_sub(2).ok_or_else(wrong)?;
    let schema = batch.schema();
    let (seqs, ops) = (batch.column(own), batch.column(own + 1));
    let named = schema.field(own).name() == SEQ && schema.field(own + 1).name() == OP;
    let (seqs, ops) = match (seqs.as_primitive_opt::<UInt64Type>(), ops.as_primitive_opt::<UInt8Type>()) {
        (Some(seqs), Some(ops)) if named && seqs.null_count() == 0 && ops.null_count() == 0 => (seqs, ops),
        _ => return Err(wrong()),
    };
    let seqs: Vec<CommitSeq> = seqs.values().iter().map(|seq| CommitSeq(*seq)).collect();
    let ops = ops.values().iter().map(|op| op_of(*op)).collect::<Result<Vec<RowOp>>>()?;
    if !seqs.is_sorted() {
        return Err(Error::Invalid(format!("rows of table {table}: {SEQ} descends")));
    }
    let rows = Schema::new(schema.fields()[..own].to_vec());
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let rows = RecordBatch::try_new_with_options(Arc::new(rows), batch.columns()[..own].to_vec(), &options)?;
    ChangeBatch::new(table, version, seqs, ops, rows)
}

fn op_of(op: u8) -> Result<RowOp> {
    Ok(match op {
        0 => RowOp::Delete,
        1 => RowOp::Insert,
        2 => RowOp::DeleteIfExists,
        3 => RowOp::Upsert,
        _ => return Err(Error::Invalid(format!("{OP} {op}: 0 to 3 are known"))),
    })
}
