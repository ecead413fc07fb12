//! Widening: rows written before an ALTER, read with the type the column has now.
//!
//! A column keeps its id through an ALTER only if every stored value means the same in the new type. What the
//! Arrow types alone can say about that is decided here; what they cannot (labels of an ENUM that changed
//! places, BINARY that is padded further) is decided where the DDL is read, by giving the column a new id.

use arrow::array::ArrayRef;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit};

use crate::error::{Error, Result};
use crate::schema::TableDef;
use crate::types::arrow::data_type;
use crate::value::{CellValue, array_of};

/// True if every value of `from` has an exact counterpart in `to`.
#[must_use]
pub fn can_widen(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    if from == to {
        return true;
    }
    if let (Some((from_signed, from_bits)), Some((to_signed, to_bits))) = (integer(from), integer(to)) {
        return match (from_signed, to_signed) {
            (true, false) => false,
            (false, true) => from_bits < to_bits,
            _ => from_bits <= to_bits,
        };
    }
    match (from, to) {
        (D::Float32, D::Float64) | (D::Date32, D::Timestamp(TimeUnit::Microsecond, None)) => true,
        (D::Decimal128(p, s) | D::Decimal256(p, s), D::Decimal128(q, t) | D::Decimal256(q, t)) => {
            t >= s && i16::from(*q) - i16::from(*t) >= i16::from(*p) - i16::from(*s)
        }
        (_, D::Decimal128(p, s) | D::Decimal256(p, s)) => match integer(from) {
            Some((_, bits)) => i16::from(*p) - i16::from(*s) >= digits(bits),
            None => false,
        },
        _ => false,
    }
}

/// The values in the wider type.
///
/// # Errors
/// [`Error::Internal`] if the types do not widen ([`can_widen`]).
pub fn widen(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(array.clone());
    }
    if !can_widen(array.data_type(), to) {
        return Err(Error::Internal(format!("stored {} does not widen to {to}", array.data_type())));
    }
    Ok(cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() })?)
}

/// Checks that rows of the old version can be read with the new one.
///
/// # Errors
/// [`Error::Diverged`] if a column changes its type in a way that does not widen, or a NOT NULL column is added
/// without an initial value.
pub fn check_alter(old: &TableDef, new: &TableDef) -> Result<()> {
    let diverged = |reason| Err(Error::Diverged { table: new.name.to_string(), reason });
    for column in &new.columns {
        let to = data_type(&column.ty);
        match old.index_of(column.id) {
            Some(i) => {
                let from = data_type(&old.columns[i].ty);
                if !can_widen(&from, &to) {
                    return diverged(format!(
                        "column {} changed from {from} to {to}: copy the table anew",
                        column.name
                    ));
                }
            }
            None => match &column.initial {
                Some(cell) if column.nullable || *cell != CellValue::Null => {
                    array_of(&to, std::slice::from_ref(cell))?;
                }
                _ if column.nullable => {}
                _ => return diverged(format!("column {} added without a value for old rows", column.name)),
            },
        }
    }
    Ok(())
}

/// Signed or not, and bits.
fn integer(ty: &DataType) -> Option<(bool, u8)> {
    Some(match ty {
        DataType::Int8 => (true, 8),
        DataType::Int16 => (true, 16),
        DataType::Int32 => (true, 32),
        DataType::Int64 => (true, 64),
        DataType::UInt8 => (false, 8),
        DataType::UInt16 => (false, 16),
        DataType::UInt32 => (false, 32),
        DataType::UInt64 => (false, 64),
        _ => return None,
    })
}

/// Decimal digits of the largest value of so many bits.
fn digits(bits: u8) -> i16 {
    match bits {
        8 => 3,
        16 => 5,
        32 => 10,
        _ => 20,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, Date32Array, Int8Array, TimestampMicrosecondArray, cast::AsArray};
    use arrow::datatypes::{Decimal128Type, Int64Type};

    use super::*;
    use crate::types::temporal::{day_number, join_micros};

    #[test]
    fn widening_keeps_values() {
        let narrow: ArrayRef = Arc::new(Int8Array::from(vec![Some(-128), None, Some(127)]));
        let wide = widen(&narrow, &DataType::Int64).unwrap();
        assert_eq!(wide.as_primitive::<Int64Type>().value(0), -128);
        assert!(wide.is_null(1));
        let decimal = widen(&narrow, &DataType::Decimal128(5, 2)).unwrap();
        assert_eq!(decimal.as_primitive::<Decimal128Type>().value(2), 12_700);
    }

    #[test]
    fn partial_dates_widen_to_datetime() {
        let days = [day_number(2024, 2, 31), day_number(0, 0, 0), day_number(2024, 2, 29)];
        let narrow: ArrayRef = Arc::new(Date32Array::from(days.to_vec()));
        let wide = widen(&narrow, &DataType::Timestamp(TimeUnit::Microsecond, None)).unwrap();
        let wide = wide.as_any().downcast_ref::<TimestampMicrosecondArray>().unwrap();
        for (i, day) in days.iter().enumerate() {
            assert_eq!(wide.value(i), join_micros(*day, 0));
        }
    }

    #[test]
    fn lossy_changes_are_refused() {
        use DataType as D;
        for (from, to) in [
            (D::Int64, D::Int32),
            (D::Int32, D::UInt64),
            (D::UInt64, D::Int64),
            (D::Float64, D::Float32),
            (D::Utf8, D::Binary),
            (D::Int32, D::Decimal128(9, 0)),
            (D::Decimal128(10, 2), D::Decimal128(11, 4)),
            (D::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), D::Timestamp(TimeUnit::Microsecond, None)),
        ] {
            assert!(!can_widen(&from, &to), "{from} {to}");
        }
    }
}
