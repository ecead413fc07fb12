//! Compaction: files of a table become larger ones, and base files, without the dead rows.
//!
//! A merge reads its inputs as they are at `durable` when it begins (*at*), and its outputs serve readers at or above
//! that; the inputs serve those below, and plans made before, until the horizon has passed. Flushes, staging and
//! reading go on beside it: it holds the manifest only while it begins and while it is installed. Every death
//! later than *at* is carried over to the outputs when they are installed ([`install`]). The merge is by key and audits
//! itself: no key may be alive twice ([`merge`]).
//!
//! A key lives in one file at most, so any files may be merged in any order; only base files must stay apart from each
//! other: what goes to the base level takes all base files along that overlap it ([`choose`]).

mod carry;
mod choose;
mod install;
mod merge;
mod output;
mod resort;
mod throttle;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use roaring::RoaringBitmap;
use tidelake_core::{CommitSeq, Result, TableDef};

use crate::engine::Inner;
use crate::file::{DataFile, Level};
use crate::keys::KeyMaker;
use crate::meters::Timer;
use crate::pki::Pki;
use crate::table::Table;

/// Most merges of one table in a row.
const MAX_ROUNDS: usize = 100;

/// One merge that is under way.
struct Merge {
    table: Arc<Table>,
    def: Arc<TableDef>,
    signature: String,
    inputs: Vec<Input>,
    into: Level,
    /// The only input is in the order of another key.
    resort: bool,
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
    let needed = inner.tables.read().values().any(|t| choose::choose(inner, &t.units.read()).is_some());
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

/// True if merges run and are far behind with this table.
pub(crate) fn is_behind(inner: &Inner, table: &Table) -> bool {
    inner.compacting.load(Ordering::Acquire) && choose::crowded(inner, &table.units.read())
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
    let mut units = table.units.write();
    units.merging.clear();
    units.merging_keys = None;
    done
}

fn begin(inner: &Inner, table: &Arc<Table>) -> Result<Option<Merge>> {
    let manifest = inner.manifest.clone().blocking_lock_owned();
    let _gate = inner.gate.clone().blocking_lock_owned();
    let at = manifest.state().durable.seq;
    let catalogs = &manifest.state().catalogs;
    let Some(entry) = catalogs.last().and_then(|c| c.1.tables.get(&table.id)) else { return Ok(None) };
    let def = entry.def.clone();
    let mut units = table.units.write();
    let signature = units.keys.signature().to_owned();
    if KeyMaker::new(&def)?.signature() != signature {
        return Ok(None);
    }
    let Some(choice) = choose::choose(inner, &units) else { return Ok(None) };
    units.merging_keys = choose::hull(&choice.files).filter(|_| choice.into == Level::Base);
    let input = |file: Arc<DataFile>| {
        let (pki, dead) = (file.pki.read().clone(), file.deaths.read().mask_at(at));
        Input { file, pki, dead }
    };
    let inputs: Vec<Input> = choice.files.into_iter().map(input).collect();
    units.merging = inputs.iter().map(|i| i.file.meta.id).collect();
    let (into, resort, disturbed) = (choice.into, choice.resort, units.disturbed);
    Ok(Some(Merge { table: table.clone(), def, signature, inputs, into, resort, at, disturbed }))
}
