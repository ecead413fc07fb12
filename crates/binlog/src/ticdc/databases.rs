//! Default collations of databases, which tables without a charset of their own have.
//!
//! A feed tells them with CREATE and ALTER DATABASE only, once and for all. So positions carry what was told up to them, and a
//! restart knows it again. Of a database that is older than the feed nothing is known: it is taken to have TiDB's own default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidelake_core::types::text::ServerFlavor;

use super::record::Ddl;
use crate::ddl::SessionDefaults;
use crate::mysql::decoder::sessions::{created_in, note_database};

/// What databases have that do not say it.
pub const USUAL: &str = "utf8mb4_bin";

/// Databases whose default is another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Databases {
    collations: BTreeMap<String, String>,
}

impl Databases {
    /// Those that a server names, with their default collations.
    #[must_use]
    pub fn of(collations: impl IntoIterator<Item = (String, String)>) -> Databases {
        Databases { collations: collations.into_iter().filter(|(_, collation)| collation != USUAL).collect() }
    }

    /// True if all have the usual one, as far as is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.collations.is_empty()
    }

    /// Learns from a statement; one that makes a table is told what it does not say.
    pub fn pass(&mut self, ddl: &mut Ddl) {
        let session = SessionDefaults::default();
        let usual = Some(USUAL.to_owned());
        // TiDB sends no statement that did nothing, so IF NOT EXISTS made it
        note_database(&mut self.collations, &ddl.query, &ddl.database, usual, &session, ServerFlavor::TiDb, |_| false);
        self.collations.retain(|_, collation| collation != USUAL);
        let database = if self.is_empty() { None } else { created_in(&ddl.query, &ddl.database) };
        ddl.collation = database.and_then(|database| self.collations.get(&database).cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_told_what_their_database_has() {
        let mut databases = Databases::default();
        let mut told = |database: &str, query: &str| {
            let (database, table, query) = (database.to_owned(), String::new(), query.to_owned());
            let mut ddl = Ddl { database, table, query, columns: None, collation: None };
            databases.pass(&mut ddl);
            ddl.collation
        };
        assert_eq!(told("d", "CREATE DATABASE `d` CHARACTER SET = UTF8MB4 COLLATE = UTF8MB4_GENERAL_CI"), None);
        assert_eq!(told("e", "CREATE DATABASE `e`"), None);
        assert_eq!(told("d", "CREATE TABLE `t` (`a` INT)").as_deref(), Some("utf8mb4_general_ci"));
        assert_eq!(told("e", "CREATE TABLE `d`.`t` (`a` INT)").as_deref(), Some("utf8mb4_general_ci"));
        assert_eq!(told("e", "CREATE TABLE `t` (`a` INT)"), None);
        told("e", "ALTER DATABASE `e` CHARACTER SET = LATIN1");
        assert_eq!(told("e", "CREATE TABLE IF NOT EXISTS `t` (`a` INT)").as_deref(), Some("latin1_bin"));
        told("d", "DROP DATABASE `d`");
        told("d", "CREATE DATABASE `d`");
        assert_eq!(told("d", "CREATE TABLE `t` (`a` INT)"), None);
        told("e", "ALTER DATABASE `e` COLLATE = UTF8MB4_BIN");
        assert!(databases.is_empty());
    }
}
