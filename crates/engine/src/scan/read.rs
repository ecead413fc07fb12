//! Reading splits: rows of one part that a snapshot sees, in the columns it sees.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, cast::AsArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::UInt64Type;
use futures::StreamExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use roaring::RoaringBitmap;
use tidelake_core::ports::{BatchStream, ScanSplit};
use tidelake_core::{ColumnId, CommitSeq, Error, Result};
use tokio::sync::mpsc;

use super::Part;
use super::lookup::selection;
use crate::adapt::{Target, column_ids};
use crate::engine::{Inner, incarnation_of};
use crate::file::DataFile;
use crate::memory::Chunk;

/// Rows of a batch handed to readers.
pub(crate) const BATCH_ROWS: usize = 8192;

const ALL_BIRTHS: Range<u64> = 0..u64::MAX;

pub(crate) fn read_split(inner: &Arc<Inner>, split: &ScanSplit) -> Result<BatchStream> {
    let def = inner.readable_def(split.seq, split.table)?;
    let target = Target::new(def, split.columns.clone())?;
    let part: Part =
        serde_json::from_str(&split.part).map_err(|e| Error::Invalid(format!("scan split {}: {e}", split.part)))?;
    let Ok(table) = inner.table(split.table) else { return Ok(futures::stream::empty().boxed()) };
    let units = table.units.read();
    let file_by =
        |found: &dyn Fn(&DataFile) -> bool| units.files.iter().chain(&units.retired).find(|f| found(f)).cloned();
    let off_by_one = inner.options.faults.on("bug: seq off by one");
    let empty_mask = inner.options.faults.on("bug: empty mask");
    let file_read = |file: Arc<DataFile>, groups: Option<Vec<usize>>, births: Range<u64>, rows| {
        let dead = if empty_mask { Arc::default() } else { file.deaths.read().mask_at(split.seq) };
        let seq = if off_by_one { split.seq.next() } else { split.seq };
        FileRead {
            file,
            target: target.clone(),
            seq,
            groups,
            births,
            dead,
            with_births: false,
            batch_rows: BATCH_ROWS,
            rows,
        }
    };
    match part {
        Part::File { file, groups, rows } => {
            let file = file_by(&|f| f.meta.id == file)
                .ok_or_else(|| Error::SnapshotExpired(format!("file {file} of the split was let go")))?;
            Ok(stream_file(file_read(file, Some(groups), ALL_BIRTHS, rows)))
        }
        Part::Memory { generation, from, to } => {
            if let Some(g) = units.generations.iter().find(|g| g.id == generation) {
                return Ok(stream_memory(g.chunks.clone(), column_ids(&g.def), target, split.seq, from..to));
            }
            if let Some(file) = file_by(&|f| f.meta.generation == Some(generation)) {
                return Ok(stream_file(file_read(file, None, from..to, None)));
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

fn stream_memory(
    chunks: Vec<Arc<Chunk>>,
    have: Vec<ColumnId>,
    target: Target,
    seq: CommitSeq,
    births: Range<u64>,
) -> BatchStream {
    let overlaps = move |c: &Arc<Chunk>, b: &Range<u64>| {
        c.first_birth() <= seq.0 && c.first_birth() < b.end && c.last_birth() >= b.start
    };
    let wanted: Vec<_> = chunks.into_iter().filter(|c| overlaps(c, &births)).collect();
    let batches = wanted.into_iter().flat_map(move |chunk| match visible_rows(&chunk, &have, &target, seq, &births) {
        Ok(batch) => slices(batch).map(Ok).collect::<Vec<_>>(),
        Err(e) => vec![Err(e)],
    });
    futures::stream::iter(batches).boxed()
}

fn visible_rows(
    chunk: &Chunk,
    have: &[ColumnId],
    target: &Target,
    seq: CommitSeq,
    births: &Range<u64>,
) -> Result<RecordBatch> {
    // Only the wanted columns are filtered.
    let kept: Vec<usize> = (0..have.len()).filter(|i| target.columns.contains(&have[*i])).collect();
    let ids: Vec<ColumnId> = kept.iter().map(|i| have[*i]).collect();
    let rows = chunk.rows.project(&kept)?;
    let rows = match chunk.visible(seq, births) {
        Some(mask) => filter_record_batch(&rows, &mask)?,
        None => rows,
    };
    target.adapt(&rows, &ids)
}

fn slices(batch: RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let rows = batch.num_rows();
    (0..rows).step_by(BATCH_ROWS).map(move |at| batch.slice(at, BATCH_ROWS.min(rows - at)))
}

/// What to read of a file.
pub(crate) struct FileRead {
    pub(crate) file: Arc<DataFile>,
    pub(crate) target: Target,
    pub(crate) seq: CommitSeq,
    /// Row groups; `None`: all.
    pub(crate) groups: Option<Vec<usize>>,
    pub(crate) births: Range<u64>,
    /// Rows that are left out.
    pub(crate) dead: Arc<RoaringBitmap>,
    /// Adds the births as a last column.
    pub(crate) with_births: bool,
    /// Most rows of a batch.
    pub(crate) batch_rows: usize,
    /// Only these rows, ascending; `None`: all.
    pub(crate) rows: Option<Vec<u32>>,
}

impl FileRead {
    /// All rows, the dead ones too: batches are then in step with row numbers.
    pub(crate) fn everything(file: Arc<DataFile>, target: Target) -> Result<FileRead> {
        let dead = Arc::default();
        let (seq, births) = (CommitSeq::MAX, ALL_BIRTHS);
        Ok(FileRead {
            file,
            target,
            seq,
            groups: None,
            births,
            dead,
            with_births: false,
            batch_rows: BATCH_ROWS,
            rows: None,
        })
    }
}

fn stream_file(read: FileRead) -> BatchStream {
    let (send, receive) = mpsc::channel(3);
    tokio::task::spawn_blocking(move || {
        let done = read_file(&read, &mut |batch, _| Ok(send.blocking_send(Ok(batch)).is_ok()));
        if let Err(e) = done {
            let _ = send.blocking_send(Err(e));
        }
    });
    futures::stream::unfold(receive, |mut r| async move { r.recv().await.map(|b| (b, r)) }).boxed()
}

/// Calls `sink` with each batch and the file's row number of the batch's first row (before rows were left out)
/// until it returns false. With `with_births` the batch has one more column than the target.
pub(crate) fn read_file(read: &FileRead, sink: &mut dyn FnMut(RecordBatch, u32) -> Result<bool>) -> Result<()> {
    let mut batches = FileBatches::open(read)?;
    while let Some((batch, first)) = batches.next(read)? {
        if !sink(batch, first)? {
            break;
        }
    }
    Ok(())
}

/// The batches of a [`FileRead`], one after the other.
pub(crate) struct FileBatches {
    footer: ArrowReaderMetadata,
    columns: FileColumns,
    /// Row groups that are left, with the numbers of their first rows.
    groups: std::vec::IntoIter<(usize, u64)>,
    current: Option<ParquetRecordBatchReader>,
    /// The row number of the next row.
    at: u64,
}

impl FileBatches {
    pub(crate) fn open(read: &FileRead) -> Result<FileBatches> {
        let footer = read.file.footer()?;
        let groups = footer.metadata().row_groups();
        let mut starts = Vec::with_capacity(groups.len());
        let mut next = 0u64;
        for group in groups {
            starts.push(next);
            next += group.num_rows() as u64;
        }
        let wanted = read.groups.clone().unwrap_or_else(|| (0..groups.len()).collect());
        let start = |group: usize| match starts.get(group) {
            Some(start) => Ok((group, *start)),
            None => Err(Error::Invalid(format!("scan split of row group {group}"))),
        };
        let groups = wanted.into_iter().map(start).collect::<Result<Vec<_>>>()?.into_iter();
        Ok(FileBatches { columns: FileColumns::of(read)?, footer, groups, current: None, at: 0 })
    }

    /// The next batch and the row number of its first row, before rows were left out.
    pub(crate) fn next(&mut self, read: &FileRead) -> Result<Option<(RecordBatch, u32)>> {
        loop {
            let Some(reader) = &mut self.current else {
                let Some((group, start)) = self.groups.next() else { return Ok(None) };
                self.current = self.group(read, group, start)?;
                self.at = start;
                continue;
            };
            let Some(batch) = reader.next() else {
                self.current = None;
                continue;
            };
            let batch = batch.map_err(|e| read.file.corrupt(e))?;
            let (first, rows) = (self.at as u32, batch.num_rows());
            self.at += rows as u64;
            let batch = self.columns.seen(read, batch, first)?;
            if batch.num_rows() > 0 || rows == 0 {
                return Ok(Some((batch, first)));
            }
        }
    }

    /// `None` if no row of it is wanted.
    fn group(&self, read: &FileRead, group: usize, start: u64) -> Result<Option<ParquetRecordBatchReader>> {
        let end = start + self.footer.metadata().row_group(group).num_rows() as u64;
        let selected = read.rows.as_ref().map(|rows| selection(rows, &read.dead, start..end));
        if matches!(selected, Some(None)) {
            return Ok(None);
        }
        let schema = self.footer.metadata().file_metadata().schema_descr();
        let mask = ProjectionMask::roots(schema, self.columns.roots.clone());
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(read.file.open()?, self.footer.clone())
            .with_row_groups(vec![group])
            .with_projection(mask)
            .with_batch_size(read.batch_rows);
        if let Some(Some(selected)) = selected {
            builder = builder.with_row_selection(selected);
        }
        builder.build().map(Some).map_err(|e| read.file.corrupt(e))
    }
}

/// Which of the file's columns are read, in the file's order.
struct FileColumns {
    roots: Vec<usize>,
    ids: Vec<ColumnId>,
    /// Births are read too, as the last column.
    births: bool,
    filter_births: bool,
}

impl FileColumns {
    fn of(read: &FileRead) -> Result<FileColumns> {
        let have = &read.file.meta.columns;
        let mut roots: Vec<usize> = (0..have.len()).filter(|i| read.target.columns.contains(&have[*i])).collect();
        let ids = roots.iter().map(|i| have[*i]).collect();
        let (oldest, newest) = read.file.meta.births;
        let inside = read.births.start <= oldest.0 && newest.0 < read.births.end && newest <= read.seq;
        let births = !inside || read.with_births;
        if births {
            if !read.file.meta.with_births {
                return Err(Error::Internal(format!(
                    "{} has no births, seq {} asks for them",
                    read.file.path.display(),
                    read.seq
                )));
            }
            roots.push(have.len());
        }
        Ok(FileColumns { roots, ids, births, filter_births: !inside })
    }

    /// The rows of a batch that are seen, in the target's columns.
    fn seen(&self, read: &FileRead, batch: RecordBatch, first: u32) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        // Selected rows live, and have no row number of their own here.
        let alive = if read.rows.is_some() { None } else { alive(&read.dead, first, rows) };
        let born = match self.filter_births {
            false => None,
            true => {
                let births = batch.column(self.ids.len()).as_primitive::<UInt64Type>();
                let seen = |b: &u64| read.births.contains(b) && *b <= read.seq.0;
                Some(births.values().iter().map(|b| Some(seen(b))).collect::<BooleanArray>())
            }
        };
        let mask = match (alive, born) {
            (Some(a), Some(b)) => Some(arrow::compute::and(&a, &b)?),
            (a, b) => a.or(b),
        };
        let batch = match mask {
            Some(mask) => filter_record_batch(&batch, &mask)?,
            None => batch,
        };
        if !read.with_births {
            return read.target.adapt(&batch, &self.ids);
        }
        let births = batch.column(self.ids.len()).clone();
        let adapted = read.target.adapt(&batch, &self.ids)?;
        let mut fields: Vec<_> = adapted.schema().fields().iter().cloned().collect();
        fields.push(batch.schema().fields()[self.ids.len()].clone());
        let mut arrays = adapted.columns().to_vec();
        arrays.push(births);
        debug_assert!(self.births);
        Ok(RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), arrays)?)
    }
}

/// Rows `first..first + rows` that are not dead; `None`: all of them.
fn alive(dead: &RoaringBitmap, first: u32, rows: usize) -> Option<BooleanArray> {
    let range = first..first.saturating_add(rows as u32);
    if dead.is_empty() || dead.range_cardinality(range.clone()) == 0 {
        return None;
    }
    let mut mask = vec![true; rows];
    for row in dead.range(range) {
        mask[(row - first) as usize] = false;
    }
    Some(BooleanArray::from(mask))
}
