//! Rows of prepared statements: numbers as bytes, moments in pieces, all else as text.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::ScalarBuffer;
use arrow::compute::cast;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float32Type, Float64Type, Int64Type, UInt64Type};
use tidelake_core::types::UpstreamType;
use tidelake_core::types::text::{TextColumn, TextContext};
use tidelake_core::types::wire::{WireType, code};
use tidelake_core::{Error, Result};

use super::payload::put_written;

/// One column of one batch, ready for the binary protocol.
pub(super) struct BinaryColumn {
    /// Prints all that is not a number; for moments the text is taken apart, so that both protocols agree.
    text: TextColumn,
    form: Form,
}

enum Form {
    Int { values: ScalarBuffer<i64>, bytes: usize },
    UInt { values: ScalarBuffer<u64>, bytes: usize },
    Float(ScalarBuffer<f32>),
    Double(ScalarBuffer<f64>),
    Moment,
    Time,
    Text,
}

impl BinaryColumn {
    /// Prepares a column. The array must fit the wire type, as it does if both come from the same field.
    pub(super) fn new(
        ty: Option<&UpstreamType>,
        wire: &WireType,
        array: &ArrayRef,
        context: &TextContext,
    ) -> Result<BinaryColumn> {
        let form = match (wire.code, width(wire.code)) {
            (_, Some(bytes)) if wire.is_unsigned() => {
                Form::UInt { values: values::<UInt64Type>(array, &DataType::UInt64)?, bytes }
            }
            (_, Some(bytes)) => Form::Int { values: values::<Int64Type>(array, &DataType::Int64)?, bytes },
            (code::FLOAT, _) => Form::Float(values::<Float32Type>(array, &DataType::Float32)?),
            (code::DOUBLE, _) => Form::Double(values::<Float64Type>(array, &DataType::Float64)?),
            (code::DATE | code::DATETIME | code::TIMESTAMP, _) => Form::Moment,
            (code::TIME, _) => Form::Time,
            _ => Form::Text,
        };
        Ok(BinaryColumn { text: TextColumn::new(ty, array, context)?, form })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.text.is_null(row)
    }

    /// Appends the row's value, which must not be NULL.
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        match &self.form {
            Form::Int { values, bytes } => out.extend_from_slice(&values[row].to_le_bytes()[..*bytes]),
            Form::UInt { values, bytes } => out.extend_from_slice(&values[row].to_le_bytes()[..*bytes]),
            Form::Float(values) => out.extend_from_slice(&values[row].to_le_bytes()),
            Form::Double(values) => out.extend_from_slice(&values[row].to_le_bytes()),
            Form::Text => put_written(out, &[0], |out| self.text.write(row, out))?,
            Form::Moment => self.write_pieces(row, out, put_moment)?,
            Form::Time => self.write_pieces(row, out, put_time)?,
        }
        Ok(())
    }

    fn write_pieces(&self, row: usize, out: &mut Vec<u8>, put: fn(&[u8], &mut Vec<u8>) -> Option<()>) -> Result<()> {
        let mut text = Vec::with_capacity(32);
        self.text.write(row, &mut text)?;
        put(&text, out).ok_or_else(|| {
            Error::Invalid(format!("{} is outside of the range of the binary protocol", String::from_utf8_lossy(&text)))
        })
    }
}

/// Bytes of an integer type.
fn width(type_code: u8) -> Option<usize> {
    match type_code {
        code::TINY => Some(1),
        code::SHORT | code::YEAR => Some(2),
        code::LONG | code::INT24 => Some(4),
        code::LONGLONG => Some(8),
        _ => None,
    }
}

fn values<T: ArrowPrimitiveType>(array: &ArrayRef, ty: &DataType) -> Result<ScalarBuffer<T::Native>> {
    if array.data_type() == ty {
        return Ok(array.as_primitive::<T>().values().clone());
    }
    Ok(cast(array, ty)?.as_primitive::<T>().values().clone())
}

/// The numbers in a text, whatever separates them; six digits of fraction.
fn pieces(text: &[u8]) -> Option<[u32; 7]> {
    let (whole, fraction) = match text.iter().position(|b| *b == b'.') {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &b""[..]),
    };
    let mut found = [0u32; 7];
    for (i, digits) in whole.split(|b| !b.is_ascii_digit()).enumerate() {
        *found.get_mut(i).filter(|_| i < 6)? = std::str::from_utf8(digits).ok()?.parse().ok()?;
    }
    let mut micros = 0;
    for place in 0..6 {
        micros = micros * 10 + u32::from(fraction.get(place).map_or(0, |d| d.saturating_sub(b'0')));
    }
    found[6] = micros;
    Some(found)
}

/// `YYYY-MM-DD[ hh:mm:ss[.f]]` as length, year, month, day, hour, minute, second, microsecond; short if these are zero.
fn put_moment(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let [year, month, day, hour, minute, second, micros] = pieces(text)?;
    let year = u16::try_from(year).ok().filter(|_| !text.starts_with(b"-"))?;
    let has_time = hour | minute | second | micros != 0;
    let length = match (has_time, micros) {
        (false, _) if u32::from(year) | month | day == 0 => 0,
        (false, _) => 4,
        (true, 0) => 7,
        (true, _) => 11,
    };
    let mut all = [0; 11];
    all[..2].copy_from_slice(&year.to_le_bytes());
    all[2..7].copy_from_slice(&[month as u8, day as u8, hour as u8, minute as u8, second as u8]);
    all[7..].copy_from_slice(&micros.to_le_bytes());
    out.push(length as u8);
    out.extend_from_slice(&all[..length]);
    Some(())
}

/// `[-]hh:mm:ss[.f]` as length, sign, days, hour, minute, second, microsecond; short if these are zero.
fn put_time(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (1, rest),
        None => (0, text),
    };
    let [hours, minute, second, _, _, _, micros] = pieces(text)?;
    let length = match (hours | minute | second, micros) {
        (0, 0) => 0,
        (_, 0) => 8,
        _ => 12,
    };
    let mut all = [0; 12];
    all[0] = negative;
    all[1..5].copy_from_slice(&(hours / 24).to_le_bytes());
    all[5..8].copy_from_slice(&[(hours % 24) as u8, minute as u8, second as u8]);
    all[8..].copy_from_slice(&micros.to_le_bytes());
    out.push(length as u8);
    out.extend_from_slice(&all[..length]);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        put_moment(text.as_bytes(), &mut out).map(|()| out)
    }

    fn time(text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        put_time(text.as_bytes(), &mut out).map(|()| out)
    }

    #[test]
    fn moments_are_as_short_as_they_can_be() {
        assert_eq!(moment("0000-00-00 00:00:00.000").unwrap(), [0]);
        assert_eq!(moment("2024-00-31").unwrap(), [4, 0xe8, 7, 0, 31]);
        assert_eq!(moment("9999-12-31 23:59:59").unwrap(), [7, 0x0f, 0x27, 12, 31, 23, 59, 59]);
        assert_eq!(moment("0001-02-03 00:00:00.000007").unwrap(), [11, 1, 0, 2, 3, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(moment("0001-02-03 00:00:00.5").unwrap()[8..], 500_000u32.to_le_bytes());
        assert_eq!(moment("-0001-02-03"), None);
        assert_eq!(moment("99999-02-03"), None);
    }

    #[test]
    fn times_have_days() {
        assert_eq!(time("00:00:00").unwrap(), [0]);
        assert_eq!(time("-838:59:59").unwrap(), [8, 1, 34, 0, 0, 0, 22, 59, 59]);
        assert_eq!(time("-00:00:00.000001").unwrap(), [12, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    }
}
