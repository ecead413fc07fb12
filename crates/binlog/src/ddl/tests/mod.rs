//! Tests of the DDL parser, by what they look at.

mod alter;
mod corpus;
mod create;
mod effect;
mod robust;
mod show;

use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{Catalog, CommitSeq, SchemaChange, SourcePosition, TableDef, TableName, TableState};

use super::*;

/// STRICT_TRANS_TABLES.
const STRICT: u64 = MODE_STRICT_TRANS_TABLES;

/// A catalog that statements of the stream are run against.
struct Upstream {
    catalog: Catalog,
    session: SessionDefaults,
    sql_mode: u64,
    flavor: ServerFlavor,
    /// See [`DdlContext::failed`].
    failed: bool,
    /// See [`DdlContext::done`].
    done: Done,
    /// See [`DdlContext::copies`].
    copies: bool,
}

impl Upstream {
    fn new() -> Upstream {
        let session = SessionDefaults { utc_offset_seconds: Some(0), ..SessionDefaults::default() };
        Upstream {
            catalog: Catalog::default(),
            session,
            sql_mode: STRICT,
            flavor: ServerFlavor::MariaDb,
            failed: false,
            done: Done::Untold,
            copies: true,
        }
    }

    /// With these statements run in database `d`.
    fn with(statements: &[&str]) -> Upstream {
        let mut upstream = Upstream::new();
        statements.iter().for_each(|s| upstream.run(s));
        upstream
    }

    fn outcome(&self, sql: &str) -> DdlOutcome {
        self.outcome_wanting(sql, &|name| !name.table.starts_with("unwanted"))
    }

    fn outcome_wanting(&self, sql: &str, wanted: &dyn Fn(&TableName) -> bool) -> DdlOutcome {
        let position = SourcePosition { major: 1, minor: 4, ..SourcePosition::default() };
        let context = DdlContext {
            database: "d",
            flavor: self.flavor,
            sql_mode: self.sql_mode,
            session: &self.session,
            illegible: false,
            failed: self.failed,
            done: self.done,
            copies: self.copies,
            position: &position,
            wanted,
        };
        changes(sql, &context, &self.catalog)
    }

    /// Runs a statement that must be followed without a re-sync.
    fn run(&mut self, sql: &str) {
        match self.outcome(sql) {
            DdlOutcome::Ignore => {}
            DdlOutcome::Changes(changes) => self.apply(&changes),
            DdlOutcome::Resync { reason, .. } => panic!("{sql}: {reason}"),
        }
    }

    fn apply(&mut self, changes: &[SchemaChange]) {
        for change in changes {
            self.catalog.apply(CommitSeq(1), change).unwrap();
        }
    }

    /// The reason and the tables of a statement that must end in a re-sync.
    fn resync(&mut self, sql: &str) -> (Vec<String>, String) {
        match self.outcome(sql) {
            DdlOutcome::Resync { changes, tables, reason } => {
                self.apply(&changes);
                (tables.iter().map(ToString::to_string).collect(), reason)
            }
            other => panic!("{sql}: {other:?}"),
        }
    }

    fn table(&self, name: &str) -> TableDef {
        let entry = self.catalog.visible(&TableName::new("d", name));
        (*entry.unwrap_or_else(|| panic!("no table {name}")).def).clone()
    }

    fn has(&self, name: &str) -> bool {
        self.catalog.visible(&TableName::new("d", name)).is_some()
    }

    /// Puts a copy under way beside.
    fn begin_copy(&mut self, name: &str) {
        let mut def = parse_create_table(
            &format!("CREATE TABLE {name} (id int primary key)"),
            "d",
            self.flavor,
            &SessionDefaults::default(),
        )
        .unwrap();
        def.id = self.catalog.next_table;
        let state = TableState::Copying { copy_id: 7, from: SourcePosition::default(), cursor: String::new() };
        self.apply(&[SchemaChange::CreateTable { def: Box::new(def), state }]);
    }

    fn copying(&self, name: &str) -> bool {
        self.catalog.copying(&TableName::new("d", name)).is_some()
    }
}

/// `name type`, with NULL-ability: `a int(11)?`.
fn columns(def: &TableDef, flavor: ServerFlavor) -> Vec<String> {
    def.columns
        .iter()
        .map(|c| {
            let null = if c.nullable { "?" } else { "" };
            format!("{} {}{null}", c.name, tidelake_core::show_create::column_type_sql(&c.ty, flavor))
        })
        .collect()
}

fn names(def: &TableDef) -> Vec<&str> {
    def.columns.iter().map(|c| c.name.as_str()).collect()
}

fn key_names(def: &TableDef) -> Vec<&str> {
    def.key_indexes().iter().map(|i| def.columns[*i].name.as_str()).collect()
}

fn create(sql: &str, flavor: ServerFlavor) -> TableDef {
    parse_create_table(sql, "d", flavor, &SessionDefaults::default()).unwrap_or_else(|e| panic!("{sql}: {e}"))
}
