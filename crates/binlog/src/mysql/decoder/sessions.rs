//! What statements mean by their session: the event's own variables, and what earlier statements of the stream have told.
//!
//! A table without a charset has its database's default, which no event names. It is learned from CREATE and ALTER
//! DATABASE; where it was not seen the server's default is assumed, and said to be assumed. Learned things are of this
//! run only: after a restart they are unknown again, never wrong.

use std::collections::{BTreeMap, BTreeSet};

use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{Catalog, TableName};

use crate::ddl::{SessionDefaults, default_collation};
use crate::mysql::collation;
use crate::mysql::query::QueryEvent;
use crate::mysql::statement::Words;

/// What the stream has told.
#[derive(Default)]
pub(super) struct Sessions {
    /// Default collations of databases.
    databases: BTreeMap<String, String>,
    /// Temporary tables, each its session's own (seen in statement format only). A session that ends drops its own.
    temporary: BTreeSet<(u32, TableName)>,
}

impl Sessions {
    /// The defaults that hold for a statement.
    pub(super) fn defaults(&self, sql: &str, query: &QueryEvent<'_>, flavor: ServerFlavor) -> SessionDefaults {
        let mut session = session_of(query, flavor);
        if let Some(known) = created_in(sql, &query.database).and_then(|database| self.databases.get(&database)) {
            session.collation = Some(known.clone());
            session.collation_assumed = false;
        }
        session
    }

    /// True for the name of a temporary table of this session.
    pub(super) fn is_temporary(&self, session: u32, name: &TableName) -> bool {
        self.temporary.contains(&(session, name.clone()))
    }

    /// Learns from a statement.
    pub(super) fn note(&mut self, sql: &str, query: &QueryEvent<'_>, flavor: ServerFlavor, catalog: &Catalog) {
        let mut words = Words { rest: sql }.peekable();
        let verb = words.next().unwrap_or_default().to_ascii_uppercase();
        let replaces = verb == "CREATE" && words.next_if(|w| w.eq_ignore_ascii_case("OR")).is_some();
        if replaces {
            words.next();
        }
        match (verb.as_str(), words.next().unwrap_or_default().to_ascii_uppercase().as_str()) {
            ("CREATE", "TEMPORARY") => {
                self.temporary.extend(created(words, &query.database).map(|name| (query.session, name)));
            }
            ("DROP", "TEMPORARY") => {
                for name in dropped(words, &query.database) {
                    self.temporary.remove(&(query.session, name));
                }
            }
            (_, "DATABASE" | "SCHEMA") => {
                let server = query.server.and_then(collation::name).map(str::to_owned);
                let known = |name: &str| catalog.databases.contains(name);
                let session = session_of(query, flavor);
                note_database(&mut self.databases, sql, &query.database, server, &session, flavor, known);
            }
            _ => {}
        }
    }
}

/// Learns the default collation of a database from CREATE, ALTER or DROP DATABASE. `server` is that of one that does not say it,
/// `known` tells whether one is there already.
pub(crate) fn note_database(
    databases: &mut BTreeMap<String, String>,
    sql: &str,
    current: &str,
    server: Option<String>,
    session: &SessionDefaults,
    flavor: ServerFlavor,
    known: impl Fn(&str) -> bool,
) {
    let mut words = Words { rest: sql }.peekable();
    let verb = words.next().unwrap_or_default().to_ascii_uppercase();
    if verb == "CREATE" && words.next_if(|w| w.eq_ignore_ascii_case("OR")).is_some() {
        words.next();
    }
    if !words.next().is_some_and(|w| ["DATABASE", "SCHEMA"].iter().any(|o| w.eq_ignore_ascii_case(o))) {
        return;
    }
    match verb.as_str() {
        "CREATE" => {
            let guarded = skip_existence(&mut words);
            let Some(name) = words.next().map(unquoted) else { return };
            let exists = known(&name) || databases.contains_key(&name);
            let said = said_collation(words, session, flavor);
            if let Some(default) = said.or(server).filter(|_| !(guarded && exists)) {
                databases.insert(name, default);
            }
        }
        "ALTER" => {
            let is_option =
                |w: &&str| ["DEFAULT", "CHARACTER", "CHARSET", "COLLATE"].iter().any(|o| w.eq_ignore_ascii_case(o));
            let name = if words.peek().is_none_or(is_option) { None } else { words.next() };
            let name = name.map_or_else(|| current.to_owned(), unquoted);
            if let Some(default) = said_collation(words, session, flavor) {
                databases.insert(name, default);
            }
        }
        "DROP" => {
            skip_existence(&mut words);
            words.next().map(unquoted).and_then(|name| databases.remove(&name));
        }
        _ => {}
    }
}

/// Steps over IF [NOT] EXISTS; `true` if it was there.
fn skip_existence<'a>(words: &mut std::iter::Peekable<Words<'a>>) -> bool {
    let guarded = words.next_if(|w| w.eq_ignore_ascii_case("IF")).is_some();
    while guarded && words.next_if(|w| ["NOT", "EXISTS"].iter().any(|o| w.eq_ignore_ascii_case(o))).is_some() {}
    guarded
}

/// The table behind `TABLE [IF NOT EXISTS]`.
fn created(mut words: std::iter::Peekable<Words<'_>>, database: &str) -> Option<TableName> {
    words.next_if(|w| w.eq_ignore_ascii_case("TABLE"))?;
    skip_existence(&mut words);
    let first = unquoted(words.next()?);
    Some(match words.next_if(|w| *w == ".") {
        Some(_) => TableName::new(first, unquoted(words.next()?)),
        None => TableName::new(database, first),
    })
}

/// The tables behind `TABLE [IF EXISTS]`.
fn dropped(mut words: std::iter::Peekable<Words<'_>>, database: &str) -> Vec<TableName> {
    let mut names = Vec::new();
    words.next();
    skip_existence(&mut words);
    while let Some(first) = words.next() {
        match words.next_if(|w| *w == ".").and_then(|_| words.next()) {
            Some(table) => names.push(TableName::new(unquoted(first), unquoted(table))),
            None => names.push(TableName::new(database, unquoted(first))),
        }
        if words.next_if(|w| *w == ",").is_none() {
            break;
        }
    }
    names
}

/// The database in which a CREATE TABLE makes its table.
pub(crate) fn created_in(sql: &str, database: &str) -> Option<String> {
    let mut words = Words { rest: sql }.peekable();
    words.next_if(|w| w.eq_ignore_ascii_case("CREATE"))?;
    while words.next_if(|w| ["OR", "REPLACE"].iter().any(|o| w.eq_ignore_ascii_case(o))).is_some() {}
    created(words, database).map(|name| name.database)
}

/// The collation that the options of a database come to.
fn said_collation<'a>(
    words: impl Iterator<Item = &'a str>,
    session: &SessionDefaults,
    flavor: ServerFlavor,
) -> Option<String> {
    let words: Vec<&str> = words.filter(|w| *w != "=").collect();
    let behind = |option: &str| {
        let at = words.iter().rposition(|w| w.eq_ignore_ascii_case(option))?;
        let value = words.get(at + 1).filter(|w| !w.eq_ignore_ascii_case("SET")).or_else(|| words.get(at + 2))?;
        Some(unquoted(value.trim_matches(['\'', '"'])).to_ascii_lowercase())
    };
    let charset = behind("CHARACTER").or_else(|| behind("CHARSET"));
    behind("COLLATE").or_else(|| charset.map(|c| default_collation(&c, flavor, session)))
}

/// An identifier without its quotes.
pub(super) fn unquoted(word: &str) -> String {
    match word.strip_prefix('`').and_then(|w| w.strip_suffix('`')) {
        Some(inner) => inner.replace("``", "`"),
        None => word.to_owned(),
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
        collation_assumed: true,
        charset_collations,
        implicit_timestamps: query.implicit_timestamps(flavor),
        utc_offset_seconds: query.time_zone.as_deref().and_then(offset_of),
        literals: query.connection.and_then(collation::charset).map(str::to_owned),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(statements: &[&str]) -> Sessions {
        let mut sessions = Sessions::default();
        let query = QueryEvent { database: "d".into(), server: Some(45), ..QueryEvent::default() };
        for sql in statements {
            sessions.note(sql, &query, ServerFlavor::MariaDb, &Catalog::default());
        }
        sessions
    }

    fn default_in(sessions: &Sessions, sql: &str) -> (Option<String>, bool) {
        let query = QueryEvent { database: "d".into(), server: Some(45), ..QueryEvent::default() };
        let defaults = sessions.defaults(sql, &query, ServerFlavor::MariaDb);
        (defaults.collation, defaults.collation_assumed)
    }

    #[test]
    fn defaults_of_databases_are_learned() {
        let sessions = learned(&[
            "CREATE DATABASE `a` /*!40100 DEFAULT CHARACTER SET latin1 */",
            "create schema if not exists b collate = utf8mb4_bin",
            "CREATE DATABASE c",
            "ALTER DATABASE CHARACTER SET 'cp1251'",
            "CREATE DATABASE gone CHARSET=latin1",
            "DROP DATABASE IF EXISTS gone",
        ]);
        for (sql, known) in [
            ("CREATE TABLE a.t (x INT)", ("latin1_swedish_ci", false)),
            ("CREATE OR REPLACE TABLE IF NOT EXISTS `b`.`t` (x INT)", ("utf8mb4_bin", false)),
            ("CREATE TABLE c . t (x INT)", ("utf8mb4_general_ci", false)),
            ("CREATE TABLE t (x INT)", ("cp1251_general_ci", false)),
            ("CREATE TABLE gone.t (x INT)", ("utf8mb4_general_ci", true)),
        ] {
            assert_eq!(default_in(&sessions, sql), (Some(known.0.to_owned()), known.1), "{sql}");
        }
    }

    #[test]
    fn temporary_tables_are_their_session_s_until_dropped() {
        let created = "CREATE TEMPORARY TABLE IF NOT EXISTS `t 1` (x INT)";
        let name = TableName::new("d", "t 1");
        let sessions = learned(&[created]);
        assert!(sessions.is_temporary(0, &name));
        assert!(!sessions.is_temporary(1, &name), "another session's table of that name is a real one");
        assert!(!sessions.is_temporary(0, &TableName::new("d", "t")));
        // what a server logs for a session that ends
        let sessions = learned(&[created, "DROP /*!40005 TEMPORARY */ TABLE IF EXISTS `d`.`u`,`t 1`"]);
        assert!(!sessions.is_temporary(0, &name));
    }
}
