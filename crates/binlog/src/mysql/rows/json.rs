//! MySQL's binary JSON -> the text that the server prints: keys in stored order, `, ` and `: ` between, numbers in the
//! server's forms.
//!
//! Format: MySQL's `sql-common/json_binary.h`. Offsets in the input are claims: depth is limited as on the server, and
//! the output may be at most a multiple of the input, so crafted overlaps cannot blow up.

use std::fmt::Write;

use super::decimal;
use crate::mysql::reader::{Malformed, Parsed, Reader};

pub(super) const MAX_DEPTH: usize = 101;

/// Appends the text of a binary JSON value.
///
/// # Errors
/// For damaged values.
pub fn write_text(value: &[u8], out: &mut String) -> Parsed<()> {
    let Some((kind, data)) = value.split_first() else {
        out.push_str("null"); // what the server makes of an empty value
        return Ok(());
    };
    let limit = out.len().saturating_add(value.len().saturating_mul(16)).saturating_add(1024);
    Writer { out, limit }.value(*kind, data, 0)
}

struct Writer<'o> {
    out: &'o mut String,
    limit: usize,
}

impl Writer<'_> {
    fn value(&mut self, kind: u8, data: &[u8], depth: usize) -> Parsed<()> {
        if depth > MAX_DEPTH || self.out.len() > self.limit {
            return Err(Malformed::because("JSON value that is nested too deep or overlaps itself"));
        }
        let mut r = Reader::new(data);
        match kind {
            0 | 1 => return self.container(data, kind == 1, true, depth),
            2 | 3 => return self.container(data, kind == 3, false, depth),
            4 => return self.literal(r.u8()?),
            5 => self.integer(r.u16()? as i16),
            6 => self.integer(r.u16()?),
            7 => self.integer(r.u32()? as i32),
            8 => self.integer(r.u32()?),
            9 => self.integer(r.u64()? as i64),
            10 => self.integer(r.u64()?),
            11 => write_double(f64::from_bits(r.u64()?), self.out),
            12 => {
                let len = length(&mut r)?;
                let text = std::str::from_utf8(r.bytes(len)?);
                self.string(text.map_err(|_| Malformed::because("JSON string that is not UTF-8"))?);
            }
            15 => {
                let field_type = r.u8()?;
                let len = length(&mut r)?;
                return self.opaque(field_type, r.bytes(len)?);
            }
            other => return Err(Malformed::new(format!("JSON value of unknown type {other}"))),
        }
        Ok(())
    }

    fn container(&mut self, data: &[u8], large: bool, object: bool, depth: usize) -> Parsed<()> {
        let wide = if large { 4 } else { 2 };
        let mut r = Reader::new(data);
        let (count, size) = (r.le(wide)? as usize, r.le(wide)? as usize);
        let data = data.get(..size).ok_or(Malformed::because("JSON container larger than its value"))?;
        let mut keys = Reader::new(if object { r.bytes(count.saturating_mul(wide + 2))? } else { &[] });
        let mut values = Reader::new(r.bytes(count.saturating_mul(wide + 1))?);
        self.out.push(if object { '{' } else { '[' });
        for i in 0..count {
            if i > 0 {
                self.out.push_str(", ");
            }
            if object {
                let (at, len) = (keys.le(wide)? as usize, keys.u16()? as usize);
                let key = data.get(at..at.saturating_add(len)).and_then(|k| std::str::from_utf8(k).ok());
                self.string(key.ok_or(Malformed::because("JSON key outside of its object"))?);
                self.out.push_str(": ");
            }
            let kind = values.u8()?;
            let entry = values.bytes(wide)?;
            if matches!(kind, 4..=6) || (large && matches!(kind, 7 | 8)) {
                self.value(kind, entry, depth + 1)?;
            } else {
                let at = Reader::new(entry).le(wide)? as usize;
                let value = data.get(at..).ok_or(Malformed::because("JSON value outside of its container"))?;
                self.value(kind, value, depth + 1)?;
            }
        }
        self.out.push(if object { '}' } else { ']' });
        Ok(())
    }

    fn literal(&mut self, value: u8) -> Parsed<()> {
        self.out.push_str(match value {
            0 => "null",
            1 => "true",
            2 => "false",
            other => return Err(Malformed::new(format!("JSON literal {other}"))),
        });
        Ok(())
    }

    fn integer(&mut self, value: impl std::fmt::Display) {
        let _ = write!(self.out, "{value}");
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                c if c < ' ' => drop(write!(self.out, "\\u{:04x}", c as u32)),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn opaque(&mut self, field_type: u8, bytes: &[u8]) -> Parsed<()> {
        match field_type {
            0 | 246 => self.out.push_str(&decimal::json_text(bytes)?),
            7 | 10 | 11 | 12 => {
                let packed = Reader::new(bytes).u64()? as i64;
                let _ = write!(self.out, "\"{}\"", temporal_text(field_type, packed));
            }
            other => {
                let _ = write!(self.out, "\"base64:type{other}:");
                base64(bytes, self.out);
                self.out.push('"');
            }
        }
        Ok(())
    }
}

/// The length before a string or an opaque value.
pub(super) fn length(r: &mut Reader<'_>) -> Parsed<usize> {
    let mut len = 0usize;
    for shift in [0, 7, 14, 21, 28] {
        let byte = r.u8()?;
        len |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(len);
        }
    }
    Err(Malformed::because("length of a JSON string over 5 bytes"))
}

/// The text of a packed date or time.
fn temporal_text(field_type: u8, packed: i64) -> String {
    let (sign, v) = if packed < 0 { ("-", packed.unsigned_abs()) } else { ("", packed as u64) };
    let (us, v) = (v & 0xff_ffff, v >> 24);
    if field_type == 11 {
        return format!("{sign}{:02}:{:02}:{:02}.{us:06}", (v >> 12) & 0x3ff, (v >> 6) & 63, v & 63);
    }
    let (date, time) = (v >> 17, v & 0x1_ffff);
    let (year, month, day) = ((date >> 5) / 13, (date >> 5) % 13, date & 31);
    if field_type == 10 {
        return format!("{year:04}-{month:02}-{day:02}");
    }
    let (hour, minute, second) = (time >> 12, (time >> 6) & 63, time & 63);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{us:06}")
}

/// A double as the server prints it in JSON: shortest digits, exponents only outside 1e-15..1e15, always a point or
/// an exponent. Source: MySQL's `my_gcvt` and `Json_double`.
fn write_double(value: f64, out: &mut String) {
    let shortest = format!("{value:e}");
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-15..15).contains(&exponent) {
        let text = format!("{value}");
        out.push_str(&text);
        if !text.contains('.') {
            out.push_str(".0");
        }
        return;
    }
    let _ = write!(out, "{mantissa}e{exponent}");
}

fn base64(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().fold(0u32, |n, b| (n << 8) | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = DIGITS[(n >> (18 - 6 * i)) as usize & 63] as char;
            out.push(if i > chunk.len() { '=' } else { digit });
        }
    }
}
