//! What a user may do: read some tables or all, write (a Magic Writer elsewhere), change what a running process does.

use std::sync::Arc;

use tidelake_core::filter::TableFilter;
use tidelake_core::{Catalog, Error, Result, TableName};

/// Something a user may be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Query, scan, and look at the status.
    Read,
    /// Be the Magic Writer of an engine: all calls of the Magic API that write.
    Write,
    /// Change what a running process does: its interval, its tables; have a table copied again or verified.
    Admin,
}

impl Right {
    /// As it is spelled in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::Write => "write",
            Right::Admin => "admin",
        }
    }

    /// The right of a name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Right> {
        [Right::Read, Right::Write, Right::Admin].into_iter().find(|r| r.name() == name)
    }
}

/// What one user may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    rights: Vec<Right>,
    /// `None`: all tables.
    tables: Option<TableFilter>,
}

impl Rights {
    /// Some rights; tables that may be read, all of them if `None`. Whoever writes everything may read everything.
    #[must_use]
    pub fn new(mut rights: Vec<Right>, tables: Option<TableFilter>) -> Rights {
        if rights.contains(&Right::Write) {
            rights.push(Right::Read);
            return Rights { rights, tables: None };
        }
        Rights { rights, tables }
    }

    /// Everything.
    #[must_use]
    pub fn all() -> Rights {
        Rights { rights: vec![Right::Read, Right::Write, Right::Admin], tables: None }
    }

    /// True if it is among them.
    #[must_use]
    pub fn has(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }

    /// True if every table may be read.
    #[must_use]
    pub fn reads_all(&self) -> bool {
        self.has(Right::Read) && self.tables.is_none()
    }

    /// True if the table may be read, whether or not it exists.
    #[must_use]
    pub fn reads(&self, name: &TableName) -> bool {
        self.has(Right::Read) && self.tables.as_ref().is_none_or(|tables| tables.wants(name))
    }

    /// True if some table of the database could be read.
    #[must_use]
    pub fn reads_database(&self, database: &str) -> bool {
        self.has(Right::Read) && self.tables.as_ref().is_none_or(|tables| tables.wants_database(database))
    }

    /// What the catalog is for this user: nothing in it tells of tables that may not be read.
    #[must_use]
    pub fn view(&self, catalog: &Arc<Catalog>) -> Arc<Catalog> {
        if self.reads_all() {
            return Arc::clone(catalog);
        }
        let databases = catalog.databases.iter().filter(|name| self.reads_database(name)).cloned().collect();
        let own = catalog.tables.iter().filter(|(_, entry)| self.reads(&entry.def.name));
        let tables = own.map(|(id, entry)| (*id, entry.clone())).collect();
        Arc::new(Catalog { databases, tables, next_table: catalog.next_table })
    }

    /// Refuses a table that may not be read.
    ///
    /// # Errors
    /// [`Error::Denied`].
    pub fn check_table(&self, name: &TableName) -> Result<()> {
        if self.reads(name) { Ok(()) } else { Err(Error::Denied(format!("table {name} may not be read by this user"))) }
    }

    /// Refuses what is not among the rights.
    ///
    /// # Errors
    /// [`Error::Denied`], naming the right.
    pub fn check(&self, right: Right) -> Result<()> {
        if self.has(right) {
            return Ok(());
        }
        Err(Error::Denied(format!("this needs the right {:?}, which the user does not have", right.name())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_by_patterns() {
        let tables = TableFilter::parse("shop.*,!shop.secret").expect("parses");
        let rights = Rights::new(vec![Right::Read], Some(tables));
        let reads = |d, t| rights.reads(&TableName::new(d, t));
        assert!(reads("shop", "orders") && !reads("shop", "secret") && !reads("crm", "orders"));
        assert!(rights.reads_database("shop") && !rights.reads_database("crm") && !rights.reads_all());
        assert!(rights.check(Right::Write).unwrap_err().to_string().contains("\"write\""));
        let admin = Rights::new(vec![Right::Admin], None);
        assert!(!admin.reads(&TableName::new("shop", "orders")) && !admin.reads_all());
        assert!(Rights::new(vec![Right::Write], None).reads_all(), "who writes everything may read it");
    }

    #[test]
    fn a_view_has_nothing_else() {
        let mut catalog = Catalog::default();
        catalog.databases.extend(["shop".to_owned(), "crm".to_owned()]);
        let catalog = Arc::new(catalog);
        let tables = TableFilter::parse("shop.*").expect("parses");
        let seen = Rights::new(vec![Right::Read], Some(tables)).view(&catalog);
        assert_eq!(seen.databases.iter().collect::<Vec<_>>(), ["shop"]);
        assert!(Arc::ptr_eq(&Rights::all().view(&catalog), &catalog));
        assert!(Rights::new(vec![Right::Admin], None).view(&catalog).databases.is_empty());
    }
}
