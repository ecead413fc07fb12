//! Which catalog tables the images of a named table go to: the visible one, the copying one, both or none.

use std::collections::HashMap;
use std::sync::Arc;

use tidelake_core::{Catalog, Result, RowOp, TableDef, TableEntry, TableId, TableName, TableState};

use super::{Current, FeedDecoder, UnknownTables};
use crate::mysql::reader::{Malformed, Parsed};
use crate::ticdc::record::ImageOp;

/// Names kept at most.
const MAX_KEPT: usize = 4096;

/// A table that takes the images.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) def: Arc<TableDef>,
    /// The table is live: deaths must find their rows, births must not.
    strict: bool,
}

impl Target {
    /// What an image means for this table.
    pub(super) fn op(&self, op: ImageOp) -> Parsed<RowOp> {
        match (op, self.strict) {
            (ImageOp::Delete, true) => Ok(RowOp::Delete),
            (ImageOp::Insert, true) => Ok(RowOp::Insert),
            (ImageOp::Replace, _) if self.def.key.is_empty() => Err(Malformed::because(
                "an UPDATE without its before image, of a table without a key: set output-old-value = true in the changefeed",
            )),
            (ImageOp::Delete, false) => Ok(RowOp::DeleteIfExists),
            (ImageOp::Insert | ImageOp::Replace, _) => Ok(RowOp::Upsert),
        }
    }
}

/// Resolved names; each is checked against the catalog before use.
#[derive(Default)]
pub(super) struct Known {
    kept: HashMap<TableName, Kept>,
    last: Option<TableName>,
}

struct Kept {
    mark: (TableId, usize),
    /// Entries of the name, as they were.
    entries: Vec<TableEntry>,
    targets: Arc<[Target]>,
    /// A copying table's rows begin at its own place, so targets differ from transaction to transaction.
    reusable: bool,
}

impl Known {
    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }
}

/// Changes whenever a table appears or goes.
fn mark(catalog: &Catalog) -> (TableId, usize) {
    (catalog.next_table, catalog.tables.len())
}

fn still_holds(kept: &Kept, catalog: &Catalog) -> bool {
    kept.reusable
        && kept.mark == mark(catalog)
        && kept.entries.iter().all(|old| {
            let now = catalog.tables.get(&old.def.id);
            now.is_some_and(|now| Arc::ptr_eq(&now.def, &old.def) && now.state == old.state)
        })
}

impl FeedDecoder {
    /// The tables that take images of this name. A wanted table that the catalog lacks is stopped here, with the reason.
    pub(super) fn targets(&mut self, names: (&str, &str), current: &mut Current<'_>) -> Result<Arc<[Target]>> {
        let same = |n: &TableName| n.database == names.0 && n.table == names.1;
        let name = match self.known.last.take().filter(same) {
            Some(name) => name,
            None => TableName::new(names.0, names.1),
        };
        let kept = self.known.kept.get(&name).filter(|kept| still_holds(kept, current.catalog));
        let targets = match kept {
            Some(kept) => Arc::clone(&kept.targets),
            None => self.resolve(&name, current)?,
        };
        self.known.last = Some(name);
        Ok(targets)
    }

    fn resolve(&mut self, name: &TableName, current: &mut Current<'_>) -> Result<Arc<[Target]>> {
        let entries = |catalog: &Catalog| catalog.tables.values().filter(|e| e.def.name == *name).cloned().collect();
        let mut found: Vec<TableEntry> = entries(current.catalog);
        if found.is_empty() && self.filter.wants(name) && self.unknown == UnknownTables::Stop {
            let reason = format!(
                "rows come, but neither a CREATE TABLE in the feed nor a copy made the table ({}): begin the changefeed before the table is made, or copy it first",
                current.place()
            );
            self.create_stopped(name, reason, current)?;
            found = entries(current.catalog);
        }
        let mut reusable = true;
        let mut targets = Vec::new();
        for entry in &found {
            match &entry.state {
                TableState::Live => targets.push(Target { def: Arc::clone(&entry.def), strict: true }),
                TableState::Copying { from, .. } => {
                    reusable = false;
                    if !entry.def.key.is_empty() && current.position.order() > from.order() {
                        targets.push(Target { def: Arc::clone(&entry.def), strict: false });
                    }
                }
                TableState::Stopped { .. } => {}
            }
        }
        let targets: Arc<[Target]> = targets.into();
        if self.known.kept.len() >= MAX_KEPT {
            self.known.kept.clear();
        }
        let kept = Kept { mark: mark(current.catalog), entries: found, targets: Arc::clone(&targets), reusable };
        self.known.kept.insert(name.clone(), kept);
        Ok(targets)
    }
}
