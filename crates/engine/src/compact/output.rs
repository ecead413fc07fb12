//! What a merge writes: files cut at the size that the options ask for, each with its key index.
//!
//! Outputs have no births: they serve readers at or above the merge's seq only, and all their rows were born by then.

use std::sync::Arc;

use arrow::array::RecordBatch;
use tidelake_core::{CommitSeq, Error, Result};

use super::Merge;
use super::carry::Ranks;
use super::throttle::Throttle;
use crate::adapt::column_ids;
use crate::engine::Inner;
use crate::file::FileMeta;
use crate::parquet_file::DataFileWriter;
use crate::pki::{Pki, PkiBuilder, PkiStream};
use crate::scan::read::BATCH_ROWS;

/// One output of a merge.
pub(super) struct Merged {
    pub(super) meta: FileMeta,
    pub(super) pki: Pki,
}

/// A file that is being written.
struct Open {
    meta: FileMeta,
    writer: DataFileWriter,
    /// Without a key the index is made at the end.
    pki: Option<PkiBuilder>,
    /// Rows whose keys were taken.
    rows: u32,
}

/// The files of one merge, in the order of their rows.
pub(super) struct Outputs<'a> {
    inner: &'a Inner,
    merge: &'a Merge,
    keyless: bool,
    /// Keys that the filter of one output is made for.
    filter_keys: u64,
    births: (CommitSeq, CommitSeq),
    open: Option<Open>,
    /// All that were begun: removed if the merge fails.
    begun: Vec<FileMeta>,
    /// Without a key: what is written, and has no index yet.
    written: Vec<FileMeta>,
    merged: Vec<Merged>,
    bytes: u64,
    throttle: Throttle,
}

impl<'a> Outputs<'a> {
    pub(super) fn new(inner: &'a Inner, merge: &'a Merge) -> Outputs<'a> {
        let metas = || merge.inputs.iter().map(|i| &i.file.meta);
        let rows: u64 = merge.inputs.iter().map(|i| i.file.meta.rows.saturating_sub(i.dead.len())).sum();
        let bytes: u64 = metas().map(|m| m.bytes).sum();
        let share = u128::from(rows) * u128::from(inner.options.base_file_bytes) * 5 / 4 / u128::from(bytes.max(1)) + 1;
        let of_one = rows.min(u64::try_from(share).unwrap_or(u64::MAX)).min(inner.options.base_file_rows);
        let oldest = metas().map(|m| m.births.0).min().unwrap_or(CommitSeq::ZERO);
        let newest = metas().map(|m| m.births.1).max().unwrap_or(CommitSeq::ZERO);
        Outputs {
            keyless: merge.def.key.is_empty(),
            filter_keys: of_one,
            births: (oldest, newest),
            open: None,
            begun: Vec::new(),
            written: Vec::new(),
            merged: Vec::new(),
            bytes: 0,
            throttle: Throttle::new(inner.options.merge_bytes_per_second),
            inner,
            merge,
        }
    }

    /// Rows that may come before the next [`Outputs::write`].
    pub(super) fn room(&self) -> usize {
        let left = self.inner.options.base_file_rows.max(1) - self.open.as_ref().map_or(0, |o| o.writer.rows());
        left.min(BATCH_ROWS as u64) as usize
    }

    /// Takes the key of the next row; keys ascend within a file.
    pub(super) fn push_key(&mut self, key: &[u8]) -> Result<()> {
        let open = self.opened()?;
        let row = open.rows;
        open.rows += 1;
        open.pki.as_mut().map_or(Ok(()), |pki| pki.push(key, row))
    }

    /// Writes rows; ends the file if it is full.
    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let open = self.opened()?;
        open.writer.write(rows, None)?;
        let (bytes, rows) = (open.writer.bytes(), open.writer.rows());
        self.throttle.wait(self.bytes + bytes);
        let options = &self.inner.options;
        let full = bytes >= options.base_file_bytes || rows >= options.base_file_rows;
        if full { self.cut() } else { Ok(()) }
    }

    fn opened(&mut self) -> Result<&mut Open> {
        if self.open.is_none() {
            self.open = Some(self.begin()?);
        }
        Ok(self.open.as_mut().expect("just opened"))
    }

    fn begin(&mut self) -> Result<Open> {
        let (inner, merge) = (self.inner, self.merge);
        inner.options.faults.crash_point("compact: before files")?;
        let off_by_one = inner.options.faults.on("bug: valid_from off by one");
        let meta = FileMeta {
            id: inner.next_id(),
            table: merge.table.id,
            level: merge.into,
            with_births: false,
            generation: None,
            columns: column_ids(&merge.def),
            sorted_by: merge.signature.clone(),
            rows: 0,
            bytes: 0,
            crc: 0,
            births: self.births,
            valid_from: if off_by_one { CommitSeq(merge.at.0.saturating_sub(1)) } else { merge.at },
            valid_to: CommitSeq::MAX,
            kept_until: CommitSeq::MAX,
            dead_at: CommitSeq::MAX,
            extents: Vec::new(),
        };
        self.begun.push(meta.clone());
        let path = meta.path(&inner.options.dir);
        let writer = DataFileWriter::create(&path, &merge.def, inner.options.file_shape(), merge.into, false)?;
        let pki = if self.keyless { None } else { Some(self.index(&meta)?) };
        Ok(Open { meta, writer, pki, rows: 0 })
    }

    fn index(&self, meta: &FileMeta) -> Result<PkiBuilder> {
        self.inner.options.faults.crash_point("compact: before index")?;
        let path = meta.pki_path(&self.inner.options.dir, &self.merge.signature);
        PkiBuilder::create(&path, &self.merge.signature, Some(self.filter_keys))
    }

    /// Ends the file that is being written.
    pub(super) fn cut(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let mut meta = open.meta;
        let written = open.writer.finish()?;
        (meta.rows, meta.bytes, meta.crc) = (written.rows, written.bytes, written.crc);
        meta.extents = written.extents;
        self.bytes += written.bytes;
        metrics::counter!("tidelake_engine_compacted_bytes_total").increment(written.bytes);
        match open.pki {
            Some(pki) => self.add(meta, pki),
            None => {
                self.written.push(meta);
                Ok(())
            }
        }
    }

    fn add(&mut self, meta: FileMeta, pki: PkiBuilder) -> Result<()> {
        let pki = pki.finish()?;
        let (keys, rows) = (pki.keys(), meta.rows);
        let path = meta.path(&self.inner.options.dir);
        let index = meta.pki_path(&self.inner.options.dir, &self.merge.signature);
        self.merged.push(Merged { meta, pki });
        self.inner.options.faults.crash_point("compact: after files")?;
        if keys != rows {
            return Err(Error::Internal(format!("compaction audit: {keys} keys of {rows} rows in {}", path.display())));
        }
        self.inner.storage.keep(&[&path, &index])
    }

    /// All files, durable.
    pub(super) fn finish(mut self) -> Result<Vec<Merged>> {
        self.cut()?;
        if self.keyless {
            self.merge_indexes()?;
        }
        self.begun.clear();
        Ok(std::mem::take(&mut self.merged))
    }

    /// The indexes of files whose rows are the living rows of the inputs, one input after the other.
    fn merge_indexes(&mut self) -> Result<()> {
        let metas = std::mem::take(&mut self.written);
        let mut builders = metas.iter().map(|m| self.index(m)).collect::<Result<Vec<_>>>()?;
        let starts = starts(metas.iter().map(|m| m.rows));
        let inputs = &self.merge.inputs;
        let mut streams = Vec::new();
        for (input, ranks) in inputs.iter().zip(Ranks::of_inputs(inputs)) {
            let mut stream = PkiStream::new(Arc::clone(&input.pki))?;
            skip_dead(&mut stream, &input.dead)?;
            streams.push((stream, input, ranks));
        }
        loop {
            let living = streams.iter().enumerate().filter_map(|(i, s)| Some((i, s.0.entry()?)));
            let Some((i, (key, row))) = living.min_by(|a, b| a.1.0.cmp(b.1.0)) else { break };
            let (output, row) = split_rank(&starts, streams[i].2.in_output(row));
            builders[output].push(key, row)?;
            let (stream, input, _) = &mut streams[i];
            stream.advance()?;
            skip_dead(stream, &input.dead)?;
        }
        metas.into_iter().zip(builders).try_for_each(|(meta, pki)| self.add(meta, pki))
    }
}

impl Drop for Outputs<'_> {
    /// Files of a merge that failed.
    fn drop(&mut self) {
        self.begun.iter().for_each(|meta| remove_files(self.inner, meta, &self.merge.signature));
    }
}

/// Removes a data file that no manifest names, and its index.
pub(super) fn remove_files(inner: &Inner, meta: &FileMeta, signature: &str) {
    for path in [meta.path(&inner.options.dir), meta.pki_path(&inner.options.dir, signature)] {
        inner.storage.remove(&path);
    }
}

/// The first row of each file among the rows of all.
pub(super) fn starts(rows: impl Iterator<Item = u64>) -> Vec<u64> {
    let first = |next: &mut u64, rows: u64| {
        let start = *next;
        *next += rows;
        Some(start)
    };
    rows.scan(0, first).collect()
}

/// The file and its row, of a row among the rows of all files.
pub(super) fn split_rank(starts: &[u64], rank: u64) -> (usize, u32) {
    let file = starts.partition_point(|s| *s <= rank) - 1;
    (file, (rank - starts[file]) as u32)
}

fn skip_dead(stream: &mut PkiStream, dead: &roaring::RoaringBitmap) -> Result<()> {
    while stream.entry().is_some_and(|(_, row)| dead.contains(row)) {
        stream.advance()?;
    }
    Ok(())
}
