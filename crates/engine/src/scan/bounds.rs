//! Least and greatest values of columns, from the footers of files.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::kernels::cmp;
use arrow::compute::{SortOptions, sort_limit};
use arrow::datatypes::{DataType, Schema};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use tidelake_core::ports::ColumnBounds;
use tidelake_core::types::widen::widen;
use tidelake_core::value::cell_at;
use tidelake_core::{ColumnId, CommitSeq, Result, TableDef};

use crate::file::DataFile;
use crate::memory::Chunk;

/// Of each column of a file, in its order: least and greatest value, one row each; `None`: unknown, or only NULLs.
pub(crate) type FileBounds = Vec<Option<(ArrayRef, ArrayRef)>>;

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
        let Some((least, greatest)) = of_file(file)?.get(at).cloned().flatten() else { return Ok(None) };
        let (least, greatest) = (widen(&least, ty)?, widen(&greatest, ty)?);
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

/// Texts may be cut in statistics, and floats have NaN and two zeros.
fn has_bounds(ty: &DataType) -> bool {
    ty.is_integer() || matches!(ty, DataType::Decimal128(..) | DataType::Date32 | DataType::Timestamp(..))
}

/// Read from the footer once.
fn of_file(file: &DataFile) -> Result<&FileBounds> {
    if let Some(bounds) = file.bounds.get() {
        return Ok(bounds);
    }
    let footer = file.footer()?;
    let groups = footer.metadata().row_groups();
    let one = |at: usize| {
        let field = footer.schema().field(at);
        if !has_bounds(field.data_type()) {
            return None;
        }
        let statistics = StatisticsConverter::try_new(field.name(), footer.schema(), footer.parquet_schema()).ok()?;
        let (mins, maxes) = (statistics.row_group_mins(groups).ok()?, statistics.row_group_maxes(groups).ok()?);
        // A group of NULLs only has neither; a group without statistics cannot be told from it.
        let nulls = statistics.row_group_null_counts(groups).ok()?;
        let known = |i: usize| mins.is_valid(i) || (nulls.is_valid(i) && nulls.value(i) == groups[i].num_rows() as u64);
        if !(0..groups.len()).all(known) {
            return None;
        }
        Some((extreme(&mins, false)?, extreme(&maxes, true)?))
    };
    let bounds: FileBounds = (0..file.meta.columns.len()).map(one).collect();
    Ok(file.bounds.get_or_init(|| bounds))
}

fn extreme(values: &ArrayRef, descending: bool) -> Option<ArrayRef> {
    let options = SortOptions { descending, nulls_first: false };
    let first = sort_limit(values, Some(options), Some(1)).ok()?;
    (first.len() == 1 && first.is_valid(0)).then_some(first)
}
