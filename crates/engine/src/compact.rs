//! Compaction: several files of a table become one without the dead rows.
//!
//! A merge reads its inputs as they are at `durable` (D) and its output serves readers at or above D; the inputs
//! serve those below, and plans made before, until the horizon has passed. Deaths later than D move to the
//! output: those known at the start with their rows, those that arrive during the merge by key. The merge is by
//! key and audits itself: no key may be alive twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, sync_channel};

use arrow::array::{RecordBatch, UInt32Array, cast::AsArray};
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::UInt64Type;
use roaring::RoaringBitmap;
use tidelake_core::{CommitSeq, Error, Result, TableDef};

use crate::adapt::{Target, column_ids};
use crate::deaths::FileDeaths;
use crate::engine::Inner;
use crate::file::{DataFile, FileMeta};
use crate::flush::{ensure_table_dirs, remove};
use crate::hash::key_hash;
use crate::keys::{KeyMaker, Keys};
use crate::manifest::{Edit, ManifestLog};
use crate::meters::Timer;
use crate::parquet_file::{DataFileWriter, sync_dir};
use crate::pki::{BlockCursor, Pki, PkiBuilder};
use crate::scan::read::{BATCH_ROWS, FileRead, read_file};
use crate::table::{CompactionWatch, Table, Units};

/// One merge that is under way.
struct Merge {
    table: Arc<Table>,
    def: Arc<TableDef>,
    inputs: Vec<Input>,
    at: CommitSeq,
    disturbed: u64,
}

struct Input {
    file: Arc<DataFile>,
    dead: Arc<RoaringBitmap>,
    /// Rows that die after `at`, as known when the merge begins.
    late: HashMap<u32, u64>,
}

/// The output of a merge.
struct Merged {
    meta: FileMeta,
    pki: Pki,
    deaths: Vec<(u64, u32)>,
}

/// Compacts after a flush, without waiting; at most one at a time.
pub(crate) fn compact_in_background(inner: &Arc<Inner>) {
    // Tests that compact at places of their choice.
    if inner.options.faults.on("test: no own compaction") {
        return;
    }
    let needed = inner.tables.read().values().any(|t| !choose(inner, &t.units.read()).is_empty());
    if !needed || inner.compacting.swap(true, Ordering::AcqRel) {
        return;
    }
    let inner = inner.clone();
    tokio::task::spawn_blocking(move || {
        let mut manifest = inner.manifest.clone().blocking_lock_owned();
        if let Err(e) = compact_all(&inner, &mut manifest) {
            tracing::error!(error = %e, "compaction failed");
        }
        inner.compacting.store(false, Ordering::Release);
    });
}

/// Compacts each table once where its files need it. Returns the number of merges.
pub(crate) fn compact_all(inner: &Inner, manifest: &mut ManifestLog) -> Result<usize> {
    inner.check_poison()?;
    let tables: Vec<Arc<Table>> = inner.tables.read().values().cloned().collect();
    let mut merges = 0;
    for table in tables {
        let Some(merge) = begin(inner, manifest, &table)? else { continue };
        let _timer = Timer::start("tidelake_engine_compaction_seconds");
        let done = run(inner, &merge).and_then(|merged| finish(inner, manifest, &merge, merged));
        table.units.write().compacting = None;
        merges += usize::from(done?);
    }
    Ok(merges)
}

/// Which files to merge: small ones if there are too many, one if too much of it is dead.
fn choose(inner: &Inner, units: &Units) -> Vec<Arc<DataFile>> {
    let horizon = inner.horizon();
    let fits = |f: &&Arc<DataFile>| {
        let sorted = units.keys.keyless() || f.meta.sorted_by == units.keys.signature();
        sorted && f.dead_at() == CommitSeq::MAX && !f.is_garbage(horizon)
    };
    let mut files: Vec<Arc<DataFile>> = units.files.iter().filter(fits).cloned().collect();
    files.sort_by_key(|f| f.meta.rows);
    if files.len() > inner.options.max_files.max(1) {
        let at_least = files.len() - inner.options.max_files.max(1) + 1;
        let (mut taken, mut rows) = (0, 0u64);
        for file in &files {
            let grows = taken < at_least.max(2) || file.meta.rows <= 2 * rows;
            if !grows || rows + file.meta.rows > u64::from(u32::MAX) {
                break;
            }
            rows += file.meta.rows;
            taken += 1;
        }
        files.truncate(taken);
        return if taken > 1 { files } else { Vec::new() };
    }
    let dead = |f: &Arc<DataFile>| f.deaths.read().count_at(horizon) as f64 / f.meta.rows.max(1) as f64;
    files.into_iter().find(|f| dead(f) > inner.options.max_dead).into_iter().collect()
}

fn begin(inner: &Inner, manifest: &ManifestLog, table: &Arc<Table>) -> Result<Option<Merge>> {
    let _gate = inner.gate.clone().blocking_lock_owned();
    let at = manifest.state().durable.seq;
    let catalogs = &manifest.state().catalogs;
    let Some(entry) = catalogs.last().and_then(|c| c.1.tables.get(&table.id)) else { return Ok(None) };
    let def = entry.def.clone();
    let mut units = table.units.write();
    if KeyMaker::new(&def)?.signature() != units.keys.signature() {
        return Ok(None);
    }
    let files = choose(inner, &units);
    if files.is_empty() {
        return Ok(None);
    }
    let inputs = files.into_iter().map(|file| {
        let deaths = file.deaths.read();
        let late = deaths.between(at, CommitSeq::MAX).iter().map(|(seq, row)| (*row, *seq)).collect();
        let dead = deaths.mask_at(at);
        drop(deaths);
        Input { file, dead, late }
    });
    let inputs: Vec<Input> = inputs.collect();
    let watched = inputs.iter().map(|i| i.file.meta.id).collect();
    units.compacting = Some(CompactionWatch { inputs: watched, deaths: Vec::new() });
    Ok(Some(Merge { table: table.clone(), def, inputs, at, disturbed: units.disturbed }))
}

/// Rows of one input on their way into the merge.
struct Head {
    rows: RecordBatch,
    keys: Keys,
    births: Vec<u64>,
    /// Row numbers in the input file.
    numbers: Vec<u32>,
    at: usize,
    /// Place of `rows` among the batches of the output part that is being gathered.
    window: usize,
}

fn run(inner: &Inner, merge: &Merge) -> Result<Option<Merged>> {
    ensure_table_dirs(&inner.options.dir, merge.table.id)?;
    let maker = KeyMaker::new(&merge.def)?;
    std::thread::scope(|scope| {
        let mut receivers = Vec::new();
        for input in &merge.inputs {
            let (send, receive) = sync_channel::<Result<Head>>(2);
            let maker = &maker;
            scope.spawn(move || {
                let done = read_input(merge, input, maker, &mut |head| send.send(Ok(head)).is_ok());
                if let Err(e) = done {
                    let _ = send.send(Err(e));
                }
            });
            receivers.push(receive);
        }
        Merging::new(inner, merge, &maker, receivers)?.run()
    })
}

fn read_input(merge: &Merge, input: &Input, maker: &KeyMaker, send: &mut dyn FnMut(Head) -> bool) -> Result<()> {
    let target = Target::all(merge.def.clone())?;
    let mut read = FileRead::everything(input.file.clone(), target)?;
    read.with_births = true;
    read_file(&read, &mut |batch, first| {
        let alive: Vec<u32> = (0..batch.num_rows() as u32).filter(|i| !input.dead.contains(first + i)).collect();
        if alive.is_empty() {
            return Ok(true);
        }
        let batch = take_record_batch(&batch, &UInt32Array::from(alive.clone()))?;
        let last = batch.num_columns() - 1;
        let births = batch.column(last).as_primitive::<UInt64Type>().values().to_vec();
        let columns: Vec<usize> = (0..last).collect();
        let rows = batch.project(&columns)?;
        let keys = maker.keys(&rows)?;
        let numbers = alive.into_iter().map(|i| first + i).collect();
        Ok(send(Head { rows, keys, births, numbers, at: 0, window: usize::MAX }))
    })
}

/// The state of a merge: heads of all inputs, and the part of the output that is being gathered.
struct Merging<'a> {
    merge: &'a Merge,
    keyless: bool,
    receivers: Vec<Receiver<Result<Head>>>,
    heads: Vec<Option<Head>>,
    writer: DataFileWriter,
    meta: FileMeta,
    pki: PkiBuilder,
    dir: std::path::PathBuf,
    window: Vec<RecordBatch>,
    picks: Vec<(usize, usize)>,
    births: Vec<u64>,
    last_key: Option<Vec<u8>>,
    rows: u32,
    deaths: Vec<(u64, u32)>,
    /// Identities of rows without a key: sorted at the end.
    unsorted: Vec<(Box<[u8]>, u32)>,
}

impl<'a> Merging<'a> {
    fn new(
        inner: &Inner,
        merge: &'a Merge,
        maker: &KeyMaker,
        receivers: Vec<Receiver<Result<Head>>>,
    ) -> Result<Merging<'a>> {
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
        let capacity = merge.inputs.iter().map(|i| i.file.meta.rows - i.dead.len()).sum();
        Ok(Merging {
            keyless: maker.keyless(),
            heads: receivers.iter().map(|_| None).collect(),
            receivers,
            writer: DataFileWriter::create(&meta.path(&dir), &merge.def, inner.options.row_group_rows)?,
            pki: PkiBuilder::create(&meta.pki_path(&dir, maker.signature()), maker.signature(), capacity)?,
            meta,
            dir,
            merge,
            window: Vec::new(),
            picks: Vec::new(),
            births: Vec::new(),
            last_key: None,
            rows: 0,
            deaths: Vec::new(),
            unsorted: Vec::new(),
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
        self.heads[input] = self.receivers[input].recv().ok().transpose()?;
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
        let key = head.keys.get(head.at);
        if self.keyless {
            self.unsorted.push((key.into(), self.rows));
        } else {
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
        if let Some(seq) = self.merge.inputs[input].late.get(&head.numbers[head.at]) {
            self.deaths.push((*seq, self.rows));
        }
        self.rows += 1;
        head.at += 1;
        if head.at == head.numbers.len() {
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
        self.unsorted.sort_unstable();
        for (key, row) in &self.unsorted {
            self.pki.push(key, *row)?;
        }
        let written = self.writer.finish()?;
        let pki = self.pki.finish()?;
        let path = self.meta.path(&self.dir);
        if written.rows == 0 {
            remove(&path);
            remove(&self.meta.pki_path(&self.dir, pki.signature()));
            return Ok(None);
        }
        sync_dir(path.parent().expect("data files are in a directory"))?;
        self.meta.rows = written.rows;
        self.meta.bytes = written.bytes;
        self.meta.crc = written.crc;
        self.meta.births = (CommitSeq(written.births.0), CommitSeq(written.births.1));
        metrics::counter!("tidelake_engine_compacted_bytes_total").increment(written.bytes);
        Ok(Some(Merged { meta: self.meta, pki, deaths: self.deaths }))
    }
}

/// Puts the output in the inputs' place; false if something came between that makes it worthless.
fn finish(inner: &Inner, manifest: &mut ManifestLog, merge: &Merge, merged: Option<Merged>) -> Result<bool> {
    let _gate = inner.gate.clone().blocking_lock_owned();
    let (watch, disturbed) = {
        let mut units = merge.table.units.write();
        (units.compacting.take().unwrap_or_default(), units.disturbed)
    };
    if disturbed != merge.disturbed {
        if let Some(merged) = merged {
            remove(&merged.meta.path(&inner.options.dir));
            remove(&merged.meta.pki_path(&inner.options.dir, merged.pki.signature()));
        }
        return Ok(false);
    }
    let output = merged.map(|m| output_file(inner, merge, m, watch)).transpose()?;
    let kept_until = inner.published.borrow().seq;
    let state = manifest.state();
    let edit = Edit {
        epoch: state.epoch,
        durable: state.durable.clone(),
        horizon: state.horizon,
        add_files: output.iter().map(|f| f.meta.clone()).collect(),
        retire_files: merge.inputs.iter().map(|i| (i.file.meta.id, merge.at, kept_until)).collect(),
        ..Edit::default()
    };
    let faults = &inner.options.faults;
    let durable = faults.crash_point("compact: before edit").and_then(|()| manifest.append(&edit));
    if let Err(e) = durable.and_then(|()| faults.crash_point("compact: after edit")) {
        inner.poison(&e);
        return Err(e);
    }
    let mut units = merge.table.units.write();
    for input in &merge.inputs {
        input.file.retire(merge.at, kept_until);
        units.files.retain(|f| f.meta.id != input.file.meta.id);
        units.retired.push(input.file.clone());
    }
    units.files.extend(output);
    metrics::counter!("tidelake_engine_compactions_total").increment(1);
    Ok(true)
}

/// The output with every death later than the merge's seq.
fn output_file(inner: &Inner, merge: &Merge, merged: Merged, watch: CompactionWatch) -> Result<Arc<DataFile>> {
    let mut deaths = merged.deaths;
    if inner.options.faults.on("bug: skip deaths during compaction") {
        deaths.clear();
    }
    let mut dead: RoaringBitmap = deaths.iter().map(|d| d.1).collect();
    let mut cursor = BlockCursor::default();
    for (key, seq) in &watch.deaths {
        let mut row = None;
        merged.pki.find(key, key_hash(key), &mut cursor, |r| {
            row = (!dead.contains(r)).then_some(r);
            row.is_none()
        })?;
        let Some(row) = row else {
            metrics::counter!("tidelake_engine_audit_alarms_total").increment(1);
            let name = &merge.def.name;
            return Err(Error::Internal(format!("compaction audit: a death in {name} has no row in the output")));
        };
        dead.insert(row);
        deaths.push((seq.0, row));
    }
    Ok(Arc::new(DataFile::new(merged.meta, &inner.options.dir, merged.pki, FileDeaths::from_unsorted(deaths))))
}
