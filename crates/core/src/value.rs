//! One cell, outside of columns: defaults for old rows, copy cursors, pruning bounds, tests.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, Date32Array, Decimal128Array, Decimal256Array, FixedSizeBinaryBuilder,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, StringBuilder,
    TimestampMicrosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array, cast::AsArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type, i256,
};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A value in the stored form of its column (`types::arrow::data_type`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CellValue {
    /// SQL NULL.
    Null,
    /// Any signed integer; also days (DATE) and microseconds (DATETIME, TIMESTAMP, TIME).
    Int(i64),
    /// Any unsigned integer; also BIT, YEAR, ENUM index, SET mask.
    UInt(u64),
    /// FLOAT and DOUBLE.
    Float(f64),
    /// The unscaled digits of a DECIMAL (at most 65), with sign.
    Decimal(String),
    /// CHAR, VARCHAR, the TEXTs, JSON.
    Str(String),
    /// BINARY, the BLOBs, GEOMETRY, VECTOR, UUID, INET.
    Bytes(Vec<u8>),
}

/// Builds an array of `ty` from cells.
///
/// # Errors
/// [`Error::Internal`] if a cell does not fit the type.
pub fn array_of(ty: &DataType, cells: &[CellValue]) -> Result<ArrayRef> {
    macro_rules! ints {
        ($array:ty, $native:ty) => {
            Arc::new(cells.iter().map(|c| integer::<$native>(ty, c)).collect::<Result<$array>>()?) as ArrayRef
        };
    }
    Ok(match ty {
        DataType::Int8 => ints!(Int8Array, i8),
        DataType::Int16 => ints!(Int16Array, i16),
        DataType::Int32 => ints!(Int32Array, i32),
        DataType::Int64 => ints!(Int64Array, i64),
        DataType::UInt8 => ints!(UInt8Array, u8),
        DataType::UInt16 => ints!(UInt16Array, u16),
        DataType::UInt32 => ints!(UInt32Array, u32),
        DataType::UInt64 => ints!(UInt64Array, u64),
        DataType::Date32 => ints!(Date32Array, i32),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let array = cells.iter().map(|c| integer::<i64>(ty, c)).collect::<Result<TimestampMicrosecondArray>>()?;
            Arc::new(array.with_timezone_opt(zone.clone()))
        }
        DataType::Float32 => {
            Arc::new(cells.iter().map(|c| Ok(float(ty, c)?.map(|f| f as f32))).collect::<Result<Float32Array>>()?)
        }
        DataType::Float64 => Arc::new(cells.iter().map(|c| float(ty, c)).collect::<Result<Float64Array>>()?),
        DataType::Decimal128(p, s) => {
            let array = cells.iter().map(|c| decimal::<i128>(ty, c)).collect::<Result<Decimal128Array>>()?;
            Arc::new(array.with_precision_and_scale(*p, *s)?)
        }
        DataType::Decimal256(p, s) => {
            let array = cells.iter().map(|c| decimal256(ty, c)).collect::<Result<Decimal256Array>>()?;
            Arc::new(array.with_precision_and_scale(*p, *s)?)
        }
        DataType::Utf8View => cast(&array_of(&DataType::Utf8, cells)?, ty)?,
        DataType::Utf8 => {
            let mut b = StringBuilder::new();
            for c in cells {
                match c {
                    CellValue::Null => b.append_null(),
                    CellValue::Str(s) => b.append_value(s),
                    other => return Err(misfit(ty, other)),
                }
            }
            Arc::new(b.finish())
        }
        DataType::Binary => {
            let mut b = BinaryBuilder::new();
            for c in cells {
                b.append_option(bytes(ty, c)?);
            }
            Arc::new(b.finish())
        }
        DataType::FixedSizeBinary(n) => {
            let mut b = FixedSizeBinaryBuilder::new(*n);
            for c in cells {
                match bytes(ty, c)? {
                    Some(v) => b.append_value(v)?,
                    None => b.append_null(),
                }
            }
            Arc::new(b.finish())
        }
        other => return Err(Error::Internal(format!("no cells of type {other}"))),
    })
}

/// The cell at `row` of an array in stored form.
///
/// # Errors
/// [`Error::Internal`] for an Arrow type that is not a stored form.
pub fn cell_at(array: &dyn Array, row: usize) -> Result<CellValue> {
    if array.is_null(row) {
        return Ok(CellValue::Null);
    }
    macro_rules! at {
        ($ty:ty) => {
            array.as_primitive::<$ty>().value(row)
        };
    }
    Ok(match array.data_type() {
        DataType::Int8 => CellValue::Int(at!(Int8Type).into()),
        DataType::Int16 => CellValue::Int(at!(Int16Type).into()),
        DataType::Int32 => CellValue::Int(at!(Int32Type).into()),
        DataType::Int64 => CellValue::Int(at!(Int64Type)),
        DataType::UInt8 => CellValue::UInt(at!(UInt8Type).into()),
        DataType::UInt16 => CellValue::UInt(at!(UInt16Type).into()),
        DataType::UInt32 => CellValue::UInt(at!(UInt32Type).into()),
        DataType::UInt64 => CellValue::UInt(at!(UInt64Type)),
        DataType::Date32 => CellValue::Int(at!(Date32Type).into()),
        DataType::Timestamp(TimeUnit::Microsecond, _) => CellValue::Int(at!(TimestampMicrosecondType)),
        DataType::Float32 => CellValue::Float(at!(Float32Type).into()),
        DataType::Float64 => CellValue::Float(at!(Float64Type)),
        DataType::Decimal128(..) => CellValue::Decimal(at!(Decimal128Type).to_string()),
        DataType::Decimal256(..) => CellValue::Decimal(at!(Decimal256Type).to_string()),
        DataType::Utf8 => CellValue::Str(array.as_string::<i32>().value(row).to_owned()),
        DataType::Utf8View => CellValue::Str(array.as_string_view().value(row).to_owned()),
        DataType::Binary => CellValue::Bytes(array.as_binary::<i32>().value(row).to_owned()),
        DataType::FixedSizeBinary(_) => CellValue::Bytes(array.as_fixed_size_binary().value(row).to_owned()),
        other => return Err(Error::Internal(format!("no cells of type {other}"))),
    })
}

fn misfit(ty: &DataType, cell: &CellValue) -> Error {
    Error::Internal(format!("cell {cell:?} does not fit {ty}"))
}

fn integer<N: TryFrom<i64> + TryFrom<u64>>(ty: &DataType, cell: &CellValue) -> Result<Option<N>> {
    match cell {
        CellValue::Null => Ok(None),
        CellValue::Int(v) => N::try_from(*v).map(Some).map_err(|_| misfit(ty, cell)),
        CellValue::UInt(v) => N::try_from(*v).map(Some).map_err(|_| misfit(ty, cell)),
        _ => Err(misfit(ty, cell)),
    }
}

fn float(ty: &DataType, cell: &CellValue) -> Result<Option<f64>> {
    match cell {
        CellValue::Null => Ok(None),
        CellValue::Float(v) => Ok(Some(*v)),
        _ => Err(misfit(ty, cell)),
    }
}

fn decimal<N: std::str::FromStr>(ty: &DataType, cell: &CellValue) -> Result<Option<N>> {
    match cell {
        CellValue::Null => Ok(None),
        CellValue::Decimal(s) => s.parse().map(Some).map_err(|_| misfit(ty, cell)),
        _ => Err(misfit(ty, cell)),
    }
}

fn decimal256(ty: &DataType, cell: &CellValue) -> Result<Option<i256>> {
    match cell {
        CellValue::Null => Ok(None),
        CellValue::Decimal(s) => i256::from_string(s).map(Some).ok_or_else(|| misfit(ty, cell)),
        _ => Err(misfit(ty, cell)),
    }
}

fn bytes<'a>(ty: &DataType, cell: &'a CellValue) -> Result<Option<&'a [u8]>> {
    match cell {
        CellValue::Null => Ok(None),
        CellValue::Bytes(v) => Ok(Some(v)),
        _ => Err(misfit(ty, cell)),
    }
}
