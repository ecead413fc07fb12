//! Reading a file for readers of a split. Batches are decoded where they are asked for; only bytes are fetched on threads
//! that may wait for a disk.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, ArrowReaderMetadata, RowFilter as ParquetFilter, RowSelection};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::file::metadata::ColumnChunkMetaData;
use tidelake_core::ports::{BatchStream, ColumnPredicate, RowFilter};
use tidelake_core::{ColumnId, Error, Result};

use super::buffers::read_range;
use super::lookup::selection;
use super::prune;
use super::read::{FileColumns, FileRead, both, placed_groups};
use super::rows::{GroupRows, intersection};
use crate::adapt::Target;
use crate::parquet_file::PAGE_ROWS;
use crate::writer::blocking;

/// Ranges this close are read as one.
const GAP: u64 = 4 << 10;
/// Fewer bytes are read where they are asked for.
const HANDED_OVER: u64 = 512 << 10;

/// What a reader wants of a file.
pub(super) struct FileScan {
    pub(super) read: FileRead,
    /// Only these rows, ascending; `None`: all.
    pub(super) rows: Option<Vec<u32>>,
    /// Of each group only the rows at these places; `None`: all.
    pub(super) span: Option<Range<u32>>,
    pub(super) predicates: Vec<ColumnPredicate>,
    pub(super) filter: Option<Arc<dyn RowFilter>>,
    /// Enough rows.
    pub(super) limit: Option<usize>,
    /// Bytes of a row group that are read and decoded at a time, about.
    pub(super) read_bytes: u64,
}

pub(super) fn stream_file(scan: FileScan) -> BatchStream {
    // The first use of a file reads its footer, and all of it if an earlier process wrote it.
    let opened = async move {
        match scan.read.file.is_ready() {
            true => Open::new(scan),
            false => blocking(move || Open::new(scan)).await,
        }
    };
    let batches =
        |open| stream::try_unfold(open, |mut open: Open| async move { Ok(open.next().await?.map(|b| (b, open))) });
    stream::once(opened).map_ok(batches).try_flatten().boxed()
}

struct Open {
    scan: FileScan,
    file: Arc<File>,
    footer: ArrowReaderMetadata,
    columns: FileColumns,
    filtering: Option<Filtering>,
    /// Row groups that are left, with the numbers of their first rows.
    groups: std::vec::IntoIter<(usize, u64)>,
    current: Option<Decoding>,
    /// What is left of a row group.
    steps: (usize, VecDeque<GroupRows>),
}

/// One row group.
struct Decoding {
    decoder: ParquetPushDecoder,
    /// Of the rows it decodes those that live; `None`: all.
    alive: Option<BooleanBuffer>,
    at: usize,
    /// It gives only rows that are seen.
    filtered: bool,
}

impl Open {
    fn new(scan: FileScan) -> Result<Open> {
        let footer = match scan.read.target.views {
            true => scan.read.file.viewing_footer()?,
            false => scan.read.file.footer()?,
        };
        let groups = placed_groups(&footer, scan.read.groups.as_deref())?.into_iter();
        let columns = FileColumns::of(&scan.read)?;
        let filtering = match &scan.filter {
            Some(filter) if scan.rows.is_none() => Filtering::of(&scan.read, filter)?,
            _ => None,
        };
        let file = Arc::new(scan.read.file.open()?);
        Ok(Open { scan, file, footer, columns, filtering, groups, current: None, steps: (0, VecDeque::new()) })
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some(current) = &mut self.current else {
                if let Some(rows) = self.steps.1.pop_front() {
                    self.current = Some(self.step(self.steps.0, rows)?);
                    continue;
                }
                let Some((group, start)) = self.groups.next() else { return Ok(None) };
                self.current = self.begin(group, start)?;
                continue;
            };
            let read = &self.scan.read;
            match current.decoder.try_decode().map_err(|e| read.file.corrupt(e))? {
                DecodeResult::NeedsData(ranges) => {
                    let ranges = joined(ranges);
                    let bytes = fetch(read, &self.file, ranges.clone()).await?;
                    current.decoder.push_ranges(ranges, bytes).map_err(|e| read.file.corrupt(e))?;
                }
                DecodeResult::Finished => self.current = None,
                DecodeResult::Data(batch) if current.filtered => {
                    return Ok(Some(read.target.adapt(&batch, &self.columns.ids)?));
                }
                DecodeResult::Data(batch) => {
                    let rows = batch.num_rows();
                    let alive = current.alive.as_ref().map(|a| a.slice(current.at, rows));
                    current.at += rows;
                    let batch = self.columns.seen(read, batch, alive)?;
                    if batch.num_rows() > 0 {
                        return Ok(Some(batch));
                    }
                }
            }
        }
    }

    /// Begins with a row group: single rows are decoded at once, others in steps.
    fn begin(&mut self, group: usize, start: u64) -> Result<Option<Decoding>> {
        let group_rows = self.footer.metadata().row_group(group).num_rows() as usize;
        let numbers = start..start + group_rows as u64;
        if let Some(rows) = &self.scan.rows {
            let Some(selected) = selection(rows, &self.scan.read.dead, numbers) else { return Ok(None) };
            return Ok(Some(self.decoding(group, Some(selected), None, None)?));
        }
        let limit = self.scan.limit.filter(|_| !self.columns.filter_births);
        let pages = prune::pages(&self.scan.read.file, &self.scan.read.target.def, &self.scan.predicates, group)?;
        let wanted = match &self.scan.span {
            Some(span) => Some(within(pages, span.start as usize..(span.end as usize).min(group_rows))),
            None => pages,
        };
        let Some(rows) = GroupRows::of(&self.scan.read.dead, numbers, wanted, limit) else { return Ok(None) };
        if let (Some(limit), Some(left)) = (limit, &mut self.scan.limit) {
            *left = limit.saturating_sub(rows.count(group_rows));
        }
        self.steps = (group, rows.steps(group_rows, self.step_rows(group)));
        Ok(None)
    }

    /// Rows of a group that are read and decoded at a time: not all of a wide one, whose bytes would be in memory twice, and in no cache.
    fn step_rows(&self, group: usize) -> usize {
        let metadata = self.footer.metadata();
        // Without it each step would read all pages.
        if metadata.offset_index().is_none() {
            return usize::MAX;
        }
        let group = metadata.row_group(group);
        let columns = self.columns.roots.iter().filter_map(|root| group.columns().get(*root));
        let bytes: i64 = columns.map(ColumnChunkMetaData::compressed_size).sum();
        let rows = (group.num_rows().max(1) as u64).saturating_mul(self.scan.read_bytes) / bytes.max(1) as u64;
        match usize::try_from(rows).unwrap_or(usize::MAX) {
            many if many > PAGE_ROWS => many / PAGE_ROWS * PAGE_ROWS,
            few => few.max(1),
        }
    }

    fn step(&self, group: usize, rows: GroupRows) -> Result<Decoding> {
        let group_rows = self.footer.metadata().row_group(group).num_rows() as usize;
        let filter = self.filtering.as_ref().filter(|f| f.filter.pays());
        let parquet_filter = filter.map(|f| f.parquet(&self.scan.read, &self.footer, rows.alive.clone()));
        let selected = rows.selection(group_rows);
        self.decoding(group, selected, rows.alive, parquet_filter)
    }

    fn decoding(
        &self,
        group: usize,
        selected: Option<RowSelection>,
        alive: Option<BooleanBuffer>,
        filter: Option<ParquetFilter>,
    ) -> Result<Decoding> {
        let filtered = filter.is_some();
        // Births are looked at by the filter already.
        let roots = if filtered { &self.columns.roots[..self.columns.ids.len()] } else { &self.columns.roots };
        let mut builder = ParquetPushDecoderBuilder::new_with_metadata(self.footer.clone())
            .with_row_groups(vec![group])
            .with_projection(ProjectionMask::roots(self.footer.parquet_schema(), roots.iter().copied()))
            .with_batch_size(self.scan.read.batch_rows);
        if let Some(selected) = selected {
            builder = builder.with_row_selection(selected);
        }
        if let Some(filter) = filter {
            builder = builder.with_row_filter(filter);
        }
        let decoder = builder.build().map_err(|e| self.scan.read.file.corrupt(e))?;
        Ok(Decoding { decoder, alive, at: 0, filtered })
    }
}

/// Of the wanted ranges (`None`: all rows) what is within the span.
fn within(wanted: Option<Vec<Range<usize>>>, span: Range<usize>) -> Vec<Range<usize>> {
    let span = if span.is_empty() { Vec::new() } else { vec![span] };
    wanted.map_or_else(|| span.clone(), |wanted| intersection(&wanted, &span))
}

/// Judging rows before their other columns are read.
struct Filtering {
    filter: Arc<dyn RowFilter>,
    columns: Arc<FileColumns>,
    target: Target,
}

impl Filtering {
    /// `None` if it would save nothing.
    fn of(read: &FileRead, filter: &Arc<dyn RowFilter>) -> Result<Option<Filtering>> {
        let asked = filter.columns();
        let others = |id: &ColumnId| read.file.meta.columns.contains(id) && !asked.contains(id);
        if !read.target.columns.iter().any(others) {
            return Ok(None);
        }
        let columns = FileColumns::some(read, asked)?;
        if columns.ids.is_empty() {
            return Ok(None);
        }
        let target = Target::new(read.target.def.clone(), asked.to_vec())?.with_views(read.target.views);
        Ok(Some(Filtering { filter: filter.clone(), columns: Arc::new(columns), target }))
    }

    fn parquet(&self, read: &FileRead, footer: &ArrowReaderMetadata, alive: Option<BooleanBuffer>) -> ParquetFilter {
        let mask = ProjectionMask::roots(footer.parquet_schema(), self.columns.roots.iter().copied());
        let (filter, columns, target) = (self.filter.clone(), self.columns.clone(), self.target.clone());
        let births = FileRead {
            file: read.file.clone(),
            target: target.clone(),
            dead: read.dead.clone(),
            groups: None,
            births: read.births.clone(),
            ..*read
        };
        let mut at = 0;
        let judge = move |batch: RecordBatch| {
            let rows = batch.num_rows();
            let alive = alive.as_ref().map(|a| a.slice(at, rows));
            at += rows;
            let seen = both(alive, columns.born(&births, &batch));
            // What does not fit the table's version may be dead: that is for the reader of what is left.
            let kept = target.adapt(&batch, &columns.ids).ok().map(|rows| filter.keep(&rows));
            let kept = kept.map(|k| match k.nulls() {
                Some(valid) => k.values() & valid.inner(),
                None => k.values().clone(),
            });
            let all = || BooleanBuffer::new_set(rows);
            Ok(BooleanArray::new(both(seen, kept).unwrap_or_else(all), None))
        };
        ParquetFilter::new(vec![Box::new(ArrowPredicateFn::new(mask, judge))])
    }
}

/// Ranges that touch, or nearly, as one: pages that are asked for one by one. The decoder goes through all ranges it has for each
/// page that it takes.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|r| r.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        let touches = |last: &Range<u64>| {
            let sound = last.start <= last.end && range.start <= range.end;
            sound && range.start <= last.end.saturating_add(GAP)
        };
        match joined.last_mut() {
            Some(last) if touches(last) => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// The bytes of some ranges.
async fn fetch(read: &FileRead, file: &Arc<File>, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>> {
    let size = read.file.meta.bytes;
    if let Some(bad) = ranges.iter().find(|r| r.start > r.end || r.end > size) {
        return Err(read.file.corrupt(format!("its footer names bytes {bad:?} of {size}")));
    }
    let (file, path) = (file.clone(), read.file.path.clone());
    let bytes: u64 = ranges.iter().map(|r| r.end - r.start).sum();
    let all = move || -> Result<Vec<Bytes>> {
        let one = |range: &Range<u64>| -> Result<Bytes> {
            read_range(&file, range).map_err(|e| Error::io(format!("read {}", path.display()), e))
        };
        ranges.iter().map(one).collect()
    };
    // As much as a look-up needs costs less to read than to hand over, unless the disk is slow.
    if bytes <= HANDED_OVER { all() } else { blocking(all).await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_ranges_are_read_as_one() {
        assert_eq!(joined(vec![9000..9010, 0..10, 10..20, 100..110]), [0..110, 9000..9010]);
        // What a damaged footer names is judged afterwards.
        let (least, last) = (Range { start: 5, end: 3 }, u64::MAX - 1..u64::MAX);
        assert_eq!(joined(vec![last.clone(), 6..9, least.clone()]), [least, 6..9, last]);
        assert!(joined(Vec::new()).is_empty());
    }
}
