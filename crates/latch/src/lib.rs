//! The Latch Service, in process: leases pin snapshots for readers, epochs fence writers, the horizon tells the
//! engine which versions nobody may ask for any more.
//!
//! Words: a lease *lives* until it is released or its time to live has passed without renewal, then it has
//! *lapsed*. The *horizon* is the oldest seq a reader may still ask for: at or below every live lease, and at or
//! below what was published a *retention* ago, so that a reader who just learned of a seq can still pin it.
//!
//! Rooms: `epoch` durable writer epochs; `leases` the pure state of leases and horizon.

mod epoch;
mod leases;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use tidelake_core::ports::{Freshness, Latch, SnapshotLease, StoreEngine};
use tidelake_core::{Catalog, CommitSeq, Error, Result, SourcePosition, TableName, WriterEpoch};

use epoch::EpochFile;
use leases::Leases;

/// How often lapsed leases are swept and the horizon moves at least.
const SWEEP: Duration = Duration::from_millis(250);

/// Where seqs for freshness come from.
#[async_trait]
pub trait FreshnessProbe: Send + Sync {
    /// The seq that covers what the upstream has committed when this is called; waits until the buffer has it.
    async fn seq_of_latest(&self) -> Result<CommitSeq>;

    /// A table that makes `catalog` less than the latest state, although it holds every commit: its copy is still to
    /// come. `None` if there is none, or nothing will bring it.
    fn missing_table(&self, catalog: &Catalog) -> Option<TableName>;

    /// The seq that covers a position; waits until the buffer has it.
    async fn seq_of(&self, position: &SourcePosition) -> Result<CommitSeq>;
}

/// Settings of a latch.
#[derive(Clone, Debug)]
pub struct LatchOptions {
    /// Where epochs are kept.
    pub dir: PathBuf,
    /// Readers wait for this seq after a restart: nobody may see an older state than one already served.
    pub ready_at: CommitSeq,
    /// How long a published seq can still be pinned.
    pub retention: Duration,
}

impl LatchOptions {
    /// The defaults: 5 s of retention.
    pub fn new(dir: impl Into<PathBuf>, ready_at: CommitSeq) -> LatchOptions {
        LatchOptions { dir: dir.into(), ready_at, retention: Duration::from_secs(5) }
    }
}

/// The Latch Service of one process.
pub struct LocalLatch {
    engine: Arc<dyn StoreEngine>,
    probe: Arc<dyn FreshnessProbe>,
    ready_at: CommitSeq,
    leases: Mutex<Leases>,
    epochs: EpochFile,
    this: Weak<LocalLatch>,
}

impl LocalLatch {
    /// Opens the service. Must be called within a tokio runtime: it sweeps lapsed leases in the background for as
    /// long as it lives.
    ///
    /// # Errors
    /// If the epoch file cannot be read.
    pub fn open(
        options: LatchOptions,
        engine: Arc<dyn StoreEngine>,
        probe: Arc<dyn FreshnessProbe>,
    ) -> Result<Arc<LocalLatch>> {
        let epochs = EpochFile::open(&options.dir)?;
        let published = engine.published_seq();
        let leases = Mutex::new(Leases::new(options.retention, published, Instant::now()));
        let latch = Arc::new_cyclic(|this| LocalLatch {
            engine,
            probe,
            ready_at: options.ready_at,
            leases,
            epochs,
            this: this.clone(),
        });
        tokio::spawn(sweep(Arc::downgrade(&latch)));
        Ok(latch)
    }

    /// Number of live leases.
    #[must_use]
    pub fn live_leases(&self) -> usize {
        self.leases.lock().len()
    }

    fn observe(&self) {
        let published = self.engine.published_seq();
        let horizon = {
            let mut leases = self.leases.lock();
            leases.observe(published, Instant::now());
            metrics::gauge!("tidelake_latch_leases").set(leases.len() as f64);
            leases.horizon()
        };
        self.engine.set_horizon(horizon);
    }

    async fn wait_published(&self, wanted: CommitSeq) -> Result<()> {
        let mut published = self.engine.published();
        published.wait_for(|p| p.seq >= wanted).await.map_err(|_| Error::Closed("the engine has ended".into()))?;
        Ok(())
    }

    async fn reach(&self, freshness: &Freshness) -> Result<()> {
        self.wait_published(self.ready_at).await?;
        let wanted = match freshness {
            Freshness::Any => return Ok(()),
            Freshness::AtLeast(position) => self.probe.seq_of(position).await?,
            Freshness::Latest => self.probe.seq_of_latest().await?,
            Freshness::AtSeq(seq) => *seq,
        };
        self.wait_published(wanted).await
    }

    async fn reach_and_pin(&self, freshness: &Freshness, ttl: Duration) -> Result<SnapshotLease> {
        self.reach(freshness).await?;
        match freshness {
            Freshness::AtSeq(seq) => self.pin(Some(*seq), ttl),
            Freshness::Latest => self.pin_whole(ttl).await,
            Freshness::Any | Freshness::AtLeast(_) => self.pin(None, ttl),
        }
    }

    /// Pins the first seq from now on at which no table waits for its copy. The question is put to the pinned seq: a
    /// table may stop for a re-sync at any commit.
    async fn pin_whole(&self, ttl: Duration) -> Result<SnapshotLease> {
        let mut published = self.engine.published();
        loop {
            published.mark_unchanged();
            let lease = self.pin(None, ttl)?;
            if self.probe.missing_table(&*self.engine.catalog(lease.seq())?).is_none() {
                return Ok(lease);
            }
            drop(lease);
            published.changed().await.map_err(|_| Error::Closed("the engine has ended".into()))?;
        }
    }

    fn pin(&self, exactly: Option<CommitSeq>, ttl: Duration) -> Result<SnapshotLease> {
        let (id, seq) = {
            let mut leases = self.leases.lock();
            let seq = exactly.unwrap_or_else(|| self.engine.published_seq());
            (leases.pin(seq, Instant::now() + ttl)?, seq)
        };
        let release = Release { latch: self.this.clone(), id };
        Ok(SnapshotLease::new(id, seq, Arc::new(release)))
    }

    fn missing_table(&self, seq: CommitSeq) -> Option<TableName> {
        self.engine.catalog(seq).ok().and_then(|catalog| self.probe.missing_table(&catalog))
    }

    fn too_late(&self, freshness: &Freshness, wait: Duration) -> Error {
        let published = self.engine.published().borrow().clone();
        let what = match freshness {
            _ if published.seq < self.ready_at => format!("seq {} (replaying after a restart)", self.ready_at),
            Freshness::Any => "a snapshot".to_owned(),
            Freshness::AtLeast(position) => format!("upstream position {position}"),
            Freshness::Latest => match self.missing_table(published.seq) {
                Some(table) => format!("the copy of table {table}"),
                None => "the upstream's latest commit (or a table's initial copy)".to_owned(),
            },
            Freshness::AtSeq(seq) => format!("seq {seq}"),
        };
        Error::Timeout(format!(
            "waited {wait:?} for {what}; readable is seq {} at {}: look at `tidelake status`, raise \
             tidelake_freshness_timeout, or read with tidelake_freshness = 'any'",
            published.seq, published.position
        ))
    }
}

#[async_trait]
impl Latch for LocalLatch {
    async fn acquire(&self, freshness: Freshness, ttl: Duration, wait: Duration) -> Result<SnapshotLease> {
        match tokio::time::timeout(wait, self.reach_and_pin(&freshness, ttl)).await {
            Ok(pinned) => pinned,
            Err(_) => Err(self.too_late(&freshness, wait)),
        }
    }

    fn renew(&self, lease: &SnapshotLease, ttl: Duration) -> Result<()> {
        let now = Instant::now();
        self.leases.lock().renew(lease.id(), now, now + ttl)
    }

    fn check(&self, lease: &SnapshotLease) -> Result<()> {
        self.leases.lock().check(lease.id(), Instant::now())
    }

    fn grant_writer(&self) -> Result<WriterEpoch> {
        self.epochs.next()
    }

    fn horizon(&self) -> CommitSeq {
        self.leases.lock().horizon()
    }
}

/// Dropped with the last clone of a lease.
struct Release {
    latch: Weak<LocalLatch>,
    id: u64,
}

impl Drop for Release {
    fn drop(&mut self) {
        if let Some(latch) = self.latch.upgrade() {
            latch.leases.lock().release(self.id);
        }
    }
}

async fn sweep(latch: Weak<LocalLatch>) {
    while let Some(latch) = latch.upgrade() {
        latch.observe();
        drop(latch);
        tokio::time::sleep(SWEEP).await;
    }
}
