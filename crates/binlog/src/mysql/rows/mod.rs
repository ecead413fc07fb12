//! Rows events: from row images straight into Arrow builders.
//!
//! `RowsEvent` reads the event's frame, `TablePlan` decides once per table version how each column is decoded, and
//! `TableWriter` collects row images of one table until they are handed over as one `ChangeBatch`. An event is decoded in
//! blocks of images, in two passes: [`block`] finds where the values are, [`mod@column`] decodes them a column at a time.

pub mod block;
pub mod builder;
pub mod charset;
mod charset_tables;
pub mod column;
pub mod decimal;
mod east_asian;
pub mod json;
mod json_diff;
mod nulls;
pub mod partial;
pub mod plan;
pub mod temporal;
#[cfg(test)]
mod tests;
pub mod writer;

use std::borrow::Cow;

pub use plan::TablePlan;
pub use writer::TableWriter;

use super::compressed;
use super::event::EventType;
use super::reader::{Malformed, Parsed, Reader};

/// What a rows event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsKind {
    /// INSERT: after images.
    Write,
    /// UPDATE: pairs of before and after images.
    Update,
    /// DELETE: before images.
    Delete,
}

/// The frame of a rows event.
#[derive(Clone, Debug)]
pub struct RowsEvent<'a> {
    /// The number of the table, as the TABLE_MAP before it names it.
    pub table_id: u64,
    /// What it does.
    pub kind: RowsKind,
    /// Flags of the event's post-header.
    pub flags: u16,
    /// Number of columns of the table.
    pub columns: usize,
    /// Bit *i*: column *i* is in the (before) image.
    pub present: &'a [u8],
    /// The same for the after image of an UPDATE.
    pub present_after: &'a [u8],
    /// The row images.
    pub rows: Cow<'a, [u8]>,
}

impl<'a> RowsEvent<'a> {
    /// Parses the body of an event of type `event`; `table_id_len` as for the TABLE_MAP.
    ///
    /// # Errors
    /// If it is too short for its counts, or damaged where compressed.
    pub fn parse(event: EventType, body: &'a [u8], table_id_len: u8) -> Parsed<RowsEvent<'a>> {
        let mut r = Reader::new(body);
        let table_id = r.le(usize::from(table_id_len.min(8)))?;
        let flags = r.u16()?;
        if matches!(event.0, 30..=32 | 169..=171) {
            let extra = usize::from(r.u16()?);
            r.bytes(extra.checked_sub(2).ok_or(Malformed::because("extra data shorter than its length"))?)?;
        }
        let columns = usize::try_from(r.lenenc()?).unwrap_or(usize::MAX);
        let present = r.bytes(columns.div_ceil(8))?;
        let kind = match event.0 {
            23 | 30 | 166 | 169 => RowsKind::Write,
            24 | 31 | 167 | 170 => RowsKind::Update,
            25 | 32 | 168 | 171 => RowsKind::Delete,
            other => return Err(Malformed::new(format!("event of type {other} has no plain rows"))),
        };
        let present_after = if kind == RowsKind::Update { r.bytes(columns.div_ceil(8))? } else { present };
        let rows = match event.0 {
            166..=171 => Cow::Owned(compressed::event_data(r.rest(), compressed::MAX_EVENT, false)?),
            _ => Cow::Borrowed(r.rest()),
        };
        Ok(RowsEvent { table_id, kind, flags, columns, present, present_after, rows })
    }
}

/// Bit `i` of a little-endian bitmap.
#[inline]
pub(super) fn bit(bitmap: &[u8], i: usize) -> bool {
    bitmap.get(i / 8).is_some_and(|byte| byte & (1 << (i % 8)) != 0)
}
