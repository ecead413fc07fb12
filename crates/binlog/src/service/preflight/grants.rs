//! Rights that only the initial copy needs, read from SHOW GRANTS. What comes through a role is not followed: then nothing is
//! said.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use super::super::history::text;
use super::super::server::UpstreamServer;
use super::super::tables::{ListedTable, quoted_identifier};
use super::{Finding, checks};

/// The lines of SHOW GRANTS.
pub(super) struct Grants(Vec<String>);

impl Grants {
    /// Of the connection's own user; empty if they cannot be asked for.
    pub async fn read(conn: &mut Conn) -> Grants {
        let rows: Vec<Row> = conn.query("SHOW GRANTS FOR CURRENT_USER()").await.unwrap_or_default();
        Grants(rows.iter().filter_map(|row| text(row, 0)).collect())
    }

    /// What the copy of these tables will be refused.
    pub fn findings(&self, server: &UpstreamServer, listed: &[ListedTable]) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !server.is_mariadb() && !self.allow(&["RELOAD", "FLUSH_TABLES"], None) {
            findings.push(checks::no_reload(server.executed_is_visible()));
        }
        let locked = listed.iter().filter(|table| !table.has_snapshots());
        let refused = locked.filter(|table| !self.allow(&["LOCK TABLES"], Some(&table.name.database)));
        let names: Vec<String> = refused.map(|table| format!("{} ({})", table.name, table.engine)).collect();
        findings.extend(checks::no_lock(&names));
        findings
    }

    /// True if one of the privileges is granted on everything or on all of the database, or if that cannot be told.
    fn allow(&self, privileges: &[&str], database: Option<&str>) -> bool {
        self.0.is_empty() || self.0.iter().any(|line| allows(line, privileges, database))
    }
}

fn allows(line: &str, privileges: &[&str], database: Option<&str>) -> bool {
    let Some((granted, scope)) = line.strip_prefix("GRANT ").and_then(|rest| rest.split_once(" ON ")) else {
        return line.starts_with("GRANT "); // a role
    };
    let named = granted.split(',').map(str::trim).any(|g| g.starts_with("ALL PRIVILEGES") || privileges.contains(&g));
    let scope = scope.split(" TO ").next().unwrap_or_default();
    // a pattern may match the database
    let covers = |database: &str| scope == format!("{}.*", quoted_identifier(database)) || scope.contains(['%', '\\']);
    named && (scope == "*.*" || database.is_some_and(covers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_and_roles() {
        let lock = |line: &str| allows(line, &["LOCK TABLES"], Some("my db"));
        assert!(lock("GRANT SELECT, LOCK TABLES ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*X'"));
        assert!(lock("GRANT SELECT, LOCK TABLES ON `my db`.* TO `u`@`%`"));
        assert!(lock("GRANT ALL PRIVILEGES ON `my%`.* TO `u`@`%`"));
        assert!(lock("GRANT `some role`@`%` TO `u`@`%`"));
        assert!(!lock("GRANT SELECT, LOCK TABLES ON `other`.* TO `u`@`%`"));
        assert!(!lock("GRANT SELECT, RELOAD ON *.* TO `u`@`%`"));
        assert!(!lock("SET DEFAULT ROLE `x` FOR `u`@`%`"));
        assert!(!allows("GRANT ALL PRIVILEGES ON `d`.* TO `u`@`%`", &["RELOAD"], None));
    }
}
