//! Which tables are wanted: `--tables 'shop.*,!shop.secret'`.
//!
//! Patterns are separated by commas; each is `database.table` with the wildcards `*` and `?`; `!` excludes. The last
//! pattern that matches a name decides. Without any including pattern, everything that is not excluded is wanted.
//! The servers' own databases (`mysql`, `sys`, `information_schema`, `performance_schema`) are wanted never.

use std::sync::Arc;

use crate::{Error, Result, TableName};
use parking_lot::RwLock;

const SYSTEM: [&str; 4] = ["mysql", "sys", "information_schema", "performance_schema"];

/// A parsed table filter. The default one wants everything but the servers' own databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFilter {
    patterns: Vec<Pattern>,
    /// What a name gets that no pattern matches.
    otherwise: bool,
}

impl Default for TableFilter {
    fn default() -> TableFilter {
        TableFilter { patterns: Vec::new(), otherwise: true }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    include: bool,
    database: String,
    table: String,
}

impl TableFilter {
    /// Parses the text of `--tables`; empty text is the default filter.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names the wrong pattern.
    pub fn parse(text: &str) -> Result<TableFilter> {
        let parts = text.split(',').map(str::trim);
        if text.trim().is_empty() {
            return Ok(TableFilter::default());
        }
        let patterns: Vec<Pattern> = parts.map(Pattern::parse).collect::<Result<_>>()?;
        let otherwise = !patterns.iter().any(|p| p.include);
        Ok(TableFilter { patterns, otherwise })
    }

    /// This filter with one more pattern, which decides about the names that it matches and about no others.
    ///
    /// # Errors
    /// As for [`TableFilter::parse`].
    pub fn and(mut self, pattern: &str) -> Result<TableFilter> {
        self.patterns.push(Pattern::parse(pattern.trim())?);
        Ok(self)
    }

    /// True if the table is wanted. Names compare as spelled.
    #[must_use]
    pub fn wants(&self, name: &TableName) -> bool {
        if is_system(&name.database) {
            return false;
        }
        let matching = self.patterns.iter().rev().find(|p| p.matches(&name.database, &name.table));
        matching.map_or(self.otherwise, |p| p.include)
    }

    /// True if some table of the database could be wanted.
    #[must_use]
    pub fn wants_database(&self, database: &str) -> bool {
        if is_system(database) {
            return false;
        }
        let mut wanted = self.otherwise;
        for pattern in self.patterns.iter().filter(|p| glob(p.database.as_bytes(), database.as_bytes())) {
            // an exclusion takes the whole database only if it names all its tables
            if pattern.include || pattern.table == "*" {
                wanted = pattern.include;
            }
        }
        wanted
    }
}

/// A filter that can be changed while it is in use; clones change together.
#[derive(Clone, Debug, Default)]
pub struct LiveFilter(Arc<RwLock<TableFilter>>);

impl LiveFilter {
    /// Puts another filter in its place.
    pub fn set(&self, filter: TableFilter) {
        *self.0.write() = filter;
    }

    /// The filter now.
    #[must_use]
    pub fn now(&self) -> TableFilter {
        self.0.read().clone()
    }

    /// See [`TableFilter::wants`].
    #[must_use]
    pub fn wants(&self, name: &TableName) -> bool {
        self.0.read().wants(name)
    }

    /// See [`TableFilter::wants_database`].
    #[must_use]
    pub fn wants_database(&self, database: &str) -> bool {
        self.0.read().wants_database(database)
    }
}

impl From<TableFilter> for LiveFilter {
    fn from(filter: TableFilter) -> LiveFilter {
        LiveFilter(Arc::new(RwLock::new(filter)))
    }
}

/// As spelled: where case tells names apart, `MYSQL` is a database like any other.
fn is_system(database: &str) -> bool {
    SYSTEM.contains(&database)
}

impl Pattern {
    fn parse(text: &str) -> Result<Pattern> {
        let (include, rest) = text.strip_prefix('!').map_or((true, text), |rest| (false, rest.trim()));
        let wrong = |why: &str| {
            Error::Invalid(format!(
                "table filter {text:?}: {why}; write patterns like shop.*, shop.order? or !shop.secret"
            ))
        };
        let (database, table) = rest.split_once('.').ok_or_else(|| wrong("no dot between database and table"))?;
        let (database, table) = (unquoted(database), unquoted(table));
        if database.is_empty() || table.is_empty() {
            return Err(wrong("database or table is empty"));
        }
        if include && is_system(database) {
            return Err(wrong("the server's own databases are not replicated"));
        }
        Ok(Pattern { include, database: database.to_owned(), table: table.to_owned() })
    }

    fn matches(&self, database: &str, table: &str) -> bool {
        glob(self.database.as_bytes(), database.as_bytes()) && glob(self.table.as_bytes(), table.as_bytes())
    }
}

fn unquoted(name: &str) -> &str {
    let name = name.trim();
    name.strip_prefix('`').and_then(|n| n.strip_suffix('`')).unwrap_or(name)
}

/// `*`: any bytes; `?`: one character (UTF-8 continuation bytes belong to it).
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') => {
                p += 1;
                t += 1;
                while text.get(t).is_some_and(|b| b & 0xc0 == 0x80) {
                    t += 1;
                }
            }
            Some(c) if *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    p = at + 1;
                    t = from + 1;
                    star = Some((at, t));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(filter: &str, database: &str, table: &str) -> bool {
        TableFilter::parse(filter).expect(filter).wants(&TableName::new(database, table))
    }

    #[test]
    fn last_matching_pattern_decides() {
        assert!(wants("", "shop", "orders"));
        assert!(!wants("", "mysql", "user") && wants("", "MYSQL", "user"));
        assert!(wants("shop.*,!shop.secret", "shop", "orders"));
        assert!(!wants("shop.*,!shop.secret", "shop", "secret"));
        assert!(!wants("shop.*,!shop.secret", "other", "orders"));
        assert!(wants("!shop.secret", "other", "orders"));
        assert!(wants("shop.t?,*.x*y", "shop", "té"));
        assert!(wants("shop.t?,*.x*y", "z", "xaay"));
        assert!(!wants("shop.t?,*.x*y", "z", "xaa"));
    }

    #[test]
    fn one_more_pattern_decides_about_its_own_names_only() {
        let all_but_one = TableFilter::default().and("!shop.*").and_then(|f| f.and("shop.orders")).expect("parses");
        let wants = |database, table| all_but_one.wants(&TableName::new(database, table));
        assert!(wants("other", "t") && wants("shop", "orders") && !wants("shop", "items"));
        let some = TableFilter::parse("shop.*").and_then(|f| f.and("crm.*")).expect("parses");
        assert!(some.wants(&TableName::new("crm", "t")) && !some.wants(&TableName::new("other", "t")));
        assert!(some.and("mysql.*").is_err());
    }

    #[test]
    fn databases() {
        let filter = TableFilter::parse("shop.*,!old.*,!shop.secret").expect("parses");
        assert!(filter.wants_database("shop"));
        assert!(!filter.wants_database("old"));
        assert!(!filter.wants_database("sys"));
    }

    #[test]
    fn wrong_patterns_are_named() {
        for text in ["shop", "shop.", ".t", "a.b,,c.d", "mysql.user"] {
            let error = TableFilter::parse(text).expect_err(text).to_string();
            assert!(error.contains("table filter"), "{error}");
        }
    }
}
