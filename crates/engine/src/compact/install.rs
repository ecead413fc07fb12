//! Installing a merge: its outputs take the place of its inputs, with one manifest edit.

use std::sync::Arc;

use tidelake_core::{CommitSeq, Result};

use super::Merge;
use super::carry::Carry;
use super::output::{Merged, remove_files};
use crate::deaths::{Deaths, DeathsByFile, FileDeaths, encode_deaths};
use crate::engine::Inner;
use crate::file::{DataFile, FileMeta};
use crate::flush::death_log_path;
use crate::manifest::{Edit, ManifestLog};

/// Puts the outputs in the inputs' place; false if something came between that makes them worthless.
pub(super) fn install(inner: &Inner, merge: &Merge, merged: Vec<Merged>) -> Result<bool> {
    let metas: Vec<FileMeta> = merged.iter().map(|m| m.meta.clone()).collect();
    let mut may_be_named = false;
    let done = try_install(inner, merge, merged, &mut may_be_named);
    if !may_be_named {
        metas.iter().for_each(|meta| remove_files(inner, meta, &merge.signature));
    }
    done
}

/// `may_be_named` is set when the manifest may name the outputs.
fn try_install(inner: &Inner, merge: &Merge, merged: Vec<Merged>, may_be_named: &mut bool) -> Result<bool> {
    let mut manifest = inner.manifest.clone().blocking_lock_owned();
    inner.check_poison()?;
    let durable = manifest.state().durable.seq;
    let mut carry = Carry::new(merge, &merged);
    // No flush runs now, so what is durable of the deaths is all there, and is made durable for the outputs too.
    carry_round(inner, &mut carry)?;
    inner.options.faults.crash_point("compact: before death log")?;
    let log = write_log(inner, merge, &merged, &carry.carried, durable)?;
    let _gate = inner.gate.clone().blocking_lock_owned();
    if merge.table.units.read().disturbed != merge.disturbed {
        log.iter().for_each(|id| inner.storage.remove(&death_log_path(&inner.options.dir, merge.table.id, *id)));
        return Ok(false);
    }
    carry_round(inner, &mut carry)?;
    let carried = carry.carried;
    let file = |(m, deaths): (Merged, Vec<Deaths>)| {
        Arc::new(DataFile::new(m.meta, &inner.storage, m.pki, FileDeaths::from_parts(deaths)))
    };
    let outputs = merged.into_iter().zip(carried).map(file).collect();
    *may_be_named = true;
    replace(inner, &mut manifest, merge, outputs, log)?;
    metrics::counter!("tidelake_engine_compactions_total").increment(1);
    Ok(true)
}

fn carry_round(inner: &Inner, carry: &mut Carry<'_>) -> Result<()> {
    if inner.options.faults.on("bug: skip deaths during compaction") {
        return Ok(());
    }
    carry.round()
}

/// The outputs' deaths up to the durable seq as a death log; `None` without any.
fn write_log(
    inner: &Inner,
    merge: &Merge,
    merged: &[Merged],
    carried: &[Vec<Deaths>],
    durable: CommitSeq,
) -> Result<Option<u64>> {
    let upto =
        |deaths: &Vec<Deaths>| FileDeaths::from_parts(deaths.iter().map(|d| d.clone().upto(durable))).all_upto(durable);
    let deaths: DeathsByFile = merged.iter().zip(carried).map(|(m, deaths)| (m.meta.id, upto(deaths))).collect();
    let deaths: DeathsByFile = deaths.into_iter().filter(|d| !d.1.is_empty()).collect();
    if deaths.is_empty() {
        return Ok(None);
    }
    let id = inner.next_id();
    let path = death_log_path(&inner.options.dir, merge.table.id, id);
    inner.storage.write(&path, &encode_deaths(&deaths)?)?;
    Ok(Some(id))
}

fn replace(
    inner: &Inner,
    manifest: &mut ManifestLog,
    merge: &Merge,
    outputs: Vec<Arc<DataFile>>,
    log: Option<u64>,
) -> Result<()> {
    let kept_until = inner.published.borrow().seq;
    let state = manifest.state();
    let edit = Edit {
        epoch: state.epoch,
        durable: state.durable.clone(),
        horizon: state.horizon,
        add_files: outputs.iter().map(|f| f.meta.clone()).collect(),
        retire_files: merge.inputs.iter().map(|i| (i.file.meta.id, merge.at, kept_until)).collect(),
        add_deaths: log.iter().map(|id| (*id, merge.table.id)).collect(),
        ..Edit::default()
    };
    let faults = &inner.options.faults;
    let durable = faults.crash_point("compact: before edit").and_then(|()| manifest.append(&edit));
    if let Err(e) = durable.and_then(|()| faults.crash_point("compact: after edit")) {
        inner.poison(&e);
        return Err(e);
    }
    inner.written.write().clone_from(&manifest.state().written);
    let mut units = merge.table.units.write();
    for input in &merge.inputs {
        input.file.retire(merge.at, kept_until);
        units.files.retain(|f| f.meta.id != input.file.meta.id);
        units.retired.push(input.file.clone());
    }
    units.files.extend(outputs);
    units.arrange();
    Ok(())
}
