//! Data files, cut into records. Memory is bounded by the largest record.

use std::io::Read;

use tidelake_core::{Error, Result};

use super::layout::DataPath;
use super::store::Store;
use crate::filter::TableFilter;
use crate::mysql::reader::Parsed;
use crate::ticdc::canal;
use crate::ticdc::csv::{self, CsvOptions, Record};
use crate::ticdc::record::Event;

/// Largest record.
const MAX_RECORD: usize = 1 << 30;
/// Bytes read at once.
const CHUNK: usize = 256 << 10;

/// What a file's bytes are cut by.
pub enum Cutter<'a> {
    /// Canal-JSON, one message a line.
    CanalJson,
    /// CSV of a table with these columns.
    Csv {
        /// All columns.
        columns: &'a [String],
        /// The dialect.
        options: &'a CsvOptions,
    },
}

/// Bytes of a file read, and whether it ends inside a record (an upload that was cut short, or is going on).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFile {
    /// Bytes.
    pub bytes: u64,
    /// It ends inside a record.
    pub torn: bool,
}

/// Reads a whole file and gives each record's events to `out`.
///
/// # Errors
/// [`Error::Corrupt`] with file and offset; what `out` returns.
pub fn read(
    store: &Store,
    data: &DataPath,
    cutter: &Cutter<'_>,
    filter: &TableFilter,
    out: &mut dyn FnMut(&Event) -> Result<()>,
) -> Result<ReadFile> {
    let name = store.name_of(&data.path);
    let io = |e: std::io::Error| {
        if store.is_local() {
            return Error::io(format!("read {name}"), e);
        }
        Error::Unavailable(format!("read {name}: {e}"))
    };
    let mut file = store.open_file(&data.path, &data.stamp)?;
    let (mut bytes, mut start, mut offset) = (Vec::new(), 0usize, 0u64);
    let mut events = Vec::new();
    loop {
        let have = bytes.len();
        let wanted = CHUNK.max(have - start);
        let read = file.by_ref().take(wanted as u64).read_to_end(&mut bytes).map_err(io)?;
        let ended = read == 0;
        loop {
            let at = offset + start as u64;
            let place = || format!("{name} at offset {at}");
            let taken = cut(&bytes[start..], ended, cutter, filter, &mut events).map_err(|e| e.at(place()))?;
            let Some(taken) = taken else { break };
            start += taken;
            for event in events.drain(..) {
                out(&event)?;
            }
        }
        if bytes.len() - start > MAX_RECORD {
            return Err(Error::Limit(format!("{name} at offset {}: a record of over 1 GiB", offset + start as u64)));
        }
        offset += start as u64;
        bytes.drain(..start);
        start = 0;
        if ended {
            let torn = bytes.iter().any(|b| !b.is_ascii_whitespace());
            return Ok(ReadFile { bytes: offset + bytes.len() as u64, torn });
        }
    }
}

/// Takes one record; returns the bytes it took, or `None` if there is no whole one.
fn cut(
    bytes: &[u8],
    ended: bool,
    cutter: &Cutter<'_>,
    filter: &TableFilter,
    events: &mut Vec<Event>,
) -> Parsed<Option<usize>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    match cutter {
        Cutter::CanalJson => {
            let Some(end) = bytes.iter().position(|b| *b == b'\n') else {
                // the last message may have no terminator; a torn one is no JSON
                let whole = ended && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
                if !whole {
                    return Ok(None);
                }
                canal::parse(bytes, filter, events)?;
                return Ok(Some(bytes.len()));
            };
            let line = bytes[..end].trim_ascii();
            if !line.is_empty() {
                canal::parse(line, filter, events)?;
            }
            Ok(Some(end + 1))
        }
        Cutter::Csv { columns, options } => match csv::record(bytes, options)? {
            Record::Torn => Ok(None),
            Record::Whole(fields, taken) => {
                csv::event(&fields, columns, options, filter, events)?;
                Ok(Some(taken))
            }
        },
    }
}
