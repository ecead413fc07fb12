//! Reading a table at a known position.
//!
//! - MariaDB, transactional engine: `START TRANSACTION WITH CONSISTENT SNAPSHOT`, and the server tells the snapshot's
//!   own position (`binlog_snapshot_*`). No lock; a fresh snapshot for each chunk.
//! - MySQL does not tell it. Its head says too much: what is in the bin log is visible a moment later only. But what is in
//!   `gtid_executed` is visible. So the snapshot is known to lie between two places ([`Snapshot`]): where the stream has read
//!   to, once its GTIDs are executed, and the head after the snapshot was taken. For rows with a key that is exact enough, whatever
//!   of the transactions between the two is in them: their keys are taken out. No lock either.
//! - MySQL without GTIDs, or for a table without a key: the global read lock is held for the moment in which snapshot and
//!   position are taken; a snapshot serves for some seconds, for a table without a key to its end.
//! - An engine without snapshots (MyISAM, Aria, ...): a read lock on the table while a chunk is read.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tidelake_core::{Error, Result, SourcePosition, TableName};

use super::super::Shared;
use super::super::connect::Connector;
use super::super::history::{self, text};
use super::super::server::UpstreamServer;
use super::super::tables::{TableFacts, quoted_name};
use crate::mysql::position::BinlogPosition;

/// How one table is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum SnapshotKind {
    /// MariaDB's own exact snapshots.
    Exact,
    /// MySQL's snapshots between two places, for tables with a key.
    Between,
    /// A snapshot taken under a short global lock.
    GlobalLock,
    /// The table is locked against writers while it is read.
    TableLock,
}

impl SnapshotKind {
    /// For a table with a key that is copied from this server.
    pub fn of_keyed(server: &UpstreamServer, facts: &TableFacts) -> SnapshotKind {
        match SnapshotKind::of(server, facts) {
            SnapshotKind::GlobalLock if server.executed_is_visible() => SnapshotKind::Between,
            kind => kind,
        }
    }

    /// At one exact position.
    pub fn of(server: &UpstreamServer, facts: &TableFacts) -> SnapshotKind {
        match (facts.has_snapshots(), server.is_mariadb()) {
            (true, true) => SnapshotKind::Exact,
            (true, false) => SnapshotKind::GlobalLock,
            (false, _) => SnapshotKind::TableLock,
        }
    }

    /// True if a snapshot is cheap enough to take one for each chunk.
    pub fn is_cheap(self) -> bool {
        self != SnapshotKind::GlobalLock
    }

    /// Begins to read; what follows on this connection sees the table in the returned snapshot.
    ///
    /// # Errors
    /// If the upstream refuses; messages name the missing privilege.
    pub async fn open(
        self,
        shared: &Shared,
        conn: &mut Conn,
        server: &UpstreamServer,
        table: &TableName,
    ) -> Result<Snapshot> {
        let connector = &shared.connector;
        let run = async |conn: &mut Conn, sql: &str, doing: &str| {
            conn.query_drop(sql).await.map_err(|e| connector.table_error(doing, &e))
        };
        const START: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT";
        let position = match self {
            SnapshotKind::Between => return between(shared, conn, server).await,
            SnapshotKind::Exact => {
                run(conn, START, "begin a snapshot").await?;
                snapshot_position(connector, conn).await?
            }
            SnapshotKind::GlobalLock => {
                let lock = "take a snapshot at a known position (needs GRANT RELOAD ON *.*)";
                run(conn, "FLUSH TABLES WITH READ LOCK", lock).await?;
                run(conn, START, "begin a snapshot").await?;
                let head = history::read_head(connector, conn, server).await?;
                run(conn, "UNLOCK TABLES", "release the global lock").await?;
                run(conn, "SAVEPOINT tidelake", "begin a snapshot").await?;
                head
            }
            SnapshotKind::TableLock => {
                let sql = format!("LOCK TABLES {} READ", quoted_name(table));
                let doing = format!("lock {table}, whose engine has no snapshots (needs GRANT LOCK TABLES)");
                run(conn, &sql, &doing).await?;
                history::read_head(connector, conn, server).await?
            }
        };
        let at = shared.place(server, position)?;
        Ok(Snapshot { upto: at.clone(), at })
    }

    /// Lets go of the table's definition, which the transaction keeps locked since it has read rows: an ALTER TABLE would
    /// wait for as long as the snapshot is kept, and everybody else for the ALTER TABLE.
    ///
    /// # Errors
    /// If the connection broke.
    pub async fn rest(self, connector: &Connector, conn: &mut Conn) -> Result<()> {
        if self != SnapshotKind::GlobalLock {
            return Ok(());
        }
        let done = conn.query_drop("ROLLBACK TO SAVEPOINT tidelake").await;
        done.map_err(|e| connector.error("let go of a table's definition", &e))
    }

    /// Ends reading.
    ///
    /// # Errors
    /// If the connection broke.
    pub async fn close(self, connector: &Connector, conn: &mut Conn) -> Result<()> {
        let sql = if self == SnapshotKind::TableLock { "UNLOCK TABLES" } else { "COMMIT" };
        conn.query_drop(sql).await.map_err(|e| connector.error("end a snapshot", &e))
    }
}

/// Where a snapshot lies in the stream.
#[derive(Clone, Debug)]
pub(in crate::service) struct Snapshot {
    /// Everything at or before this place is visible in it.
    pub at: SourcePosition,
    /// Nothing behind this place is. But for [`SnapshotKind::Between`] it is the same place.
    pub upto: SourcePosition,
}

/// Longest wait for what was read from the bin log to be executed; it is a matter of milliseconds.
const EXECUTED_SECONDS: u32 = 10;

/// A snapshot with everything that the stream has read by now.
async fn between(shared: &Shared, conn: &mut Conn, server: &UpstreamServer) -> Result<Snapshot> {
    let connector = &shared.connector;
    let read = shared.known().ok_or_else(|| Error::Unavailable("the bin log is not read yet".into()))?;
    let at = BinlogPosition::parse(&read)?;
    // places told by another server, or of a time when it was not asked exactly
    shared.place(server, at.clone())?;
    if !shared.still_follows(&read) || at.by == 0 {
        return Err(Error::Unavailable(format!("what was committed up to {at} is not known by GTIDs yet")));
    }
    let sql = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET({}, {EXECUTED_SECONDS})", history::quoted(&at.gtid));
    let late: Option<i64> =
        conn.query_first(sql).await.map_err(|e| connector.error("wait for transactions to be visible", &e))?;
    if late != Some(0) {
        return Err(Error::Unavailable(format!("what was read from the bin log up to {at} is not executed upstream")));
    }
    let begin = "START TRANSACTION WITH CONSISTENT SNAPSHOT";
    conn.query_drop(begin).await.map_err(|e| connector.error("begin a snapshot", &e))?;
    let upto = shared.head(conn, server).await?;
    Ok(Snapshot { at: read, upto })
}

async fn snapshot_position(connector: &Connector, conn: &mut Conn) -> Result<BinlogPosition> {
    let rows: Vec<Row> = conn
        .query("SHOW STATUS LIKE 'binlog_snapshot_%'")
        .await
        .map_err(|e| connector.error("ask for the snapshot's position", &e))?;
    let value = |name: &str| {
        let row = rows.iter().find(|r| text(r, 0).is_some_and(|n| n.eq_ignore_ascii_case(name)))?;
        text(row, 1).filter(|v| !v.is_empty())
    };
    let pos = value("binlog_snapshot_position").and_then(|p| p.parse().ok());
    let (Some(file), Some(pos)) = (value("binlog_snapshot_file"), pos) else {
        let address = connector.address();
        return Err(Error::Invalid(format!("{address} tells no position of a snapshot: is log_bin set?")));
    };
    Ok(BinlogPosition { file, pos, ..BinlogPosition::default() })
}
