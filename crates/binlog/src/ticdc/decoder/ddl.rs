//! DDL of a feed: changes the catalog at its place.

use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{Error, Result, SchemaChange, TableEntry, TableName, TableState};

use super::{Current, FeedDecoder, UnknownTables, names};
use crate::ddl::{
    self, DdlContext, DdlOutcome, Done, MODE_NO_ENGINE_SUBSTITUTION, MODE_STRICT_TRANS_TABLES, SessionDefaults,
};
use crate::filter::TableFilter;
use crate::ticdc::databases;
use crate::ticdc::record::Ddl;

impl FeedDecoder {
    pub(super) fn on_ddl(&mut self, ddl: &Ddl, current: &mut Current<'_>) -> Result<()> {
        let name = TableName::new(ddl.database.as_str(), ddl.table.as_str());
        if names::brings_back(&ddl.query) {
            let name = names::brought_back(&ddl.query, &ddl.database).filter(|_| ddl.table.is_empty()).unwrap_or(name);
            return self.brought_back(&name, ddl, current);
        }
        let Some(database) = self.session_database(ddl, current)? else { return Ok(()) };
        // TiDB's defaults; the feed does not tell the session's sql_mode
        let session = SessionDefaults {
            collation: Some(ddl.collation.clone().unwrap_or_else(|| databases::USUAL.into())),
            collation_assumed: ddl.collation.is_none(),
            ..SessionDefaults::default()
        };
        let (decoder, catalog) = (&*self, &*current.catalog);
        let has = |database: &str| catalog.tables.values().any(|entry| entry.def.name.database == database);
        let wanted = |name: &TableName| match name.table.as_str() {
            "" => decoder.filter.wants_database(&name.database) || has(&name.database),
            _ => decoder.follows(name, catalog),
        };
        let context = DdlContext {
            database: &database,
            flavor: ServerFlavor::TiDb,
            sql_mode: MODE_STRICT_TRANS_TABLES | MODE_NO_ENGINE_SUBSTITUTION,
            session: &session,
            illegible: false,
            failed: false,
            done: Done::Untold,
            copies: false,
            position: current.position,
            wanted: &wanted,
        };
        match ddl::changes(&without_features(&ddl.query), &context, catalog) {
            DdlOutcome::Ignore => {}
            DdlOutcome::Changes(changes) => changes.into_iter().try_for_each(|c| self.apply(c, current))?,
            DdlOutcome::Resync { tables, reason, .. } if tables.is_empty() => {
                let reason = format!("{reason} ({}): no telling which tables it changes", current.place());
                return Err(Error::Unsupported { position: Box::new(current.position.clone()), reason });
            }
            DdlOutcome::Resync { changes, tables, reason } => {
                changes.into_iter().try_for_each(|c| self.apply(c, current))?;
                tables.iter().try_for_each(|name| self.resync(name, &reason, current))?;
            }
        }
        self.check_columns(&name, ddl, current)?;
        self.refuse_virtual_columns(current)
    }

    /// The database of names without one. `None`: nobody can tell, and every table that may be meant is stopped.
    ///
    /// A RENAME is sent as it was written, with the database that the table is in *afterwards*. Without a database in its text, a
    /// table that came from another one can only be known by its name, and only if no table of that name was left out here.
    fn session_database(&mut self, ddl: &Ddl, current: &mut Current<'_>) -> Result<Option<String>> {
        let here = || Ok(Some(ddl.database.clone()));
        let Some(table) = names::moved_from_unsaid(&ddl.query) else { return here() };
        let of_name = current.catalog.tables.values().filter(|e| e.def.name.table == table);
        let found: Vec<TableName> = of_name.map(|e| e.def.name.clone()).collect();
        if found.is_empty() || found.iter().any(|name| name.database == ddl.database) {
            return here();
        }
        if let [only] = &found[..]
            && self.filter.now() == TableFilter::default()
        {
            return Ok(Some(only.database.clone()));
        }
        let reason = format!("{:?} does not say from which database the table came", ddl.query.trim());
        found.iter().try_for_each(|name| self.resync(name, &reason, current))?;
        let new = TableName::new(ddl.database.as_str(), ddl.table.as_str());
        self.resync(&new, &reason, current).map(|()| None)
    }

    fn resync(&mut self, name: &TableName, reason: &str, current: &mut Current<'_>) -> Result<()> {
        if !self.follows(name, current.catalog) {
            return Ok(());
        }
        let reason = format!("{} {reason} ({})", tidelake_core::RESYNC, current.place());
        if let Some(copying) = current.catalog.copying(name).map(|e| e.def.id) {
            self.apply(SchemaChange::DropTable(copying), current)?;
        }
        match current.catalog.visible(name).map(|e| e.def.id) {
            Some(visible) => self.stop(visible, reason, current),
            None if self.unknown == UnknownTables::Stop => self.create_stopped(name, reason, current),
            None => Ok(()),
        }
    }

    /// RECOVER and FLASHBACK bring rows back that the feed does not send.
    fn brought_back(&mut self, name: &TableName, ddl: &Ddl, current: &mut Current<'_>) -> Result<()> {
        let reason =
            format!("its rows came back by a statement, and the feed does not send them: {}", ddl.query.trim());
        if name.table.is_empty() {
            if !name.database.is_empty() && !self.filter.wants_database(&name.database) {
                return Ok(());
            }
            let reason = format!("{reason} ({})", current.place());
            return Err(Error::Unsupported { position: Box::new(current.position.clone()), reason });
        }
        self.resync(name, &reason, current)
    }

    /// Our reading of a statement against the columns that the feed says the table has now.
    fn check_columns(&mut self, name: &TableName, ddl: &Ddl, current: &mut Current<'_>) -> Result<()> {
        let Some(columns) = &ddl.columns else { return Ok(()) };
        let Some(entry) = current.catalog.visible(name).filter(|e| e.state == TableState::Live) else { return Ok(()) };
        let mut ours: Vec<String> = entry.def.columns.iter().map(|c| c.name.to_lowercase()).collect();
        let mut theirs: Vec<String> = columns.iter().map(|c| c.to_lowercase()).collect();
        ours.sort();
        theirs.sort();
        // a feed may list hidden columns of expression indexes
        theirs.retain(|c| !c.starts_with("_v$_"));
        if ours == theirs {
            return Ok(());
        }
        let reason = format!(
            "after {:?} the feed says the table has the columns {} ({}), here they are {}",
            ddl.query.trim(),
            theirs.join(", "),
            current.place(),
            ours.join(", ")
        );
        self.stop(entry.def.id, reason, current)
    }

    fn refuse_virtual_columns(&mut self, current: &mut Current<'_>) -> Result<()> {
        let live = |e: &&TableEntry| !matches!(e.state, TableState::Stopped { .. });
        let with_virtual: Vec<_> = current
            .catalog
            .tables
            .values()
            .filter(live)
            .filter_map(|e| Some((e.def.id, e.def.columns.iter().find(|c| c.virtual_generated)?.name.clone())))
            .collect();
        for (id, column) in with_virtual {
            let reason = format!(
                "column {column} is VIRTUAL, and the feed does not send its values: make it STORED, or leave the table out with --tables"
            );
            self.stop(id, reason, current)?;
        }
        Ok(())
    }
}

/// The statement without `/*T! ... */`: what stands in these comments is of TiDB's own storage (clustering, TTL, placement,
/// AUTO_RANDOM, shards), and changes neither columns nor keys.
pub(crate) fn without_features(query: &str) -> String {
    let mut out = String::with_capacity(query.len());
    let mut rest = query;
    let mut quote = None;
    while let Some(c) = rest.chars().next() {
        if quote.is_none() && rest.starts_with("/*T!") {
            let Some(end) = rest.find("*/") else { break };
            rest = &rest[end + 2..];
            out.push(' ');
            continue;
        }
        let mut taken = c.len_utf8();
        match (quote, c) {
            // an escaped character never ends a string
            (Some('\'' | '"'), '\\') => taken += rest[1..].chars().next().map_or(0, char::len_utf8),
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"' | '`') => quote = Some(c),
            _ => {}
        }
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feature_comments_go_and_nothing_else() {
        for (query, want) in [
            (
                "CREATE TABLE t (a INT PRIMARY KEY /*T![clustered_index] CLUSTERED */)",
                "CREATE TABLE t (a INT PRIMARY KEY  )",
            ),
            ("A '/*T! x */' `/*T! y */` \"\\\"/*T! z */\"", "A '/*T! x */' `/*T! y */` \"\\\"/*T! z */\""),
            ("A /*T![ttl] TTL=`c` + INTERVAL 1 DAY */ /*T![ttl] TTL_ENABLE='OFF' */", "A    "),
            ("A /*T! open", "A /*T! open"),
            ("A /* plain */ /*!40100 kept */ 'ü\\", "A /* plain */ /*!40100 kept */ 'ü\\"),
        ] {
            assert_eq!(without_features(query), want, "{query}");
        }
    }
}
