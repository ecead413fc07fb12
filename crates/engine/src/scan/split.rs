//! Reading splits: rows of one part that a snapshot sees, in the columns it sees.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::Schema;
use futures::StreamExt;
use tidelake_core::ports::{BatchStream, RowFilter, ScanSplit};
use tidelake_core::{Error, Result};

use super::Part;
use super::lookup::Lookup;
use super::memory::{stream_keys, stream_memory};
use super::read::{ALL_BIRTHS, BATCH_ROWS, FileRead};
use super::stream::{FileScan, stream_file};
use crate::adapt::Target;
use crate::engine::{Inner, incarnation_of};
use crate::file::DataFile;
use crate::table::Units;

/// Most rows of a batch, however narrow they are.
const MOST_ROWS: usize = 8 * BATCH_ROWS;

pub(crate) fn read_split(inner: &Inner, split: &ScanSplit, filter: Option<Arc<dyn RowFilter>>) -> Result<BatchStream> {
    let def = inner.readable_def(split.seq, split.table)?;
    let target = Target::new(def, split.columns.clone())?.with_views(split.text_views);
    let part: Part =
        serde_json::from_str(&split.part).map_err(|e| Error::Invalid(format!("scan split {}: {e}", split.part)))?;
    let Ok(table) = inner.table(split.table) else { return Ok(futures::stream::empty().boxed()) };
    let units = table.units.read();
    let scan = |file: Arc<DataFile>, groups: Option<Vec<usize>>, births: Range<u64>| {
        let read = file_read(inner, split, file, &target, groups, births);
        FileScan {
            read,
            rows: None,
            span: None,
            predicates: split.predicates.clone(),
            filter: filter.clone(),
            limit: None,
            read_bytes: inner.options.read_bytes,
        }
    };
    match part {
        Part::File { file, groups, span, rows, limit } => {
            let file = file_by(&units, |f| f.meta.id == file)
                .ok_or_else(|| Error::SnapshotExpired(format!("file {file} of the split was let go")))?;
            Ok(stream_file(FileScan { rows, span, limit, ..scan(file, Some(groups), ALL_BIRTHS) }))
        }
        Part::Memory { generation, from, to, keyed } => {
            let lookup = if keyed { Lookup::of(&target.def, &split.predicates)? } else { None };
            if let Some(g) = units.generations.iter().find(|g| g.id == generation) {
                return match lookup.filter(|l| l.signature() == units.keys.signature()) {
                    Some(lookup) => stream_keys(g, &lookup, &target, split.seq, &(from..to)),
                    None => Ok(stream_memory(g, target.clone(), split.seq, &(from..to))),
                };
            }
            if let Some(file) = file_by(&units, |f| f.meta.generation == Some(generation)) {
                let rows = lookup.map(|l| l.rows(&file)).transpose()?.flatten();
                // The same rows as from memory, so no pages are left out.
                return Ok(stream_file(FileScan { rows, predicates: Vec::new(), ..scan(file, None, from..to) }));
            }
            // Lost with a crash: then all its rows are above what was durable, and are replayed elsewhere.
            if incarnation_of(generation) != inner.incarnation && split.seq > inner.opened_at {
                return Err(Error::SnapshotExpired(format!("seq {} was not durable when the engine ended", split.seq)));
            }
            // Flushed with nothing left that a readable seq sees.
            Ok(futures::stream::empty().boxed())
        }
    }
}

fn file_by(units: &Units, found: impl Fn(&DataFile) -> bool) -> Option<Arc<DataFile>> {
    units.files.iter().chain(&units.retired).find(|f| found(f)).cloned()
}

fn file_read(
    inner: &Inner,
    split: &ScanSplit,
    file: Arc<DataFile>,
    target: &Target,
    groups: Option<Vec<usize>>,
    births: Range<u64>,
) -> FileRead {
    let empty_mask = inner.options.faults.on("bug: empty mask");
    let dead = if empty_mask { Arc::default() } else { file.deaths.read().mask_at(split.seq) };
    let seq = if inner.options.faults.on("bug: seq off by one") { split.seq.next() } else { split.seq };
    let batch_rows = rows_within(split.batch_bytes, &target.schema);
    FileRead { file, target: target.clone(), seq, groups, births, dead, with_births: false, batch_rows }
}

/// How many rows of numbers have about so many bytes. Texts and binary strings may have any size, so batches with some are no larger than usual.
fn rows_within(bytes: usize, schema: &Schema) -> usize {
    let widths: Option<usize> = schema.fields().iter().map(|field| field.data_type().primitive_width()).sum();
    widths.map_or(BATCH_ROWS, |row| (bytes / row.max(1)).clamp(BATCH_ROWS, MOST_ROWS))
}
