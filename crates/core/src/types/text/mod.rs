//! The bytes that the upstream's text protocol prints for a value.
//!
//! A [`TextColumn`] is made once per column and batch: it decides how to print, and holds the values in the one
//! width it prints from. [`TextColumn::write`] then costs no dispatch but one `match`. Rooms: `number` integers,
//! decimals and floats; `moment` dates and times; `address` UUID and INET. The numbers in the tests come from
//! real servers.
//!
//! A column whose Arrow type is not the stored form of its upstream type (an expression kept the field's
//! metadata, say a cast) prints as a computed column.

mod address;
mod moment;
mod number;
#[cfg(test)]
mod tests;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, LargeBinaryArray,
    LargeStringArray, PrimitiveArray, StringArray, StringViewArray,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::take;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type, i256,
};

use self::moment::Fraction;
use self::number::FloatStyle;
use super::{TypeKind, UpstreamType, arrow::holds_stored_form};
use crate::error::{Error, Result};

/// Which server's habits to print like, where servers differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerFlavor {
    /// MariaDB.
    #[default]
    MariaDb,
    /// MySQL.
    MySql,
    /// TiDB.
    TiDb,
}

/// What printing depends on besides the value and its type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextContext {
    /// Seconds east of UTC for TIMESTAMP columns.
    pub utc_offset_seconds: i32,
    /// Whose habits.
    pub flavor: ServerFlavor,
}

/// One column of one batch, ready to print.
pub struct TextColumn {
    nulls: Option<NullBuffer>,
    printer: Printer,
}

enum Printer {
    Null,
    Int(ScalarBuffer<i64>),
    UInt { values: ScalarBuffer<u64>, width: usize },
    Bool(BooleanArray),
    Float { values: ScalarBuffer<f32>, style: FloatStyle, width: usize },
    Double { values: ScalarBuffer<f64>, style: FloatStyle, width: usize },
    Decimal128 { values: ScalarBuffer<i128>, scale: i8, integer_digits: usize },
    Decimal256 { values: ScalarBuffer<i256>, scale: i8, integer_digits: usize },
    Bit { values: ScalarBuffer<u64>, bytes: usize },
    Year { values: ScalarBuffer<u64>, digits: usize },
    Date(ScalarBuffer<i32>),
    DateTime { values: ScalarBuffer<i64>, offset_us: i64, fraction: Fraction },
    Time { values: ScalarBuffer<i64>, fraction: Fraction },
    Text(StringArray),
    LargeText(LargeStringArray),
    TextView(StringViewArray),
    Binary(BinaryArray),
    LargeBinary(LargeBinaryArray),
    BinaryView(BinaryViewArray),
    FixedBinary(FixedSizeBinaryArray),
    Padded { values: BinaryArray, length: usize },
    Enum { values: ScalarBuffer<u64>, labels: Vec<String> },
    Set { values: ScalarBuffer<u64>, labels: Vec<String> },
    Uuid(FixedSizeBinaryArray),
    Inet4(FixedSizeBinaryArray),
    Inet6(FixedSizeBinaryArray),
}

/// Prints the stored value of an upstream column; `false` is NULL, and then nothing is written.
///
/// For single cells; loops make a [`TextColumn`].
///
/// # Errors
/// As [`TextColumn::new`] and [`TextColumn::write`].
pub fn write_value(
    ty: &UpstreamType,
    array: &dyn Array,
    row: usize,
    context: &TextContext,
    out: &mut Vec<u8>,
) -> Result<bool> {
    TextColumn::new(Some(ty), &array.slice(row, 1), context)?.write(0, out)
}

/// Prints a computed value, of which only the Arrow type is known; `false` is NULL.
///
/// # Errors
/// As [`TextColumn::new`] and [`TextColumn::write`].
pub fn write_arrow(array: &dyn Array, row: usize, context: &TextContext, out: &mut Vec<u8>) -> Result<bool> {
    TextColumn::new(None, &array.slice(row, 1), context)?.write(0, out)
}

impl TextColumn {
    /// Prepares a column for printing: `ty` is the upstream type its field carries, `None` if it is computed.
    ///
    /// Computed columns: booleans print 1 and 0; timestamps and times print six digits of fractional seconds
    /// where the fraction is not zero and none where it is (MySQL prints the expression's own precision, which
    /// Arrow does not know), nanoseconds are cut; timestamps with a zone are moved to the session's.
    ///
    /// # Errors
    /// [`Error::Invalid`] for Arrow types that MySQL has no type for (intervals, durations, lists, structs, maps).
    pub fn new(ty: Option<&UpstreamType>, array: &ArrayRef, context: &TextContext) -> Result<TextColumn> {
        if let DataType::Dictionary(..) = array.data_type() {
            let dictionary = array.as_any_dictionary();
            return TextColumn::new(ty, &take(dictionary.values(), dictionary.keys(), None)?, context);
        }
        let printer = match ty.filter(|ty| holds_stored_form(ty, array.data_type())) {
            Some(ty) => stored_printer(ty, array, context)?,
            None => computed_printer(array, context)?,
        };
        Ok(TextColumn { nulls: array.logical_nulls(), printer })
    }

    /// True if the row's value is NULL.
    #[must_use]
    pub fn is_null(&self, row: usize) -> bool {
        matches!(self.printer, Printer::Null) || self.nulls.as_ref().is_some_and(|n| n.is_null(row))
    }

    /// Appends the bytes of the row's value; `false` is NULL, and then nothing is appended. Panics if `row` is
    /// not in the batch.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for an ENUM or SET value without label.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<bool> {
        if self.is_null(row) {
            return Ok(false);
        }
        match &self.printer {
            Printer::Null => return Ok(false),
            Printer::Int(v) => number::push_int(v[row], out),
            Printer::UInt { values, width } => number::push_padded_uint(values[row], *width, out),
            Printer::Bool(v) => out.push(if v.value(row) { b'1' } else { b'0' }),
            Printer::Float { values, style, width } => number::push_float(values[row], *style, *width, out),
            Printer::Double { values, style, width } => number::push_double(values[row], *style, *width, out),
            Printer::Decimal128 { values, scale, integer_digits } => {
                number::push_decimal(values[row], *scale, *integer_digits, out);
            }
            Printer::Decimal256 { values, scale, integer_digits } => {
                number::push_decimal256(values[row], *scale, *integer_digits, out);
            }
            Printer::Bit { values, bytes } => out.extend_from_slice(&values[row].to_be_bytes()[8 - bytes..]),
            Printer::Year { values, digits } => moment::push_year(values[row], *digits, out),
            Printer::Date(v) => moment::push_date(v[row], out),
            Printer::DateTime { values, offset_us, fraction } => {
                moment::push_datetime(values[row], *offset_us, *fraction, out);
            }
            Printer::Time { values, fraction } => moment::push_time(values[row], *fraction, out),
            Printer::Text(v) => out.extend_from_slice(v.value(row).as_bytes()),
            Printer::LargeText(v) => out.extend_from_slice(v.value(row).as_bytes()),
            Printer::TextView(v) => out.extend_from_slice(v.value(row).as_bytes()),
            Printer::Binary(v) => out.extend_from_slice(v.value(row)),
            Printer::LargeBinary(v) => out.extend_from_slice(v.value(row)),
            Printer::BinaryView(v) => out.extend_from_slice(v.value(row)),
            Printer::FixedBinary(v) => out.extend_from_slice(v.value(row)),
            Printer::Padded { values, length } => {
                let value = values.value(row);
                out.extend_from_slice(value);
                out.resize(out.len() + length.saturating_sub(value.len()), 0);
            }
            Printer::Enum { values, labels } => push_enum(values[row], labels, out)?,
            Printer::Set { values, labels } => push_set(values[row], labels, out)?,
            Printer::Uuid(v) => address::push_uuid(v.value(row), out),
            Printer::Inet4(v) => address::push_inet4(v.value(row), out),
            Printer::Inet6(v) => address::push_inet6(v.value(row), out),
        }
        Ok(true)
    }
}

/// How a stored value of an upstream type prints. The array has the stored Arrow type, or another string or
/// binary layout of it.
fn stored_printer(ty: &UpstreamType, array: &ArrayRef, context: &TextContext) -> Result<Printer> {
    use TypeKind as K;
    let width = if ty.zerofill { number_width(ty) } else { 0 };
    Ok(match ty.kind {
        K::TinyInt | K::SmallInt | K::MediumInt | K::Int | K::BigInt if ty.unsigned => {
            Printer::UInt { values: unsigned(array), width }
        }
        K::TinyInt | K::SmallInt | K::MediumInt | K::Int | K::BigInt => Printer::Int(signed(array)),
        K::Decimal => {
            let scale = ty.scale.unwrap_or(0);
            let integer_digits = if ty.zerofill { ty.precision.saturating_sub(scale) } else { 0 };
            decimal_printer(array, scale as i8, usize::from(integer_digits))
        }
        K::Float => {
            Printer::Float { values: values::<Float32Type>(array), style: FloatStyle::of(ty.scale, context), width }
        }
        K::Double => {
            Printer::Double { values: values::<Float64Type>(array), style: FloatStyle::of(ty.scale, context), width }
        }
        K::Bit => Printer::Bit { values: unsigned(array), bytes: (ty.length.clamp(1, 64) as usize).div_ceil(8) },
        K::Year => Printer::Year { values: unsigned(array), digits: if ty.length == 2 { 2 } else { 4 } },
        K::Date => Printer::Date(values::<Date32Type>(array)),
        K::DateTime => Printer::DateTime {
            values: values::<TimestampMicrosecondType>(array),
            offset_us: 0,
            fraction: Fraction::Digits(ty.fsp),
        },
        K::Timestamp => Printer::DateTime {
            values: values::<TimestampMicrosecondType>(array),
            offset_us: i64::from(context.utc_offset_seconds) * 1_000_000,
            fraction: Fraction::Digits(ty.fsp),
        },
        K::Time => Printer::Time { values: values::<Int64Type>(array), fraction: Fraction::Digits(ty.fsp) },
        K::Enum => Printer::Enum { values: unsigned(array), labels: ty.labels.clone() },
        K::Set => Printer::Set { values: unsigned(array), labels: ty.labels.clone() },
        K::Uuid => Printer::Uuid(array.as_fixed_size_binary().clone()),
        K::Inet4 => Printer::Inet4(array.as_fixed_size_binary().clone()),
        K::Inet6 => Printer::Inet6(array.as_fixed_size_binary().clone()),
        K::Binary if *array.data_type() == DataType::Binary => {
            Printer::Padded { values: array.as_binary::<i32>().clone(), length: ty.length as usize }
        }
        _ => computed_printer(array, context)?,
    })
}

/// How a value prints of which only the Arrow type is known.
fn computed_printer(array: &ArrayRef, context: &TextContext) -> Result<Printer> {
    Ok(match array.data_type() {
        DataType::Null => Printer::Null,
        DataType::Boolean => Printer::Bool(array.as_boolean().clone()),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Printer::Int(signed(array)),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            Printer::UInt { values: unsigned(array), width: 0 }
        }
        DataType::Float32 => {
            Printer::Float { values: values::<Float32Type>(array), style: FloatStyle::of(None, context), width: 0 }
        }
        DataType::Float64 => {
            Printer::Double { values: values::<Float64Type>(array), style: FloatStyle::of(None, context), width: 0 }
        }
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => decimal_printer(array, *scale, 0),
        DataType::Utf8 => Printer::Text(array.as_string::<i32>().clone()),
        DataType::LargeUtf8 => Printer::LargeText(array.as_string::<i64>().clone()),
        DataType::Utf8View => Printer::TextView(array.as_string_view().clone()),
        DataType::Binary => Printer::Binary(array.as_binary::<i32>().clone()),
        DataType::LargeBinary => Printer::LargeBinary(array.as_binary::<i64>().clone()),
        DataType::BinaryView => Printer::BinaryView(array.as_binary_view().clone()),
        DataType::FixedSizeBinary(_) => Printer::FixedBinary(array.as_fixed_size_binary().clone()),
        DataType::Date32 => Printer::Date(values::<Date32Type>(array)),
        DataType::Date64 => Printer::DateTime {
            values: map::<Date64Type, _>(array, |ms| ms.saturating_mul(1000)),
            offset_us: 0,
            fraction: Fraction::IfNonzero,
        },
        DataType::Timestamp(unit, zone) => Printer::DateTime {
            values: timestamp_micros(*unit, array),
            offset_us: if zone.is_some() { i64::from(context.utc_offset_seconds) * 1_000_000 } else { 0 },
            fraction: Fraction::IfNonzero,
        },
        DataType::Time32(unit) | DataType::Time64(unit) => {
            Printer::Time { values: time_micros(*unit, array), fraction: Fraction::IfNonzero }
        }
        other => {
            return Err(Error::Invalid(format!(
                "a result column of Arrow type {other} has no MySQL type; cast it to CHAR, a number or DATETIME"
            )));
        }
    })
}

fn decimal_printer(array: &ArrayRef, scale: i8, integer_digits: usize) -> Printer {
    match array.data_type() {
        DataType::Decimal128(..) => {
            Printer::Decimal128 { values: values::<Decimal128Type>(array), scale, integer_digits }
        }
        _ => Printer::Decimal256 { values: values::<Decimal256Type>(array), scale, integer_digits },
    }
}

/// What ZEROFILL pads to: the declared display width, or the type's own.
fn number_width(ty: &UpstreamType) -> usize {
    if ty.length > 0 {
        return ty.length.min(255) as usize;
    }
    match ty.kind {
        TypeKind::TinyInt => 3,
        TypeKind::SmallInt => 5,
        TypeKind::MediumInt => 8,
        TypeKind::Int => 10,
        TypeKind::BigInt => 20,
        TypeKind::Float | TypeKind::Double if ty.precision > 0 => usize::from(ty.precision),
        TypeKind::Float => 12,
        TypeKind::Double => 22,
        _ => 0,
    }
}

fn push_enum(index: u64, labels: &[String], out: &mut Vec<u8>) -> Result<()> {
    if index == 0 {
        return Ok(());
    }
    let Some(label) = usize::try_from(index - 1).ok().and_then(|i| labels.get(i)) else {
        return Err(Error::corrupt(
            "an ENUM value",
            format!("index {index}, but the column has {} labels", labels.len()),
        ));
    };
    out.extend_from_slice(label.as_bytes());
    Ok(())
}

fn push_set(mask: u64, labels: &[String], out: &mut Vec<u8>) -> Result<()> {
    if labels.len() < 64 && mask >> labels.len() != 0 {
        return Err(Error::corrupt(
            "a SET value",
            format!("mask {mask:#x}, but the column has {} labels", labels.len()),
        ));
    }
    let members = labels.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1);
    for (n, (_, label)) in members.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(label.as_bytes());
    }
    Ok(())
}

fn values<T: ArrowPrimitiveType>(array: &ArrayRef) -> ScalarBuffer<T::Native> {
    array.as_primitive::<T>().values().clone()
}

fn map<T: ArrowPrimitiveType, V: arrow::datatypes::ArrowNativeType>(
    array: &ArrayRef,
    f: impl Fn(T::Native) -> V,
) -> ScalarBuffer<V> {
    let array: &PrimitiveArray<T> = array.as_primitive::<T>();
    array.values().iter().map(|v| f(*v)).collect()
}

/// Any signed integer array, widened.
fn signed(array: &ArrayRef) -> ScalarBuffer<i64> {
    match array.data_type() {
        DataType::Int8 => map::<Int8Type, _>(array, i64::from),
        DataType::Int16 => map::<Int16Type, _>(array, i64::from),
        DataType::Int32 => map::<Int32Type, _>(array, i64::from),
        _ => values::<Int64Type>(array),
    }
}

/// Any unsigned integer array, widened.
fn unsigned(array: &ArrayRef) -> ScalarBuffer<u64> {
    match array.data_type() {
        DataType::UInt8 => map::<UInt8Type, _>(array, u64::from),
        DataType::UInt16 => map::<UInt16Type, _>(array, u64::from),
        DataType::UInt32 => map::<UInt32Type, _>(array, u64::from),
        _ => values::<UInt64Type>(array),
    }
}

fn timestamp_micros(unit: TimeUnit, array: &ArrayRef) -> ScalarBuffer<i64> {
    match unit {
        TimeUnit::Second => map::<TimestampSecondType, _>(array, |v| v.saturating_mul(1_000_000)),
        TimeUnit::Millisecond => map::<TimestampMillisecondType, _>(array, |v| v.saturating_mul(1000)),
        TimeUnit::Microsecond => values::<TimestampMicrosecondType>(array),
        TimeUnit::Nanosecond => map::<TimestampNanosecondType, _>(array, |v| v.div_euclid(1000)),
    }
}

fn time_micros(unit: TimeUnit, array: &ArrayRef) -> ScalarBuffer<i64> {
    match unit {
        TimeUnit::Second => map::<Time32SecondType, _>(array, |v| i64::from(v) * 1_000_000),
        TimeUnit::Millisecond => map::<Time32MillisecondType, _>(array, |v| i64::from(v) * 1000),
        TimeUnit::Microsecond => values::<Time64MicrosecondType>(array),
        TimeUnit::Nanosecond => map::<Time64NanosecondType, _>(array, |v| v / 1000),
    }
}
