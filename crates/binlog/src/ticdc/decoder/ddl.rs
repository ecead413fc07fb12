//! DDL of a feed: changes the catalog at its place.

use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{Error, Result, SchemaChange, TableEntry, TableName, TableState};

use super::{Current, FeedDecoder, UnknownTables};
use crate::ddl::{
    self, DdlContext, DdlOutcome, Done, MODE_NO_ENGINE_SUBSTITUTION, MODE_STRICT_TRANS_TABLES, SessionDefaults,
};
use crate::mysql::statement::Words;
use crate::ticdc::record::Ddl;

impl FeedDecoder {
    pub(super) fn on_ddl(&mut self, ddl: &Ddl, current: &mut Current<'_>) -> Result<()> {
        let name = TableName::new(ddl.database.as_str(), ddl.table.as_str());
        if brings_back(&ddl.query) {
            return self.brought_back(&name, ddl, current);
        }
        // TiDB's defaults; the feed tells neither the session's sql_mode nor the database's collation
        let session = SessionDefaults {
            collation: Some("utf8mb4_bin".into()),
            collation_assumed: true,
            ..SessionDefaults::default()
        };
        let (decoder, catalog) = (&*self, &*current.catalog);
        let has = |database: &str| catalog.tables.values().any(|entry| entry.def.name.database == database);
        let wanted = |name: &TableName| match name.table.as_str() {
            "" => decoder.filter.wants_database(&name.database) || has(&name.database),
            _ => decoder.follows(name, catalog),
        };
        let context = DdlContext {
            database: &ddl.database,
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

fn brings_back(query: &str) -> bool {
    let mut words = Words { rest: query };
    words.next().is_some_and(|w| w.eq_ignore_ascii_case("RECOVER") || w.eq_ignore_ascii_case("FLASHBACK"))
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

    #[test]
    fn rows_that_come_back() {
        assert!(brings_back("RECOVER TABLE `t`") && brings_back("flashback table t to u"));
        assert!(!brings_back("CREATE TABLE recover (a INT)"));
    }
}
