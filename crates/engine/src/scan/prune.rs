//! Leaving out row groups that cannot match, by the minimum and maximum of their columns.

use arrow::array::{Array, ArrayRef};
use arrow::compute::kernels::cmp;
use arrow::datatypes::DataType;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::ParquetMetaData;
use tidelake_core::ports::{ColumnPredicate, PredicateOp};
use tidelake_core::types::widen::widen;
use tidelake_core::value::{CellValue, array_of};
use tidelake_core::{Result, TableDef};

use crate::file::DataFile;

/// Row groups of a file that may hold rows for which all predicates are true.
pub(crate) fn row_groups(
    file: &DataFile,
    metadata: &ParquetMetaData,
    def: &TableDef,
    predicates: &[ColumnPredicate],
) -> Result<Vec<usize>> {
    let mut keep = vec![true; metadata.num_row_groups()];
    for predicate in predicates {
        if let Some(may_match) = may_match(file, metadata, def, predicate)? {
            keep.iter_mut().zip(may_match).for_each(|(k, m)| *k &= m);
        }
    }
    Ok(keep.into_iter().enumerate().filter_map(|(i, k)| k.then_some(i)).collect())
}

/// For each row group, if it may hold matching rows; `None` if statistics say nothing about this predicate.
fn may_match(
    file: &DataFile,
    metadata: &ParquetMetaData,
    def: &TableDef,
    predicate: &ColumnPredicate,
) -> Result<Option<Vec<bool>>> {
    let Some(at) = file.meta.columns.iter().position(|c| *c == predicate.column) else { return Ok(None) };
    let Some(wanted) = def.index_of(predicate.column) else { return Ok(None) };
    let ty = def.arrow_schema().field(wanted).data_type().clone();
    // Floats have NaN and two zeros: left to the reader.
    if ty.is_floating() || predicate.values.is_empty() || predicate.values.contains(&CellValue::Null) {
        return Ok(None);
    }
    let footer = file.footer()?;
    let schema = metadata.file_metadata().schema_descr();
    let Ok(converter) = StatisticsConverter::try_new(footer.schema().field(at).name(), footer.schema(), schema) else {
        return Ok(None);
    };
    let (Ok(mins), Ok(maxes)) =
        (converter.row_group_mins(metadata.row_groups()), converter.row_group_maxes(metadata.row_groups()))
    else {
        return Ok(None);
    };
    let (mins, maxes) = (widen(&mins, &ty)?, widen(&maxes, &ty)?);
    let bounds: Vec<Option<(ArrayRef, ArrayRef)>> = predicate.values.iter().map(|v| bound(&ty, v)).collect();
    let mut out = vec![false; metadata.num_row_groups()];
    for bound in bounds {
        let Some((value, _)) = bound else { return Ok(None) };
        for (group, out) in out.iter_mut().enumerate() {
            let (min, max) = (mins.slice(group, 1), maxes.slice(group, 1));
            *out |= min.is_null(0) || max.is_null(0) || holds(predicate.op, &min, &max, &value)?;
        }
    }
    Ok(Some(out))
}

fn bound(ty: &DataType, value: &CellValue) -> Option<(ArrayRef, ArrayRef)> {
    let array = array_of(ty, std::slice::from_ref(value)).ok()?;
    Some((array.clone(), array))
}

fn holds(op: PredicateOp, min: &ArrayRef, max: &ArrayRef, value: &ArrayRef) -> Result<bool> {
    let le = |a: &ArrayRef, b: &ArrayRef| -> Result<bool> { Ok(cmp::lt_eq(a, b)?.value(0)) };
    let lt = |a: &ArrayRef, b: &ArrayRef| -> Result<bool> { Ok(cmp::lt(a, b)?.value(0)) };
    Ok(match op {
        PredicateOp::Eq | PredicateOp::In => le(min, value)? && le(value, max)?,
        PredicateOp::Lt => lt(min, value)?,
        PredicateOp::LtEq => le(min, value)?,
        PredicateOp::Gt => lt(value, max)?,
        PredicateOp::GtEq => le(value, max)?,
        PredicateOp::IsNull | PredicateOp::IsNotNull => true,
    })
}
