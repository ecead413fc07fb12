//! What a statement does to the catalog, resolved: ids, versions, who is dropped on the way.

mod made;

use std::collections::{BTreeMap, BTreeSet};

use tidelake_core::{Catalog, SchemaChange, SourcePosition, TableDef, TableEntry, TableId, TableName, TableState};

use super::alter::{Altered, altered};
use super::ast::{AlterAction, CreateTable, RawName, Statement};
use super::foreign;
use super::resolve::Resolver;
use super::token::MODE_NO_ENGINE_SUBSTITUTION;
use super::{DdlContext, DdlOutcome, VERSIONED, engines};
use made::Made;

/// Tables a statement names, the one it is about first.
pub(super) fn names_of(statement: &Statement) -> Vec<RawName> {
    match statement {
        Statement::Ignore | Statement::CreateDatabase { .. } | Statement::DropDatabase(_) => Vec::new(),
        Statement::CreateTable(create) => vec![create.name.clone()],
        Statement::AlterTable { name, .. } | Statement::Truncate(name) => vec![name.clone()],
        Statement::DropTables(names) => names.clone(),
        Statement::RenameTables(pairs) => pairs.iter().flat_map(|(a, b)| [a.clone(), b.clone()]).collect(),
    }
}

/// Collects the steps of one statement.
pub(super) struct Effect<'a> {
    context: &'a DdlContext<'a>,
    catalog: &'a Catalog,
    changes: Vec<SchemaChange>,
    dropped: BTreeSet<TableId>,
    resync: Vec<TableName>,
    reasons: Vec<String>,
}

impl<'a> Effect<'a> {
    pub(super) fn new(context: &'a DdlContext<'a>, catalog: &'a Catalog) -> Effect<'a> {
        let (changes, resync, reasons) = (Vec::new(), Vec::new(), Vec::new());
        Effect { context, catalog, changes, dropped: BTreeSet::new(), resync, reasons }
    }

    /// A statement about a table that could not be read.
    pub(super) fn unreadable(mut self, table: Option<RawName>, why: &str) -> DdlOutcome {
        let reason = format!("cannot read DDL: {why}");
        let Some(name) = table.and_then(|t| t.resolve(self.context.database)) else {
            return DdlOutcome::Resync { changes: Vec::new(), tables: Vec::new(), reason };
        };
        if !self.wanted(&name) {
            return DdlOutcome::Ignore;
        }
        self.drop_copying(&name);
        self.resync(name, reason);
        self.outcome()
    }

    pub(super) fn of(mut self, statement: &Statement) -> DdlOutcome {
        if let Some(nameless) = names_of(statement).into_iter().find(|n| n.resolve(self.context.database).is_none()) {
            let reason = format!("table {} without a database", nameless.table);
            return DdlOutcome::Resync { changes: Vec::new(), tables: Vec::new(), reason };
        }
        match statement {
            Statement::Ignore => {}
            Statement::CreateDatabase { name, or_replace } => {
                if *or_replace {
                    self.drop_database(name);
                }
                self.create_database(name, *or_replace);
            }
            Statement::DropDatabase(name) => self.drop_database(name),
            Statement::CreateTable(create) => self.create_table(create),
            Statement::AlterTable { name, actions } => self.alter_table(name, actions),
            Statement::DropTables(names) => names.iter().for_each(|n| self.drop_table(n)),
            Statement::RenameTables(pairs) => self.rename_tables(pairs),
            Statement::Truncate(name) => self.truncate(name),
        }
        self.outcome()
    }

    fn outcome(self) -> DdlOutcome {
        if !self.resync.is_empty() {
            let reason = self.reasons.join("; ");
            return DdlOutcome::Resync { changes: self.changes, tables: self.resync, reason };
        }
        if self.changes.is_empty() { DdlOutcome::Ignore } else { DdlOutcome::Changes(self.changes) }
    }

    fn wanted(&self, name: &TableName) -> bool {
        (self.context.wanted)(name)
    }

    /// `of` and `unreadable` have refused names without a database before.
    fn name(&self, raw: &RawName) -> TableName {
        raw.resolve(self.context.database).unwrap_or_else(|| TableName::new("", &raw.table))
    }

    fn resync(&mut self, table: TableName, reason: String) {
        self.reasons.push(format!("{table}: {reason}"));
        self.resync.push(table);
    }

    fn drop_entry(&mut self, id: TableId) {
        if self.dropped.insert(id) {
            self.changes.push(SchemaChange::DropTable(id));
        }
    }

    /// A copy under way does not survive any DDL: it begins again.
    fn drop_copying(&mut self, name: &TableName) {
        if let Some(id) = self.catalog.copying(name).map(|e| e.def.id) {
            self.drop_entry(id);
        }
    }

    fn create_database(&mut self, name: &str, replaced: bool) {
        let wanted = self.wanted(&TableName::new(name, ""));
        if wanted && (replaced || !self.catalog.databases.contains(name)) {
            self.changes.push(SchemaChange::CreateDatabase(name.to_owned()));
        }
    }

    fn drop_database(&mut self, name: &str) {
        let used = self.catalog.tables.values().any(|e| e.def.name.database == name);
        if used || self.catalog.databases.contains(name) {
            self.changes.push(SchemaChange::DropDatabase(name.to_owned()));
        }
    }

    fn create_table(&mut self, create: &CreateTable) {
        let name = self.name(&create.name);
        if !self.wanted(&name) {
            return;
        }
        let visible = self.catalog.visible(&name).map(|e| e.def.id);
        if create.if_not_exists && !create.or_replace {
            match self.made(create, visible.is_some() || self.catalog.copying(&name).is_some()) {
                Made::Yes => {}
                Made::No => return,
                Made::Unknown => return self.resync(name, Made::WHY.into()),
            }
        }
        if self.context.failed && !create.or_replace {
            return;
        }
        self.drop_copying(&name);
        // The table did not exist upstream, or was replaced: an older one here is of the past either way.
        if let Some(id) = visible {
            self.drop_entry(id);
        }
        match self.new_def(create, &name) {
            // CREATE OR REPLACE has dropped the old one
            _ if self.context.failed => {}
            Ok(def) => {
                let state = self.first_state(create, &def);
                self.changes.push(SchemaChange::CreateTable { def: Box::new(def), state });
            }
            Err(reason) => self.resync(name, reason),
        }
    }

    fn first_state(&self, create: &CreateTable, def: &TableDef) -> TableState {
        let versioned = create.has_period_columns().then(|| VERSIONED.to_owned());
        match versioned.or_else(|| engines::rows_elsewhere(&def.engine)) {
            Some(reason) => TableState::Stopped { reason, at: self.context.position.clone() },
            None => TableState::Live,
        }
    }

    fn new_def(&self, create: &CreateTable, name: &TableName) -> Result<TableDef, String> {
        if create.select {
            return Err("CREATE TABLE ... SELECT does not tell its columns; use binlog_format=ROW".into());
        }
        let mut def = match &create.like {
            Some(like) => self.like(&self.name(like), name)?,
            None => self.resolver().table(create, name.clone())?,
        };
        if create.like.is_none() && engines::may_be_absent(&def.engine) && !self.names_engines_exactly() {
            return Err(format!(
                "ENGINE={} may have been replaced by another one (sql_mode without NO_ENGINE_SUBSTITUTION)",
                def.engine
            ));
        }
        def.id = self.catalog.next_table;
        Ok(def)
    }

    /// False if a server without the engine that a statement names takes its default engine instead.
    fn names_engines_exactly(&self) -> bool {
        self.context.sql_mode & MODE_NO_ENGINE_SUBSTITUTION != 0
    }

    fn resolver(&self) -> Resolver<'a> {
        Resolver::of(self.context)
    }

    /// CREATE TABLE ... LIKE: everything but rows and foreign keys.
    fn like(&self, model: &TableName, name: &TableName) -> Result<TableDef, String> {
        // the definition of a stopped table stands still, that of a copy is from its own place in the stream
        let after = |from: &SourcePosition| self.context.position.order() > from.order();
        let known = |e: &&TableEntry| match &e.state {
            TableState::Live => true,
            TableState::Copying { from, .. } => after(from),
            TableState::Stopped { .. } => false,
        };
        let entry = self.catalog.visible(model).filter(known).or_else(|| self.catalog.copying(model).filter(known));
        let entry = entry.ok_or_else(|| format!("made LIKE {model}, whose definition is not known"))?;
        let mut def = (*entry.def).clone();
        def.name = name.clone();
        def.version = 1;
        def.indexes.retain(|i| !i.sql.contains(" FOREIGN KEY ("));
        def.columns.iter_mut().for_each(|c| c.initial = None);
        Ok(def)
    }

    fn drop_table(&mut self, raw: &RawName) {
        let name = self.name(raw);
        self.drop_copying(&name);
        if let Some(id) = self.catalog.visible(&name).map(|e| e.def.id) {
            self.drop_entry(id);
        }
    }

    fn truncate(&mut self, raw: &RawName) {
        let name = self.name(raw);
        self.drop_copying(&name);
        let Some(entry) = self.catalog.visible(&name) else { return };
        self.changes.push(SchemaChange::Truncate(entry.def.id));
        if engines::is_merge(&entry.def.engine) {
            let behind = engines::may_be_behind(&entry.def, self.catalog);
            for behind in behind.iter().filter_map(|id| self.catalog.tables.get(id)) {
                self.resync(behind.def.name.clone(), format!("the MERGE table {name} was truncated"));
            }
        }
    }

    fn alter_table(&mut self, raw: &RawName, actions: &[AlterAction]) {
        let name = self.name(raw);
        for other in actions.iter().flat_map(also_changed) {
            self.touched_elsewhere(self.name(other));
        }
        // Without a database it moves into the session's, wherever the table is.
        let renamed = actions.iter().rev().find_map(|a| match a {
            AlterAction::RenameTable(new) => Some(new.clone()),
            _ => None,
        });
        let had_copy = self.catalog.copying(&name).is_some();
        self.drop_copying(&name);
        if let Some(entry) = self.catalog.visible(&name) {
            self.alter_visible(entry, actions, renamed.as_ref());
        } else if let Some(new) = renamed {
            let new = self.name(&new);
            self.foreign_keys_follow(&BTreeMap::from([(name.clone(), new.clone())]));
            let known = had_copy || self.catalog.copying(&new).is_some();
            self.drop_copying(&new);
            if self.wanted(&new) && !known {
                self.resync(new, format!("was {name}, whose rows are not known"));
            }
        }
    }

    fn alter_visible(&mut self, entry: &TableEntry, actions: &[AlterAction], renamed: Option<&RawName>) {
        let stopped = matches!(entry.state, TableState::Stopped { .. });
        let new_name = renamed.map(|r| self.name(r)).filter(|n| *n != entry.def.name);
        let result = altered(&entry.def, actions, self.context);
        if let Some(new) = &new_name
            && !self.wanted(new)
        {
            self.drop_entry(entry.def.id);
            self.foreign_keys_follow(&BTreeMap::from([(entry.def.name.clone(), new.clone())]));
            return;
        }
        match result {
            Altered::Def(mut def) => {
                if *def != *entry.def {
                    def.version += 1;
                    self.changes.push(SchemaChange::AlterTable(def));
                }
            }
            // A stopped table stays stopped, with its first reason.
            Altered::Rows(_) if stopped => {}
            Altered::Rows(reason) => {
                self.resync(new_name.clone().unwrap_or_else(|| entry.def.name.clone()), reason);
            }
        }
        if let Some(new) = new_name {
            self.foreign_keys_follow(&BTreeMap::from([(entry.def.name.clone(), new.clone())]));
            self.make_room(&new);
            self.changes.push(SchemaChange::Rename(vec![(entry.def.id, new)]));
        }
    }

    /// Foreign keys refer to a table under its new name (`renames`: old to new). Comes before the renames themselves.
    fn foreign_keys_follow(&mut self, renames: &BTreeMap<TableName, TableName>) {
        let new_name = |name: &TableName| renames.get(name).unwrap_or(name).clone();
        for entry in self.catalog.tables.values().filter(|e| !e.def.indexes.is_empty()) {
            let id = entry.def.id;
            let altered = self.changes.iter().position(|c| matches!(c, SchemaChange::AlterTable(def) if def.id == id));
            let now: &TableDef = match altered.map(|at| &self.changes[at]) {
                Some(SchemaChange::AlterTable(def)) => def,
                _ => &entry.def,
            };
            let Some(mut def) = foreign::renamed(now, &new_name, self.context.flavor) else { continue };
            match (&entry.state, altered) {
                (TableState::Copying { .. }, _) => self.drop_entry(id),
                (_, Some(at)) => self.changes[at] = SchemaChange::AlterTable(Box::new(def)),
                _ if self.dropped.contains(&id) => {}
                _ => {
                    def.version += 1;
                    self.changes.push(SchemaChange::AlterTable(Box::new(def)));
                }
            }
        }
    }

    /// Another table whose rows changed too (EXCHANGE PARTITION).
    fn touched_elsewhere(&mut self, name: TableName) {
        self.drop_copying(&name);
        if self.wanted(&name) {
            self.resync(name, "rows came from or went to a partition of another table".into());
        }
    }

    /// A name that a table gets was free upstream: whatever has it here is of the past.
    fn make_room(&mut self, name: &TableName) {
        self.drop_copying(name);
        if let Some(id) = self.catalog.visible(name).map(|e| e.def.id) {
            self.drop_entry(id);
        }
    }

    /// Follows the names through the list, then renames once: swaps go over a third name.
    fn rename_tables(&mut self, pairs: &[(RawName, RawName)]) {
        let mut at: BTreeMap<TableName, Option<(TableName, Option<TableId>)>> = BTreeMap::new();
        let mut given: BTreeMap<TableName, TableName> = BTreeMap::new();
        for (from, to) in pairs {
            let (from, to) = (self.name(from), self.name(to));
            let original =
                |name: &TableName| self.catalog.visible(name).or_else(|| self.catalog.copying(name)).map(|e| e.def.id);
            // A name that is given away twice: the first was a temporary table's, and nothing happened to the real one.
            let gone = at.get(&from).is_some_and(Option::is_none);
            if let Some(target) = given.insert(from.clone(), to.clone()).filter(|_| gone) {
                let table = at.remove(&target).flatten();
                at.insert(from.clone(), table);
            }
            let table = at.insert(from.clone(), None).unwrap_or_else(|| Some((from.clone(), original(&from))));
            at.insert(to, Some(table.unwrap_or((from, None))));
        }
        let moved = at.iter().filter_map(|(new, table)| Some((table.as_ref()?.0.clone(), new.clone())));
        let moved: BTreeMap<TableName, TableName> = moved.filter(|(old, new)| old != new).collect();
        let mut renames = Vec::new();
        for (new, table) in at {
            let Some((old, id)) = table else { continue };
            self.rename_one(&old, id, new, &mut renames);
        }
        self.foreign_keys_follow(&moved);
        if !renames.is_empty() {
            let moving: BTreeSet<TableId> = renames.iter().map(|(id, _)| *id).collect();
            for (_, new) in &renames {
                let stale = self.catalog.visible(new).map(|e| e.def.id).filter(|id| !moving.contains(id));
                if let Some(id) = stale {
                    self.drop_entry(id);
                }
            }
            self.changes.push(SchemaChange::Rename(renames));
        }
    }

    fn rename_one(
        &mut self,
        old: &TableName,
        id: Option<TableId>,
        new: TableName,
        renames: &mut Vec<(TableId, TableName)>,
    ) {
        self.drop_copying(old);
        self.drop_copying(&new);
        if *old == new {
            return;
        }
        let visible = self.catalog.visible(old).map(|e| e.def.id);
        match (visible, self.wanted(&new)) {
            (Some(id), true) => renames.push((id, new)),
            (Some(id), false) => self.drop_entry(id),
            (None, true) if id.is_none() => {
                // An older table of that name is of the past.
                self.resync(new, format!("was {old}, whose rows are not known"));
            }
            // A copy that was under way begins again under the new name.
            (None, _) => {}
        }
    }
}

fn also_changed(action: &AlterAction) -> &[RawName] {
    match action {
        AlterAction::Rows { also, .. } => also,
        _ => &[],
    }
}
