//! Least and greatest values of a table's columns, from what is known of its files.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::kernels::cmp;
use arrow::datatypes::Schema;
use tidelake_core::ports::ColumnBounds;
use tidelake_core::value::cell_at;
use tidelake_core::{ColumnId, CommitSeq, Result, TableDef};

use crate::extent::has_bounds;
use crate::file::DataFile;
use crate::memory::Chunk;

/// What files say about a table's columns at a seq. Exact where no row of the files is dead or unborn and there are no
/// rows in `memory`; else as an estimate, of the files alone.
pub(super) fn bounds(
    files: &[Arc<DataFile>],
    memory: &[&Chunk],
    def: &TableDef,
    columns: &[ColumnId],
    seq: CommitSeq,
) -> Result<Vec<Option<ColumnBounds>>> {
    let whole = |f: &Arc<DataFile>| f.meta.births.1 <= seq && f.deaths.read().count_at(seq) == 0;
    let exact = files.iter().all(whole) && memory.iter().all(|c| c.count(seq) == 0);
    let schema = def.arrow_schema();
    columns.iter().map(|id| of_column(files, &schema, def, *id, exact)).collect()
}

fn of_column(
    files: &[Arc<DataFile>],
    schema: &Schema,
    def: &TableDef,
    id: ColumnId,
    exact: bool,
) -> Result<Option<ColumnBounds>> {
    let Some(ty) = def.index_of(id).map(|at| schema.field(at).data_type()) else { return Ok(None) };
    if !has_bounds(ty) {
        return Ok(None);
    }
    let mut all: Option<(ArrayRef, ArrayRef)> = None;
    for file in files {
        // Rows of before the column was added have its initial value.
        let Some(at) = file.meta.columns.iter().position(|c| *c == id) else { return Ok(None) };
        let Some((least, greatest)) = file.extents()?.get(at).and_then(Option::as_ref) else { return Ok(None) };
        let (Some(least), Some(greatest)) = (least.as_type(ty), greatest.as_type(ty)) else { return Ok(None) };
        all = Some(match all {
            None => (least, greatest),
            Some((low, high)) => (
                if cmp::lt(&least, &low)?.value(0) { least } else { low },
                if cmp::gt(&greatest, &high)?.value(0) { greatest } else { high },
            ),
        });
    }
    let Some((least, greatest)) = all else { return Ok(None) };
    Ok(Some(ColumnBounds { least: cell_at(&least, 0)?, greatest: cell_at(&greatest, 0)?, exact }))
}
