//! The Latch Service: leases for readers, epochs for writers, the horizon for engines.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::moment::Moment;
use crate::position::SourcePosition;
use crate::seq::{CommitSeq, WriterEpoch};

/// How fresh a snapshot must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Freshness {
    /// What is published now.
    Any,
    /// Everything up to this position: read your writes.
    AtLeast(SourcePosition),
    /// Ask the source for its head, flush, wait until that is readable, tables still being copied included.
    Latest,
    /// Exactly this published seq.
    AtSeq(CommitSeq),
    /// The state that the upstream had at this moment: everything committed up to it, nothing after it. `SnapshotExpired`
    /// before the oldest readable state, `Invalid` in the future.
    At(Moment),
}

/// Coordinates readers and writers.
///
/// Guarantees:
/// 1. While a lease lives, the horizon is at or below its seq.
/// 2. A lapsed lease is refused by `check`, with `SnapshotExpired`; it never comes back to life.
/// 3. Epochs only grow; a granted epoch is above every epoch granted before, also across restarts.
#[async_trait]
pub trait Latch: Send + Sync {
    /// Pins a snapshot. Waits at most `wait` for the asked freshness, then `Timeout`.
    async fn acquire(&self, freshness: Freshness, ttl: Duration, wait: Duration) -> Result<SnapshotLease>;

    /// Prolongs a lease to `ttl` from now; `SnapshotExpired` if it lapsed.
    fn renew(&self, lease: &SnapshotLease, ttl: Duration) -> Result<()>;

    /// `SnapshotExpired` if the lease lapsed.
    fn check(&self, lease: &SnapshotLease) -> Result<()>;

    /// A new writer epoch, above all before.
    fn grant_writer(&self) -> Result<WriterEpoch>;

    /// The oldest seq a reader may still ask for.
    fn horizon(&self) -> CommitSeq;
}

/// A reader's pin on one published seq. Released when the last clone is dropped.
#[derive(Clone)]
pub struct SnapshotLease {
    id: u64,
    seq: CommitSeq,
    _release: Arc<dyn Send + Sync>,
}

impl SnapshotLease {
    /// For latches: `release` is dropped with the last clone of the lease, and must then release it.
    #[must_use]
    pub fn new(id: u64, seq: CommitSeq, release: Arc<dyn Send + Sync>) -> SnapshotLease {
        SnapshotLease { id, seq, _release: release }
    }

    /// The lease's number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The pinned seq.
    #[must_use]
    pub fn seq(&self) -> CommitSeq {
        self.seq
    }
}

impl std::fmt::Debug for SnapshotLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SnapshotLease({} at {})", self.id, self.seq)
    }
}
