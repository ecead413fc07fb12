//! Compaction: several files of a table become one without the dead rows.
//!
//! A merge reads its inputs as they are at `durable` when it begins (*at*), and its output serves readers at or above
//! that; the inputs serve those below, and plans made before, until the horizon has passed. Flushes, staging and
//! reading go on beside it: it holds the manifest only while it begins and while it is installed. Every death
//! later than *at* is carried over to the output when it is installed ([`install`]). The merge is by key and audits
//! itself: no key may be alive twice ([`merge`]).

mod carry;
mod install;
mod merge;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use roaring::RoaringBitmap;
use tidelake_core::{CommitSeq, Result, TableDef};

use crate::engine::Inner;
use crate::file::DataFile;
use crate::keys::KeyMaker;
use crate::meters::Timer;
use crate::pki::Pki;
use crate::table::{Table, Units};

/// Most merges of one table in a row.
const MAX_ROUNDS: usize = 100;

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
    /// Its index when the merge began.
    pki: Arc<Pki>,
    /// Rows dead at the merge's seq.
    dead: Arc<RoaringBitmap>,
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
        if let Err(e) = compact_all(&inner) {
            tracing::error!(error = %e, "compaction failed");
        }
        inner.compacting.store(false, Ordering::Release);
    });
}

/// Compacts each table until its files need it no more. Returns the number of merges.
pub(crate) fn compact_all(inner: &Inner) -> Result<usize> {
    let _one_at_a_time = inner.merging.lock();
    let tables: Vec<Arc<Table>> = inner.tables.read().values().cloned().collect();
    let mut merges = 0;
    for table in tables {
        for _ in 0..MAX_ROUNDS {
            if !compact_table(inner, &table)? {
                break;
            }
            merges += 1;
        }
    }
    Ok(merges)
}

fn compact_table(inner: &Inner, table: &Arc<Table>) -> Result<bool> {
    inner.check_poison()?;
    let Some(merge) = begin(inner, table)? else { return Ok(false) };
    let _timer = Timer::start("tidelake_engine_compaction_seconds");
    let done = merge::run(inner, &merge).and_then(|merged| install::install(inner, &merge, merged));
    table.units.write().merging.clear();
    done
}

/// Which files to merge: small ones if there are too many, one if too much of it is dead.
fn choose(inner: &Inner, units: &Units) -> Vec<Arc<DataFile>> {
    let horizon = inner.horizon();
    let fits = |f: &&Arc<DataFile>| {
        let sorted = units.keys.keyless() || f.meta.sorted_by == units.keys.signature();
        sorted && f.in_manifest() && f.dead_at() == CommitSeq::MAX && !f.is_garbage(horizon)
    };
    let mut files: Vec<Arc<DataFile>> = units.files.iter().filter(fits).cloned().collect();
    files.sort_by_key(|f| f.meta.rows);
    if files.len() > inner.options.max_files.max(1) {
        let at_least = (files.len() - inner.options.max_files.max(1) + 1).min(inner.options.merge_inputs());
        let (mut taken, mut rows) = (0, 0u64);
        for file in files.iter().take(inner.options.merge_inputs()) {
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

fn begin(inner: &Inner, table: &Arc<Table>) -> Result<Option<Merge>> {
    let manifest = inner.manifest.clone().blocking_lock_owned();
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
    let input = |file: Arc<DataFile>| {
        let (pki, dead) = (file.pki.read().clone(), file.deaths.read().mask_at(at));
        Input { file, pki, dead }
    };
    let inputs: Vec<Input> = files.into_iter().map(input).collect();
    units.merging = inputs.iter().map(|i| i.file.meta.id).collect();
    Ok(Some(Merge { table: table.clone(), def, inputs, at, disturbed: units.disturbed }))
}
