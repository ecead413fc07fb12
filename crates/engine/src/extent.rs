//! Least and greatest values of a file's columns, as the manifest has them: whether a file may hold what is asked for is known before any of it is read,
//! which in an object store means before it is fetched.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Date32Array, Int64Array, TimestampMicrosecondArray, UInt64Array};
use arrow::compute::{CastOptions, SortOptions, cast_with_options, sort_limit};
use arrow::datatypes::{DataType, Schema};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::schema::types::SchemaDescriptor;
use serde::{Deserialize, Serialize};
use tidelake_core::value::{CellValue, array_of, cell_at};

/// A value, with what it takes to read it as another type that the column may have later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Bound {
    Int(i64),
    UInt(u64),
    /// Unscaled digits, and how many of them are behind the point.
    Decimal(String, i8),
    /// Since 1970.
    Days(i32),
    /// Since 1970.
    Micros(i64),
}

/// Of each column of a file, in its order: least and greatest value; `None`: unknown, or only NULLs.
pub(crate) type Extents = Vec<Option<(Bound, Bound)>>;

impl Bound {
    fn of(value: &ArrayRef) -> Option<Bound> {
        let cell = cell_at(value, 0).ok()?;
        Some(match (value.data_type(), cell) {
            (DataType::Date32, CellValue::Int(days)) => Bound::Days(i32::try_from(days).ok()?),
            (DataType::Timestamp(..), CellValue::Int(micros)) => Bound::Micros(micros),
            (DataType::Decimal128(_, scale), CellValue::Decimal(digits)) => Bound::Decimal(digits, *scale),
            (ty, CellValue::Int(v)) if ty.is_integer() => Bound::Int(v),
            (ty, CellValue::UInt(v)) if ty.is_integer() => Bound::UInt(v),
            _ => return None,
        })
    }

    /// One row of a column's type; `None` if it is none of its values.
    pub(crate) fn as_type(&self, ty: &DataType) -> Option<ArrayRef> {
        let own: ArrayRef = match self {
            Bound::Int(v) => Arc::new(Int64Array::from(vec![*v])),
            Bound::UInt(v) => Arc::new(UInt64Array::from(vec![*v])),
            Bound::Decimal(digits, scale) => {
                array_of(&DataType::Decimal128(38, *scale), &[CellValue::Decimal(digits.clone())]).ok()?
            }
            Bound::Days(days) => Arc::new(Date32Array::from(vec![*days])),
            Bound::Micros(micros) => Arc::new(TimestampMicrosecondArray::from(vec![*micros])),
        };
        let cast = cast_with_options(&own, ty, &CastOptions { safe: false, ..CastOptions::default() }).ok()?;
        cast.is_valid(0).then_some(cast)
    }
}

/// Texts may be cut in statistics, and floats have NaN and two zeros.
pub(crate) fn has_bounds(ty: &DataType) -> bool {
    ty.is_integer() || matches!(ty, DataType::Decimal128(..) | DataType::Date32 | DataType::Timestamp(..))
}

/// What the footer of a file says of its first `columns` columns.
pub(crate) fn extents(schema: &Schema, file: &ParquetMetaData, columns: usize) -> Extents {
    let parquet = file.file_metadata().schema_descr();
    (0..columns).map(|at| of_column(schema, parquet, file.row_groups(), at)).collect()
}

fn of_column(
    schema: &Schema,
    parquet: &SchemaDescriptor,
    groups: &[RowGroupMetaData],
    at: usize,
) -> Option<(Bound, Bound)> {
    let field = schema.field(at);
    if !has_bounds(field.data_type()) {
        return None;
    }
    let statistics = StatisticsConverter::try_new(field.name(), schema, parquet).ok()?;
    let (mins, maxes) = (statistics.row_group_mins(groups).ok()?, statistics.row_group_maxes(groups).ok()?);
    // A group of NULLs only has neither; a group without statistics cannot be told from it.
    let nulls = statistics.row_group_null_counts(groups).ok()?;
    let known = |i: usize| mins.is_valid(i) || (nulls.is_valid(i) && nulls.value(i) == groups[i].num_rows() as u64);
    if !(0..groups.len()).all(known) {
        return None;
    }
    Some((Bound::of(&extreme(&mins, false)?)?, Bound::of(&extreme(&maxes, true)?)?))
}

fn extreme(values: &ArrayRef, descending: bool) -> Option<ArrayRef> {
    let options = SortOptions { descending, nulls_first: false };
    let first = sort_limit(values, Some(options), Some(1)).ok()?;
    (first.len() == 1 && first.is_valid(0)).then_some(first)
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Decimal128Array, Int8Array};
    use arrow::datatypes::{Decimal128Type, Int64Type, TimeUnit, TimestampMicrosecondType};

    use super::*;

    fn kept(value: impl Array + 'static) -> Bound {
        let bound = Bound::of(&(Arc::new(value) as ArrayRef)).expect("a bound");
        let json = serde_json::to_string(&bound).expect("encodes");
        let read: Bound = serde_json::from_str(&json).expect("decodes");
        assert_eq!(read, bound);
        read
    }

    #[test]
    fn bounds_are_read_as_the_type_that_the_column_has_now() {
        let small = kept(Int8Array::from(vec![-5]));
        assert_eq!(small.as_type(&DataType::Int64).expect("wider").as_primitive::<Int64Type>().value(0), -5);
        let decimal = small.as_type(&DataType::Decimal128(20, 2)).expect("wider");
        assert_eq!(decimal.as_primitive::<Decimal128Type>().value(0), -500);
        let cents = Decimal128Array::from(vec![1234]).with_precision_and_scale(10, 2).expect("fits");
        let finer = kept(cents).as_type(&DataType::Decimal128(20, 4)).expect("wider");
        assert_eq!(finer.as_primitive::<Decimal128Type>().value(0), 123_400);
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let day = kept(Date32Array::from(vec![3])).as_type(&micros).expect("wider");
        assert_eq!(day.as_primitive::<TimestampMicrosecondType>().value(0), 3 * 86_400_000_000);
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let at = kept(TimestampMicrosecondArray::from(vec![7]).with_timezone("UTC")).as_type(&zoned).expect("the same");
        assert_eq!(at.as_primitive::<TimestampMicrosecondType>().value(0), 7);
        assert_eq!(kept(UInt64Array::from(vec![u64::MAX])).as_type(&DataType::Int64), None, "none of its values");
    }
}
