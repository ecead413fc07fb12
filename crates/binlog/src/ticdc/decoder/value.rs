//! Cells of an image into Arrow columns, one kind of type after the other.

use arrow::datatypes::i256;
use tidelake_core::types::temporal::INVALID_BASE;
use tidelake_core::{Result, TypeKind, UpstreamType};

use super::moment::{date_time_us, day, time_us};
use crate::mysql::reader::{Malformed, Parsed};
use crate::mysql::rows::builder::ColumnBuilder;
use crate::ticdc::record::{BinaryText, Cell, Spelling};
use crate::ticdc::zone::Zone;

/// Zones by their text: the feed's own, and the last that a value named itself.
pub struct Zones {
    feed: (String, Zone),
    last: (String, Zone),
}

impl Default for Zones {
    fn default() -> Zones {
        let utc = || (String::new(), Zone::Fixed(0));
        Zones { feed: utc(), last: utc() }
    }
}

impl Zones {
    /// Sets the feed's own zone.
    ///
    /// # Errors
    /// If it is not known.
    pub fn enter(&mut self, zone: &str) -> Result<()> {
        if self.feed.0 != zone {
            self.feed = (zone.to_owned(), Zone::parse(zone)?);
        }
        Ok(())
    }

    fn of(&mut self, zone: Option<&str>) -> Parsed<&Zone> {
        // a server that runs in its machine's zone may not know its name
        let Some(zone) = zone.filter(|zone| !matches!(*zone, "Local" | "System" | "")) else { return Ok(&self.feed.1) };
        if self.last.0 != zone {
            self.last = (zone.to_owned(), Zone::parse(zone).map_err(|e| Malformed::new(e.to_string()))?);
        }
        Ok(&self.last.1)
    }
}

/// Appends a cell of a column of this type.
///
/// # Errors
/// For a cell that is no value of the type.
pub fn append(
    builder: &mut ColumnBuilder,
    ty: &UpstreamType,
    cell: Cell<'_>,
    spelling: Spelling,
    zones: &mut Zones,
) -> Parsed<()> {
    let (bytes, zone, raw) = match cell {
        Cell::Null => {
            builder.append_null();
            return Ok(());
        }
        Cell::Text(text) => (text, None, false),
        Cell::Bytes(bytes) => (bytes, None, true),
        Cell::Zoned(text, zone) => (text, Some(zone), false),
    };
    if ty.kind == TypeKind::Vector && !raw {
        return builder.append_bytes(&vector(bytes).ok_or_else(|| misfit(ty, bytes))?, 0);
    }
    if ty.is_binary() {
        let pad = if ty.kind == TypeKind::Binary { ty.length as usize } else { 0 };
        return match if raw { BinaryText::Raw } else { spelling.binary } {
            BinaryText::Raw => builder.append_bytes(bytes, pad),
            BinaryText::Latin1 => builder.append_bytes(&latin1(bytes).ok_or_else(|| misfit(ty, bytes))?, pad),
            BinaryText::Base64 => builder.append_bytes(&base64(bytes).ok_or_else(|| misfit(ty, bytes))?, pad),
            BinaryText::Hex => builder.append_bytes(&hex(bytes).ok_or_else(|| misfit(ty, bytes))?, pad),
        };
    }
    if ty.is_text() || ty.kind == TypeKind::Json {
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::because("text that is not UTF-8"))?;
        return builder.append_text(text);
    }
    if raw && ty.kind == TypeKind::Bit {
        return number(builder, ty, &be_number(bytes).ok_or_else(|| misfit(ty, bytes))?.to_string())
            .ok_or_else(|| misfit(ty, bytes));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| misfit(ty, bytes))?;
    if ty.kind == TypeKind::Timestamp {
        let local = date_time_us(text).ok_or_else(|| misfit(ty, bytes))?;
        let ColumnBuilder::Micros(b) = builder else { return Err(misfit(ty, bytes)) };
        b.append_value(zones.of(zone)?.to_utc(local)?);
        return Ok(());
    }
    let label = if spelling.labels { labelled(ty, text)? } else { None };
    number(builder, ty, label.as_deref().unwrap_or(text)).ok_or_else(|| misfit(ty, bytes))
}

fn misfit(ty: &UpstreamType, bytes: &[u8]) -> Malformed {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
    Malformed::new(format!("{shown:?} is no value of type {:?}", ty.kind))
}

/// `None`: the text is no value of the type.
fn number(builder: &mut ColumnBuilder, ty: &UpstreamType, text: &str) -> Option<()> {
    use ColumnBuilder as B;
    match builder {
        B::I8(b) => b.append_value(text.parse().ok()?),
        B::I16(b) => b.append_value(text.parse().ok()?),
        B::I32(b) => b.append_value(text.parse().ok()?),
        B::I64(b) if ty.kind == TypeKind::Time => b.append_value(time_us(text)?),
        B::I64(b) => b.append_value(text.parse().ok()?),
        B::U8(b) => b.append_value(text.parse().ok()?),
        B::U16(b) if ty.kind == TypeKind::Enum => {
            b.append_value(text.parse::<u16>().ok().filter(|i| usize::from(*i) <= ty.labels.len())?);
        }
        B::U16(b) => b.append_value(text.parse().ok()?),
        B::U32(b) => b.append_value(text.parse().ok()?),
        B::U64(b) => {
            let width = match ty.kind {
                TypeKind::Set => ty.labels.len() as u32,
                TypeKind::Bit => ty.length.max(1),
                _ => 64,
            };
            b.append_value(text.parse::<u64>().ok().filter(|v| width >= 64 || v >> width == 0)?);
        }
        B::F32(b) => b.append_value(text.parse().ok().filter(|v: &f32| v.is_finite())?),
        B::F64(b) => b.append_value(text.parse().ok().filter(|v: &f64| v.is_finite())?),
        B::Date(b) => b.append_value(day(text)?),
        B::Micros(b) => b.append_value(date_time_us(text)?),
        B::Decimal128(b) => b.append_value(unscaled(ty, text)?.parse().ok()?),
        B::Decimal256(b) => b.append_value(i256::from_string(&unscaled(ty, text)?)?),
        B::Fixed(_) | B::Text(_) | B::Bytes(_) => return None,
    }
    Some(())
}

/// Labels of ENUM and SET as their number.
fn labelled(ty: &UpstreamType, text: &str) -> Parsed<Option<String>> {
    let index = |label: &str| {
        let found = ty.labels.iter().position(|l| l == label);
        found.ok_or_else(|| Malformed::new(format!("{label:?} is none of its labels")))
    };
    match ty.kind {
        TypeKind::Enum if text.is_empty() && !ty.labels.iter().any(String::is_empty) => Ok(Some("0".into())),
        TypeKind::Enum => Ok(Some((index(text)? + 1).to_string())),
        TypeKind::Set if text.is_empty() => Ok(Some("0".into())),
        TypeKind::Set => {
            let bit = |label: &str| -> Parsed<u64> { Ok(1u64.checked_shl(index(label)? as u32).unwrap_or(0)) };
            let mask = text.split(',').try_fold(0, |mask, label| bit(label).map(|bit| mask | bit))?;
            Ok(Some(mask.to_string()))
        }
        _ => Ok(None),
    }
}

/// The digits of a decimal without its point, as many behind it as the column has.
fn unscaled(ty: &UpstreamType, text: &str) -> Option<String> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = usize::from(ty.scale.unwrap_or(0));
    let plain = whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) && whole.len() + fraction.len() > 0;
    if !plain {
        return None;
    }
    // digits beyond the column's must be zeros
    let (kept, beyond) = fraction.split_at(fraction.len().min(scale));
    let significant = whole.trim_start_matches('0').len() + scale;
    if beyond.bytes().any(|b| b != b'0') || significant > usize::from(ty.precision.max(1)) {
        return None;
    }
    Some(format!("{}{whole}{kept:0<scale$}", if negative { "-" } else { "" }))
}

fn be_number(bytes: &[u8]) -> Option<u64> {
    (bytes.len() <= 8).then(|| bytes.iter().fold(0, |v, b| (v << 8) | u64::from(*b)))
}

/// `[1,2.5]` as 32-bit floats, little endian: MySQL's stored form of a vector.
fn vector(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?.trim().strip_prefix('[')?.strip_suffix(']')?;
    let mut out = Vec::new();
    if text.trim().is_empty() {
        return Some(out);
    }
    for part in text.split(',') {
        out.extend_from_slice(&part.trim().parse::<f32>().ok().filter(|v| v.is_finite())?.to_le_bytes());
    }
    Some(out)
}

/// Characters U+0000 to U+00FF, in UTF-8, as bytes.
fn latin1(text: &[u8]) -> Option<Vec<u8>> {
    std::str::from_utf8(text).ok()?.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

/// Bytes of base 64 with or without padding.
#[must_use]
pub fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let digits = match text {
        [head @ .., b'=', b'='] | [head @ .., b'='] if text.len().is_multiple_of(4) => head,
        digits => digits,
    };
    if digits.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        out.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(out)
}

pub(crate) fn hex(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() % 2 == 1 {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16);
    text.chunks_exact(2).map(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)).collect()
}

/// Appends the zero of the builder's type.
///
/// # Errors
/// Never for stored types.
pub fn append_zero(builder: &mut ColumnBuilder) -> Parsed<()> {
    use ColumnBuilder as B;
    match builder {
        B::I8(b) => b.append_value(0),
        B::I16(b) => b.append_value(0),
        B::I32(b) => b.append_value(0),
        B::I64(b) => b.append_value(0),
        B::U8(b) => b.append_value(0),
        B::U16(b) => b.append_value(0),
        B::U32(b) => b.append_value(0),
        B::U64(b) => b.append_value(0),
        B::F32(b) => b.append_value(0.0),
        B::F64(b) => b.append_value(0.0),
        B::Date(b) => b.append_value(INVALID_BASE),
        B::Micros(b) => b.append_value(0),
        B::Decimal128(b) => b.append_value(0),
        B::Decimal256(b) => b.append_value(i256::from(0)),
        B::Text(_) => return builder.append_text(""),
        B::Bytes(_) => return builder.append_bytes(b"", 0),
        // TiDB has no such types
        B::Fixed(_) => return Err(Malformed::because("a type that TiDB does not have")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_text() {
        assert_eq!(base64(b"aGVsbG8="), Some(b"hello".to_vec()));
        assert_eq!(base64(b"aGVsbA=="), Some(b"hell".to_vec()));
        assert_eq!(base64(b"aGVs"), Some(b"hel".to_vec()));
        assert_eq!(base64(b""), Some(Vec::new()));
        assert_eq!(base64(b"a"), None);
        assert_eq!(base64(b"a===b"), None);
        assert_eq!(hex(b"00fF"), Some(vec![0, 255]));
        assert_eq!(hex(b"0"), None);
        assert_eq!(latin1("\u{5}\u{ff}\u{fe}-7F".as_bytes()), Some(vec![5, 255, 254, b'-', b'7', b'F']));
        assert_eq!(latin1("\u{100}".as_bytes()), None);
        assert_eq!(vector(b"[1, -2.5]"), Some([1f32.to_le_bytes(), (-2.5f32).to_le_bytes()].concat()));
    }

    #[test]
    fn a_zone_without_a_name_is_the_feed_s() {
        let mut zones = Zones::default();
        zones.enter("+08:00").expect("a zone");
        let hour = 3_600_000_000;
        for (zone, utc) in [(None, 0), (Some("Local"), 0), (Some("UTC"), 8 * hour), (Some("Asia/Tokyo"), -hour)] {
            assert_eq!(zones.of(zone).and_then(|z| z.to_utc(8 * hour)), Ok(utc), "{zone:?}");
        }
        assert!(zones.of(Some("Mars/Olympus")).is_err());
    }

    #[test]
    fn decimals_are_exact() {
        let ty = UpstreamType::decimal(5, 2);
        assert_eq!(unscaled(&ty, "-0.5").as_deref(), Some("-050"));
        assert_eq!(unscaled(&ty, "123.450").as_deref(), Some("12345"));
        assert_eq!(unscaled(&ty, "7").as_deref(), Some("700"));
        for wrong in ["123.456", "1234", "", ".", "1e3", "--1", "1.-2"] {
            assert_eq!(unscaled(&ty, wrong), None, "{wrong}");
        }
    }
}
