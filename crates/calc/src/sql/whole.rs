//! Whole numbers to DECIMAL, for sums.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::common::Result;

/// Whole numbers as a DECIMAL that has room for all of their type: without a check of each, which is half of what SUM takes. `None`:
/// others.
pub(crate) fn whole_to_decimal(number: &ArrayRef, to: &DataType) -> Result<Option<ArrayRef>> {
    let DataType::Decimal128(precision, scale) = *to else { return Ok(None) };
    let digits = match number.data_type() {
        DataType::Int8 | DataType::UInt8 => 3,
        DataType::Int16 | DataType::UInt16 => 5,
        DataType::Int32 | DataType::UInt32 => 10,
        DataType::Int64 => 19,
        DataType::UInt64 => 20,
        _ => return Ok(None),
    };
    let Ok(places) = u8::try_from(scale) else { return Ok(None) };
    if precision < digits + places {
        return Ok(None);
    }
    let one = 10_i128.pow(u32::from(places));
    macro_rules! of {
        ($kind:ty) => {
            number.as_primitive::<$kind>().unary::<_, Decimal128Type>(|n| i128::from(n) * one)
        };
    }
    let decimals = match number.data_type() {
        DataType::Int8 => of!(Int8Type),
        DataType::UInt8 => of!(UInt8Type),
        DataType::Int16 => of!(Int16Type),
        DataType::UInt16 => of!(UInt16Type),
        DataType::Int32 => of!(Int32Type),
        DataType::UInt32 => of!(UInt32Type),
        DataType::Int64 => of!(Int64Type),
        _ => of!(UInt64Type),
    };
    Ok(Some(Arc::new(decimals.with_precision_and_scale(precision, scale)?)))
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Int8Array, Int16Array, Int32Array, Int64Array, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
    };
    use arrow::compute::cast;

    use super::*;

    #[test]
    fn the_extremes_are_what_a_checked_cast_makes_of_them() {
        let all: Vec<ArrayRef> = vec![
            Arc::new(Int8Array::from(vec![Some(i8::MIN), None, Some(i8::MAX)])),
            Arc::new(UInt8Array::from(vec![Some(0), None, Some(u8::MAX)])),
            Arc::new(Int16Array::from(vec![Some(i16::MIN), None, Some(i16::MAX)])),
            Arc::new(UInt16Array::from(vec![Some(0), None, Some(u16::MAX)])),
            Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX)])),
            Arc::new(UInt32Array::from(vec![Some(0), None, Some(u32::MAX)])),
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)])),
            Arc::new(UInt64Array::from(vec![Some(0), None, Some(u64::MAX)])),
        ];
        for (numbers, digits) in all.iter().zip([3, 3, 5, 5, 10, 10, 19, 20]) {
            for scale in [0, 4, 18] {
                let to = DataType::Decimal128(digits + scale, scale as i8);
                let made = whole_to_decimal(numbers, &to).unwrap().expect("there is room");
                assert_eq!(&made, &cast(numbers, &to).unwrap(), "{} to {to}", numbers.data_type());
                let tight = DataType::Decimal128(digits + scale - 1, scale as i8);
                assert!(whole_to_decimal(numbers, &tight).unwrap().is_none(), "{} to {tight}", numbers.data_type());
            }
        }
    }
}
