//! Verifying: is a table of the replica exactly what the upstream has, at one commit, while both go on?
//!
//! The upstream's rows are read in a consistent snapshot whose position it tells exactly, as the copy does. Then the
//! replica is awaited to publish everything up to there, and is read at exactly the seq of that position, under a
//! lease. So nothing that happens meanwhile can look like a difference, and no difference can hide behind it.
//!
//! Rows are compared in stored form. Both sides are read once, in whatever order they come, into *buckets* by key ([`buckets`]): a
//! bucket's checksum is equal only if its rows are. Where some are not, both snapshots are read again for a few of
//! those buckets, and the keys that differ are told ([`differences`]). So memory is bounded, whatever the table's size, and no order of keys
//! in any collation matters.

mod buckets;
mod differences;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use mysql_async::Conn;
use serde::{Deserialize, Serialize};
use tidelake_core::ports::{Buffer, Freshness, Latch, SnapshotLease, StoreEngine};
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{CommitSeq, Error, Result, SourcePosition, TableDef, TableEntry, TableName, TableState};

use super::copy::snapshot::SnapshotKind;
use super::server::UpstreamServer;
use super::{Shared, history, tables};
use crate::mysql::position::BinlogPosition;
use buckets::Buckets;
use differences::Collected;
pub use differences::Difference;

/// How long the replica may take to publish what the snapshot has.
const CATCH_UP: Duration = Duration::from_secs(120);
/// How long a lease lives without being renewed.
const LEASE: Duration = Duration::from_secs(60);
/// How often leases are renewed.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// How often a table is tried that moved under the reader's hands (DDL, lost connections).
const TRIES: u32 = 5;

/// The parts of the replica that are compared.
#[derive(Clone)]
pub struct ReplicaParts {
    /// Where its rows are.
    pub engine: Arc<dyn StoreEngine>,
    /// Which seq a position has.
    pub buffer: Arc<dyn Buffer>,
    /// Leases.
    pub latch: Arc<dyn Latch>,
}

/// How a table compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every row is the same.
    Equal,
    /// Some rows are not.
    Different,
    /// It was not compared; nothing is said about it.
    Skipped,
    /// It could not be compared.
    Failed,
}

/// What was found out about one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableVerdict {
    /// Which table.
    pub table: TableName,
    /// How it compares.
    pub outcome: Outcome,
    /// Why it was skipped or failed; empty otherwise.
    pub reason: String,
    /// The upstream's position at which both sides were read, as `file:offset`.
    pub position: String,
    /// Rows upstream.
    pub upstream_rows: u64,
    /// Rows here.
    pub replica_rows: u64,
    /// The first keys that differ; there may be more.
    pub differences: Vec<Difference>,
    /// Parts of the table (of 65536) that differ.
    pub differing_parts: u64,
}

impl TableVerdict {
    fn without(table: &TableName, outcome: Outcome, reason: impl Into<String>) -> TableVerdict {
        TableVerdict {
            table: table.clone(),
            outcome,
            reason: reason.into(),
            position: String::new(),
            upstream_rows: 0,
            replica_rows: 0,
            differences: Vec::new(),
            differing_parts: 0,
        }
    }
}

/// Compares one table. What keeps it from being compared is in the verdict too.
pub(super) async fn verify(shared: &Shared, replica: &ReplicaParts, name: &TableName) -> TableVerdict {
    let mut tries = 1;
    loop {
        match (Verifying { shared, replica, name }.run().await, tries) {
            (Ok(verdict), _) => return verdict,
            (Err(error), TRIES) => return TableVerdict::without(name, Outcome::Failed, error.to_string()),
            // a table that is being altered, a snapshot that was too old, a lost connection
            (Err(error), _) => tracing::info!(table = %name, %error, "the table is compared again"),
        }
        tokio::time::sleep(Duration::from_millis(500) * tries).await;
        tries += 1;
    }
}

struct Verifying<'a> {
    shared: &'a Shared,
    replica: &'a ReplicaParts,
    name: &'a TableName,
}

/// Both sides at one commit.
struct AtOnce {
    conn: Conn,
    flavor: ServerFlavor,
    kind: SnapshotKind,
    position: SourcePosition,
    lease: SnapshotLease,
    entry: TableEntry,
}

impl Verifying<'_> {
    async fn run(&self) -> Result<TableVerdict> {
        let connector = &self.shared.connector;
        let mut conn = connector.connect().await?;
        let server = UpstreamServer::detect(connector, &mut conn).await?;
        if let Some(known) = self.shared.known() {
            let known = BinlogPosition::parse(&known)?;
            history::verify_same_history(connector, &mut conn, &server, &known).await?;
        }
        let facts = tables::facts(connector, &mut conn, self.name).await?;
        let facts = facts.ok_or_else(|| Error::NotFound(format!("upstream table {}", self.name)))?;
        if !facts.has_snapshots() {
            let reason =
                format!("its engine {} has no snapshots: it could only be compared while it is locked", facts.engine);
            return Ok(TableVerdict::without(self.name, Outcome::Skipped, reason));
        }
        let kind = SnapshotKind::of(&server, &facts);
        let mut both = match self.at_once(conn, &server, kind).await? {
            Ok(both) => both,
            Err(why) => return Ok(TableVerdict::without(self.name, Outcome::Failed, why)),
        };
        let lease = both.lease.clone();
        let verdict = tokio::select! {
            verdict = self.compare(&mut both) => verdict?,
            lapsed = self.renew(&lease) => return Err(lapsed),
        };
        both.kind.close(connector, &mut both.conn).await?;
        Ok(verdict)
    }

    /// Opens the snapshot, and waits for the replica to get there. The inner error: the table cannot be read here.
    async fn at_once(
        &self,
        mut conn: Conn,
        server: &UpstreamServer,
        kind: SnapshotKind,
    ) -> Result<Result<AtOnce, String>> {
        let ReplicaParts { engine, buffer, latch } = self.replica;
        // taken first, so that the seq of the snapshot, which comes later, is still readable when it is known
        let before = latch.acquire(Freshness::Any, CATCH_UP + LEASE, CATCH_UP).await?;
        let position = kind.open(self.shared, &mut conn, server, self.name).await?.at;
        let late = |_| Error::Timeout(format!("the replica did not read up to {position} in {CATCH_UP:?}"));
        tokio::time::timeout(CATCH_UP, self.shared.read_up_to(&**buffer, &position)).await.map_err(late)??;
        let seq = seq_at(&**buffer, &position)?;
        let lease = latch.acquire(Freshness::AtSeq(seq), LEASE, CATCH_UP).await?;
        drop(before);
        let catalog = engine.catalog(seq)?;
        let entry = catalog.visible(self.name).cloned();
        Ok(match entry {
            // it may come with the next seq: a copy ends between two transactions
            None => return Err(Error::NotFound(format!("table {} in the replica at {}", self.name, shown(&position)))),
            Some(TableEntry { state: TableState::Stopped { reason, .. }, .. }) => {
                Err(format!("it is stopped: {reason}"))
            }
            Some(entry) => Ok(AtOnce { conn, flavor: server.flavor, kind, position, lease, entry }),
        })
    }

    async fn compare(&self, both: &mut AtOnce) -> Result<TableVerdict> {
        let def = both.entry.def.clone();
        let (mut theirs, mut ours) = (Buckets::new(&def)?, Buckets::new(&def)?);
        tokio::try_join!(
            self.upstream(&mut both.conn, both.flavor, &def, |batch| theirs.add(&batch)),
            rows::of_replica(self.replica, &both.lease, &def, |batch| ours.add(&batch)),
        )?;
        let mut verdict = TableVerdict {
            position: shown(&both.position),
            upstream_rows: theirs.rows(),
            replica_rows: ours.rows(),
            ..TableVerdict::without(self.name, Outcome::Equal, "")
        };
        let differing = theirs.differing(&ours);
        if differing.is_empty() {
            return Ok(verdict);
        }
        verdict.outcome = Outcome::Different;
        verdict.differing_parts = differing.len() as u64;
        let looked_at = theirs.few_of(&ours, &differing);
        let mut collected = Collected::new(&def, looked_at)?;
        self.upstream(&mut both.conn, both.flavor, &def, |batch| collected.add_upstream(&batch)).await?;
        rows::of_replica(self.replica, &both.lease, &def, |batch| collected.add_replica(&batch)).await?;
        verdict.differences = collected.first();
        Ok(verdict)
    }

    async fn upstream(
        &self,
        conn: &mut Conn,
        flavor: ServerFlavor,
        def: &TableDef,
        each: impl FnMut(arrow::array::RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let limit = (self.shared.options.copy_chunk_rows, self.shared.options.copy_chunk_bytes);
        rows::of_upstream(&self.shared.connector, conn, def, flavor, limit, each).await
    }

    /// Returns only if the lease cannot be renewed.
    async fn renew(&self, lease: &SnapshotLease) -> Error {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            if let Err(lapsed) = self.replica.latch.renew(lease, LEASE) {
                return lapsed;
            }
        }
    }
}

/// The newest seq that is no later than the position. What is behind the last transaction before it (copies that
/// ended) counts if there is no later transaction yet.
fn seq_at(buffer: &dyn Buffer, position: &SourcePosition) -> Result<CommitSeq> {
    let head = *buffer.head().borrow();
    if buffer.position_of(head).is_none_or(|newest| position.covers(&newest)) {
        return Ok(head);
    }
    let seq = buffer.seq_covering(position);
    seq.ok_or_else(|| Error::Unavailable(format!("no seq is known for {position}")))
}

fn shown(position: &SourcePosition) -> String {
    BinlogPosition::parse(position).map_or_else(|_| position.to_string(), |p| p.to_string())
}
