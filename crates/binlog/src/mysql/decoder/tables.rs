//! Which catalog tables the rows of an upstream table go to: the visible one, the copying one, both or none.
//!
//! Table maps come before every statement's rows, nearly always the same as last time: resolved ones are kept, and
//! checked against the catalog each time (the writer changes it too, by control records).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tidelake_core::{Catalog, CommitSeq, Result, RowOp, SchemaChange, SourcePosition, TableDef, TableEntry, TableId};
use tidelake_core::{TableName, TableState};

use super::cascade::{Cascade, cascades_of};
use super::{BinlogDecoder, Current, UnknownTables};
use crate::ddl::engines;
use crate::mysql::rows::TablePlan;
use crate::mysql::rows::writer::Ops;
use crate::mysql::table_map::TableMap;

/// Resolved maps kept at most; table numbers grow for ever on a busy upstream.
const MAX_KEPT: usize = 4096;

/// Where rows of a map go in this transaction.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) plan: Arc<TablePlan>,
    pub(super) ops: Ops,
}

impl Target {
    pub(super) fn table(&self) -> TableId {
        self.plan.def.id
    }
}

/// A catalog table of the map's name, as it was when the map was resolved.
struct Candidate {
    def: Arc<TableDef>,
    role: Role,
    plan: Option<Arc<TablePlan>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Live,
    /// With a key: rows after the copy's `from` are applied at once.
    Copying {
        from: (u64, u64),
    },
    /// Stopped, copying without a key, or of an engine that keeps no rows: they are left out.
    Silent,
}

impl Role {
    fn of(entry: &TableEntry) -> Role {
        match &entry.state {
            _ if engines::is_blackhole(&entry.def.engine) => Role::Silent,
            TableState::Live => Role::Live,
            TableState::Copying { from, .. } if !entry.def.key.is_empty() => Role::Copying { from: from.order() },
            TableState::Copying { .. } | TableState::Stopped { .. } => Role::Silent,
        }
    }
}

struct Kept {
    body: Bytes,
    mark: (TableId, usize),
    candidates: Vec<Candidate>,
    cascades: Arc<[Cascade]>,
    behind: Arc<[TableId]>,
    /// The last transaction that had this map.
    seq: CommitSeq,
    targets: Arc<[Target]>,
}

/// A map as a rows event finds it.
#[derive(Clone)]
pub(super) struct Mapped {
    pub(super) targets: Arc<[Target]>,
    /// Foreign keys on this table.
    pub(super) cascades: Arc<[Cascade]>,
    /// The tables that may be behind it, if it is a MERGE table.
    pub(super) behind: Arc<[TableId]>,
}

impl Mapped {
    pub(super) fn active(&self) -> Vec<Target> {
        self.targets.to_vec()
    }
}

/// Table maps by table number.
#[derive(Default)]
pub(super) struct MappedTables {
    kept: HashMap<u64, Kept>,
}

impl MappedTables {
    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }

    /// The map that this transaction had for the table number.
    pub(super) fn of_event(&self, id: u64, seq: CommitSeq) -> Option<Mapped> {
        let kept = self.kept.get(&id).filter(|k| k.seq == seq)?;
        let (cascades, behind) = (Arc::clone(&kept.cascades), Arc::clone(&kept.behind));
        Some(Mapped { targets: Arc::clone(&kept.targets), cascades, behind })
    }

    /// The body of that map.
    pub(super) fn body_of(&self, id: u64, seq: CommitSeq) -> Option<Bytes> {
        self.kept.get(&id).filter(|k| k.seq == seq).map(|k| k.body.clone())
    }

    /// Takes a table out of all maps: it was stopped.
    pub(super) fn drop_target(&mut self, table: TableId) {
        for kept in self.kept.values_mut().filter(|k| k.targets.iter().any(|t| t.table() == table)) {
            kept.targets = kept.targets.iter().filter(|t| t.table() != table).cloned().collect();
            kept.mark = (TableId(0), 0); // resolve again next time
        }
    }
}

/// Changes whenever a table appears or goes.
fn mark(catalog: &Catalog) -> (TableId, usize) {
    (catalog.next_table, catalog.tables.len())
}

impl Kept {
    fn is_valid(&self, body: &Bytes, catalog: &Catalog) -> bool {
        self.body == *body
            && self.mark == mark(catalog)
            && self.candidates.iter().all(|c| {
                // without a plan the table must be looked at again: it may stop now
                (c.plan.is_some() || c.role == Role::Silent)
                    && catalog
                        .tables
                        .get(&c.def.id)
                        .is_some_and(|e| Arc::ptr_eq(&e.def, &c.def) && Role::of(e) == c.role)
            })
    }

    /// Opens the map for a transaction.
    fn enter(&mut self, seq: CommitSeq, position: &SourcePosition) {
        self.seq = seq;
        let target = |c: &Candidate| {
            let ops = match c.role {
                Role::Live => (RowOp::Delete, RowOp::Insert),
                Role::Copying { from } if position.order() > from => (RowOp::DeleteIfExists, RowOp::Upsert),
                Role::Copying { .. } | Role::Silent => return None,
            };
            Some(Target { plan: Arc::clone(c.plan.as_ref()?), ops })
        };
        let unchanged = self.targets.len() == self.candidates.len()
            && self.candidates.iter().all(|c| c.role == Role::Live && c.plan.is_some());
        if !unchanged {
            self.targets = self.candidates.iter().filter_map(target).collect();
        }
    }
}

impl BinlogDecoder {
    pub(super) fn on_table_map(&mut self, body: &Bytes, current: &mut Current<'_>) -> Result<()> {
        let id = TableMap::id_of(body, current.context.table_id_len).map_err(|e| current.corrupt(e))?;
        if let Some(kept) = self.maps.kept.get_mut(&id).filter(|k| k.is_valid(body, current.catalog)) {
            kept.enter(current.seq, current.position);
            return Ok(());
        }
        let map = TableMap::parse(body, current.context.table_id_len).map_err(|e| current.corrupt(e))?;
        let candidates = self.resolve(&map, current)?;
        let parent = TableName::new(map.database.as_str(), map.table.as_str());
        let cascades = cascades_of(&parent, current.catalog, current.flavor());
        let merge = current.catalog.tables.values().find(|e| e.def.name == parent && engines::is_merge(&e.def.engine));
        let behind = merge.map_or_else(Vec::new, |e| engines::may_be_behind(&e.def, current.catalog));
        if self.maps.kept.len() >= MAX_KEPT {
            let seq = current.seq;
            self.maps.kept.retain(|_, k| k.seq == seq);
        }
        let mut kept = Kept {
            body: Bytes::copy_from_slice(body),
            mark: mark(current.catalog),
            candidates,
            cascades,
            behind: behind.into(),
            seq: current.seq,
            targets: Arc::new([]),
        };
        kept.enter(current.seq, current.position);
        self.maps.kept.insert(id, kept);
        Ok(())
    }

    /// The catalog's tables of the map's name; those that do not fit the map are stopped first.
    fn resolve(&mut self, map: &TableMap, current: &mut Current<'_>) -> Result<Vec<Candidate>> {
        let name = TableName::new(map.database.as_str(), map.table.as_str());
        if !self.follows(&name, current.catalog) {
            return Ok(Vec::new());
        }
        let entries: Vec<TableEntry> =
            current.catalog.tables.values().filter(|e| e.def.name == name).cloned().collect();
        if entries.is_empty() && self.unknown == UnknownTables::Stop {
            let reason = format!(
                "rows come before the table's CREATE TABLE ({}): begin with the binlog file that has it",
                current.place()
            );
            self.create_stopped(&name, reason, current)?;
        }
        let mut candidates = Vec::new();
        for entry in entries {
            let role = Role::of(&entry);
            let applies = match role {
                Role::Live => true,
                Role::Copying { from } => current.position.order() > from,
                Role::Silent => false,
            };
            let plan = match (role, TablePlan::new(map, &entry.def, current.flavor())) {
                (Role::Silent, _) => None,
                (_, Ok(plan)) => Some(Arc::new(plan)),
                (_, Err(reason)) if applies => {
                    let reason = format!("{reason} ({})", current.place());
                    self.stop(entry.def.id, reason, current)?;
                    continue;
                }
                // a copy that begins after this place may have another definition
                (_, Err(_)) => None,
            };
            candidates.push(Candidate { def: entry.def, role, plan });
        }
        Ok(candidates)
    }

    /// Puts a table that nobody can read into the catalog, so that its reason is seen.
    pub(super) fn create_stopped(&mut self, name: &TableName, reason: String, current: &mut Current<'_>) -> Result<()> {
        let mut def = TableDef::unknown(name.clone());
        def.id = current.catalog.next_table;
        tracing::error!(table = %name, position = %current.position, reason, "table stopped");
        let state = TableState::Stopped { reason, at: current.position.clone() };
        self.apply(SchemaChange::CreateTable { def: Box::new(def), state }, current)
    }
}
