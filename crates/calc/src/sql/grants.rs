//! What a session's user may see: everything else is not in the catalog that its statements get.
//!
//! Whether a table that may not be read exists is not told: the answer is the same, as upstream's is.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tidelake_access::Caller;
use tidelake_core::{Catalog, TableName};

use super::error::{unknown_database, unknown_table};
use crate::session::SqlError;

/// One session's user.
#[derive(Debug)]
pub(crate) struct Grants {
    caller: Caller,
    host: String,
    /// A catalog and what is seen of it: most statements find the same one again.
    seen: Mutex<Option<(Arc<Catalog>, Arc<Catalog>)>>,
}

impl Grants {
    /// Of a client.
    pub(crate) fn new(caller: Caller, remote: Option<SocketAddr>) -> Grants {
        let host = remote.map_or_else(|| "localhost".to_owned(), |address| address.ip().to_string());
        Grants { caller, host, seen: Mutex::default() }
    }

    /// The user's name.
    pub(crate) fn user(&self) -> &str {
        &self.caller.user
    }

    /// `user@host`.
    pub(crate) fn account(&self) -> String {
        format!("{}@{}", self.caller.user, self.host)
    }

    /// What is seen of a catalog.
    pub(crate) fn view(&self, catalog: &Arc<Catalog>) -> Arc<Catalog> {
        if self.caller.rights.reads_all() {
            return Arc::clone(catalog);
        }
        let mut seen = self.seen.lock();
        match &*seen {
            Some((whole, view)) if Arc::ptr_eq(whole, catalog) => Arc::clone(view),
            _ => {
                let view = self.caller.rights.view(catalog);
                *seen = Some((Arc::clone(catalog), Arc::clone(&view)));
                view
            }
        }
    }

    /// The error for a table that is not in the view: 1142 if it may not be read, else 1146.
    pub(crate) fn no_table(&self, name: &TableName) -> SqlError {
        if self.caller.rights.reads(name) {
            return unknown_table(name);
        }
        let Caller { user, .. } = &self.caller;
        let text = format!(
            "SELECT command denied to user '{user}'@'{}' for table `{}`.`{}`",
            self.host, name.database, name.table
        );
        SqlError::new(1142, "42000", text)
    }

    /// The error for a database that is not in the view: 1044 if nothing in it may be read, else 1049.
    pub(crate) fn no_database(&self, name: &str) -> SqlError {
        if self.caller.rights.reads_database(name) {
            return unknown_database(name);
        }
        let Caller { user, .. } = &self.caller;
        let text = format!("Access denied for user '{user}'@'{}' to database '{name}'", self.host);
        SqlError::new(1044, "42000", text)
    }

    /// SHOW GRANTS, over what is seen.
    pub(crate) fn statements(&self, view: &Catalog) -> Vec<String> {
        let to = format!("TO `{}`@`{}`", self.caller.user, self.host);
        if self.caller.rights.reads_all() {
            return vec![format!("GRANT SELECT ON *.* {to}")];
        }
        let mut names: Vec<&TableName> = view.tables.values().map(|entry| &entry.def.name).collect();
        names.sort_unstable_by_key(|name| (&name.database, &name.table));
        names.dedup();
        let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
        let tables = names.iter().map(|n| format!("GRANT SELECT ON {}.{} {to}", quoted(&n.database), quoted(&n.table)));
        std::iter::once(format!("GRANT USAGE ON *.* {to}")).chain(tables).collect()
    }
}
