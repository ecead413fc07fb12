//! Foreign keys that change rows which nobody logs.
//!
//! InnoDB carries out ON DELETE and ON UPDATE CASCADE / SET NULL below the server: MariaDB, and MySQL before 9.x, log the
//! parent's rows only. The children's changes are known to the upstream alone, so a child is stopped for a re-sync when
//! rows of its parent change in a way that can reach it. MySQL 9.x logs the children's rows and says so in a flag of the
//! parent's rows events; sessions without `foreign_key_checks` cascade nothing, and say so too.

use std::sync::Arc;

use tidelake_core::schema::IndexDef;
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{Catalog, RESYNC, Result, RowOp, TableDef, TableId, TableName};

use super::tables::{Mapped, Target};
use super::{BinlogDecoder, Current};
use crate::ddl::foreign_key;
use crate::mysql::rows::{RowsEvent, RowsKind, TableWriter};

/// Rows event flag: the session did not check foreign keys.
const NO_FOREIGN_KEY_CHECKS: u16 = 0x2;
/// Rows event flag of MySQL 9.x: rows that foreign keys change are logged.
const CASCADES_ARE_LOGGED: u16 = 0x10;

/// A foreign key of `child` on the table that rows are changed of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cascade {
    child: TableId,
    on_delete: bool,
    on_update: bool,
    /// The parent's columns that are referred to.
    parent_columns: Vec<String>,
    /// Tables that a change of the child's rows can reach in turn, at any depth.
    descendants: Vec<TableId>,
}

/// The acting foreign keys of the catalog's tables on `parent`.
pub(super) fn cascades_of(parent: &TableName, catalog: &Catalog, flavor: ServerFlavor) -> Arc<[Cascade]> {
    let mut cascades = direct(parent, catalog, flavor);
    for cascade in &mut cascades {
        cascade.descendants = descendants(cascade.child, catalog, flavor);
    }
    cascades.into()
}

fn direct(parent: &TableName, catalog: &Catalog, flavor: ServerFlavor) -> Vec<Cascade> {
    let tables = catalog.tables.values();
    tables.flat_map(|e| e.def.indexes.iter().filter_map(|i| cascade(i, &e.def, parent, flavor))).collect()
}

/// Every table below `child`: what its foreign keys do exactly is not asked, it is stopped anyway.
pub(super) fn descendants(child: TableId, catalog: &Catalog, flavor: ServerFlavor) -> Vec<TableId> {
    let (mut found, mut next) = (Vec::new(), vec![child]);
    while let Some(table) = next.pop() {
        let Some(entry) = catalog.tables.get(&table) else { continue };
        for below in direct(&entry.def.name, catalog, flavor).into_iter().map(|c| c.child) {
            if below != child && !found.contains(&below) {
                found.push(below);
                next.push(below);
            }
        }
    }
    found
}

/// A constraint of `child`, if it refers to `parent` and acts on rows.
fn cascade(index: &IndexDef, child: &TableDef, parent: &TableName, flavor: ServerFlavor) -> Option<Cascade> {
    // foreign keys are kept without columns of their own
    if !index.columns.is_empty() {
        return None;
    }
    let key = foreign_key(&index.sql, &child.name, flavor).filter(|key| key.parent == *parent)?;
    let acts = |event: &str| {
        ["CASCADE", "SET NULL", "SET DEFAULT"].iter().any(|does| key.actions.contains(&format!(" ON {event} {does}")))
    };
    let (on_delete, on_update) = (acts("DELETE"), acts("UPDATE"));
    (on_delete || on_update).then(|| Cascade {
        child: child.id,
        on_delete,
        on_update,
        parent_columns: key.parent_columns.clone(),
        descendants: Vec::new(),
    })
}

impl BinlogDecoder {
    /// Stops the children that an event on their parent can have changed without a trace.
    pub(super) fn stop_children(
        &mut self,
        event: &RowsEvent<'_>,
        mapped: &Mapped,
        current: &mut Current<'_>,
    ) -> Result<()> {
        if mapped.cascades.is_empty() || event.flags & (NO_FOREIGN_KEY_CHECKS | CASCADES_ARE_LOGGED) != 0 {
            return Ok(());
        }
        for cascade in mapped.cascades.iter() {
            let reached = match event.kind {
                RowsKind::Write => false,
                RowsKind::Delete => cascade.on_delete,
                RowsKind::Update => {
                    cascade.on_update && changes_columns(event, mapped, &cascade.parent_columns, current)
                }
            };
            if reached {
                let reason = format!(
                    "{RESYNC} rows of its parent table changed, and the upstream does not log what its foreign key did to this \
                     table's rows ({})",
                    current.place()
                );
                for table in std::iter::once(&cascade.child).chain(&cascade.descendants) {
                    self.stop(*table, reason.clone(), current)?;
                }
            }
        }
        Ok(())
    }
}

/// True if an UPDATE changes one of the columns, or if that cannot be told.
fn changes_columns(event: &RowsEvent<'_>, mapped: &Mapped, columns: &[String], current: &Current<'_>) -> bool {
    let Some(target) = mapped.active().into_iter().next() else { return true };
    changed(event, &target, columns, current).unwrap_or(true)
}

fn changed(event: &RowsEvent<'_>, target: &Target, columns: &[String], current: &Current<'_>) -> Option<bool> {
    let def = &target.plan.def;
    let indexes: Option<Vec<usize>> = columns.iter().map(|c| def.index_of_name(c)).collect();
    let (indexes, mut batches) = (indexes?, Vec::new());
    let mut writer = TableWriter::new(def).ok()?;
    let ops = (RowOp::Delete, RowOp::Insert);
    writer.append_rows(event, &target.plan, current.seq, ops, |batch| batches.push(batch)).ok()?;
    batches.extend(writer.finish().ok()?);
    Some(batches.iter().any(|batch| {
        indexes.iter().any(|i| {
            let column = batch.rows.column(*i);
            // before and after images alternate
            (0..batch.len() / 2).any(|pair| column.slice(2 * pair, 1) != column.slice(2 * pair + 1, 1))
        })
    }))
}
