//! What a latch coordinates: one engine in its own process, or several elsewhere as if they were one.

use std::sync::Arc;

use tidelake_core::ports::StoreEngine;
use tidelake_core::ports::store::Progress;
use tidelake_core::{CommitSeq, Result, TableName, WriterEpoch};
use tokio::sync::watch;

use crate::FreshnessProbe;

/// What readers may see, over all engines that have it.
///
/// Guarantee: *published* never goes back, but at [`LocalLatch::begin_again`](crate::LocalLatch::begin_again), after which nobody holds a lease.
pub trait Replica: Send + Sync {
    /// The newest seq that may be pinned; changes wake waiters.
    fn published(&self) -> watch::Receiver<Progress>;

    /// A table that makes this seq less than the latest state: its copy is still to come. `None` if there is none.
    ///
    /// # Errors
    /// If that is not known of the seq.
    fn missing_table(&self, seq: CommitSeq, probe: &dyn FreshnessProbe) -> Result<Option<TableName>>;

    /// The oldest seq that can be read.
    fn horizon(&self) -> CommitSeq;

    /// Versions that only snapshots below `seq` can see may go.
    fn set_horizon(&self, seq: CommitSeq);
}

/// The one engine of this process.
pub(crate) struct OneEngine(pub Arc<dyn StoreEngine>);

impl Replica for OneEngine {
    fn published(&self) -> watch::Receiver<Progress> {
        self.0.published()
    }

    fn missing_table(&self, seq: CommitSeq, probe: &dyn FreshnessProbe) -> Result<Option<TableName>> {
        Ok(probe.missing_table(&*self.0.catalog(seq)?))
    }

    fn horizon(&self) -> CommitSeq {
        self.0.horizon()
    }

    fn set_horizon(&self, seq: CommitSeq) {
        self.0.set_horizon(seq);
    }
}

/// Who grants writer epochs.
pub trait Epochs: Send + Sync {
    /// The next epoch, above all before; durable before it returns.
    ///
    /// # Errors
    /// If it cannot be made durable; nothing is granted then.
    fn next(&self) -> Result<WriterEpoch>;
}
