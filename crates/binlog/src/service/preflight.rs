//! Before the first byte is read: is the upstream set up as Tidelake needs it? Every answer says what is wrong, why it
//! matters, and the exact statement or setting that mends it.

use std::fmt;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use serde::Serialize;
use tidelake_core::Result;
use tidelake_core::types::text::ServerFlavor;

use super::connect::Connector;
use super::history::{self, text};
use super::server::UpstreamServer;
use super::tables::{self, ListedTable, TableType};
use super::url::UpstreamUrl;
use super::wire::DumpRequest;
use super::{ServiceOptions, random_server_id};
use crate::mysql::position::BinlogPosition;

mod checks;
mod grants;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingLevel {
    /// As it should be.
    Ok,
    /// Works, but should be changed.
    Warning,
    /// Tidelake would not work, or would be wrong.
    Error,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: FindingLevel,
    /// What was found, e.g. `binlog_format is MIXED`.
    pub what: String,
    /// Why it matters; empty if all is well.
    pub why: String,
    /// The statement or setting that mends it; empty if all is well.
    pub fix: String,
}

impl Finding {
    fn ok(what: impl Into<String>) -> Finding {
        Finding { level: FindingLevel::Ok, what: what.into(), why: String::new(), fix: String::new() }
    }

    fn error(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { level: FindingLevel::Error, what: what.into(), why: why.into(), fix: fix.into() }
    }

    fn warning(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { level: FindingLevel::Warning, what: what.into(), why: why.into(), fix: fix.into() }
    }
}

/// One line, or three if something is wrong.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            FindingLevel::Ok => "ok",
            FindingLevel::Warning => "warning",
            FindingLevel::Error => "error",
        };
        write!(f, "{level}: {}", self.what)?;
        if !self.why.is_empty() {
            write!(f, "\n  why: {}", self.why)?;
        }
        if !self.fix.is_empty() {
            write!(f, "\n  fix: {}", self.fix)?;
        }
        Ok(())
    }
}

/// Everything that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preflight {
    /// In the order of looking.
    pub findings: Vec<Finding>,
    /// Who the upstream is, if it could be asked.
    pub server: Option<UpstreamServer>,
    /// Number of wanted tables that the user can see.
    pub tables: usize,
    /// Nobody answered: the upstream or the way to it is down. Trying again later may help.
    pub unreachable: bool,
}

impl Preflight {
    /// True without errors; warnings may be there.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.errors().next().is_none()
    }

    /// What must be changed.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.level == FindingLevel::Error)
    }

    /// What should be changed.
    pub fn warnings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.level == FindingLevel::Warning)
    }
}

/// Looks at the upstream. What is wrong there is a finding, not an error; an upstream that cannot be reached too.
///
/// # Errors
/// [`tidelake_core::Error::Invalid`] if the URL is wrong.
pub async fn preflight(options: &ServiceOptions) -> Result<Preflight> {
    let connector = Connector::new(UpstreamUrl::parse(&options.url)?);
    let mut found = Preflight::default();
    let mut conn = match connector.connect_plain().await {
        Ok(conn) => conn,
        Err(error) => {
            found.unreachable = error.is_transient();
            found.findings.push(checks::unreachable(&connector, &error));
            return Ok(found);
        }
    };
    if let Err(error) = look(&connector, &mut conn, options, &mut found).await {
        let why = "the connection broke while the upstream was being checked";
        found.findings.push(Finding::error(error.to_string(), why, "check the server's error log and try again"));
    }
    Ok(found)
}

async fn look(connector: &Connector, conn: &mut Conn, options: &ServiceOptions, found: &mut Preflight) -> Result<()> {
    let server = UpstreamServer::detect(connector, conn).await?;
    found.findings.push(checks::version(&server));
    found.server = Some(server.clone());
    if !server.is_supported() {
        return Ok(());
    }
    let settings = checks::Settings::read(connector, conn).await?;
    found.findings.extend(settings.findings(server.flavor));
    let head = head_finding(connector, conn, &server, &settings, found).await;
    if let Some(head) = head {
        found.findings.push(replication_finding(connector, &server, &head).await);
    }
    let tables = tables::list_wanted(connector, conn, &options.filter).await?;
    found.tables = tables.len();
    found.findings.extend(table_findings(connector, conn, &server, &tables).await?);
    found.findings.extend(grants::Grants::read(conn).await.findings(&server, &tables));
    Ok(())
}

/// Asks for the head, and for the databases that the bin log leaves out.
async fn head_finding(
    connector: &Connector,
    conn: &mut Conn,
    server: &UpstreamServer,
    settings: &checks::Settings,
    found: &mut Preflight,
) -> Option<BinlogPosition> {
    if !settings.is_on("log_bin") {
        return None; // told already
    }
    match history::read_head(connector, conn, server).await {
        Ok(head) => {
            found.findings.push(Finding::ok(format!("the bin log's head is {head}")));
            let row: Option<Row> = conn.query_first(server.show_head()).await.ok().flatten();
            let listed = |index| row.as_ref().and_then(|r| text(r, index)).filter(|t| !t.is_empty());
            found.findings.extend(checks::filtered_databases(listed(2), listed(3)));
            Some(head)
        }
        Err(error) => {
            found.findings.push(checks::no_head(server.flavor, &error));
            None
        }
    }
}

/// Registers as a replica for a moment, as streaming will do.
async fn replication_finding(connector: &Connector, server: &UpstreamServer, head: &BinlogPosition) -> Finding {
    let request = DumpRequest {
        from: head,
        server_id: random_server_id(),
        heartbeat: Duration::from_secs(1),
        to_head_only: true,
        mariadb: server.is_mariadb(),
    };
    let tried = async {
        let mut wire = connector.connect_replica().await?;
        wire.dump(&request).await?;
        wire.next_event().await
    };
    match tried.await {
        Ok(_) => Finding::ok("the user may read the bin log"),
        Err(error) => checks::no_replication(&error),
    }
}

/// True if row events name their columns.
async fn names_columns(conn: &mut Conn) -> bool {
    let value: Result<Option<String>, _> = conn.query_first("SELECT @@GLOBAL.binlog_row_metadata").await;
    value.is_ok_and(|v| v.is_some_and(|v| v.eq_ignore_ascii_case("FULL")))
}

async fn table_findings(
    connector: &Connector,
    conn: &mut Conn,
    server: &UpstreamServer,
    listed: &[ListedTable],
) -> Result<Vec<Finding>> {
    if listed.is_empty() {
        return Ok(vec![checks::no_tables()]);
    }
    let mut findings = Vec::new();
    let versioned: Vec<String> =
        listed.iter().filter(|t| t.kind == TableType::SystemVersioned).map(|t| t.name.to_string()).collect();
    if !versioned.is_empty() && !names_columns(conn).await {
        findings.extend(checks::system_versioned(&versioned));
    }
    let silent = server.flavor == ServerFlavor::MariaDb || server.version < (9, 0, 0);
    let (mut refused, mut cascading) = (Vec::new(), Vec::new());
    for table in listed {
        let name = tables::quoted_name(&table.name);
        if let Err(mysql_async::Error::Server(error)) = conn.query_drop(format!("SELECT 1 FROM {name} LIMIT 0")).await {
            refused.push((table.name.to_string(), error.message));
            continue;
        }
        let schema: Result<Option<Row>, _> = conn.query_first(format!("SHOW CREATE TABLE {name}")).await;
        let schema = schema.map_err(|e| connector.error("read a table's schema", &e))?;
        let schema = schema.and_then(|row| text(&row, 1)).unwrap_or_default();
        cascading
            .extend(checks::cascading_key(&schema).filter(|_| silent).map(|key| format!("{} ({key})", table.name)));
    }
    let readable = listed.len() - refused.len();
    match checks::unreadable(&refused) {
        Some(finding) => findings.push(finding),
        None => findings.push(Finding::ok(format!("all {readable} wanted tables can be read"))),
    }
    findings.extend(checks::cascades(&cascading));
    Ok(findings)
}
