//! The single checks of a preflight, mostly without I/O: from what the upstream answered to a finding.

use std::collections::HashMap;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{Error, Result};

use super::super::connect::Connector;
use super::super::history::text;
use super::super::server::UpstreamServer;
use super::Finding;

/// Retention below this is warned of, seconds.
const ONE_DAY: f64 = 86_400.0;
/// Most names spelled out in one finding.
const NAMES: usize = 5;

pub(super) fn unreachable(connector: &Connector, error: &Error) -> Finding {
    let address = connector.address();
    let (why, fix) = if error.is_transient() {
        let fix = "check host, port, firewall and that the server runs (its bind-address must admit this machine)";
        ("Tidelake reads the bin log and the tables over this connection", fix.to_owned())
    } else {
        let fix = "check user and password in the URL (special characters percent-encoded); a user can be made with \
            CREATE USER 'tidelake'@'%' IDENTIFIED BY '...'; GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT ON *.* TO \
            'tidelake'@'%'. An anonymous user (DROP USER ''@'localhost') goes before 'tidelake'@'%' for connections from its host. If it is the certificate: name its CA with ?ssl-mode=verify-identity&ssl-ca=FILE in the URL, and the \
            host as the certificate does";
        ("the server refused the login or its encryption", fix.to_owned())
    };
    Finding::error(format!("no connection to {address}: {error}"), why, fix)
}

pub(super) fn version(server: &UpstreamServer) -> Finding {
    let name = match server.flavor {
        ServerFlavor::MariaDb => "MariaDB",
        ServerFlavor::MySql => "MySQL",
        ServerFlavor::TiDb => "TiDB",
    };
    let what = format!("the upstream is {name} {}", server.version_text);
    match (server.flavor, server.is_supported()) {
        (_, true) => Finding::ok(what),
        (ServerFlavor::TiDb, _) => {
            Finding::error(what, "TiDB has no MySQL bin log", "replicate TiDB through TiCDC (Kafka or storage)")
        }
        _ => Finding::error(
            what,
            "its bin log lacks what Tidelake needs",
            "upgrade to MariaDB 10.3 or MySQL 5.6 or later",
        ),
    }
}

/// The server's variables, by lower-case name.
pub(super) struct Settings(HashMap<String, String>);

impl Settings {
    pub async fn read(connector: &Connector, conn: &mut Conn) -> Result<Settings> {
        const ASK: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format', 'binlog_row_image', \
            'binlog_row_metadata', 'binlog_checksum', 'expire_logs_days', \
            'binlog_expire_logs_seconds', 'server_id', 'log_slave_updates', 'log_replica_updates', 'gtid_slave_pos', \
            'lower_case_table_names')";
        let rows: Vec<Row> = conn.query(ASK).await.map_err(|e| connector.error("ask for the settings", &e))?;
        let named = |row: &Row| Some((text(row, 0)?.to_ascii_lowercase(), text(row, 1)?));
        Ok(Settings(rows.iter().filter_map(named).collect()))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|v| v.eq_ignore_ascii_case("ON") || v == "1")
    }

    pub fn findings(&self, flavor: ServerFlavor) -> Vec<Finding> {
        let mut findings = vec![self.log_bin(), self.server_id()];
        findings.push(self.must_be("binlog_format", &["ROW"], "statements cannot be replayed here, only rows can"));
        let whole = "a row event must hold the whole row before and after its change";
        findings.push(self.must_be("binlog_row_image", &["FULL"], whole));
        findings.push(self.row_metadata());
        findings.push(self.retention());
        findings.extend(self.checksum());
        findings.extend(self.replica_of_another(flavor));
        findings.extend(self.names_of_tables());
        findings
    }

    fn names_of_tables(&self) -> Option<Finding> {
        let value = self.get("lower_case_table_names").filter(|v| *v != "0")?;
        Some(Finding::error(
            format!("lower_case_table_names is {value}"),
            "statements in the bin log name tables in any case then, and Tidelake would take them for other tables",
            "such a server cannot be replicated yet; the setting can only be given when its data directory is made",
        ))
    }

    fn log_bin(&self) -> Finding {
        if self.is_on("log_bin") {
            return Finding::ok("log_bin is ON");
        }
        let fix = "add to the server's configuration, below [mysqld]: log_bin = mariadb-bin, server_id = 1, binlog_format \
            = ROW, binlog_row_image = FULL; then restart it";
        Finding::error("log_bin is OFF", "without a bin log the server tells nobody of its changes", fix)
    }

    fn server_id(&self) -> Finding {
        match self.get("server_id") {
            Some("0") => Finding::error(
                "server_id is 0",
                "a server without id sends its bin log to nobody",
                "SET GLOBAL server_id = 1; and server_id = 1 below [mysqld]",
            ),
            id => Finding::ok(format!("server_id is {}", id.unwrap_or("unknown"))),
        }
    }

    fn must_be(&self, name: &str, good: &[&str], why: &str) -> Finding {
        let value = self.get(name).unwrap_or("unknown");
        let what = format!("{name} is {value}");
        if good.iter().any(|g| g.eq_ignore_ascii_case(value)) {
            return Finding::ok(what);
        }
        let wanted = good[0];
        let fix = format!(
            "SET GLOBAL {name} = '{wanted}'; and {name} = {wanted} below [mysqld]; sessions that are open already keep the \
             old value until they reconnect"
        );
        Finding::error(what, why, fix)
    }

    fn row_metadata(&self) -> Finding {
        match self.get("binlog_row_metadata") {
            Some(value) if !value.eq_ignore_ascii_case("FULL") => Finding::warning(
                format!("binlog_row_metadata is {value}"),
                "with FULL, each row event names its columns, and a schema that was understood wrongly is noticed at once",
                "SET GLOBAL binlog_row_metadata = 'FULL'; and binlog_row_metadata = FULL below [mysqld]",
            ),
            Some(_) => Finding::ok("binlog_row_metadata is FULL"),
            None => Finding::ok("binlog_row_metadata is not known to this server"),
        }
    }

    fn retention(&self) -> Finding {
        let number = |name| self.get(name).and_then(|v| v.parse::<f64>().ok()).unwrap_or(0.0);
        let seconds = match number("binlog_expire_logs_seconds") {
            0.0 => number("expire_logs_days") * ONE_DAY,
            seconds => seconds,
        };
        if seconds == 0.0 {
            return Finding::ok("binlog files are kept until they are purged by hand");
        }
        let what = format!("binlog files are kept for {:.1} hours", seconds / 3600.0);
        if seconds >= ONE_DAY {
            return Finding::ok(what);
        }
        let why = "if Tidelake is down for longer, it cannot continue and must copy all tables again";
        let fix = "SET GLOBAL binlog_expire_logs_seconds = 604800 (older servers: expire_logs_days = 7), and the same below \
            [mysqld]";
        Finding::warning(what, why, fix)
    }

    fn checksum(&self) -> Option<Finding> {
        let value = self.get("binlog_checksum")?;
        value.eq_ignore_ascii_case("NONE").then(|| {
            Finding::warning(
                "binlog_checksum is NONE",
                "events that are damaged on the way cannot be noticed",
                "SET GLOBAL binlog_checksum = 'CRC32'; and binlog_checksum = CRC32 below [mysqld]",
            )
        })
    }

    fn replica_of_another(&self, flavor: ServerFlavor) -> Option<Finding> {
        let logs = self.is_on("log_slave_updates") || self.is_on("log_replica_updates");
        let replica = flavor == ServerFlavor::MariaDb && self.get("gtid_slave_pos").is_some_and(|p| !p.is_empty());
        (replica && !logs).then(|| {
            Finding::error(
                "log_slave_updates is OFF on a server that is a replica itself",
                "changes that it receives from its own upstream are not in its bin log",
                "set log_slave_updates = ON below [mysqld] and restart it, or replicate from its upstream",
            )
        })
    }
}

pub(super) fn filtered_databases(only: Option<String>, ignored: Option<String>) -> Option<Finding> {
    let what = match (only, ignored) {
        (None, None) => return None,
        (Some(only), _) => format!("binlog_do_db is {only}"),
        (None, Some(ignored)) => format!("binlog_ignore_db is {ignored}"),
    };
    let why = "changes of other databases, and changes made while another database is the default one, are not in the bin log";
    Some(Finding::error(
        what,
        why,
        "remove binlog_do_db and binlog_ignore_db from the configuration and restart the server",
    ))
}

pub(super) fn no_head(flavor: ServerFlavor, error: &Error) -> Finding {
    let (privilege, older) = match flavor {
        ServerFlavor::MariaDb => ("BINLOG MONITOR", " (before MariaDB 10.5: REPLICATION CLIENT)"),
        _ => ("REPLICATION CLIENT", ""),
    };
    Finding::error(
        format!("the user may not ask for the bin log's position ({error})"),
        "Tidelake compares positions to know how fresh it is",
        format!("GRANT {privilege} ON *.* TO the user of the URL{older}"),
    )
}

pub(super) fn no_replication(error: &Error) -> Finding {
    Finding::error(
        format!("the user may not read the bin log ({error})"),
        "streaming is done as a replica does it",
        "GRANT REPLICATION SLAVE ON *.* TO the user of the URL",
    )
}

/// `with_gtids`: tables with a key are copied without the lock.
pub(super) fn no_reload(with_gtids: bool) -> Finding {
    let what = "the user may not take the global read lock";
    let fix = "GRANT RELOAD ON *.* TO the user of the URL";
    if with_gtids {
        let why = "tables without a key are copied, and all tables are compared (tidelake verify), in a snapshot at one \
            position, which MySQL tells only under this lock; these tables will not appear in the replica";
        return Finding::warning(what, why, fix);
    }
    let why = "MySQL tells no position of a snapshot, so without GTIDs (gtid_mode = ON) the initial copy holds this lock for \
        the moment in which both are taken";
    Finding::error(what, why, fix)
}

pub(super) fn no_lock(names: &[String]) -> Option<Finding> {
    (!names.is_empty()).then(|| {
        Finding::warning(
            format!("wanted tables need a read lock to be copied, which the user may not take: {}", shortened(names)),
            "their engines have no snapshots; these tables will not appear in the replica",
            "GRANT LOCK TABLES ON *.* TO the user of the URL; or convert them to InnoDB, or leave them out with --tables",
        )
    })
}

pub(super) fn no_tables() -> Finding {
    Finding::warning(
        "no table of the upstream is wanted or visible",
        "either the filter matches no table yet, or the user may not see the tables",
        "GRANT SELECT ON the wanted databases TO the user of the URL; or change --tables",
    )
}

pub(super) fn unreadable(refused: &[(String, String)]) -> Option<Finding> {
    let (_, first) = refused.first()?;
    let names: Vec<String> = refused.iter().map(|(name, _)| name.clone()).collect();
    Some(Finding::error(
        format!("{} wanted tables cannot be read: {} ({first})", refused.len(), shortened(&names)),
        "the rows that are there already must be copied",
        "GRANT SELECT ON them TO the user of the URL; or leave them out with --tables '...,!database.table'",
    ))
}

pub(super) fn system_versioned(names: &[String]) -> Option<Finding> {
    (!names.is_empty()).then(|| {
        Finding::warning(
            format!("system-versioned tables are wanted: {}", shortened(names)),
            "their row events contain history rows, which are told apart only if the events name their columns; without that, \
             such a table is copied again each time that it changes",
            "SET GLOBAL binlog_row_metadata = 'FULL'; or leave them out with --tables '...,!database.table'",
        )
    })
}

/// The constraint of a SHOW CREATE TABLE text by which other tables' changes change this table's rows.
pub(super) fn cascading_key(create_table: &str) -> Option<&str> {
    create_table.lines().map(str::trim).find(|line| {
        let actions = line.rsplit(')').next().unwrap_or_default();
        let acts = ["CASCADE", "SET NULL", "SET DEFAULT"].iter().any(|action| actions.contains(action));
        line.starts_with("CONSTRAINT") && line.contains("FOREIGN KEY") && acts
    })
}

pub(super) fn cascades(names: &[String]) -> Option<Finding> {
    (!names.is_empty()).then(|| {
        Finding::warning(
            format!("foreign keys change rows of wanted tables by themselves: {}", shortened(names)),
            "this server writes no row events for what ON DELETE / ON UPDATE CASCADE and SET NULL do, so each time such a key \
             can act, the child table stops and is copied again",
            "make them ON DELETE RESTRICT ON UPDATE RESTRICT and let the application delete, or leave the tables out with \
             --tables '...,!database.table'",
        )
    })
}

fn shortened(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMES);
    let first = names[..names.len().min(NAMES)].join(", ");
    if more > 0 { format!("{first} and {more} more") } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_act_are_found() {
        let of = |actions: &str| {
            format!(
                "CREATE TABLE `c` (\n  `p` int,\n  CONSTRAINT `f` FOREIGN KEY (`p`) REFERENCES `p` (`id`){actions}\n)"
            )
        };
        assert!(cascading_key(&of(" ON DELETE CASCADE,")).is_some());
        assert!(cascading_key(&of(" ON DELETE NO ACTION ON UPDATE SET NULL")).is_some());
        assert!(cascading_key(&of("")).is_none() && cascading_key(&of(" ON DELETE NO ACTION")).is_none());
        assert!(cascading_key("CREATE TABLE `c` (\n  `x` int COMMENT 'ON DELETE CASCADE'\n)").is_none());
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..7).map(|i| format!("t{i}")).collect();
        assert_eq!(shortened(&names), "t0, t1, t2, t3, t4 and 2 more");
        assert_eq!(shortened(&names[..2]), "t0, t1");
    }
}
