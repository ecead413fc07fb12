//! Staging changes of the catalog, and taking back what was staged.
//!
//! Every change is a new catalog version at its seq; what it means for rows follows from comparing the version
//! before with the one after: tables that are gone die, new ones begin empty, altered ones get a new generation, and
//! new key indexes if the key's columns or types changed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidelake_core::types::widen::check_alter;
use tidelake_core::{Catalog, CommitSeq, Error, Result, SchemaChange, TableDef, TableId};

use crate::adapt::Target;
use crate::engine::Inner;
use crate::file::DataFile;
use crate::keys::KeyMaker;
use crate::memory::KeyIndex;
use crate::pki::{Pki, PkiSorter};
use crate::scan::read::{FileRead, read_file};
use crate::spill::discard_private;
use crate::table::{Table, Units};
use crate::writer::Gate;

/// What identifies rows in a new version; with new indexes if identities changed.
struct Rekeyed {
    maker: KeyMaker,
    indexes: Option<(Vec<KeyIndex>, Vec<Pki>)>,
}

impl Inner {
    /// Takes a change of the catalog, invisibly. The caller holds the gate.
    pub(crate) fn stage_schema(&self, gate: &mut Gate, seq: CommitSeq, change: &SchemaChange) -> Result<()> {
        self.check_stage_seq(seq)?;
        let (newest, before) = self.catalogs.read().newest();
        if seq < newest {
            return Err(Error::Internal(format!("schema change at {seq} staged after one at {newest}")));
        }
        let mut after = (*before).clone();
        after.apply(seq, change)?;
        if let SchemaChange::AlterTable(def) = change {
            check_alter(&before.table(def.id)?.def, def)?;
        }
        self.adopt(&before, &after, seq)?;
        if let SchemaChange::Truncate(id) = change {
            let generation = self.next_id();
            self.table(*id)?.units.write().kill_all(seq, generation);
        }
        gate.staged = gate.staged.max(seq);
        self.catalogs.write().push(seq, after, change.clone());
        Ok(())
    }

    /// Makes the tables fit the catalog after a change. What can fail comes first.
    fn adopt(&self, before: &Catalog, after: &Catalog, seq: CommitSeq) -> Result<()> {
        let mut changed = Vec::new();
        let mut created = Vec::new();
        for (id, entry) in &after.tables {
            match before.tables.get(id) {
                None => created.push(Arc::new(Table::new(entry.def.clone(), self.next_id())?)),
                Some(old) if Arc::ptr_eq(&old.def, &entry.def) => {}
                Some(_) => {
                    let table = self.table(*id)?;
                    let rekeyed = self.rekey(&table, &entry.def)?;
                    changed.push((table, entry.def.clone(), rekeyed));
                }
            }
        }
        for (table, def, rekeyed) in changed {
            let mut units = table.units.write();
            let columns = def.columns != units.def.columns;
            units.def = def;
            install(&mut units, rekeyed);
            if columns {
                units.rotate(self.next_id());
            }
        }
        for id in before.tables.keys().filter(|id| !after.tables.contains_key(id)) {
            self.table(*id)?.units.write().kill_all(seq, self.next_id());
        }
        let mut tables = self.tables.write();
        tables.extend(created.into_iter().map(|t| (t.id, t)));
        Ok(())
    }

    /// Indexes of everything that lives, by the identity that `def` gives, if that is another one.
    fn rekey(&self, table: &Table, def: &Arc<TableDef>) -> Result<Rekeyed> {
        let maker = KeyMaker::new(def)?;
        let units = table.units.read();
        if maker.signature() == units.keys.signature() {
            return Ok(Rekeyed { maker, indexes: None });
        }
        let generations = units.generations.iter().map(|g| g.rekeyed(def, &maker)).collect::<Result<_>>()?;
        let files = units.files.iter().map(|f| build_pki(f, def, &maker)).collect::<Result<_>>()?;
        Ok(Rekeyed { maker, indexes: Some((generations, files)) })
    }

    /// Forgets everything above the published seq: rows, deaths, catalogs, tables.
    pub(crate) fn discard_staged(&self, gate: &mut Gate) -> Result<()> {
        let published = self.published.borrow().seq;
        let catalog = {
            let mut catalogs = self.catalogs.write();
            catalogs.undo_above(published);
            catalogs.newest().1
        };
        gate.staged = published;
        let mut freed = 0;
        let tables: Vec<Arc<Table>> = {
            let mut tables = self.tables.write();
            let gone = tables.split_off(&catalog.next_table);
            for table in gone.values() {
                let mut units = table.units.write();
                freed += bytes_in_memory(&units);
                discard_private(self, &mut units, published);
            }
            tables.values().cloned().collect()
        };
        for table in tables {
            let mut units = table.units.write();
            discard_private(self, &mut units, published);
            freed += undo_rows(&mut units, published);
            drop(units);
            self.restore_version(&table, &catalog)?;
        }
        self.sub_memory(freed);
        self.staged_bytes.store(0, Ordering::Release);
        self.spilled.store(false, Ordering::Release);
        Ok(())
    }

    fn restore_version(&self, table: &Table, catalog: &Catalog) -> Result<()> {
        let Ok(entry) = catalog.table(table.id) else { return Ok(()) };
        if Arc::ptr_eq(&entry.def, &table.units.read().def) {
            return Ok(());
        }
        let rekeyed = self.rekey(table, &entry.def)?;
        let mut units = table.units.write();
        units.def = entry.def.clone();
        install(&mut units, rekeyed);
        units.rotate(self.next_id());
        Ok(())
    }

    /// A table by id.
    pub(crate) fn table(&self, id: TableId) -> Result<Arc<Table>> {
        self.tables.read().get(&id).cloned().ok_or_else(|| Error::NotFound(format!("table id {id}")))
    }
}

fn bytes_in_memory(units: &Units) -> u64 {
    units.generations.iter().map(|g| g.bytes()).sum()
}

fn undo_rows(units: &mut Units, published: CommitSeq) -> u64 {
    let mut freed = 0;
    for generation in &mut units.generations {
        freed += generation.undo_above(published);
    }
    for file in units.files.iter().chain(&units.retired) {
        file.deaths.write().undo_above(published);
        if file.dead_at() > published {
            file.set_dead_at(CommitSeq::MAX);
        }
    }
    units.last_seq = units.last_seq.min(published);
    units.disturbed += 1;
    units.arrange();
    freed
}

fn install(units: &mut Units, rekeyed: Rekeyed) {
    units.keys = Arc::new(rekeyed.maker);
    let Some((generations, files)) = rekeyed.indexes else { return };
    for (generation, index) in units.generations.iter_mut().zip(generations) {
        generation.index = index;
    }
    for (file, pki) in units.files.iter().zip(files) {
        *file.pki.write() = Arc::new(pki);
    }
    units.disturbed += 1;
    units.arrange();
}

/// Makes the key index of a file anew, from its rows, as `def` identifies them.
pub(crate) fn build_pki(file: &Arc<DataFile>, def: &Arc<TableDef>, maker: &KeyMaker) -> Result<Pki> {
    let path = file.pki_path(maker.signature());
    if let Ok(pki) = Pki::open(&path)
        && pki.signature() == maker.signature()
        && pki.keys() == file.meta.rows
    {
        return Ok(pki);
    }
    let target = Target::of_any_row(def.clone())?;
    let mut sorter = PkiSorter::new(&path, maker.signature());
    read_file(&FileRead::everything(file.clone(), target)?, &mut |batch, first| {
        sorter.push(&maker.keys(&batch)?, first)?;
        Ok(true)
    })?;
    let pki = sorter.finish()?;
    file.storage().keep(&[&path])?;
    Ok(pki)
}
