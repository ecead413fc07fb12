//! The merge itself: living rows of all inputs in the order of their keys.
//!
//! Inputs whose rows follow each other are one *run*: base files, in the order of their keys, and all files of a table
//! without key, whose rows come input by input.

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use tidelake_core::{Error, Result};

use super::output::{Merged, Outputs};
use super::{Input, Merge};
use crate::adapt::Target;
use crate::engine::Inner;
use crate::flush::ensure_table_dirs;
use crate::keys::{KeyMaker, Keys};
use crate::scan::read::{BATCH_ROWS, FileBatches, FileRead};

/// Batches of one run in memory: being read, being picked from, and gathered.
const BATCHES: u64 = 3;

/// Rows of one run on their way into the merge.
struct Head {
    rows: RecordBatch,
    keys: Keys,
    at: usize,
    /// Place of `rows` among the batches of the output part that is being gathered.
    window: usize,
}

/// Writes the outputs; none if no row lives.
pub(super) fn run(inner: &Inner, merge: &Merge) -> Result<Vec<Merged>> {
    ensure_table_dirs(&inner.options.dir, merge.table.id)?;
    inner.options.faults.hold("test: hold merges");
    let maker = KeyMaker::new(&merge.def)?;
    if merge.resort {
        return super::resort::run(inner, merge, &maker);
    }
    let runs = runs(merge);
    let batch_bytes = inner.options.merge_bytes() / (runs.len() as u64 * BATCHES);
    let runs: Vec<Run<'_>> = runs.into_iter().map(|inputs| Run::new(merge, inputs, batch_bytes)).collect();
    Merging {
        keyless: maker.keyless(),
        heads: runs.iter().map(|_| None).collect(),
        runs,
        maker,
        merge,
        outputs: Outputs::new(inner, merge),
        window: Vec::new(),
        picks: Vec::new(),
        last_key: None,
    }
    .run()
}

/// Inputs that follow each other, in their order.
fn runs(merge: &Merge) -> Vec<Vec<&Input>> {
    if merge.def.key.is_empty() {
        return vec![merge.inputs.iter().collect()];
    }
    let (mut base, others): (Vec<&Input>, Vec<&Input>) =
        merge.inputs.iter().partition(|i| i.file.is_base(&merge.signature));
    base.sort_by_cached_key(|i| i.pki.range().map(|r| r.first.clone()));
    let mut runs: Vec<Vec<&Input>> = others.into_iter().map(|i| vec![i]).collect();
    if !base.is_empty() {
        runs.push(base);
    }
    runs
}

/// Living rows of one input, batch by batch.
pub(super) struct Reading {
    read: FileRead,
    batches: FileBatches,
}

impl Reading {
    pub(super) fn open(merge: &Merge, input: &Input, batch_bytes: u64) -> Result<Reading> {
        let target = Target::all(merge.def.clone())?;
        let mut read = FileRead::everything(input.file.clone(), target)?;
        // Dead rows need not fit the version of now.
        read.dead = input.dead.clone();
        let groups = input.file.footer()?;
        let plain: i64 = groups.metadata().row_groups().iter().map(|g| g.total_byte_size()).sum();
        // Dictionaries make rows smaller in files than in memory.
        let row_bytes = 2 * plain.max(0) as u64 / input.file.meta.rows.max(1) + 16;
        read.batch_rows = (batch_bytes / row_bytes).clamp(64, BATCH_ROWS as u64) as usize;
        Ok(Reading { batches: FileBatches::open(&read)?, read })
    }

    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some((batch, _)) = self.batches.next(&self.read)? {
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

/// Inputs that are read one after the other.
struct Run<'a> {
    merge: &'a Merge,
    inputs: std::vec::IntoIter<&'a Input>,
    batch_bytes: u64,
    current: Option<Reading>,
}

impl<'a> Run<'a> {
    fn new(merge: &'a Merge, inputs: Vec<&'a Input>, batch_bytes: u64) -> Run<'a> {
        Run { merge, inputs: inputs.into_iter(), batch_bytes, current: None }
    }

    /// The next living rows.
    fn next(&mut self, maker: &KeyMaker) -> Result<Option<Head>> {
        loop {
            let Some(reading) = &mut self.current else {
                let Some(input) = self.inputs.next() else { return Ok(None) };
                self.current = Some(Reading::open(self.merge, input, self.batch_bytes)?);
                continue;
            };
            let Some(rows) = reading.next()? else {
                self.current = None;
                continue;
            };
            let keys = if maker.keyless() { Keys::default() } else { maker.keys(&rows)? };
            return Ok(Some(Head { rows, keys, at: 0, window: usize::MAX }));
        }
    }
}

/// The state of a merge: heads of all runs, and the part of the output that is being gathered.
struct Merging<'a> {
    merge: &'a Merge,
    keyless: bool,
    maker: KeyMaker,
    runs: Vec<Run<'a>>,
    heads: Vec<Option<Head>>,
    outputs: Outputs<'a>,
    window: Vec<RecordBatch>,
    picks: Vec<(usize, usize)>,
    last_key: Option<Vec<u8>>,
}

impl Merging<'_> {
    fn run(mut self) -> Result<Vec<Merged>> {
        for run in 0..self.heads.len() {
            self.refill(run)?;
        }
        while let Some(run) = self.smallest() {
            self.take(run)?;
        }
        self.write_part()?;
        self.outputs.finish()
    }

    fn refill(&mut self, run: usize) -> Result<()> {
        self.heads[run] = self.runs[run].next(&self.maker)?;
        Ok(())
    }

    /// The run with the smallest key.
    fn smallest(&self) -> Option<usize> {
        let heads = self.heads.iter().enumerate().filter_map(|(i, h)| Some((i, h.as_ref()?)));
        if self.keyless {
            return heads.map(|h| h.0).next();
        }
        heads.min_by(|a, b| a.1.keys.get(a.1.at).cmp(b.1.keys.get(b.1.at))).map(|h| h.0)
    }

    fn take(&mut self, run: usize) -> Result<()> {
        let head = self.heads[run].as_mut().expect("chosen among those that have rows");
        if !self.keyless {
            let key = head.keys.get(head.at);
            audit(self.merge, &mut self.last_key, key)?;
            self.outputs.push_key(key)?;
        }
        if head.window == usize::MAX {
            head.window = self.window.len();
            self.window.push(head.rows.clone());
        }
        self.picks.push((head.window, head.at));
        head.at += 1;
        if head.at == head.rows.num_rows() {
            self.refill(run)?;
        }
        if self.picks.len() >= self.outputs.room() { self.write_part() } else { Ok(()) }
    }

    fn write_part(&mut self) -> Result<()> {
        if self.picks.is_empty() {
            return Ok(());
        }
        let batches: Vec<&RecordBatch> = self.window.iter().collect();
        let rows = interleave_record_batch(&batches, &self.picks)?;
        self.outputs.write(&rows)?;
        self.picks.clear();
        self.window.clear();
        self.heads.iter_mut().flatten().for_each(|h| h.window = usize::MAX);
        Ok(())
    }
}

/// No key is alive twice: keys that come in order differ.
pub(super) fn audit(merge: &Merge, last: &mut Option<Vec<u8>>, key: &[u8]) -> Result<()> {
    if last.as_deref() == Some(key) {
        metrics::counter!("tidelake_engine_audit_alarms_total").increment(1);
        let place = format!("{} (key {key:02x?})", merge.def.name);
        return Err(Error::Internal(format!("compaction audit: one key alive twice in {place}")));
    }
    let last = last.get_or_insert_default();
    last.clear();
    last.extend_from_slice(key);
    Ok(())
}
