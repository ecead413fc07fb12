//! The merge itself: living rows of all inputs in the order of their keys, written as one file with its key index.
//!
//! Without a key, rows come input by input, and the index is merged from the inputs' indexes: a row's number in the
//! output is where its input begins there, plus the living rows before it.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array, cast::AsArray};
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::UInt64Type;
use tidelake_core::{CommitSeq, Error, Result};

use super::carry::Ranks;
use super::{Input, Merge};
use crate::adapt::{Target, column_ids};
use crate::engine::Inner;
use crate::file::FileMeta;
use crate::flush::{ensure_table_dirs, remove};
use crate::keys::{KeyMaker, Keys};
use crate::parquet_file::{DataFileWriter, sync_dir};
use crate::pki::{Pki, PkiBuilder, PkiStream};
use crate::scan::read::{BATCH_ROWS, FileBatches, FileRead};

/// Batches of one input in memory: being read, being picked from, and gathered.
const BATCHES: u64 = 3;

/// The output of a merge.
pub(super) struct Merged {
    pub(super) meta: FileMeta,
    pub(super) pki: Pki,
}

/// Rows of one input on their way into the merge.
struct Head {
    rows: RecordBatch,
    keys: Keys,
    births: Vec<u64>,
    at: usize,
    /// Place of `rows` among the batches of the output part that is being gathered.
    window: usize,
}

/// Writes the output; `None` if no row lives.
pub(super) fn run(inner: &Inner, merge: &Merge) -> Result<Option<Merged>> {
    ensure_table_dirs(&inner.options.dir, merge.table.id)?;
    inner.options.faults.hold("test: hold merges");
    let maker = KeyMaker::new(&merge.def)?;
    let batch_bytes = inner.options.merge_bytes() / (merge.inputs.len() as u64 * BATCHES);
    let open = |input| Reading::open(merge, input, batch_bytes);
    let readings = merge.inputs.iter().map(open).collect::<Result<_>>()?;
    Merging::new(inner, merge, maker, readings)?.run()
}

/// One input, read batch by batch.
struct Reading<'a> {
    input: &'a Input,
    read: FileRead,
    batches: FileBatches,
}

impl<'a> Reading<'a> {
    fn open(merge: &Merge, input: &'a Input, batch_bytes: u64) -> Result<Reading<'a>> {
        let target = Target::all(merge.def.clone())?;
        let mut read = FileRead::everything(input.file.clone(), target)?;
        read.with_births = true;
        let groups = input.file.footer()?;
        let plain: i64 = groups.metadata().row_groups().iter().map(|g| g.total_byte_size()).sum();
        // Dictionaries make rows smaller in files than in memory.
        let row_bytes = 2 * plain.max(0) as u64 / input.file.meta.rows.max(1) + 16;
        read.batch_rows = (batch_bytes / row_bytes).clamp(64, BATCH_ROWS as u64) as usize;
        Ok(Reading { input, batches: FileBatches::open(&read)?, read })
    }

    /// The next living rows.
    fn next(&mut self, maker: &KeyMaker) -> Result<Option<Head>> {
        while let Some((batch, first)) = self.batches.next(&self.read)? {
            let rows = batch.num_rows() as u32;
            let alive: Vec<u32> = (0..rows).filter(|i| !self.input.dead.contains(first + i)).collect();
            if alive.is_empty() {
                continue;
            }
            let whole = alive.len() == batch.num_rows();
            let batch = if whole { batch } else { take_record_batch(&batch, &UInt32Array::from(alive))? };
            let last = batch.num_columns() - 1;
            let births = batch.column(last).as_primitive::<UInt64Type>().values().to_vec();
            let columns: Vec<usize> = (0..last).collect();
            let rows = batch.project(&columns)?;
            let keys = if maker.keyless() { Keys::default() } else { maker.keys(&rows)? };
            return Ok(Some(Head { rows, keys, births, at: 0, window: usize::MAX }));
        }
        Ok(None)
    }
}

/// The state of a merge: heads of all inputs, and the part of the output that is being gathered.
struct Merging<'a> {
    merge: &'a Merge,
    keyless: bool,
    maker: KeyMaker,
    readings: Vec<Reading<'a>>,
    heads: Vec<Option<Head>>,
    writer: DataFileWriter,
    meta: FileMeta,
    pki: PkiBuilder,
    dir: PathBuf,
    window: Vec<RecordBatch>,
    picks: Vec<(usize, usize)>,
    births: Vec<u64>,
    last_key: Option<Vec<u8>>,
    rows: u32,
}

impl<'a> Merging<'a> {
    fn new(inner: &Inner, merge: &'a Merge, maker: KeyMaker, readings: Vec<Reading<'a>>) -> Result<Merging<'a>> {
        let meta = FileMeta {
            id: inner.next_id(),
            table: merge.table.id,
            generation: None,
            columns: column_ids(&merge.def),
            sorted_by: maker.signature().to_owned(),
            rows: 0,
            bytes: 0,
            crc: 0,
            births: (CommitSeq::ZERO, CommitSeq::ZERO),
            valid_from: merge.at,
            valid_to: CommitSeq::MAX,
            kept_until: CommitSeq::MAX,
            dead_at: CommitSeq::MAX,
        };
        let dir = inner.options.dir.clone();
        let capacity = merge.inputs.iter().map(|i| i.file.meta.rows.saturating_sub(i.dead.len())).sum();
        Ok(Merging {
            keyless: maker.keyless(),
            heads: readings.iter().map(|_| None).collect(),
            readings,
            writer: DataFileWriter::create(&meta.path(&dir), &merge.def, inner.options.row_groups())?,
            pki: PkiBuilder::create(&meta.pki_path(&dir, maker.signature()), maker.signature(), capacity)?,
            maker,
            meta,
            dir,
            merge,
            window: Vec::new(),
            picks: Vec::new(),
            births: Vec::new(),
            last_key: None,
            rows: 0,
        })
    }

    fn run(mut self) -> Result<Option<Merged>> {
        for input in 0..self.heads.len() {
            self.refill(input)?;
        }
        while let Some(input) = self.smallest() {
            self.take(input)?;
        }
        self.write_part()?;
        self.finish()
    }

    fn refill(&mut self, input: usize) -> Result<()> {
        self.heads[input] = self.readings[input].next(&self.maker)?;
        Ok(())
    }

    /// The input with the smallest key; without a key, the first that has rows.
    fn smallest(&self) -> Option<usize> {
        let heads = self.heads.iter().enumerate().filter_map(|(i, h)| Some((i, h.as_ref()?)));
        if self.keyless {
            return heads.map(|h| h.0).next();
        }
        heads.min_by(|a, b| a.1.keys.get(a.1.at).cmp(b.1.keys.get(b.1.at))).map(|h| h.0)
    }

    fn take(&mut self, input: usize) -> Result<()> {
        let head = self.heads[input].as_mut().expect("chosen among those that have rows");
        if !self.keyless {
            let key = head.keys.get(head.at);
            if self.last_key.as_deref() == Some(key) {
                metrics::counter!("tidelake_engine_audit_alarms_total").increment(1);
                let place = format!("{} (key {key:02x?})", self.merge.def.name);
                return Err(Error::Internal(format!("compaction audit: one key alive twice in {place}")));
            }
            let last = self.last_key.get_or_insert_default();
            last.clear();
            last.extend_from_slice(key);
            self.pki.push(key, self.rows)?;
        }
        if head.window == usize::MAX {
            head.window = self.window.len();
            self.window.push(head.rows.clone());
        }
        self.picks.push((head.window, head.at));
        self.births.push(head.births[head.at]);
        self.rows += 1;
        head.at += 1;
        if head.at == head.births.len() {
            self.refill(input)?;
        }
        if self.picks.len() == BATCH_ROWS { self.write_part() } else { Ok(()) }
    }

    fn write_part(&mut self) -> Result<()> {
        if self.picks.is_empty() {
            return Ok(());
        }
        let batches: Vec<&RecordBatch> = self.window.iter().collect();
        let rows = interleave_record_batch(&batches, &self.picks)?;
        self.writer.write(&rows, std::mem::take(&mut self.births))?;
        self.picks.clear();
        self.window.clear();
        self.heads.iter_mut().flatten().for_each(|h| h.window = usize::MAX);
        Ok(())
    }

    fn finish(mut self) -> Result<Option<Merged>> {
        if self.keyless {
            merge_indexes(&self.merge.inputs, &mut self.pki)?;
        }
        let written = self.writer.finish()?;
        let pki = self.pki.finish()?;
        let path = self.meta.path(&self.dir);
        if written.rows == 0 {
            remove(&path);
            remove(&self.meta.pki_path(&self.dir, pki.signature()));
            return Ok(None);
        }
        if pki.keys() != written.rows {
            let (keys, rows) = (pki.keys(), written.rows);
            return Err(Error::Internal(format!("compaction audit: {keys} keys of {rows} rows in {}", path.display())));
        }
        sync_dir(path.parent().expect("data files are in a directory"))?;
        self.meta.rows = written.rows;
        self.meta.bytes = written.bytes;
        self.meta.crc = written.crc;
        self.meta.births = (CommitSeq(written.births.0), CommitSeq(written.births.1));
        metrics::counter!("tidelake_engine_compacted_bytes_total").increment(written.bytes);
        Ok(Some(Merged { meta: self.meta, pki }))
    }
}

/// The index of a file whose rows are the living rows of the inputs, one input after the other.
fn merge_indexes(inputs: &[Input], out: &mut PkiBuilder) -> Result<()> {
    let mut streams = Vec::new();
    for (input, ranks) in inputs.iter().zip(Ranks::of_inputs(inputs)) {
        let mut stream = PkiStream::new(Arc::clone(&input.pki))?;
        skip_dead(&mut stream, input)?;
        streams.push((stream, input, ranks));
    }
    loop {
        let living = streams.iter().enumerate().filter_map(|(i, s)| Some((i, s.0.entry()?)));
        let Some((i, (key, row))) = living.min_by(|a, b| a.1.0.cmp(b.1.0)) else { return Ok(()) };
        out.push(key, streams[i].2.in_output(row))?;
        let (stream, input, _) = &mut streams[i];
        stream.advance()?;
        skip_dead(stream, input)?;
    }
}

fn skip_dead(stream: &mut PkiStream, input: &Input) -> Result<()> {
    while stream.entry().is_some_and(|(_, row)| input.dead.contains(row)) {
        stream.advance()?;
    }
    Ok(())
}
