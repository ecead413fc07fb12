//! Constants of DEFAULT clauses as stored values: what rows hold that were written before a column was added.

use std::net::{Ipv4Addr, Ipv6Addr};

use tidelake_core::{CellValue, TypeKind, UpstreamType};

use super::ast::Literal;
use super::literal_number::{bits_value, bytes_value, unscaled};
use super::literal_time::{Civil, time_micros};

/// The stored value of a constant in a column of this type; `None` if only the server knows.
///
/// `utc_offset_seconds` is the session's time zone, for TIMESTAMP; `None` if unknown.
pub(super) fn stored(ty: &UpstreamType, literal: &Literal, utc_offset_seconds: Option<i32>) -> Option<CellValue> {
    use TypeKind as K;
    match ty.kind {
        K::TinyInt | K::SmallInt | K::MediumInt | K::Int | K::BigInt => integer(ty, literal),
        K::Decimal => Some(CellValue::Decimal(unscaled(&number_text(literal)?, ty.scale.unwrap_or(0))?)),
        K::Float | K::Double => float(ty, literal),
        K::Bit => bit(ty, literal).map(CellValue::UInt),
        K::Year => year(literal).map(CellValue::UInt),
        K::Date => Some(CellValue::Int(Civil::parse(&plain_text(literal)?)?.day().into())),
        K::DateTime => Civil::parse(&plain_text(literal)?)?.micros(ty.fsp).map(CellValue::Int),
        K::Timestamp => timestamp(ty, literal, utc_offset_seconds).map(CellValue::Int),
        K::Time => time_micros(&plain_text(literal)?, ty.fsp).map(CellValue::Int),
        K::Char => Some(CellValue::Str(text(literal)?.trim_end_matches(' ').to_owned())),
        K::VarChar | K::TinyText | K::Text | K::MediumText | K::LongText | K::Json => text(literal).map(CellValue::Str),
        K::Binary => {
            let mut bytes = binary(literal)?;
            bytes.resize(bytes.len().max(ty.length as usize), 0);
            Some(CellValue::Bytes(bytes))
        }
        K::VarBinary | K::TinyBlob | K::Blob | K::MediumBlob | K::LongBlob | K::Vector => {
            binary(literal).map(CellValue::Bytes)
        }
        K::Enum => label_index(ty, &text(literal)?).map(|i| CellValue::UInt(i as u64 + 1)),
        K::Set => label_mask(ty, &text(literal)?).map(CellValue::UInt),
        K::Uuid => uuid(&text(literal)?).map(CellValue::Bytes),
        K::Inet4 => Some(CellValue::Bytes(text(literal)?.parse::<Ipv4Addr>().ok()?.octets().to_vec())),
        K::Inet6 => inet6(&text(literal)?).map(CellValue::Bytes),
        K::Geometry => None,
    }
}

/// What old rows get for a NOT NULL column without DEFAULT; `None` if the server refuses that.
pub(super) fn implicit(ty: &UpstreamType) -> Option<CellValue> {
    use TypeKind as K;
    let zero_date = Literal::Str("0000-00-00 00:00:00".into());
    match ty.kind {
        K::Decimal => Some(CellValue::Decimal("0".into())),
        K::Float | K::Double => Some(CellValue::Float(0.0)),
        K::Date | K::DateTime | K::Timestamp => stored(ty, &zero_date, None),
        K::Time => Some(CellValue::Int(0)),
        K::Bit | K::Year | K::Set => Some(CellValue::UInt(0)),
        K::Enum => Some(CellValue::UInt(1)),
        K::Json => Some(CellValue::Str("null".into())),
        K::Uuid | K::Inet6 => Some(CellValue::Bytes(vec![0; 16])),
        K::Inet4 => Some(CellValue::Bytes(vec![0; 4])),
        K::Geometry | K::Vector => None,
        _ if ty.is_integer() => Some(if ty.unsigned { CellValue::UInt(0) } else { CellValue::Int(0) }),
        _ if ty.is_text() => Some(CellValue::Str(String::new())),
        _ => stored(ty, &Literal::Bytes(Vec::new()), None),
    }
}

fn integer(ty: &UpstreamType, literal: &Literal) -> Option<CellValue> {
    let digits = unscaled(&number_text(literal)?, 0)?;
    if ty.unsigned { digits.parse().ok().map(CellValue::UInt) } else { digits.parse().ok().map(CellValue::Int) }
}

fn float(ty: &UpstreamType, literal: &Literal) -> Option<CellValue> {
    let text = number_text(literal)?;
    let value: f64 = match ty.scale {
        Some(scale) => format!("{}e-{scale}", unscaled(&text, scale)?).parse().ok()?,
        None => text.trim().parse().ok()?,
    };
    let value = if ty.kind == TypeKind::Float { f64::from(value as f32) } else { value };
    value.is_finite().then_some(CellValue::Float(value))
}

fn bit(ty: &UpstreamType, literal: &Literal) -> Option<u64> {
    let value = match literal {
        Literal::Str(text) => bytes_value(text.as_bytes())?,
        Literal::Number(text) => unscaled(text, 0)?.parse().ok()?,
        Literal::Bytes(bytes) => bytes_value(bytes)?,
        Literal::Bits(digits) => bits_value(digits)?,
    };
    (ty.length >= 64 || value >> ty.length == 0).then_some(value)
}

/// 1 and 2 digits are years of 1970 to 2069; the number 0 is year 0000, the text '0' is 2000.
fn year(literal: &Literal) -> Option<u64> {
    let text = number_text(literal)?;
    let value: u64 = unscaled(&text, 0)?.parse().ok()?;
    let short_text = matches!(literal, Literal::Str(t) if t.len() < 3);
    match value {
        0 => Some(if short_text { 2000 } else { 0 }),
        1..=69 => Some(2000 + value),
        70..=99 => Some(1900 + value),
        1901..=2155 => Some(value),
        _ => None,
    }
}

fn timestamp(ty: &UpstreamType, literal: &Literal, utc_offset_seconds: Option<i32>) -> Option<i64> {
    let civil = Civil::parse(&plain_text(literal)?)?;
    let local = civil.micros(ty.fsp)?;
    if civil.is_zero() {
        return Some(local);
    }
    Some(local - i64::from(utc_offset_seconds?) * 1_000_000)
}

/// A literal as the text of a number.
fn number_text(literal: &Literal) -> Option<String> {
    Some(match literal {
        Literal::Str(text) | Literal::Number(text) => text.clone(),
        Literal::Bytes(bytes) => bytes_value(bytes)?.to_string(),
        Literal::Bits(digits) => bits_value(digits)?.to_string(),
    })
}

/// A string or a number as written.
fn plain_text(literal: &Literal) -> Option<String> {
    match literal {
        Literal::Str(text) | Literal::Number(text) => Some(text.clone()),
        Literal::Bytes(_) | Literal::Bits(_) => None,
    }
}

fn text(literal: &Literal) -> Option<String> {
    match literal {
        Literal::Str(text) => Some(text.clone()),
        // 1.50 becomes '1.50', but 1e3 becomes '1000': only the server knows how it prints that.
        Literal::Number(text) => (!text.contains(['e', 'E'])).then(|| text.clone()),
        Literal::Bytes(bytes) => bytes.is_ascii().then(|| String::from_utf8_lossy(bytes).into_owned()),
        Literal::Bits(_) => None,
    }
}

fn binary(literal: &Literal) -> Option<Vec<u8>> {
    match literal {
        Literal::Bytes(bytes) => Some(bytes.clone()),
        // Beyond ASCII the bytes depend on the session's charset.
        Literal::Str(_) | Literal::Number(_) => text(literal).filter(|t| t.is_ascii()).map(String::into_bytes),
        Literal::Bits(_) => None,
    }
}

fn label_index(ty: &UpstreamType, label: &str) -> Option<usize> {
    let label = if ty.charset.as_deref() == Some("binary") { label } else { label.trim_end_matches(' ') };
    let exact = ty.labels.iter().position(|l| l == label);
    exact.or_else(|| ty.labels.iter().position(|l| l.to_lowercase() == label.to_lowercase()))
}

fn label_mask(ty: &UpstreamType, labels: &str) -> Option<u64> {
    if labels.is_empty() {
        return Some(0);
    }
    labels.split(',').try_fold(0u64, |mask, label| Some(mask | 1u64.checked_shl(label_index(ty, label)? as u32)?))
}

fn uuid(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..16).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).ok()).collect()
}

fn inet6(text: &str) -> Option<Vec<u8>> {
    Some(text.parse::<Ipv6Addr>().ok()?.octets().to_vec())
}

/// The constant as SHOW CREATE TABLE prints it, without MySQL's quotes around numbers.
pub(super) fn printed(ty: &UpstreamType, literal: &Literal) -> Option<String> {
    use TypeKind as K;
    use tidelake_core::show_create::quote_text;
    let quoted = |text: String| Some(quote_text(&text));
    match ty.kind {
        K::Bit => Some(format!("b'{:b}'", bit(ty, literal)?)),
        K::Year => Some(format!("{:04}", year(literal)?)),
        K::Date => quoted(Civil::parse(&plain_text(literal)?)?.date_text()),
        K::DateTime | K::Timestamp => quoted(Civil::parse(&plain_text(literal)?)?.text(ty.fsp)?),
        K::Time => quoted(super::literal_time::time_text(time_micros(&plain_text(literal)?, ty.fsp)?, ty.fsp)),
        K::Enum => quoted(ty.labels.get(label_index(ty, &text(literal)?)?)?.clone()),
        K::Set => {
            let mask = label_mask(ty, &text(literal)?)?;
            let chosen: Vec<&str> = ty
                .labels
                .iter()
                .take(64)
                .enumerate()
                .filter(|(i, _)| mask >> i & 1 == 1)
                .map(|(_, l)| l.as_str())
                .collect();
            quoted(chosen.join(","))
        }
        K::Float | K::Double => match (stored(ty, literal, None)?, ty.scale) {
            (CellValue::Float(v), Some(scale)) => Some(format!("{v:.*}", usize::from(scale))),
            (CellValue::Float(v), None) if ty.kind == K::Float => Some((v as f32).to_string()),
            (CellValue::Float(v), None) => Some(v.to_string()),
            _ => None,
        },
        _ => match stored(ty, literal, None)? {
            CellValue::Int(v) => Some(v.to_string()),
            CellValue::UInt(v) if ty.zerofill => Some(format!("{v:0>width$}", width = ty.length as usize)),
            CellValue::UInt(v) => Some(v.to_string()),
            CellValue::Decimal(digits) => Some(super::literal_number::with_point(&digits, ty.scale.unwrap_or(0))),
            CellValue::Str(text) => quoted(text),
            CellValue::Bytes(_) if matches!(ty.kind, K::Uuid | K::Inet4 | K::Inet6) => quoted(text(literal)?),
            CellValue::Bytes(_) if ty.kind == K::Vector => None,
            CellValue::Bytes(bytes) => String::from_utf8(bytes).ok().and_then(quoted),
            CellValue::Null | CellValue::Float(_) => None,
        },
    }
}
