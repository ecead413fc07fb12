//! A Latch Service that is elsewhere.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use tidelake_core::ports::{Freshness, Latch, SnapshotLease};
use tidelake_core::{CommitSeq, Error, Result, WriterEpoch};

use crate::client::Connection;
use crate::wire::{Acquire, Leased, Nothing, OfEpoch, OfLease, Progresses, Renew};

/// How much longer than the asked wait an answer may take.
const GRACE: Duration = Duration::from_secs(10);

/// A latch reached over the Magic API.
///
/// `check` asks nobody: a lease counts as lapsed once its time has passed without a renewal that was answered. The server
/// checks it with every plan, split and batch read over the same connection ([`FlightStore::over`](crate::FlightStore::over)).
pub struct RemoteLatch {
    connection: Connection,
}

impl RemoteLatch {
    /// Over a connection of its own, which is made when it is first used.
    ///
    /// # Errors
    /// As for [`Connection::open`].
    pub fn open(url: &str) -> Result<RemoteLatch> {
        Ok(RemoteLatch::over(Connection::open(url)?))
    }

    /// Over this connection.
    #[must_use]
    pub fn over(connection: Connection) -> RemoteLatch {
        RemoteLatch { connection }
    }

    fn name(&self, lease: &SnapshotLease) -> Result<String> {
        let gone = || Error::SnapshotExpired(format!("lease {} is not held here", lease.id()));
        self.connection.leases().name(lease.id()).ok_or_else(gone)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Latch for RemoteLatch {
    async fn acquire(&self, freshness: Freshness, ttl: Duration, wait: Duration) -> Result<SnapshotLease> {
        let ask = Acquire { freshness: freshness.into(), ttl_ms: millis(ttl), wait_ms: millis(wait) };
        let patience = wait.saturating_add(GRACE);
        let Leased { lease, seq, ttl_ms } = self.connection.call_within("acquire", ask, patience).await?;
        let id = self.connection.leases().keep(lease, Instant::now() + Duration::from_millis(ttl_ms).min(ttl));
        Ok(SnapshotLease::new(id, seq, std::sync::Arc::new(Release { connection: self.connection.clone(), id })))
    }

    fn renew(&self, lease: &SnapshotLease, ttl: Duration) -> Result<()> {
        let (leases, begun) = (self.connection.leases(), Instant::now());
        leases.check(lease.id())?;
        let ask = Renew { lease: self.name(lease)?, ttl_ms: millis(ttl) };
        match self.connection.call_now::<_, Leased>("renew", ask) {
            Ok(renewed) => leases.prolong(lease.id(), begun + Duration::from_millis(renewed.ttl_ms).min(ttl)),
            Err(lapsed @ Error::SnapshotExpired(_)) => {
                leases.lapse(lease.id());
                Err(lapsed)
            }
            Err(other) => Err(other),
        }
    }

    fn check(&self, lease: &SnapshotLease) -> Result<()> {
        self.connection.leases().check(lease.id())
    }

    fn grant_writer(&self) -> Result<WriterEpoch> {
        let granted: OfEpoch = self.connection.call_now("grant_writer", Nothing {})?;
        Ok(WriterEpoch(granted.epoch))
    }

    /// The oldest seq of the engine behind it; zero, which is never too new, while it does not answer.
    fn horizon(&self) -> CommitSeq {
        let now: Result<Progresses> = self.connection.call_now("progress", Nothing {});
        now.map_or(CommitSeq::ZERO, |now| now.horizon)
    }
}

/// Dropped with the last clone of a lease.
struct Release {
    connection: Connection,
    id: u64,
}

impl Drop for Release {
    fn drop(&mut self) {
        let Some(lease) = self.connection.leases().release(self.id) else { return };
        let connection = self.connection.clone();
        self.connection.spawn(async move {
            // A lease that is not released lapses.
            let _: Result<Nothing> = connection.call("release", OfLease { lease }).await;
        });
    }
}
