//! Reading a file through, one batch after the other, on the thread that asks: for merges, scrubs and new indexes. (Readers
//! of splits: [`super::stream`].)

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, cast::AsArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::UInt64Type;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use roaring::RoaringBitmap;
use tidelake_core::{ColumnId, CommitSeq, Error, Result};

use super::rows::living;
use crate::adapt::Target;
use crate::file::DataFile;

/// Rows of a batch handed to readers.
pub(crate) const BATCH_ROWS: usize = 8192;

pub(super) const ALL_BIRTHS: Range<u64> = 0..u64::MAX;

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
}

impl FileRead {
    /// All rows, the dead ones too: batches are then in step with row numbers.
    pub(crate) fn everything(file: Arc<DataFile>, target: Target) -> Result<FileRead> {
        let dead = Arc::default();
        let (seq, births) = (CommitSeq::MAX, ALL_BIRTHS);
        Ok(FileRead { file, target, seq, groups: None, births, dead, with_births: false, batch_rows: BATCH_ROWS })
    }
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
        let groups = placed_groups(&footer, read.groups.as_deref())?.into_iter();
        Ok(FileBatches { columns: FileColumns::of(read)?, footer, groups, current: None, at: 0 })
    }

    /// The next batch and the row number of its first row, before rows were left out.
    pub(crate) fn next(&mut self, read: &FileRead) -> Result<Option<(RecordBatch, u32)>> {
        loop {
            let Some(reader) = &mut self.current else {
                let Some((group, start)) = self.groups.next() else { return Ok(None) };
                self.current = Some(self.group(read, group)?);
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
            let batch = self.columns.seen(read, batch, living(&read.dead, first, rows))?;
            if batch.num_rows() > 0 || rows == 0 {
                return Ok(Some((batch, first)));
            }
        }
    }

    fn group(&self, read: &FileRead, group: usize) -> Result<ParquetRecordBatchReader> {
        let schema = self.footer.metadata().file_metadata().schema_descr();
        let mask = ProjectionMask::roots(schema, self.columns.roots.clone());
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(read.file.open()?, self.footer.clone())
            .with_row_groups(vec![group])
            .with_projection(mask)
            .with_batch_size(read.batch_rows);
        builder.build().map_err(|e| read.file.corrupt(e))
    }
}

/// Row groups with the numbers of their first rows; without `wanted` all of the file.
pub(super) fn placed_groups(footer: &ArrowReaderMetadata, wanted: Option<&[usize]>) -> Result<Vec<(usize, u64)>> {
    let groups = footer.metadata().row_groups();
    let mut starts = Vec::with_capacity(groups.len());
    let mut next = 0u64;
    for group in groups {
        starts.push(next);
        next += group.num_rows() as u64;
    }
    let placed = |group: usize| match starts.get(group) {
        Some(start) => Ok((group, *start)),
        None => Err(Error::Invalid(format!("scan split of row group {group}"))),
    };
    match wanted {
        Some(wanted) => wanted.iter().copied().map(placed).collect(),
        None => (0..groups.len()).map(placed).collect(),
    }
}

/// Which of the file's columns are read, in the file's order.
pub(super) struct FileColumns {
    pub(super) roots: Vec<usize>,
    pub(super) ids: Vec<ColumnId>,
    /// Births are read too, as the last column.
    births: bool,
    pub(super) filter_births: bool,
}

impl FileColumns {
    pub(super) fn of(read: &FileRead) -> Result<FileColumns> {
        FileColumns::some(read, &read.target.columns)
    }

    /// For these columns of the table.
    pub(super) fn some(read: &FileRead, wanted: &[ColumnId]) -> Result<FileColumns> {
        let have = &read.file.meta.columns;
        let mut roots: Vec<usize> = (0..have.len()).filter(|i| wanted.contains(&have[*i])).collect();
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

    /// Of a batch's rows those born in time; `None`: all.
    pub(super) fn born(&self, read: &FileRead, batch: &RecordBatch) -> Option<BooleanBuffer> {
        if !self.filter_births {
            return None;
        }
        let births = batch.column(self.ids.len()).as_primitive::<UInt64Type>().values();
        let (from, to) = (read.births.start, read.births.end.min(read.seq.0.saturating_add(1)));
        Some(BooleanBuffer::collect_bool(births.len(), |i| from <= births[i] && births[i] < to))
    }

    /// The rows of a batch that are seen, in the target's columns; `alive`: those that are not dead, if some are.
    pub(super) fn seen(
        &self,
        read: &FileRead,
        batch: RecordBatch,
        alive: Option<BooleanBuffer>,
    ) -> Result<RecordBatch> {
        let batch = match both(alive, self.born(read, &batch)) {
            Some(mask) => filter_record_batch(&batch, &BooleanArray::new(mask, None))?,
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

/// Rows that are in both; `None`: all.
pub(super) fn both(a: Option<BooleanBuffer>, b: Option<BooleanBuffer>) -> Option<BooleanBuffer> {
    match (a, b) {
        (Some(a), Some(b)) => Some(&a & &b),
        (a, b) => a.or(b),
    }
}
