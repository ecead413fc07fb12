//! A Latch Service that is elsewhere.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidelake_core::ports::{Freshness, Latch, SnapshotLease};
use tidelake_core::{CommitSeq, Error, Result, WriterEpoch, env};

use crate::client::Connection;
use crate::line::LatchLine;
use crate::wire::{Acquire, Leased, Nothing, OfEpoch, OfLease, Progresses, Renew};

/// How much longer than the asked wait an answer may take.
const GRACE: Duration = Duration::from_secs(10);
/// How long to wait before a latch that did not answer is asked again.
const AGAIN: Duration = Duration::from_millis(100);

/// A latch reached over the Magic API.
///
/// `check` asks nobody: a lease counts as lapsed once its time has passed without a renewal that was answered. An engine with its latch in its
/// own process checks it with every plan, split and batch read over the same connection ([`FlightStore::over`](crate::FlightStore::over)).
pub struct RemoteLatch {
    line: Arc<LatchLine>,
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
        RemoteLatch::at(LatchLine::to(connection))
    }

    /// Over this line: a latch in a process of its own, or several of which one leads.
    #[must_use]
    pub fn at(line: Arc<LatchLine>) -> RemoteLatch {
        RemoteLatch { line }
    }

    fn name(&self, lease: &SnapshotLease) -> Result<(String, usize)> {
        let gone = || Error::SnapshotExpired(format!("lease {} is not held here", lease.id()));
        self.line.leases().name(lease.id()).ok_or_else(gone)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Latch for RemoteLatch {
    async fn acquire(&self, freshness: Freshness, ttl: Duration, wait: Duration) -> Result<SnapshotLease> {
        let begun = env::now();
        loop {
            let left = wait.saturating_sub(env::since(begun));
            let ask = Acquire { freshness: freshness.clone().into(), ttl_ms: millis(ttl), wait_ms: millis(left) };
            let asked = env::now();
            // Over all latches together: one that is frozen says nothing for as long as it is given.
            let limit = left.saturating_add(GRACE);
            let answer = env::timeout(limit, self.line.ask::<_, Leased>("acquire", ask, limit)).await;
            let late = |_| Error::Unavailable(format!("acquire: no latch answered within {limit:?}"));
            let answer = answer.map_err(late).and_then(|answer| answer);
            match answer.and_then(|(at, leased)| self.line.heard(leased.term).map(|()| (at, leased))) {
                Ok((at, Leased { lease, seq, ttl_ms, lineage, .. })) => {
                    let until = asked + Duration::from_millis(ttl_ms).min(ttl);
                    let id = self.line.leases().keep(lease, lineage, at, until);
                    return Ok(SnapshotLease::new(id, seq, Arc::new(Release { line: self.line.clone(), id })));
                }
                // Nothing was given; another latch takes over perhaps.
                Err(error @ Error::Unavailable(_)) if self.line.is_shared() && env::since(begun) < wait => {
                    env::sleep(AGAIN).await;
                    // This process may have been frozen meanwhile: another try would have its own grace, long after the wait.
                    if env::since(begun) >= wait {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn renew(&self, lease: &SnapshotLease, ttl: Duration) -> Result<()> {
        let (leases, begun) = (self.line.leases(), env::now());
        leases.check(lease.id())?;
        let (name, at) = self.name(lease)?;
        let ask = Renew { lease: name, ttl_ms: millis(ttl) };
        match self.line.connection(at).call_now::<_, Leased>("renew", ask) {
            Ok(renewed) => leases.prolong(lease.id(), begun + Duration::from_millis(renewed.ttl_ms).min(ttl)),
            Err(lapsed @ Error::SnapshotExpired(_)) => {
                leases.lapse(lease.id());
                Err(lapsed)
            }
            Err(other) => Err(other),
        }
    }

    fn check(&self, lease: &SnapshotLease) -> Result<()> {
        self.line.leases().check(lease.id())
    }

    fn grant_writer(&self) -> Result<WriterEpoch> {
        let granted: OfEpoch = self.line.ask_now("grant_writer", Nothing {})?;
        Ok(WriterEpoch(granted.epoch))
    }

    /// The oldest seq of the engine behind it; zero, which is never too new, while it does not answer.
    fn horizon(&self) -> CommitSeq {
        let now: Result<Progresses> = self.line.ask_now("progress", Nothing {});
        now.map_or(CommitSeq::ZERO, |now| now.horizon)
    }
}

/// Dropped with the last clone of a lease.
struct Release {
    line: Arc<LatchLine>,
    id: u64,
}

impl Drop for Release {
    fn drop(&mut self) {
        let Some((lease, at)) = self.line.leases().release(self.id) else { return };
        let connection = self.line.connection(at).clone();
        connection.clone().spawn(async move {
            // A lease that is not released lapses.
            let _: Result<Nothing> = connection.call("release", OfLease { lease }).await;
        });
    }
}
