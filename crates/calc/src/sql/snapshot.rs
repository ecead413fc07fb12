//! A statement's (or transaction's) snapshot: one lease, renewed while anybody holds it.

use std::sync::Arc;
use std::time::Duration;

use tidelake_core::ports::{Freshness, Latch, SnapshotLease};
use tidelake_core::{Catalog, Error};
use tokio::task::JoinHandle;

/// A held lease. Dropped, it ends: the renewing task stops, and the latch takes the lease back.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The lease.
    pub(crate) lease: SnapshotLease,
    /// The catalog at its seq.
    pub(crate) catalog: Arc<Catalog>,
    latch: LatchRef,
    renewing: JoinHandle<()>,
}

struct LatchRef(Arc<dyn Latch>);

impl std::fmt::Debug for LatchRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Latch")
    }
}

impl Snapshot {
    /// Acquires a lease of the asked freshness, waiting at most `wait`.
    ///
    /// # Errors
    /// As the latch's.
    pub(crate) async fn acquire(
        latch: &Arc<dyn Latch>,
        catalog_at: impl FnOnce(&SnapshotLease) -> Result<Arc<Catalog>, Error>,
        freshness: Freshness,
        ttl: Duration,
        wait: Duration,
    ) -> Result<Snapshot, Error> {
        let lease = latch.acquire(freshness, ttl, wait).await?;
        let catalog = catalog_at(&lease)?;
        let renewing = tokio::spawn(renew(Arc::clone(latch), lease.clone(), ttl));
        Ok(Snapshot { lease, catalog, latch: LatchRef(Arc::clone(latch)), renewing })
    }

    /// An error if the lease lapsed.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.latch.0.check(&self.lease)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// Renews after a third of its time. A latch elsewhere that does not answer is asked again until the lease has lapsed.
async fn renew(latch: Arc<dyn Latch>, lease: SnapshotLease, ttl: Duration) {
    let mut pause = ttl / 3;
    loop {
        tokio::time::sleep(pause).await;
        pause = match latch.renew(&lease, ttl) {
            Ok(()) => ttl / 3,
            Err(e) if e.is_transient() && latch.check(&lease).is_ok() => {
                tracing::warn!(lease = lease.id(), error = %e, "a snapshot could not be renewed, trying again");
                ttl / 10
            }
            Err(e) => {
                // The next read says so to the client.
                tracing::warn!(lease = lease.id(), error = %e, "a snapshot lapsed while it was held");
                return;
            }
        };
    }
}
