//! TiCDC's Open Protocol: batches of rows, DDL and watermarks in the two halves of a Kafka message.
//!
//! Format: TiCDC's `docs/ticdc-open-protocol` and its encoder. Key: version 1, then (length, JSON) of each event; value: (length,
//! bytes) of each, parallel; all lengths 64 bits, big endian. TEXTs and BLOBs are base 64; BINARY and VARBINARY are Go's quoted
//! form of their bytes.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidelake_core::TableName;

use super::canal::cut_down;
use super::decoder::value::base64;
use super::json::JsonValue;
use super::record::{BinaryText, Cell, Ddl, Event, ImageOp, ImageWriter, Spelling};
use crate::filter::TableFilter;
use crate::mysql::reader::{Malformed, Parsed, Reader};

/// Flag of a column with bytes.
const BINARY_FLAG: u64 = 1;

#[derive(Deserialize)]
struct Key {
    ts: u64,
    #[serde(default)]
    scm: String,
    #[serde(default)]
    tbl: String,
    #[serde(default)]
    rid: Option<i64>,
    t: u8,
    #[serde(default)]
    ohk: bool,
    #[serde(default)]
    ccl: String,
}

#[derive(Deserialize)]
struct RowValue {
    #[serde(default)]
    u: Option<BTreeMap<String, Column>>,
    #[serde(default)]
    p: Option<BTreeMap<String, Column>>,
    #[serde(default)]
    d: Option<BTreeMap<String, Column>>,
}

#[derive(Deserialize)]
struct Column {
    t: u8,
    #[serde(default)]
    f: u64,
    v: JsonValue,
}

#[derive(Deserialize)]
struct DdlValue {
    q: String,
}

/// Reads one message into events; those of tables that are not wanted are left out.
///
/// # Errors
/// For what is no such message, and for messages that lack what exact replication needs, with the setting to change.
pub fn parse(key: &[u8], value: &[u8], filter: &TableFilter, out: &mut Vec<Event>) -> Parsed<()> {
    let (mut keys, mut values) = (Reader::new(key), Reader::new(value));
    let version = keys.be(8)?;
    if version != 1 {
        return Err(Malformed::new(format!("version {version} of the Open Protocol; this build reads 1")));
    }
    while !keys.is_empty() {
        let key: Key = json(part(&mut keys)?)?;
        // a watermark's value is one zero length, or nothing
        let value = if values.is_empty() { &[][..] } else { part(&mut values)? };
        if key.ts == 0 {
            return Err(Malformed::because("an event whose ts is 0"));
        }
        match key.t {
            1 => row(&key, value, filter, out)?,
            2 => {
                let DdlValue { q } = json(value)?;
                let ddl = Ddl { database: key.scm, table: key.tbl, query: q, columns: None, collation: None };
                out.push(Event::Ddl { commit_ts: key.ts, ddl });
            }
            3 => out.push(Event::Watermark(key.ts)),
            other => return Err(Malformed::new(format!("an event of unknown type {other}"))),
        }
    }
    if values.is_empty() { Ok(()) } else { Err(Malformed::because("more values than keys in a message")) }
}

fn part<'a>(r: &mut Reader<'a>) -> Parsed<&'a [u8]> {
    let length = r.be(8)?;
    r.bytes(usize::try_from(length).unwrap_or(usize::MAX))
}

fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Parsed<T> {
    serde_json::from_slice(bytes).map_err(|e| {
        Malformed::new(format!(
            "no event of the Open Protocol (large-message-handle-compression must be \"none\"): {e}"
        ))
    })
}

/// The same JSON with every number that has a fraction or an exponent in quotes: the parser of JSON would round its last digit.
fn with_quoted_fractions(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() + 16);
    let mut rest = json;
    while let Some(&byte) = rest.first() {
        let taken = match byte {
            b'"' => {
                let mut end = 1;
                while end < rest.len() && rest[end] != b'"' {
                    end += if rest[end] == b'\\' { 2 } else { 1 };
                }
                (end + 1).min(rest.len())
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |b: &u8| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                rest.iter().take_while(|&b| is_part(b)).count()
            }
            _ => 1,
        };
        let token = &rest[..taken];
        let fraction = byte != b'"' && token.iter().any(|b| matches!(b, b'.' | b'e' | b'E')) && token.len() > 1;
        if fraction {
            out.push(b'"');
        }
        out.extend_from_slice(token);
        if fraction {
            out.push(b'"');
        }
        rest = &rest[taken..];
    }
    out
}

fn row(key: &Key, value: &[u8], filter: &TableFilter, out: &mut Vec<Event>) -> Parsed<()> {
    let table = TableName::new(key.scm.as_str(), key.tbl.as_str());
    if !filter.wants(&table) {
        return Ok(());
    }
    cut_down(key.ohk, &key.ccl)?;
    let value: RowValue = json(&with_quoted_fractions(value))?;
    let identity = key.rid.map(|rid| rid.to_string()).unwrap_or_default();
    let mut push = |op: ImageOp, row: &BTreeMap<String, Column>, over: Option<&BTreeMap<String, Column>>| {
        let mut image = ImageWriter::new(op, Spelling::named(BinaryText::Raw), &table, identity.as_bytes());
        for (name, column) in row {
            add(&mut image, name, over.and_then(|o| o.get(name)).unwrap_or(column))?;
        }
        out.push(Event::Image { commit_ts: key.ts, image: image.finish() });
        Ok(())
    };
    match (&value.u, &value.p, &value.d) {
        (Some(new), Some(old), None) => {
            push(ImageOp::Delete, new, Some(old))?;
            push(ImageOp::Insert, new, None)
        }
        (Some(new), None, None) => push(ImageOp::Insert, new, None),
        (None, _, Some(old)) => push(ImageOp::Delete, old, None),
        _ => Err(Malformed::because("a row that is neither an update nor a delete")),
    }
}

fn add(image: &mut ImageWriter, name: &str, column: &Column) -> Parsed<()> {
    let wrong = || Malformed::new(format!("column {name}: not the text that its type {} has", column.t));
    match (&column.v, column.t) {
        // TINYBLOB to BLOB, and the TEXTs, which have the same codes
        (JsonValue::Text(text), 249..=252) => {
            image.cell(name, Cell::Bytes(&base64(text.as_bytes()).ok_or_else(wrong)?));
        }
        (JsonValue::Text(text), 15 | 253 | 254) if column.f & BINARY_FLAG != 0 => {
            image.cell(name, Cell::Bytes(&unquote(text).ok_or_else(wrong)?));
        }
        (value, _) => image.cell(name, value.cell()),
    }
    Ok(())
}

/// The bytes of Go's `strconv.Quote` without the quotes around them.
fn unquote(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match chars.next()? {
            'a' => out.push(7),
            'b' => out.push(8),
            'f' => out.push(12),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'v' => out.push(11),
            'x' => out.push(u8::try_from(code(&mut chars, 2)?).ok()?),
            mark @ ('u' | 'U') => {
                let c = char::from_u32(code(&mut chars, if mark == 'u' { 4 } else { 8 })?)?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            c @ ('\\' | '"' | '\'') => out.push(c as u8),
            _ => return None,
        }
    }
    Some(out)
}

fn code(chars: &mut std::str::Chars<'_>, digits: usize) -> Option<u32> {
    let text: String = chars.by_ref().take(digits).collect();
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| u32::from_str_radix(&text, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_keep_their_digits() {
        let json = br#"{"a":922582853873.3203,"b":[-1.5e-7,12,true,"1.5\" 2.5",null],"c":"\\"}"#;
        let want = br#"{"a":"922582853873.3203","b":["-1.5e-7",12,true,"1.5\" 2.5",null],"c":"\\"}"#;
        assert_eq!(String::from_utf8_lossy(&with_quoted_fractions(json)), String::from_utf8_lossy(want));
        for torn in [&b"\"a\\"[..], b"\"", b"1.", b"-", b""] {
            with_quoted_fractions(torn);
        }
    }

    #[test]
    fn go_quotes_bytes() {
        let text = r#"\\x\x00\xff\n\"\u00e9é\a"#;
        assert_eq!(unquote(text), Some(b"\\x\0\xff\n\"\xc3\xa9\xc3\xa9\x07".to_vec()));
        for wrong in ["\\", "\\x1", "\\q", "\\ud800", "\\x+1"] {
            assert_eq!(unquote(wrong), None, "{wrong}");
        }
    }
}
