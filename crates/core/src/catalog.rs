//! All tables at one place of the stream, and how one place leads to the next.
//!
//! The catalog changes only by [`SchemaChange`]s, in stream order. The writer keeps a working copy for decoding,
//! the engine a version per change: both apply the same changes by [`Catalog::apply`], so both agree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::position::SourcePosition;
use crate::schema::{TableDef, TableName};
use crate::seq::{CommitSeq, TableId};

/// A table stopped with a reason that begins so is copied again by a source that can copy.
pub const RESYNC: &str = "resync:";

/// What a table is good for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum TableState {
    /// The initial copy (or a re-sync beside a live table) is under way; not visible to readers.
    Copying {
        /// Names this copy; a chunk of another copy is ignored.
        copy_id: u64,
        /// Row events at or before this position are part of the copied rows.
        from: SourcePosition,
        /// Where the copy goes on after a restart: opaque outside the source, empty at the start.
        cursor: String,
    },
    /// Whole and following the stream.
    Live,
    /// Stopped loudly; readers get the reason.
    Stopped {
        /// Why, and what to do.
        reason: String,
        /// Where in the stream.
        at: SourcePosition,
    },
}

impl TableState {
    /// True if the table stopped, and a copy of it mends that.
    #[must_use]
    pub fn wants_resync(&self) -> bool {
        matches!(self, TableState::Stopped { reason, .. } if reason.starts_with(RESYNC))
    }
}

/// One table in the catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableEntry {
    /// The current version.
    pub def: Arc<TableDef>,
    /// What it is good for.
    pub state: TableState,
    /// When it was created in the replica.
    pub created: CommitSeq,
}

/// One step of the catalog. Everything in it is resolved: applying needs no parsing and no upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SchemaChange {
    /// A database appears.
    CreateDatabase(String),
    /// A database goes, with all its tables.
    DropDatabase(String),
    /// A table appears; `def.id` is the catalog's `next_table`. A `Copying` table may share a visible table's name.
    CreateTable {
        /// The first version.
        def: Box<TableDef>,
        /// `Live` for a CREATE TABLE in the stream, `Copying` for a copy.
        state: TableState,
    },
    /// A new version of a table: other columns (matched by column id), another name, another key.
    AlterTable(Box<TableDef>),
    /// A table goes.
    DropTable(TableId),
    /// All rows go, the table stays.
    Truncate(TableId),
    /// Another state. `Live` for a copying table makes it visible and drops the visible table of the same name.
    SetState {
        /// Which table.
        table: TableId,
        /// The new state.
        state: TableState,
    },
    /// Several tables change their names in one step (RENAME TABLE a TO b, c TO a).
    Rename(Vec<(TableId, TableName)>),
}

/// All tables at one place of the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// Databases, with or without tables.
    pub databases: BTreeSet<String>,
    /// Tables by id, copying ones included.
    pub tables: BTreeMap<TableId, TableEntry>,
    /// The id for the next created table.
    pub next_table: TableId,
}

impl Default for Catalog {
    fn default() -> Self {
        Catalog { databases: BTreeSet::new(), tables: BTreeMap::new(), next_table: TableId(1) }
    }
}

impl Catalog {
    /// The table that readers see under this name (live or stopped, never copying).
    #[must_use]
    pub fn visible(&self, name: &TableName) -> Option<&TableEntry> {
        self.tables.values().find(|e| e.def.name == *name && !matches!(e.state, TableState::Copying { .. }))
    }

    /// The copying table of this name.
    #[must_use]
    pub fn copying(&self, name: &TableName) -> Option<&TableEntry> {
        self.tables.values().find(|e| e.def.name == *name && matches!(e.state, TableState::Copying { .. }))
    }

    /// A table that readers cannot have until a copy of it is whole: being copied with no live table beside the copy,
    /// or stopped until it is copied again.
    #[must_use]
    pub fn awaiting_copy(&self) -> Option<&TableName> {
        let waits = |entry: &&TableEntry| match &entry.state {
            TableState::Live => false,
            TableState::Stopped { .. } => entry.state.wants_resync(),
            TableState::Copying { .. } => {
                self.visible(&entry.def.name).is_none_or(|beside| beside.state != TableState::Live)
            }
        };
        self.tables.values().find(waits).map(|entry| &entry.def.name)
    }

    /// The entry of a table.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn table(&self, id: TableId) -> Result<&TableEntry> {
        self.tables.get(&id).ok_or_else(|| Error::NotFound(format!("table id {id}")))
    }

    /// Applies one change at `seq`.
    ///
    /// # Errors
    /// [`Error::Internal`] if the change does not fit: the writer's and the engine's catalogs differ, or a
    /// source sent a change that it had not checked. The catalog is then unchanged.
    pub fn apply(&mut self, seq: CommitSeq, change: &SchemaChange) -> Result<()> {
        match change {
            SchemaChange::CreateDatabase(name) => {
                self.databases.insert(name.clone());
            }
            SchemaChange::DropDatabase(name) => {
                self.databases.remove(name);
                self.tables.retain(|_, e| e.def.name.database != *name);
            }
            SchemaChange::CreateTable { def, state } => self.create(seq, def, state)?,
            SchemaChange::AlterTable(def) => {
                let entry = self.entry_mut(def.id)?;
                if def.version != entry.def.version + 1 {
                    let have = entry.def.version;
                    return Err(misfit(format!("version {} of {} after {have}", def.version, def.name)));
                }
                entry.def = Arc::new((**def).clone());
            }
            SchemaChange::DropTable(id) => {
                self.entry_mut(*id)?;
                self.tables.remove(id);
            }
            SchemaChange::Truncate(id) => {
                self.entry_mut(*id)?;
            }
            SchemaChange::SetState { table, state } => self.set_state(*table, state)?,
            SchemaChange::Rename(names) => self.rename(names)?,
        }
        Ok(())
    }

    fn create(&mut self, seq: CommitSeq, def: &TableDef, state: &TableState) -> Result<()> {
        if def.id != self.next_table {
            return Err(misfit(format!("created {} with id {}, next is {}", def.name, def.id, self.next_table)));
        }
        let taken = match state {
            TableState::Copying { .. } => self.copying(&def.name).is_some(),
            _ => self.visible(&def.name).is_some(),
        };
        if taken {
            return Err(misfit(format!("{} exists", def.name)));
        }
        self.databases.insert(def.name.database.clone());
        self.next_table = TableId(def.id.0 + 1);
        let entry = TableEntry { def: Arc::new(def.clone()), state: state.clone(), created: seq };
        self.tables.insert(def.id, entry);
        Ok(())
    }

    fn set_state(&mut self, id: TableId, state: &TableState) -> Result<()> {
        let entry = self.table(id)?;
        if *state == TableState::Live && matches!(entry.state, TableState::Copying { .. }) {
            let old = self.visible(&entry.def.name).map(|e| e.def.id);
            if let Some(old) = old {
                self.tables.remove(&old);
            }
        }
        self.entry_mut(id)?.state = state.clone();
        Ok(())
    }

    fn rename(&mut self, names: &[(TableId, TableName)]) -> Result<()> {
        for (id, _) in names {
            self.table(*id)?;
        }
        for (id, name) in names {
            let entry = self.entry_mut(*id)?;
            let mut def = (*entry.def).clone();
            def.name = name.clone();
            def.version += 1;
            entry.def = Arc::new(def);
            self.databases.insert(name.database.clone());
        }
        Ok(())
    }

    fn entry_mut(&mut self, id: TableId) -> Result<&mut TableEntry> {
        self.tables.get_mut(&id).ok_or_else(|| misfit(format!("table id {id} is not in the catalog")))
    }
}

fn misfit(what: String) -> Error {
    Error::Internal(format!("schema change does not fit the catalog: {what}"))
}
