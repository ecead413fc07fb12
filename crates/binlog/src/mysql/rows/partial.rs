//! PARTIAL_UPDATE_ROWS: updates whose new JSON values are told as changes of the old ones. They are turned into plain
//! UPDATE_ROWS, for which everything else is made.
//!
//! Between the two images of a row stands whether the second has partial values, and of which JSON columns.
//! Format: MySQL's `sql/rpl_record.cc`, `pack_row`.

use super::bit;
use super::block::Span;
use super::{decimal, json_diff, temporal};
use crate::mysql::reader::{Malformed, Parsed, Reader};
use crate::mysql::table_map::{TableMap, WireType};

/// The only option there is: some JSON values are partial.
const PARTIAL_JSON: u64 = 1;

/// The body of the same event as UPDATE_ROWS_V2.
///
/// # Errors
/// If it is damaged, if a row has no whole JSON value before the change, or if the change does not fit that value.
pub fn plain_update(body: &[u8], map: &TableMap, table_id_len: u8) -> Parsed<Vec<u8>> {
    let mut r = Reader::new(body);
    r.le(usize::from(table_id_len.min(8)))?;
    r.u16()?; // flags
    let extra = usize::from(r.u16()?);
    r.bytes(extra.checked_sub(2).ok_or(Malformed::because("extra data shorter than its length"))?)?;
    let columns = usize::try_from(r.lenenc()?).unwrap_or(usize::MAX);
    let before = r.bytes(columns.div_ceil(8))?;
    let after = r.bytes(columns.div_ceil(8))?;
    if columns != map.columns.len() {
        return Err(Malformed::new(format!("rows of {columns} columns, their table map has {}", map.columns.len())));
    }
    let mut out = body[..body.len() - r.rest().len()].to_vec();
    while !r.is_empty() {
        let old = image(&mut r, map, before, None, &mut out)?;
        let options = r.lenenc()?;
        if options > PARTIAL_JSON {
            return Err(Malformed::new(format!("unknown options {options} of a row's values")));
        }
        let json = map.columns.iter().filter(|c| matches!(c, WireType::Json { .. })).count();
        let partial = if options == PARTIAL_JSON { r.bytes(json.div_ceil(8))? } else { &[] };
        image(&mut r, map, after, Some(Changes { partial, old: &old }), &mut out)?;
    }
    Ok(out)
}

/// What an image of partial values needs to be whole.
#[derive(Clone, Copy)]
struct Changes<'c> {
    /// Bit *i*: the value of JSON column *i* is partial.
    partial: &'c [u8],
    /// The JSON values before.
    old: &'c [Option<&'c [u8]>],
}

/// Copies an image, with whole values in place of partial ones. Returns its JSON values, one of every JSON column.
fn image<'a>(
    r: &mut Reader<'a>,
    map: &TableMap,
    present: &[u8],
    changes: Option<Changes<'_>>,
    out: &mut Vec<u8>,
) -> Parsed<Vec<Option<&'a [u8]>>> {
    let in_image = (0..map.columns.len()).filter(|i| bit(present, *i)).count();
    let nulls = r.bytes(in_image.div_ceil(8))?;
    out.extend_from_slice(nulls);
    let (mut values, mut at) = (Vec::new(), 0);
    for (i, column) in map.columns.iter().enumerate() {
        let is_json = matches!(column, WireType::Json { .. });
        let there = bit(present, i) && !bit(nulls, at);
        at += usize::from(bit(present, i));
        if !there {
            if is_json {
                values.push(None);
            }
            continue;
        }
        let start = r.rest();
        let value = match span(*column) {
            Span::Fixed(bytes) => r.bytes(bytes as usize)?,
            Span::Sized(length) => {
                let n = r.le(usize::from(length))?;
                r.bytes(n as usize)?
            }
        };
        let partial = changes.filter(|changes| is_json && bit(changes.partial, values.len()));
        let old = partial.map(|changes| changes.old.get(values.len()));
        if is_json {
            values.push(Some(value));
        }
        let Some(old) = old else {
            out.extend_from_slice(&start[..start.len() - r.rest().len()]);
            continue;
        };
        let old = old.copied().flatten().ok_or(Malformed::because(
            "a change of a JSON value without the value before: set binlog_row_image=FULL on the upstream (globally, and in every session)",
        ))?;
        let whole = json_diff::apply(old, value)?;
        let Span::Sized(length) = span(*column) else { continue };
        out.extend_from_slice(&(whole.len() as u64).to_le_bytes()[..usize::from(length.min(8))]);
        out.extend_from_slice(&whole);
    }
    Ok(values)
}

/// Bytes of a value, in servers that write partial rows.
fn span(column: WireType) -> Span {
    use WireType as W;
    Span::Fixed(match column {
        W::Tiny | W::Year => 1,
        W::Short => 2,
        W::Int24 | W::Date | W::TimeOld => 3,
        W::Long | W::Float | W::TimestampOld => 4,
        W::LongLong | W::Double | W::DateTimeOld => 8,
        W::Time2 { fsp } => 3 + temporal::fraction_bytes(fsp),
        W::DateTime2 { fsp } => 5 + temporal::fraction_bytes(fsp),
        W::Timestamp2 { fsp } => 4 + temporal::fraction_bytes(fsp),
        W::NewDecimal { precision, scale } => decimal::size(precision, scale) as u32,
        W::Bit { bits } => u32::from(bits).div_ceil(8),
        W::Enum { bytes } | W::Set { bytes } => u32::from(bytes),
        W::Char { max } | W::VarChar { max, .. } => return Span::Sized(if max > 255 { 2 } else { 1 }),
        W::Blob { len, .. } | W::Json { len } | W::Geometry { len } | W::Vector { len } => return Span::Sized(len),
    })
}
