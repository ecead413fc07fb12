//! Values from one type to another, as MySQL converts them: a text in a number's place is read up to the first
//! character that does not fit; a number in a text's place is printed.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Field, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType, UInt64Type,
};
use datafusion::common::Result;
use tidelake_core::types::arrow::upstream_type;
use tidelake_core::types::temporal::{date_of, split_micros};
use tidelake_core::{TypeKind, UpstreamType};

use super::datetime::{SECOND_US, date_text, datetime_text, parse_datetime, parse_time, time_text};
use super::form::Labels;
use super::types::{Ty, exact, fixed_digits, ty_of};
use super::whole::whole_to_decimal;
use super::zone::Zone;

/// Converts an array of `field` to `to`. `zone` is the session's.
pub(crate) fn convert(array: &ArrayRef, field: &Field, to: Ty, zone: Zone) -> Result<ArrayRef> {
    if to.is_number()
        && let Some(labels) = Labels::of(field)
    {
        return labelled(array, &labels, to, zone);
    }
    Ok(match to {
        Ty::Null | Ty::Bool => cast(array, &to.data_type())?,
        Ty::Text | Ty::Address => Arc::new(to_text(array, field, zone)?),
        Ty::Bytes => Arc::new(to_bytes(array, field, zone)?),
        Ty::Int => Arc::new(to_int(array, field, zone)?),
        Ty::UInt => Arc::new(to_uint(array, field, zone)?),
        Ty::Double | Ty::Fixed(_) => Arc::new(to_double(array, field, zone)?),
        Ty::Decimal(..) => to_decimal(array, field, to, zone)?,
        Ty::Date => {
            let local = to_local(array, field, zone)?;
            Arc::new(Date32Array::from_iter(local.iter().map(|v| v.map(|us| split_micros(us).0))))
        }
        Ty::DateTime(_) => Arc::new(to_local(array, field, zone)?),
        Ty::Timestamp(_) => {
            if matches!(ty_of(field), Ty::Timestamp(_)) {
                return Ok(Arc::clone(array));
            }
            let local = to_local(array, field, zone)?;
            let utc = TimestampMicrosecondArray::from_iter(local.iter().map(|v| v.map(|us| zone.to_utc(us))));
            Arc::new(utc.with_timezone("UTC"))
        }
        Ty::Time(_) => Arc::new(to_time(array, field, zone)?),
    })
}

/// ENUM and SET in a number's place are their indexes.
fn labelled(array: &ArrayRef, labels: &Labels, to: Ty, zone: Zone) -> Result<ArrayRef> {
    let texts = cast(array, &DataType::Utf8)?;
    let numbers: UInt64Array = texts.as_string::<i32>().iter().map(|t| t.map(|t| labels.number(t))).collect();
    convert(&(Arc::new(numbers) as ArrayRef), &Field::new("n", DataType::UInt64, true), to, zone)
}

/// MySQL's text of each value.
pub(crate) fn to_text(array: &ArrayRef, field: &Field, zone: Zone) -> Result<StringArray> {
    let upstream = upstream_type(field);
    let kind = upstream.as_ref().map(|t| t.kind);
    let texts: StringArray = match ty_of(field) {
        Ty::Text => return Ok(cast(array, &DataType::Utf8)?.as_string::<i32>().clone()),
        Ty::Null => StringArray::new_null(array.len()),
        Ty::Double if *array.data_type() == DataType::Float32 => {
            let floats = array.as_primitive::<arrow::datatypes::Float32Type>();
            floats.iter().map(|v| v.map(float_text)).collect()
        }
        Ty::Double | Ty::Fixed(_) => {
            let values = cast(array, &DataType::Float64)?;
            let digits = fixed_digits(field);
            let text = |v| digits.map_or_else(|| double_text(v), |n| format!("{v:.n$}", n = usize::from(n)));
            values.as_primitive::<Float64Type>().iter().map(|v| v.map(text)).collect()
        }
        Ty::Date => array.as_primitive::<Date32Type>().iter().map(|v| v.map(date_text)).collect(),
        Ty::DateTime(fsp) | Ty::Timestamp(fsp) => {
            to_local(array, field, zone)?.iter().map(|v| v.map(|us| datetime_text(us, fsp))).collect()
        }
        Ty::Time(fsp) => array.as_primitive::<Int64Type>().iter().map(|v| v.map(|us| time_text(us, fsp))).collect(),
        Ty::Bytes => bytes_of(array)?.iter().map(|v| v.map(|b| String::from_utf8_lossy(b).into_owned())).collect(),
        Ty::Address => {
            let bytes = array.as_fixed_size_binary();
            bytes.iter().map(|v| v.map(|b| address_text(kind, b))).collect()
        }
        Ty::UInt if kind == Some(TypeKind::Year) => {
            let years = cast(array, &DataType::UInt64)?;
            let short = upstream.as_ref().is_some_and(|t| t.length == 2);
            let text = |y: u64| if short { format!("{:02}", y % 100) } else { format!("{y:04}") };
            years.as_primitive::<UInt64Type>().iter().map(|v| v.map(text)).collect()
        }
        Ty::UInt if kind == Some(TypeKind::Bit) => {
            let bits = array.as_primitive::<UInt64Type>();
            bits.iter().map(|v| v.map(|b| bit_text(b, upstream.as_ref()))).collect()
        }
        Ty::UInt | Ty::Int if upstream.as_ref().is_some_and(|t| t.zerofill && t.length > 0) => {
            let width = upstream.map_or(0, |t| t.length as usize);
            let plain = cast(array, &DataType::UInt64)?;
            plain.as_primitive::<UInt64Type>().iter().map(|v| v.map(|n| format!("{n:0width$}"))).collect()
        }
        Ty::Bool => cast(&cast(array, &DataType::Int64)?, &DataType::Utf8)?.as_string::<i32>().clone(),
        Ty::Decimal(..) => {
            let rounded = cast(array, &exact(field).data_type())?;
            cast(&rounded, &DataType::Utf8)?.as_string::<i32>().clone()
        }
        _ => cast(array, &DataType::Utf8)?.as_string::<i32>().clone(),
    };
    Ok(texts)
}

fn bit_text(bits: u64, ty: Option<&UpstreamType>) -> String {
    let bytes = ty.map_or(8, |t| t.length.div_ceil(8).clamp(1, 8) as usize);
    String::from_utf8_lossy(&bits.to_be_bytes()[8 - bytes..]).into_owned()
}

fn address_text(kind: Option<TypeKind>, bytes: &[u8]) -> String {
    match (kind, bytes.len()) {
        (Some(TypeKind::Inet4), 4) => std::net::Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).to_string(),
        (Some(TypeKind::Inet6), 16) => {
            let octets: [u8; 16] = bytes.try_into().expect("sixteen bytes were matched");
            std::net::Ipv6Addr::from(octets).to_string()
        }
        _ => {
            let mut text = String::new();
            for (i, b) in bytes.iter().enumerate() {
                if matches!(i, 4 | 6 | 8 | 10) {
                    text.push('-');
                }
                let _ = write!(text, "{b:02x}");
            }
            text
        }
    }
}

/// A DOUBLE as the text protocol prints it: the shortest digits that read back, an exponent outside 1e-15..1e15.
pub(crate) fn double_text(value: f64) -> String {
    number_text(value, format!("{value:e}"))
}

/// A FLOAT: six significant digits.
pub(crate) fn float_text(value: f32) -> String {
    let text = format!("{:.5e}", f64::from(value));
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    number_text(f64::from(value), format!("{mantissa}e{exponent}"))
}

fn number_text(value: f64, scientific: String) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-15..15).contains(&exponent) {
        return format!("{mantissa}e{exponent}");
    }
    let negative = mantissa.starts_with('-');
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let point = exponent + 1;
    let mut text = if negative { "-".to_owned() } else { String::new() };
    if point <= 0 {
        text.push_str("0.");
        text.extend(std::iter::repeat_n('0', point.unsigned_abs() as usize));
        text.push_str(&digits);
    } else if digits.len() <= point as usize {
        text.push_str(&digits);
        text.extend(std::iter::repeat_n('0', point as usize - digits.len()));
    } else {
        text.push_str(&digits[..point as usize]);
        text.push('.');
        text.push_str(&digits[point as usize..]);
    }
    text
}

fn bytes_of(array: &ArrayRef) -> Result<BinaryArray> {
    Ok(cast(array, &DataType::Binary)?.as_binary::<i32>().clone())
}

fn to_bytes(array: &ArrayRef, field: &Field, zone: Zone) -> Result<BinaryArray> {
    if ty_of(field) == Ty::Bytes {
        return bytes_of(array);
    }
    bytes_of(&(Arc::new(to_text(array, field, zone)?) as ArrayRef))
}

/// The number at the beginning of a text, 0 if there is none.
pub(crate) fn leading_double(text: &str) -> f64 {
    let text = text.trim_start();
    let bytes = text.as_bytes();
    let mut end = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    let digits = |from: usize| bytes[from.min(bytes.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
    end += digits(end);
    if bytes.get(end) == Some(&b'.') {
        end += 1 + digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'-' | b'+')));
        let n = digits(end + 1 + sign);
        if n > 0 {
            end += 1 + sign + n;
        }
    }
    text[..end].parse().unwrap_or(0.0)
}

fn leading_int(text: &str) -> i64 {
    let text = text.trim_start();
    let sign = usize::from(text.starts_with(['-', '+']));
    let digits = text.as_bytes()[sign..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = &text[..sign + digits];
    whole.parse().unwrap_or(match (digits, whole.starts_with('-')) {
        (0, _) => 0,
        (_, true) => i64::MIN,
        (_, false) => i64::MAX,
    })
}

pub(crate) fn to_double(array: &ArrayRef, field: &Field, zone: Zone) -> Result<Float64Array> {
    Ok(match ty_of(field) {
        Ty::Text | Ty::Bytes | Ty::Address => {
            let text = to_text(array, field, zone)?;
            text.iter().map(|v| v.map(leading_double)).collect()
        }
        Ty::Null => Float64Array::new_null(array.len()),
        ty if ty.is_temporal() => packed(array, field, zone)?,
        _ => cast(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone(),
    })
}

/// Temporal values as numbers: 20240131, 20240131235959, 235959, with fraction.
fn packed(array: &ArrayRef, field: &Field, zone: Zone) -> Result<Float64Array> {
    let time_number = |us: i64| {
        let (sign, abs) = (if us < 0 { -1.0 } else { 1.0 }, us.unsigned_abs());
        let s = abs / 1_000_000;
        sign * ((s / 3600 * 10_000 + s / 60 % 60 * 100 + s % 60) as f64 + (abs % 1_000_000) as f64 / 1e6)
    };
    let day = |d: i32| {
        let (y, m, d) = date_of(d);
        f64::from(y) * 10_000.0 + f64::from(m) * 100.0 + f64::from(d)
    };
    Ok(match ty_of(field) {
        Ty::Date => array.as_primitive::<Date32Type>().iter().map(|v| v.map(day)).collect(),
        Ty::Time(_) => array.as_primitive::<Int64Type>().iter().map(|v| v.map(time_number)).collect(),
        _ => {
            let local = to_local(array, field, zone)?;
            let number = |us: i64| {
                let (d, t) = split_micros(us);
                day(d) * 1e6 + time_number(t)
            };
            local.iter().map(|v| v.map(number)).collect()
        }
    })
}

/// The same with all digits.
fn packed_exact(array: &ArrayRef, field: &Field, to: Ty, zone: Zone) -> Result<ArrayRef> {
    let million = 1_000_000_i128;
    let time = |us: i64| {
        let (sign, s) = (if us < 0 { -1 } else { 1 }, i128::from(us.unsigned_abs()));
        let (whole, fraction) = (s / million, s % million);
        sign * ((whole / 3600 * 10_000 + whole / 60 % 60 * 100 + whole % 60) * million + fraction)
    };
    let day = |d: i32| {
        let (y, m, d) = date_of(d);
        i128::from(y) * 10_000 + i128::from(m) * 100 + i128::from(d)
    };
    let moment = |us: i64| {
        let (d, t) = split_micros(us);
        day(d) * million * million + time(t)
    };
    let micros: Decimal128Array = match ty_of(field) {
        Ty::Date => array.as_primitive::<Date32Type>().iter().map(|v| v.map(|d| day(d) * million)).collect(),
        Ty::Time(_) => array.as_primitive::<Int64Type>().iter().map(|v| v.map(time)).collect(),
        _ => to_local(array, field, zone)?.iter().map(|v| v.map(moment)).collect(),
    };
    Ok(cast(&micros.with_precision_and_scale(38, 6)?, &to.data_type())?)
}

fn round_to_int(v: f64) -> i64 {
    v.round_ties_even() as i64
}

pub(crate) fn to_int(array: &ArrayRef, field: &Field, zone: Zone) -> Result<Int64Array> {
    Ok(match ty_of(field) {
        Ty::Text | Ty::Bytes | Ty::Address => {
            let text = to_text(array, field, zone)?;
            text.iter().map(|v| v.map(leading_int)).collect()
        }
        Ty::Double => to_double(array, field, zone)?.iter().map(|v| v.map(round_to_int)).collect(),
        Ty::Decimal(p, _) => {
            let rounded = rounded_decimal(array, p)?;
            let wide = cast_with_options(&rounded, &DataType::Float64, &CastOptions::default())?;
            let exact = cast(&rounded, &DataType::Int64)?;
            let (exact, wide) = (exact.as_primitive::<Int64Type>(), wide.as_primitive::<Float64Type>());
            exact.iter().zip(wide.iter()).map(|(e, w)| e.or(w.map(round_to_int))).collect()
        }
        Ty::UInt => {
            let plain = cast(array, &DataType::UInt64)?;
            plain.as_primitive::<UInt64Type>().iter().map(|v| v.map(|n| i64::try_from(n).unwrap_or(i64::MAX))).collect()
        }
        ty if ty.is_temporal() => packed(array, field, zone)?.iter().map(|v| v.map(|n| n.trunc() as i64)).collect(),
        _ => cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
    })
}

fn rounded_decimal(array: &ArrayRef, precision: u8) -> Result<ArrayRef> {
    let to = if precision <= 38 { DataType::Decimal128(38, 0) } else { DataType::Decimal256(76, 0) };
    Ok(cast(array, &to)?)
}

fn to_uint(array: &ArrayRef, field: &Field, zone: Zone) -> Result<UInt64Array> {
    Ok(match ty_of(field) {
        Ty::UInt | Ty::Bool => cast(array, &DataType::UInt64)?.as_primitive::<UInt64Type>().clone(),
        Ty::Text | Ty::Bytes | Ty::Address => {
            let text = to_text(array, field, zone)?;
            text.iter().map(|v| v.map(|t| t.trim().parse::<u64>().unwrap_or_else(|_| leading_int(t) as u64))).collect()
        }
        Ty::Decimal(p, _) => {
            let whole = rounded_decimal(array, p)?;
            let fits = cast(&whole, &DataType::UInt64)?;
            // A negative one wraps, as an integer does.
            let wrapped = to_int(&whole, &Field::new("n", whole.data_type().clone(), true), zone)?;
            let both = fits.as_primitive::<UInt64Type>().iter().zip(wrapped.iter());
            both.map(|(fits, wrapped)| fits.or(wrapped.map(|n| n as u64))).collect()
        }
        // CAST(-1 AS UNSIGNED) is 18446744073709551615.
        _ => to_int(array, field, zone)?.iter().map(|v| v.map(|n| n as u64)).collect(),
    })
}

fn to_decimal(array: &ArrayRef, field: &Field, to: Ty, zone: Zone) -> Result<ArrayRef> {
    let number = match ty_of(field) {
        Ty::Text | Ty::Bytes | Ty::Address => {
            let text = to_text(array, field, zone)?;
            let clean: StringArray = text.iter().map(|v| v.map(leading_decimal)).collect();
            Arc::new(clean) as ArrayRef
        }
        ty if ty.is_temporal() => return packed_exact(array, field, to, zone),
        Ty::Bool => cast(array, &DataType::Int64)?,
        _ => Arc::clone(array),
    };
    if let Some(all_fit) = whole_to_decimal(&number, &to.data_type())? {
        return Ok(all_fit);
    }
    let fitting = cast(&number, &to.data_type())?;
    if fitting.null_count() == number.null_count() {
        return Ok(fitting);
    }
    largest_instead(&number, fitting, to)
}

/// What does not fit a DECIMAL is the largest one of its sign, as upstream makes it with a warning.
fn largest_instead(number: &ArrayRef, fitting: ArrayRef, to: Ty) -> Result<ArrayRef> {
    let Ty::Decimal(precision, scale) = to else { return Ok(fitting) };
    let nines = "9".repeat(usize::from(precision));
    let (whole, fraction) = nines.split_at(usize::from(precision - scale.min(precision)));
    let largest = format!("0{whole}.{fraction}0");
    let signs = cast(number, &DataType::Float64)?;
    let signs = signs.as_primitive::<Float64Type>();
    let limits: StringArray =
        signs.iter().map(|v| v.map(|n| if n < 0.0 { format!("-{largest}") } else { largest.clone() })).collect();
    let limits = cast(&limits, &to.data_type())?;
    let kept = arrow::compute::is_not_null(&fitting)?;
    Ok(arrow::compute::kernels::zip::zip(&kept, &fitting, &limits)?)
}

/// The number at the beginning of a text in plain digits, an exponent applied.
fn leading_decimal(text: &str) -> String {
    let text = text.trim_start();
    let sign = usize::from(text.starts_with(['-', '+']));
    let body = &text[sign..];
    let whole = body.bytes().take_while(u8::is_ascii_digit).count();
    let after = &body[whole..];
    let fraction = match after.strip_prefix('.') {
        Some(rest) => rest.bytes().take_while(u8::is_ascii_digit).count(),
        None => 0,
    };
    if whole + fraction == 0 {
        return "0".to_owned();
    }
    let end = whole + if after.starts_with('.') { 1 + fraction } else { 0 };
    let number = &text[..sign + end];
    let power = exponent(&body[end..]);
    if power == 0 {
        return number.trim_end_matches('.').to_owned();
    }
    // The point moves; more than a decimal holds is cut when it is read.
    let digits: String = number.bytes().filter(u8::is_ascii_digit).map(char::from).collect();
    let point = whole as i64 + power.clamp(-100, 100);
    let negative = if text.starts_with('-') { "-" } else { "" };
    let moved = match usize::try_from(point) {
        Ok(at) if at >= digits.len() => format!("{digits:0<at$}"),
        Ok(at) => format!("0{}.{}", &digits[..at], &digits[at..]),
        Err(_) => format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
    };
    format!("{negative}{moved}")
}

fn exponent(text: &str) -> i64 {
    let Some(rest) = text.strip_prefix(['e', 'E']) else { return 0 };
    let sign = usize::from(rest.starts_with(['-', '+']));
    let n = rest[sign..].bytes().take_while(u8::is_ascii_digit).count();
    rest[..sign + n].parse().unwrap_or(0)
}

/// Dates and times in the session's time zone, as DATETIME is stored. What is no date is NULL.
pub(crate) fn to_local(array: &ArrayRef, field: &Field, zone: Zone) -> Result<TimestampMicrosecondArray> {
    Ok(match ty_of(field) {
        Ty::DateTime(_) => micros_of(array)?,
        Ty::Timestamp(_) => micros_of(array)?.iter().map(|v| v.map(|us| zone.to_local(us))).collect(),
        Ty::Date => {
            let days = array.as_primitive::<Date32Type>();
            days.iter().map(|v| v.map(|d| i64::from(d) * 86_400 * SECOND_US)).collect()
        }
        Ty::Null => TimestampMicrosecondArray::new_null(array.len()),
        // A TIME as a date needs the current date; the callers that allow it add it themselves.
        Ty::Time(_) => TimestampMicrosecondArray::new_null(array.len()),
        _ => {
            let text = to_text(array, field, zone)?;
            text.iter().map(|v| v.and_then(parse_datetime).map(|p| p.micros)).collect()
        }
    })
}

fn micros_of(array: &ArrayRef) -> Result<TimestampMicrosecondArray> {
    let naive = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None));
    // Casting from UTC to "no zone" keeps the number.
    Ok(naive?.as_primitive::<TimestampMicrosecondType>().clone())
}

fn to_time(array: &ArrayRef, field: &Field, zone: Zone) -> Result<Int64Array> {
    Ok(match ty_of(field) {
        Ty::Time(_) => array.as_primitive::<Int64Type>().clone(),
        Ty::Date | Ty::DateTime(_) | Ty::Timestamp(_) => {
            to_local(array, field, zone)?.iter().map(|v| v.map(|us| split_micros(us).1)).collect()
        }
        _ => {
            let text = to_text(array, field, zone)?;
            text.iter().map(|v| v.and_then(parse_time).map(|(us, _)| us)).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_short() {
        for (value, text) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (100.0, "100"),
            (1e14, "100000000000000"),
            (1e15, "1e15"),
            (-0.25, "-0.25"),
            (1.234_567_890_123e-5, "0.00001234567890123"),
            (1e-20, "1e-20"),
        ] {
            assert_eq!(double_text(value), text);
        }
        assert_eq!(float_text(0.1), "0.1");
        assert_eq!(float_text(16_777_216.0), "16777200");
    }

    #[test]
    fn texts_are_read_as_far_as_they_are_numbers() {
        assert_eq!(leading_double(" 12.5abc"), 12.5);
        assert_eq!(leading_double("-3e2x"), -300.0);
        assert_eq!(leading_double("abc"), 0.0);
        assert_eq!(leading_int("42x"), 42);
        assert_eq!(leading_decimal("1.25.3"), "1.25");
        assert_eq!(leading_decimal("x"), "0");
        assert_eq!(leading_decimal("1.5e2x"), "150");
        assert_eq!(leading_decimal("-12.5e-1"), "-01.25");
        assert_eq!(leading_decimal("5e-3"), "0.005");
        assert_eq!(leading_decimal("7."), "7");
    }
}
