//! Spilling: what is staged but not published leaves memory when it is too much, so that a transaction of any size
//! is staged in bounded memory.
//!
//! Staged chunks become private data files: sorted, indexed and durable like any other, but in no manifest. They
//! are among the table's files at once, so later steps of the same transaction find their rows; no reader sees them,
//! because all their births are above the published seq. Publishing shows them by moving that seq. The next
//! flush names them in its edit. Without that edit (a crash), or when a new writer discards what was staged, nothing of
//! them is left.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidelake_core::{CommitSeq, Result};

use crate::deaths::{Deaths, FileDeaths};
use crate::engine::Inner;
use crate::file::{DataFile, Level};
use crate::flush::{Frozen, deaths_of, write_generation};
use crate::memory::Generation;
use crate::meters::Timer;
use crate::table::{Table, Units};
use crate::writer::Gate;

impl Inner {
    /// Spills if more is staged than may be. The caller holds the gate.
    pub(crate) fn spill_if_needed(&self, _gate: &Gate) -> Result<()> {
        if self.staged_bytes.load(Ordering::Acquire) < self.options.spill_limit() {
            return Ok(());
        }
        let _timer = Timer::start("tidelake_engine_spill_seconds");
        let tables: Vec<Arc<Table>> = self.tables.read().values().cloned().collect();
        let published = self.published.borrow().seq;
        let spilled = tables.iter().try_for_each(|table| self.spill_table(table, published));
        // Half of a table's chunks may be gone: a writer must not go on from there.
        spilled.inspect_err(|e| self.poison(e))
    }

    fn spill_table(&self, table: &Table, published: CommitSeq) -> Result<()> {
        let frozen = {
            let mut units = table.units.write();
            cut_off_staged(self, &mut units, published);
            let staged = units.generations.iter().filter(|g| is_staged(g, published));
            staged.map(|g| Frozen::new(g, &units.keys)).collect::<Vec<_>>()
        };
        for generation in frozen {
            self.options.faults.crash_point("spill: before files")?;
            // What was dead before it was born is dead to everybody; nothing else is let go.
            let written = write_generation(self, table.id, &generation, published, Level::L0)?;
            self.options.faults.crash_point("spill: after files")?;
            let file = written.map(|w| {
                let deaths = deaths_of(&generation, &w.order, |_| true);
                let deaths = FileDeaths::from_parts([Deaths::from_pairs(deaths)]);
                metrics::counter!("tidelake_engine_spilled_bytes_total").increment(w.meta.bytes);
                Arc::new(DataFile::private(w.meta, &self.storage, w.pki, deaths))
            });
            self.take_out(table, generation.id, file);
        }
        Ok(())
    }

    /// The file takes the generation's place.
    fn take_out(&self, table: &Table, generation: u64, file: Option<Arc<DataFile>>) {
        let mut units = table.units.write();
        let Some(at) = units.generations.iter().position(|g| g.id == generation) else { return };
        let gone = units.generations.remove(at);
        if at == units.generations.len() {
            let next = Generation::new(self.next_id(), units.def.clone());
            units.generations.push(next);
        }
        self.spilled.store(self.spilled.load(Ordering::Acquire) || file.is_some(), Ordering::Release);
        units.files.extend(file);
        units.arrange();
        drop(units);
        let bytes = gone.bytes();
        self.sub_memory(bytes);
        self.staged_bytes.fetch_sub(bytes.min(self.staged_bytes.load(Ordering::Acquire)), Ordering::AcqRel);
    }
}

fn is_staged(generation: &Generation, published: CommitSeq) -> bool {
    generation.chunks.first().is_some_and(|c| c.first_birth() > published.0)
}

/// Leaves staged chunks in generations of their own.
fn cut_off_staged(inner: &Inner, units: &mut Units, published: CommitSeq) {
    let mut cut = Vec::new();
    for mut generation in std::mem::take(&mut units.generations) {
        let keep = generation.published_chunks(published);
        let staged = (keep > 0 && keep < generation.chunks.len()).then(|| generation.split_off(keep, inner.next_id()));
        cut.push(generation);
        cut.extend(staged);
    }
    units.generations = cut;
}

/// Removes private files of rows that were never published.
pub(crate) fn discard_private(inner: &Inner, units: &mut Units, published: CommitSeq) {
    units.files.retain(|file| {
        let stays = file.in_manifest() || file.meta.births.1 <= published;
        if !stays {
            inner.storage.remove(&file.path);
            inner.storage.remove(&file.pki_path(file.pki.read().signature()));
        }
        stays
    });
    units.arrange();
}
