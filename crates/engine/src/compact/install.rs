//! Installing a merge: its output takes the place of its inputs, with one manifest edit.

use std::fs;
use std::io::Write;
use std::sync::Arc;

use tidelake_core::{CommitSeq, Error, Result};

use super::Merge;
use super::carry::Carry;
use super::merge::Merged;
use crate::deaths::{Deaths, FileDeaths, encode_deaths};
use crate::engine::Inner;
use crate::file::DataFile;
use crate::flush::{death_log_path, remove};
use crate::manifest::{Edit, ManifestLog};
use crate::parquet_file::sync_dir;

/// Puts the output in the inputs' place; false if something came between that makes it worthless.
pub(super) fn install(inner: &Inner, merge: &Merge, merged: Option<Merged>) -> Result<bool> {
    let mut manifest = inner.manifest.clone().blocking_lock_owned();
    inner.check_poison()?;
    let durable = manifest.state().durable.seq;
    let mut carry = merged.as_ref().map(|m| Carry::new(merge, &m.pki));
    let mut log = None;
    if let Some(carry) = &mut carry {
        // No flush runs now, so what is durable of the deaths is all there, and is made durable for the output too.
        carry_round(inner, carry)?;
        log = merged.as_ref().map(|m| write_log(inner, merge, m, &carry.carried, durable)).transpose()?.flatten();
    }
    let _gate = inner.gate.clone().blocking_lock_owned();
    if merge.table.units.read().disturbed != merge.disturbed {
        drop(carry);
        if let Some(merged) = merged {
            remove(&merged.meta.path(&inner.options.dir));
            remove(&merged.meta.pki_path(&inner.options.dir, merged.pki.signature()));
        }
        log.iter().for_each(|id| remove(&death_log_path(&inner.options.dir, merge.table.id, *id)));
        return Ok(false);
    }
    let carried = match &mut carry {
        Some(carry) => {
            carry_round(inner, carry)?;
            std::mem::take(&mut carry.carried)
        }
        None => Vec::new(),
    };
    drop(carry);
    let output = merged.map(|m| {
        let deaths = FileDeaths::from_parts(carried);
        Arc::new(DataFile::new(m.meta, &inner.options.dir, m.pki, deaths))
    });
    replace(inner, &mut manifest, merge, output, log)?;
    metrics::counter!("tidelake_engine_compactions_total").increment(1);
    Ok(true)
}

fn carry_round(inner: &Inner, carry: &mut Carry<'_>) -> Result<()> {
    if inner.options.faults.on("bug: skip deaths during compaction") {
        return Ok(());
    }
    carry.round()
}

/// The output's deaths up to the durable seq as a death log; `None` without any.
fn write_log(
    inner: &Inner,
    merge: &Merge,
    merged: &Merged,
    carried: &[Deaths],
    durable: CommitSeq,
) -> Result<Option<u64>> {
    let deaths = FileDeaths::from_parts(carried.iter().map(|d| d.clone().upto(durable))).all_upto(durable);
    if deaths.is_empty() {
        return Ok(None);
    }
    let id = inner.next_id();
    let path = death_log_path(&inner.options.dir, merge.table.id, id);
    let io = |e| Error::io(format!("write {}", path.display()), e);
    let mut file = fs::File::create(&path).map_err(io)?;
    file.write_all(&encode_deaths(&vec![(merged.meta.id, deaths)])?).map_err(io)?;
    file.sync_all().map_err(io)?;
    sync_dir(path.parent().expect("death logs are in a directory"))?;
    Ok(Some(id))
}

fn replace(
    inner: &Inner,
    manifest: &mut ManifestLog,
    merge: &Merge,
    output: Option<Arc<DataFile>>,
    log: Option<u64>,
) -> Result<()> {
    let kept_until = inner.published.borrow().seq;
    let state = manifest.state();
    let edit = Edit {
        epoch: state.epoch,
        durable: state.durable.clone(),
        horizon: state.horizon,
        add_files: output.iter().map(|f| f.meta.clone()).collect(),
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
    units.files.extend(output);
    Ok(())
}
