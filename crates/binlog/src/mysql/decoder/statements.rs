//! QUERY events: DDL changes the catalog; a statement that changes rows without row events stops the tables it names.

use bytes::Bytes;
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{Catalog, Error, RESYNC, Result, SchemaChange, TableName};

use super::port::{DdlContext, DdlOutcome};
use super::{BinlogDecoder, Current, UnknownTables};
use crate::ddl::SessionDefaults;
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
            _ => Ok(()),
        }
    }

    fn on_ddl(&mut self, query: &QueryEvent<'_>, current: &mut Current<'_>) -> Result<()> {
        let sql = text_of(query);
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
            session: &session_of(query, current.flavor()),
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
            None if self.unknown == UnknownTables::Stop => self.create_stopped(name, reason, current),
            None => Ok(()),
        }
    }

    fn on_dml(&mut self, query: &QueryEvent<'_>, current: &mut Current<'_>) -> Result<()> {
        let sql = text_of(query);
        for name in named_tables(&sql, &query.database, current.catalog) {
            if !self.follows(&name, current.catalog) {
                continue;
            }
            let entries: Vec<_> = current.catalog.tables.values().filter(|e| e.def.name == name).collect();
            let ids: Vec<_> = entries.iter().map(|e| e.def.id).collect();
            for id in ids {
                let reason = format!(
                    "{RESYNC} a statement changed rows without row events ({}): set binlog_format=ROW on the upstream \
                     (globally, and in every session)",
                    current.place()
                );
                self.stop(id, reason, current)?;
            }
        }
        Ok(())
    }
}

/// What the event tells about defaults of the session.
fn session_of(query: &QueryEvent<'_>, flavor: ServerFlavor) -> SessionDefaults {
    let named = |id: u16| collation::name(id).map(str::to_owned);
    let mut charset_collations: Vec<(String, String)> = Vec::new();
    charset_collations.extend(query.default_utf8mb4.and_then(named).map(|name| ("utf8mb4".to_owned(), name)));
    for (charset, default) in &query.charset_collations {
        if let (Some(charset), Some(default)) = (collation::charset(*charset), named(*default)) {
            charset_collations.push((charset.to_owned(), default));
        }
    }
    SessionDefaults {
        collation: query.database_collation.or(query.server).and_then(named),
        charset_collations,
        implicit_timestamps: query.implicit_timestamps(flavor),
        utc_offset_seconds: query.time_zone.as_deref().and_then(offset_of),
    }
}

/// Seconds east of UTC of a fixed time zone such as `+05:30`; `None` for `SYSTEM` and named ones.
fn offset_of(time_zone: &str) -> Option<i32> {
    let (sign, digits) = match time_zone.as_bytes().first()? {
        b'+' => (1, &time_zone[1..]),
        b'-' => (-1, &time_zone[1..]),
        _ => return (time_zone == "UTC").then_some(0),
    };
    let (hours, minutes) = digits.split_once(':')?;
    Some(sign * (hours.parse::<i32>().ok()?.checked_mul(3600)? + minutes.parse::<i32>().ok()?.checked_mul(60)?))
}

/// The statement as UTF-8, by the charset of the client that sent it.
fn text_of(query: &QueryEvent<'_>) -> String {
    let charset = query.client.and_then(collation::charset).and_then(Charset::named);
    let mut scratch = String::new();
    match charset.map(|c| c.decode(&query.sql, &mut scratch).map(str::to_owned)) {
        Some(Ok(text)) => text,
        _ => String::from_utf8_lossy(&query.sql).into_owned(),
    }
}

/// The tables that a statement may change: the one it names at the place of its target, else every table of the catalog
/// whose name occurs in it.
fn named_tables(sql: &str, database: &str, catalog: &Catalog) -> Vec<TableName> {
    if let Some(target) = single_target(sql, database) {
        return vec![target];
    }
    let text = sql.to_lowercase();
    let names = catalog.tables.values().map(|e| &e.def.name);
    names.filter(|n| text.contains(&n.table.to_lowercase())).cloned().collect()
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

fn unquoted(word: &str) -> String {
    match word.strip_prefix('`').and_then(|w| w.strip_suffix('`')) {
        Some(inner) => inner.replace("``", "`"),
        None => word.to_owned(),
    }
}
