//! Flushing: everything published becomes durable in one manifest edit over all tables.
//!
//! 1. *Freeze* (under the gate, short): note the published seq; published chunks of each table are cut off into
//!    generations that take no more rows.
//! 2. *Write*: a data file and a key index per frozen generation, a death log per table. Staging, publishing
//!    and reading go on.
//! 3. *Edit*: one manifest record names the files, the deaths, the catalog changes, the seq and the position.
//! 4. *Install* (under the gate, short): files take the place of their generations; deaths that hit frozen rows
//!    meanwhile go along.
//!
//! Rows that were dead at the horizon already are left out; files that no readable seq needs are let go. A failed
//! write poisons the engine: readers go on, writing needs a restart.
//!
//! A large generation whose keys lie between those of the base files becomes a base file at once: so does what a copy
//! reads in the order of its key, and what is appended, without a merge.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use tidelake_core::ports::Progress;
use tidelake_core::{CommitSeq, Error, Result, TableDef, TableId};

use crate::adapt::column_ids;
use crate::deaths::{Deaths, DeathsByFile, FileDeaths, encode_deaths};
use crate::engine::Inner;
use crate::file::{DataFile, FileMeta, Level, table_dir};
use crate::keys::{KeyMaker, Keys};
use crate::manifest::{Edit, ManifestLog};
use crate::memory::{Chunk, Generation};
use crate::meters::{Timer, gauge};
use crate::parquet_file::{DataFileWriter, sync_dir};
use crate::pki::{KeyRange, Pki, PkiBuilder};
use crate::scan::read::BATCH_ROWS;
use crate::schema::build_pki;
use crate::table::{Table, Units};
use crate::writer::blocking;

/// Death logs of one table before they are written anew as one.
const DEATH_LOGS: usize = 8;

/// A generation that takes no more rows.
pub(crate) struct Frozen {
    pub(crate) id: u64,
    def: Arc<TableDef>,
    chunks: Vec<Arc<Chunk>>,
    keys: Vec<Arc<Keys>>,
    signature: String,
    keyless: bool,
    dead_at: CommitSeq,
}

impl Frozen {
    pub(crate) fn new(generation: &Generation, keys: &KeyMaker) -> Frozen {
        Frozen {
            id: generation.id,
            def: generation.def.clone(),
            chunks: generation.chunks.clone(),
            keys: generation.index.keys.clone(),
            signature: keys.signature().to_owned(),
            keyless: keys.keyless(),
            dead_at: generation.dead_at,
        }
    }
}

/// What a flush does with one table.
struct TableJob {
    table: Arc<Table>,
    frozen: Vec<Frozen>,
    /// Spilled files that are published now.
    adopted: Vec<Arc<DataFile>>,
    /// Files with deaths that no log has yet.
    new_deaths: DeathsByFile,
    dead_files: Vec<(u64, CommitSeq)>,
    garbage: Vec<Arc<DataFile>>,
}

struct Job {
    upto: Progress,
    horizon: CommitSeq,
    tables: Vec<TableJob>,
    edit: Edit,
}

/// A frozen generation on disk.
pub(crate) struct Flushed {
    generation: u64,
    pub(crate) meta: FileMeta,
    pub(crate) pki: Pki,
    /// Row `i` of the file was this chunk and row.
    pub(crate) order: Vec<(u32, u32)>,
}

/// Makes everything published durable, now.
pub(crate) async fn flush(inner: Arc<Inner>) -> Result<CommitSeq> {
    let worker = inner.clone();
    let seq = blocking(move || {
        let mut manifest = worker.manifest.clone().blocking_lock_owned();
        flush_now(&worker, &mut manifest)
    })
    .await?;
    crate::compact::compact_in_background(&inner);
    Ok(seq)
}

/// The same, without waiting; at most one at a time.
pub(crate) fn flush_in_background(inner: &Arc<Inner>) {
    if inner.flushing.swap(true, Ordering::AcqRel) {
        return;
    }
    let inner = inner.clone();
    tokio::spawn(async move {
        if let Err(e) = flush(inner.clone()).await {
            tracing::error!(error = %e, "flush failed");
        }
        inner.flushing.store(false, Ordering::Release);
    });
}

fn flush_now(inner: &Inner, manifest: &mut ManifestLog) -> Result<CommitSeq> {
    inner.check_poison()?;
    let mut job = freeze(inner, manifest);
    let idle = job.upto == manifest.state().durable && job.tables.iter().all(|t| t.garbage.is_empty());
    if idle {
        return Ok(job.upto.seq);
    }
    let _timer = Timer::start("tidelake_engine_flush_seconds");
    let done = write(inner, manifest, &mut job).and_then(|flushed| install(inner, &job, flushed));
    if let Err(e) = &done {
        metrics::counter!("tidelake_engine_flush_errors_total").increment(1);
        inner.poison(e);
    }
    done?;
    remove_garbage(inner, &job);
    Ok(job.upto.seq)
}

fn freeze(inner: &Inner, manifest: &ManifestLog) -> Job {
    let gate = inner.gate.clone().blocking_lock_owned();
    let upto = inner.published.borrow().clone();
    let horizon = inner.horizon();
    let durable = manifest.state().durable.seq;
    let edit = Edit {
        epoch: gate.epoch,
        durable: upto.clone(),
        horizon,
        schema: inner.catalogs.read().changes_upto(upto.seq),
        ..Edit::default()
    };
    let tables: Vec<Arc<Table>> = inner.tables.read().values().cloned().collect();
    let tables = tables.into_iter().map(|t| freeze_table(inner, t, durable, upto.seq, horizon)).collect();
    Job { upto, horizon, tables, edit }
}

fn freeze_table(inner: &Inner, table: Arc<Table>, durable: CommitSeq, upto: CommitSeq, horizon: CommitSeq) -> TableJob {
    let mut units = table.units.write();
    let units = &mut *units;
    let mut generations = Vec::new();
    let mut frozen = Vec::new();
    let last = units.generations.len() - 1;
    for (i, mut generation) in std::mem::take(&mut units.generations).into_iter().enumerate() {
        let keep = generation.published_chunks(upto);
        let rest = if keep < generation.chunks.len() && keep > 0 {
            Some(generation.split_off(keep, inner.next_id()))
        } else if keep > 0 && i == last {
            Some(Generation::new(inner.next_id(), units.def.clone()))
        } else {
            None
        };
        if keep > 0 {
            frozen.push(Frozen::new(&generation, &units.keys));
        }
        if i == last || !generation.chunks.is_empty() {
            generations.push(generation);
        }
        generations.extend(rest);
    }
    units.generations = generations;
    let mut job = TableJob {
        table: table.clone(),
        frozen,
        adopted: Vec::new(),
        new_deaths: Vec::new(),
        dead_files: Vec::new(),
        garbage: Vec::new(),
    };
    for file in units.files.iter().chain(&units.retired) {
        if file.is_garbage(horizon) && !units.merging.contains(&file.meta.id) {
            job.garbage.push(file.clone());
            continue;
        }
        if !file.in_manifest() && file.meta.births.1 > upto {
            continue;
        }
        if !file.in_manifest() {
            job.adopted.push(file.clone());
        }
        let deaths = file.deaths.read().between(durable, upto);
        if !deaths.is_empty() {
            job.new_deaths.push((file.meta.id, deaths));
        }
        if file.dead_at() > durable && file.dead_at() <= upto {
            job.dead_files.push((file.meta.id, file.dead_at()));
        }
    }
    job
}

/// Writes everything and makes it durable with one edit.
fn write(inner: &Inner, manifest: &mut ManifestLog, job: &mut Job) -> Result<Vec<Vec<Flushed>>> {
    let faults = &inner.options.faults;
    faults.crash_point("flush: before files")?;
    let mut edit = std::mem::take(&mut job.edit);
    let mut flushed = Vec::new();
    for table in &mut job.tables {
        let mut files = Vec::new();
        let mut taken = Vec::new();
        for frozen in &table.frozen {
            let level = level_of(inner, &table.table, frozen, &mut taken);
            if let Some(file) = write_generation(inner, table.table.id, frozen, job.horizon, level)? {
                let deaths = deaths_of(frozen, &file.order, |d| d <= job.upto.seq.0);
                if !deaths.is_empty() {
                    table.new_deaths.push((file.meta.id, Deaths::from_pairs(deaths)));
                }
                edit.add_files.push(durable_meta(&file.meta, file.meta.dead_at, job.upto.seq));
                files.push(file);
                faults.crash_point("flush: after a file")?;
            }
        }
        edit.add_files.extend(table.adopted.iter().map(|f| durable_meta(&f.meta, f.dead_at(), job.upto.seq)));
        flushed.push(files);
        edit.dead_files.append(&mut table.dead_files);
        edit.remove_files.extend(table.garbage.iter().map(|f| f.meta.id));
        write_deaths(inner, manifest, table, job.upto.seq, &mut edit)?;
    }
    faults.crash_point("flush: before edit")?;
    manifest.append(&edit)?;
    inner.written.write().clone_from(&manifest.state().written);
    faults.crash_point("flush: after edit")?;
    job.edit = edit;
    Ok(flushed)
}

/// What the manifest says of a new file: a truncation that is only staged is not part of it.
fn durable_meta(meta: &FileMeta, dead_at: CommitSeq, upto: CommitSeq) -> FileMeta {
    FileMeta { dead_at: if dead_at <= upto { dead_at } else { CommitSeq::MAX }, ..meta.clone() }
}

/// Where a generation goes: to the base level if it is large and no base file, nor one that a running merge makes,
/// has keys between its own. `taken` has the ranges of base files of this flush.
fn level_of(inner: &Inner, table: &Table, frozen: &Frozen, taken: &mut Vec<KeyRange>) -> Level {
    let bytes: u64 = frozen.chunks.iter().map(|c| c.bytes).sum();
    let rows: u64 = frozen.chunks.iter().map(|c| c.len() as u64).sum();
    let options = &inner.options;
    let (full_bytes, full_rows) = (options.base_file_bytes.min(options.memtable_bytes / 2), options.base_file_rows);
    // Files are smaller than what is in memory.
    let small = bytes < full_bytes && rows < full_rows / 2;
    if frozen.keyless || small {
        return Level::L0;
    }
    let Some(range) = range_of(frozen) else { return Level::L0 };
    let units = table.units.read();
    // Those that die with a truncation that is only staged may live again.
    let mut base = units.files.iter().filter(|f| f.is_base(&frozen.signature)).filter_map(|f| f.keys());
    let in_base = base.any(|b| b.overlaps(&range));
    let made = units.merging_keys.iter().chain(taken.iter()).any(|o| o.overlaps(&range));
    let occupied = (in_base || made) && !options.faults.on("bug: flush over base files");
    if units.keys.signature() != frozen.signature || occupied {
        return Level::L0;
    }
    taken.push(range);
    Level::Base
}

/// Smallest and largest key of a generation, dead rows included.
fn range_of(frozen: &Frozen) -> Option<KeyRange> {
    let keys = || frozen.keys.iter().flat_map(|k| (0..k.len()).map(|i| k.get(i)));
    Some(KeyRange { first: keys().min()?.into(), last: keys().max()?.into() })
}

/// Writes a data file and its key index, durably; `None` if no row is kept.
pub(crate) fn write_generation(
    inner: &Inner,
    table: TableId,
    frozen: &Frozen,
    horizon: CommitSeq,
    level: Level,
) -> Result<Option<Flushed>> {
    let order = rows_in_order(frozen, horizon);
    if order.is_empty() {
        return Ok(None);
    }
    let dir = &inner.options.dir;
    ensure_table_dirs(dir, table)?;
    let mut meta = FileMeta {
        id: inner.next_id(),
        table,
        level,
        with_births: true,
        generation: Some(frozen.id),
        columns: column_ids(&frozen.def),
        sorted_by: frozen.signature.clone(),
        rows: order.len() as u64,
        bytes: 0,
        crc: 0,
        births: (CommitSeq::ZERO, CommitSeq::ZERO),
        valid_from: CommitSeq::ZERO,
        valid_to: CommitSeq::MAX,
        kept_until: CommitSeq::MAX,
        dead_at: frozen.dead_at,
        extents: Vec::new(),
    };
    let path = meta.path(dir);
    let mut writer = DataFileWriter::create(&path, &frozen.def, inner.options.file_shape(), level, true)?;
    let batches: Vec<&RecordBatch> = frozen.chunks.iter().map(|c| &c.rows).collect();
    for part in order.chunks(BATCH_ROWS) {
        let picks: Vec<(usize, usize)> = part.iter().map(|(c, r)| (*c as usize, *r as usize)).collect();
        let births = picks.iter().map(|(c, r)| frozen.chunks[*c].births[*r]).collect();
        writer.write(&interleave_record_batch(&batches, &picks)?, Some(births))?;
    }
    let written = writer.finish()?;
    meta.bytes = written.bytes;
    meta.crc = written.crc;
    meta.extents = written.extents;
    meta.births = (CommitSeq(written.births.0), CommitSeq(written.births.1));
    let pki = write_pki(inner, &meta, frozen, &order)?;
    inner.storage.keep(&[&path, &meta.pki_path(dir, &frozen.signature)])?;
    metrics::counter!("tidelake_engine_flushed_bytes_total").increment(written.bytes);
    metrics::counter!("tidelake_engine_flushed_rows_total").increment(written.rows);
    Ok(Some(Flushed { generation: frozen.id, meta, pki, order }))
}

/// Rows that some readable seq may see, by key; without a key as they came.
fn rows_in_order(frozen: &Frozen, horizon: CommitSeq) -> Vec<(u32, u32)> {
    if frozen.dead_at <= horizon {
        return Vec::new();
    }
    let mut order = Vec::new();
    for (c, chunk) in frozen.chunks.iter().enumerate() {
        // Who died in the transaction of its birth was never seen.
        let kept = (0..chunk.len()).filter(|r| chunk.death(*r) > horizon.0 && chunk.death(*r) > chunk.births[*r]);
        order.extend(kept.map(|r| (c as u32, r as u32)));
    }
    if !frozen.keyless {
        order.sort_unstable_by(|a, b| key_of(frozen, *a).cmp(key_of(frozen, *b)).then(a.cmp(b)));
    }
    order
}

fn key_of(frozen: &Frozen, at: (u32, u32)) -> &[u8] {
    frozen.keys[at.0 as usize].get(at.1 as usize)
}

fn write_pki(inner: &Inner, meta: &FileMeta, frozen: &Frozen, order: &[(u32, u32)]) -> Result<Pki> {
    let path = meta.pki_path(&inner.options.dir, &frozen.signature);
    let mut builder = PkiBuilder::create(&path, &frozen.signature, Some(order.len() as u64))?;
    let mut rows: Vec<u32> = (0..order.len() as u32).collect();
    if frozen.keyless {
        rows.sort_unstable_by_key(|r| key_of(frozen, order[*r as usize]));
    }
    for row in rows {
        builder.push(key_of(frozen, order[row as usize]), row)?;
    }
    builder.finish()
}

/// Deaths of rows of a frozen generation, as they are now, by row of its file.
pub(crate) fn deaths_of(frozen: &Frozen, order: &[(u32, u32)], which: impl Fn(u64) -> bool) -> Vec<(u64, u32)> {
    let death = |at: &(u32, u32)| frozen.chunks[at.0 as usize].death(at.1 as usize);
    let all = order.iter().enumerate().map(|(row, at)| (death(at), row as u32));
    all.filter(|(d, _)| *d != u64::MAX && which(*d)).collect()
}

fn write_deaths(
    inner: &Inner,
    manifest: &ManifestLog,
    job: &mut TableJob,
    upto: CommitSeq,
    edit: &mut Edit,
) -> Result<()> {
    let table = job.table.id;
    let logs: Vec<u64> = manifest.state().deaths.iter().filter(|d| *d.1 == table).map(|d| *d.0).collect();
    let gone: BTreeSet<u64> = job.garbage.iter().map(|f| f.meta.id).collect();
    let units = job.table.units.read();
    let kept: Vec<&Arc<DataFile>> =
        units.files.iter().chain(&units.retired).filter(|f| !gone.contains(&f.meta.id)).collect();
    let mut deaths = std::mem::take(&mut job.new_deaths);
    if logs.len() >= DEATH_LOGS || (kept.is_empty() && !logs.is_empty()) {
        // Everything anew in one log: deaths of old files, and those of files that are new with this flush.
        let old: BTreeSet<u64> = kept.iter().map(|f| f.meta.id).collect();
        deaths.retain(|d| !old.contains(&d.0));
        deaths.extend(kept.iter().map(|f| (f.meta.id, f.deaths.read().all_upto(upto))));
        deaths.retain(|d| !d.1.is_empty());
        edit.remove_deaths.extend(&logs);
    }
    if deaths.is_empty() || inner.options.faults.on("bug: lose death logs") {
        return Ok(());
    }
    let id = inner.next_id();
    ensure_table_dirs(&inner.options.dir, table)?;
    let path = death_log_path(&inner.options.dir, table, id);
    inner.storage.write(&path, &encode_deaths(&deaths)?)?;
    edit.add_deaths.push((id, table));
    Ok(())
}

pub(crate) fn death_log_path(dir: &Path, table: TableId, id: u64) -> PathBuf {
    table_dir(dir, table).join("dv").join(format!("{id}.dvlog"))
}

/// Makes the directories of a table, durably.
pub(crate) fn ensure_table_dirs(dir: &Path, table: TableId) -> Result<()> {
    const PARTS: [&str; 3] = ["l0", "dv", "base"];
    let own = table_dir(dir, table);
    if PARTS.iter().all(|part| own.join(part).is_dir()) {
        return Ok(());
    }
    for part in PARTS {
        let path = own.join(part);
        fs::create_dir_all(&path).map_err(|e| Error::io(format!("create {}", path.display()), e))?;
    }
    sync_dir(&own)?;
    sync_dir(&dir.join("table"))
}

/// Files take the place of their generations.
fn install(inner: &Inner, job: &Job, flushed: Vec<Vec<Flushed>>) -> Result<()> {
    let _gate = inner.gate.clone().blocking_lock_owned();
    let mut freed = 0;
    let (mut files, mut rows_dead) = (0, 0);
    for (job_of_table, flushed) in job.tables.iter().zip(flushed) {
        let mut ready = Vec::new();
        for file in flushed {
            ready.push(data_file(inner, job_of_table, file)?);
        }
        let mut units = job_of_table.table.units.write();
        freed += replace(&mut units, job_of_table, ready);
        job_of_table.adopted.iter().for_each(|f| f.set_in_manifest());
        for file in units.files.iter().chain(&units.retired) {
            file.deaths.write().fold(job.horizon);
            files += 1;
            rows_dead += file.deaths.read().count_at(job.upto.seq);
        }
    }
    inner.sub_memory(freed);
    let mut catalogs = inner.catalogs.write();
    catalogs.flushed(job.upto.seq, job.horizon);
    inner.tables.write().retain(|id, t| catalogs.mention(*id) || !is_empty(&t.units.read()));
    drop(catalogs);
    inner.durable.send_replace(job.upto.clone());
    gauge("tidelake_engine_files", files);
    gauge("tidelake_engine_dead_rows", rows_dead);
    gauge("tidelake_engine_memtable_bytes", inner.memory.load(Ordering::Acquire));
    Ok(())
}

/// The file of a generation with the deaths of now; its index made anew if a key changed meanwhile.
fn data_file(inner: &Inner, job: &TableJob, flushed: Flushed) -> Result<(u64, Arc<DataFile>)> {
    let frozen = job.frozen.iter().find(|f| f.id == flushed.generation);
    let frozen = frozen.ok_or_else(|| Error::Internal("a flushed generation that was not frozen".into()))?;
    let units = job.table.units.read();
    let mut deaths = deaths_of(frozen, &flushed.order, |_| true);
    if inner.options.faults.on("bug: skip deaths during flush") {
        deaths.clear();
    }
    let mut meta = flushed.meta;
    if let Some(generation) = units.generations.iter().find(|g| g.id == frozen.id) {
        meta.dead_at = generation.dead_at;
    }
    let file = Arc::new(DataFile::new(
        meta,
        &inner.storage,
        flushed.pki,
        FileDeaths::from_parts([Deaths::from_pairs(deaths)]),
    ));
    if units.keys.signature() != frozen.signature {
        let pki = build_pki(&file, &units.def, &units.keys)?;
        *file.pki.write() = Arc::new(pki);
    }
    Ok((frozen.id, file))
}

fn replace(units: &mut Units, job: &TableJob, ready: Vec<(u64, Arc<DataFile>)>) -> u64 {
    let frozen: BTreeSet<u64> = job.frozen.iter().map(|f| f.id).collect();
    let gone: BTreeSet<u64> = job.garbage.iter().map(|f| f.meta.id).collect();
    let mut freed = 0;
    units.generations.retain(|g| {
        let stays = !frozen.contains(&g.id);
        if !stays {
            freed += g.bytes();
        }
        stays
    });
    units.files.retain(|f| !gone.contains(&f.meta.id));
    units.retired.retain(|f| !gone.contains(&f.meta.id));
    units.files.extend(ready.into_iter().map(|r| r.1));
    units.arrange();
    freed
}

fn is_empty(units: &Units) -> bool {
    let rows = units.generations.iter().any(|g| !g.chunks.is_empty());
    !rows && units.files.is_empty() && units.retired.is_empty()
}

/// Deletes what the edit let go. What a crash leaves behind, the next open removes.
fn remove_garbage(inner: &Inner, job: &Job) {
    let dir = &inner.options.dir;
    for table in &job.tables {
        for file in &table.garbage {
            inner.storage.remove(&file.path);
            inner.storage.remove(&file.pki_path(file.pki.read().signature()));
        }
    }
    let of_table = |id: &u64| job.tables.iter().map(|t| death_log_path(dir, t.table.id, *id)).find(|p| p.exists());
    for path in job.edit.remove_deaths.iter().filter_map(of_table) {
        inner.storage.remove(&path);
    }
}
