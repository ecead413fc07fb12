//! QUERY events: DDL changes the catalog; a statement that changes rows without row events stops the tables it names.

use bytes::Bytes;
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{Catalog, Error, RESYNC, Result, SchemaChange, TableId, TableName};

use super::cascade::descendants;
use super::port::{DdlContext, DdlOutcome};
use super::sessions::unquoted;
use super::{BinlogDecoder, Current, UnknownTables};
use crate::ddl::Done;
use crate::mysql::collation;
use crate::mysql::query::{QueryEvent, QueryForm};
use crate::mysql::rows::charset::Charset;
use crate::mysql::statement::{Statement, Words, classify};

impl BinlogDecoder {
    pub(super) fn on_query(&mut self, body: &Bytes, form: QueryForm, current: &mut Current<'_>) -> Result<()> {
        let query = QueryEvent::parse(body, form).map_err(|e| current.corrupt(e))?;
        match classify(&query.sql) {
            Statement::Savepoint(name) => {
                current.undo.savepoint(name);
                Ok(())
            }
            Statement::RollbackTo(name) => self.roll_back(Some(&name), current),
            Statement::Rollback => self.roll_back(None, current),
            Statement::Dml => self.on_dml(&query, current),
            Statement::Other => self.on_ddl(&query, current),
            // of a transaction whose rows are known, its XA COMMIT is not handed over
            Statement::XaCommit(xid) => self.on_unknown_xa(&xid, current),
            _ => Ok(()),
        }
    }

    fn on_ddl(&mut self, query: &QueryEvent<'_>, current: &mut Current<'_>) -> Result<()> {
        let (sql, illegible) = text_of(query);
        let session = self.sessions.defaults(&sql, query, current.flavor());
        self.sessions.note(&sql, query, current.flavor(), current.catalog);
        let (decoder, catalog) = (&*self, &*current.catalog);
        let has = |database: &str| catalog.tables.values().any(|entry| entry.def.name.database == database);
        let wanted = |name: &TableName| match name.table.as_str() {
            "" => decoder.filter.wants_database(&name.database) || has(&name.database),
            _ => decoder.follows(name, catalog),
        };
        let context = DdlContext {
            database: &query.database,
            flavor: current.flavor(),
            sql_mode: query.sql_mode,
            session: &session,
            illegible,
            failed: query.error_code != 0,
            done: done(query, current.flavor()),
            copies: self.unknown == UnknownTables::Ignore,
            position: current.position,
            wanted: &wanted,
        };
        match (self.interpret)(&sql, &context, catalog) {
            DdlOutcome::Ignore => Ok(()),
            DdlOutcome::Changes(changes) => changes.into_iter().try_for_each(|c| self.apply(c, current)),
            DdlOutcome::Resync { tables, reason, .. } if tables.is_empty() => {
                let reason = format!("{reason} ({}): no telling which tables it changes", current.place());
                Err(Error::Unsupported { position: Box::new(current.position.clone()), reason })
            }
            DdlOutcome::Resync { changes, tables, reason } => {
                changes.into_iter().try_for_each(|c| self.apply(c, current))?;
                tables.iter().try_for_each(|name| self.resync(name, &reason, current))
            }
        }
    }

    fn resync(&mut self, name: &TableName, reason: &str, current: &mut Current<'_>) -> Result<()> {
        if !self.follows(name, current.catalog) {
            return Ok(());
        }
        let reason = format!("{RESYNC} {reason} ({})", current.place());
        if let Some(copying) = current.catalog.copying(name).map(|e| e.def.id) {
            self.apply(SchemaChange::DropTable(copying), current)?;
        }
        match current.catalog.visible(name).map(|e| e.def.id) {
            Some(visible) => self.stop(visible, reason, current),
            // readers shall learn that it exists, and the copy that it is to be brought
            None => self.create_stopped(name, reason, current),
        }
    }

    fn on_dml(&mut self, query: &QueryEvent<'_>, current: &mut Current<'_>) -> Result<()> {
        let (sql, _) = text_of(query);
        let target = single_target(&sql, &query.database);
        // A temporary table's name may be a real table's too: then the real one is taken to be meant.
        let is_temporary = |t: &TableName| {
            self.sessions.is_temporary(query.session, t) && current.catalog.tables.values().all(|e| e.def.name != *t)
        };
        if target.as_ref().is_some_and(|t| !self.follows(t, current.catalog) || is_temporary(t)) {
            return Ok(());
        }
        let mut names = named_tables(target.as_ref(), &sql, current.catalog, current.flavor());
        // a view, or a function: nobody here knows the tables behind it
        let behind = names.is_empty();
        if behind {
            names = current.catalog.tables.values().map(|e| e.def.name.clone()).collect();
        }
        let what = if behind { ", through a view or a function perhaps" } else { "" };
        names.retain(|n| self.follows(n, current.catalog));
        for name in names {
            let entries = current.catalog.tables.values().filter(|e| e.def.name == name);
            for id in entries.map(|e| e.def.id).collect::<Vec<_>>() {
                let reason = format!(
                    "{RESYNC} a statement changed rows without row events{what} ({}): set binlog_format=ROW on the \
                     upstream (globally, and in every session)",
                    current.place()
                );
                self.stop(id, reason, current)?;
            }
        }
        Ok(())
    }
}

impl BinlogDecoder {
    /// A transaction came into force that was prepared before the stream began: any table may have its rows.
    fn on_unknown_xa(&mut self, xid: &str, current: &mut Current<'_>) -> Result<()> {
        let reason = format!(
            "{RESYNC} the XA transaction {xid} (global part, branch part in hex, format) was prepared before Tidelake began to read \
             and committed now ({}); which tables it changed is not known",
            current.place()
        );
        let tables: Vec<TableId> = current.catalog.tables.keys().copied().collect();
        tables.into_iter().try_for_each(|table| self.stop(table, reason.clone(), current))
    }
}

fn done(query: &QueryEvent<'_>, flavor: ServerFlavor) -> Done {
    match query.ddl_xid {
        _ if flavor != ServerFlavor::MySql => Done::Untold,
        Some(_) => Done::Yes,
        None if query.tells_ddl_xid => Done::NotInInnoDb,
        None => Done::Untold,
    }
}

/// The statement as UTF-8, by the charset of the client that sent it; true if some of it is not known to be what the client
/// meant. A client that says `binary` means a column's own charset in what is said of the column.
fn text_of(query: &QueryEvent<'_>) -> (String, bool) {
    let client = query.client.and_then(collation::charset);
    // swe7 has letters where the server writes quotes and brackets of its own: it reads the bytes, whatever they stand for
    let charset = client.filter(|c| *c != "swe7").and_then(Charset::named);
    let other = client.is_some_and(|c| c != "binary" && !c.starts_with("utf8"));
    if let Some(text) = printed_by_the_server(&query.sql).filter(|_| other) {
        return (text.to_owned(), true);
    }
    let mut scratch = String::new();
    match charset.map(|c| c.decode(&query.sql, &mut scratch).map(str::to_owned)) {
        Some(Ok(text)) => (text, false),
        _ => {
            let said = client.is_none() || query.sql.is_ascii();
            let text = String::from_utf8_lossy(&query.sql);
            let illegible = !said || matches!(text, std::borrow::Cow::Owned(_));
            (text.into_owned(), illegible)
        }
    }
}

/// The text of a CREATE TABLE as the server prints it: it logs CREATE TABLE ... SELECT and ... LIKE a temporary table so, in UTF-8 whatever
/// the client's charset, which the event names all the same. `None` if that is no difference, or it cannot be one.
fn printed_by_the_server(sql: &[u8]) -> Option<&str> {
    let printed = sql.starts_with(b"CREATE ") && sql.windows(4).any(|bytes| bytes == b"(\n  ");
    std::str::from_utf8(sql).ok().filter(|_| printed && !sql.is_ascii())
}

/// The tables of the catalog that a statement may change: the one it names at the place of its target and those below it
/// by foreign keys, else every one whose name occurs in it. None: what it changes is not in the catalog.
fn named_tables(target: Option<&TableName>, sql: &str, catalog: &Catalog, flavor: ServerFlavor) -> Vec<TableName> {
    let names = catalog.tables.values().map(|e| &e.def.name);
    let Some(target) = target else {
        let text = sql.to_lowercase();
        return names.filter(|n| text.contains(&n.table.to_lowercase())).cloned().collect();
    };
    let Some(entry) = catalog.tables.values().find(|e| e.def.name == *target) else { return Vec::new() };
    let below = descendants(entry.def.id, catalog, flavor).into_iter().filter_map(|id| catalog.tables.get(&id));
    std::iter::once(target.clone()).chain(below.map(|e| e.def.name.clone())).collect()
}

/// The target of `INSERT INTO t`, `REPLACE INTO t`, `UPDATE t SET`, `DELETE FROM t [WHERE]`; `None` for other forms.
fn single_target(sql: &str, database: &str) -> Option<TableName> {
    const NOISE: [&str; 7] = ["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "QUICK", "INTO", "FROM"];
    let mut words = Words { rest: sql };
    let verb = words.next()?.to_ascii_uppercase();
    if !matches!(verb.as_str(), "INSERT" | "REPLACE" | "UPDATE" | "DELETE") {
        return None;
    }
    let mut first = words.next()?;
    while NOISE.iter().any(|n| first.eq_ignore_ascii_case(n)) {
        first = words.next()?;
    }
    let mut after = words.next();
    let (database, table) = if after == Some(".") {
        let table = words.next()?;
        after = words.next();
        (unquoted(first), unquoted(table))
    } else {
        (database.to_owned(), unquoted(first))
    };
    let after = after.unwrap_or_default().to_ascii_uppercase();
    let single = match verb.as_str() {
        "UPDATE" => after == "SET",
        "DELETE" => matches!(after.as_str(), "" | "WHERE" | "ORDER" | "LIMIT" | "RETURNING"),
        _ => true,
    };
    single.then(|| TableName::new(database, table))
}
