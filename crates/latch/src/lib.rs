//! The Latch Service, in process: leases pin snapshots for readers, epochs fence writers, the horizon tells the
//! engine which versions nobody may ask for any more.
//!
//! Words: a lease *lives* until it is released or its time to live has passed without renewal, then it has
//! *lapsed*. The *horizon* is the oldest seq a reader may still ask for: at or below every live lease, at or below
//! what was published a *grace* ago, so that a reader who just learned of a seq can still pin it, and at or below the begin of
//! the *window*: what upstream had committed a *retention* ago.
//!
//! Rooms: `epoch` durable writer epochs; `leases` the pure state of leases and horizon; `travel` snapshots of the past; `replica` what
//! is coordinated, one engine or, for a process of its own, a [`Fleet`] of them; `book` what such a process must not forget, in a `backend`.

pub mod backend;

mod book;
mod epoch;
mod fleet;
mod leases;
mod replica;
#[cfg(test)]
mod tests;
mod travel;

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tidelake_core::ports::{Freshness, Latch, SnapshotLease, StoreEngine};
use tidelake_core::{Catalog, CommitSeq, Error, Moment, Result, SourcePosition, TableName, WriterEpoch, env};

pub use book::{Ancestor, Book, Page};
use epoch::EpochFile;
pub use fleet::{Fleet, Report, Showable, Standing};
use leases::{Clock, Leases, Published};
use replica::OneEngine;
pub use replica::{Epochs, Replica};

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

    /// Waits until the buffer has everything that upstream had committed at this moment.
    async fn read_past(&self, moment: &Moment) -> Result<()>;

    /// The newest seq that holds nothing committed after the moment ([`tidelake_core::ports::Buffer::seq_at`]).
    fn seq_at(&self, moment: &Moment) -> Result<Option<CommitSeq>>;

    /// Both in one: the seq that shows the moment, once everything up to it was read.
    async fn seq_read_at(&self, moment: &Moment) -> Result<Option<CommitSeq>> {
        self.read_past(moment).await?;
        self.seq_at(moment)
    }

    /// When upstream committed it, microseconds since 1970 UTC, if that is known.
    fn commit_time(&self, seq: CommitSeq) -> Result<Option<i64>>;

    /// Readers wait for this seq too, if [`LatchOptions::ready_at`] is not known when the latch opens; waits until it is.
    async fn ready_at(&self) -> Result<CommitSeq> {
        Ok(CommitSeq::ZERO)
    }

    /// Why questions may wait long, if that is known.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// Settings of a latch.
#[derive(Clone, Debug)]
pub struct LatchOptions {
    /// Where epochs are kept.
    pub dir: PathBuf,
    /// Readers wait for this seq after a restart: nobody may see an older state than one already served.
    pub ready_at: CommitSeq,
    /// How long a published seq can still be pinned.
    pub grace: Duration,
    /// How long, by the upstream's commit times, the past can be read.
    pub retention: Duration,
}

impl LatchOptions {
    /// The defaults: 5 s of grace, no past.
    pub fn new(dir: impl Into<PathBuf>, ready_at: CommitSeq) -> LatchOptions {
        LatchOptions { dir: dir.into(), ready_at, grace: Duration::from_secs(5), retention: Duration::ZERO }
    }
}

/// The Latch Service of one process.
pub struct LocalLatch {
    engine: Arc<dyn Replica>,
    probe: Arc<dyn FreshnessProbe>,
    ready_at: CommitSeq,
    grace: Duration,
    retention: Duration,
    leases: Mutex<Leases>,
    epochs: Arc<dyn Epochs>,
    this: Weak<LocalLatch>,
}

impl LocalLatch {
    /// Opens the service. Must be called within a tokio runtime: it sweeps lapsed leases in the background for as
    /// long as it lives.
    ///
    /// # Errors
    /// If the epoch file cannot be read, or what is known of commit times.
    pub fn open(
        options: LatchOptions,
        engine: Arc<dyn StoreEngine>,
        probe: Arc<dyn FreshnessProbe>,
    ) -> Result<Arc<LocalLatch>> {
        let epochs = Arc::new(EpochFile::open(&options.dir)?);
        LocalLatch::over(options, Arc::new(OneEngine(engine)), epochs, probe)
    }

    /// The same over whatever is coordinated, with epochs from elsewhere; the options' directory is not used.
    ///
    /// # Errors
    /// If what is known of commit times cannot be read.
    pub fn over(
        options: LatchOptions,
        engine: Arc<dyn Replica>,
        epochs: Arc<dyn Epochs>,
        probe: Arc<dyn FreshnessProbe>,
    ) -> Result<Arc<LocalLatch>> {
        let (clock, grace, retention) = (Clock::now(), options.grace, options.retention);
        let oldest = travel::window_begin(&*engine, &*probe, retention, clock.wall_us)?;
        let leases = Mutex::new(Leases::new(grace, retention, oldest, published(&*engine, &*probe), clock));
        let latch = Arc::new_cyclic(|this| LocalLatch {
            engine,
            probe,
            ready_at: options.ready_at,
            grace,
            retention,
            leases,
            epochs,
            this: this.clone(),
        });
        tokio::spawn(sweep(Arc::downgrade(&latch)));
        Ok(latch)
    }

    /// Ends every lease, and forgets what was published: seqs mean something else from now on.
    pub fn begin_again(&self) {
        let published = published(&*self.engine, &*self.probe);
        self.leases.lock().begin_again(self.grace, self.retention, published, Clock::now());
    }

    /// Number of live leases.
    #[must_use]
    pub fn live_leases(&self) -> usize {
        self.leases.lock().len()
    }

    fn observe(&self) {
        let published = published(&*self.engine, &*self.probe);
        let horizon = {
            let mut leases = self.leases.lock();
            leases.observe(published, Clock::now());
            metrics::gauge!("tidelake_latch_leases").set(leases.len() as f64);
            metrics::gauge!("tidelake_latch_published_seq").set(published.seq.0 as f64);
            leases.horizon()
        };
        self.engine.set_horizon(horizon);
    }

    async fn wait_published(&self, wanted: CommitSeq) -> Result<()> {
        let mut published = self.engine.published();
        published.wait_for(|p| p.seq >= wanted).await.map_err(|_| Error::Closed("the engine has ended".into()))?;
        Ok(())
    }

    /// Waits until it can be read; the seq that was waited for.
    async fn reach(&self, freshness: &Freshness) -> Result<CommitSeq> {
        let ready_at = self.probe.ready_at().await?.max(self.ready_at);
        self.wait_published(ready_at).await?;
        let wanted = match freshness {
            Freshness::Any => return Ok(ready_at),
            Freshness::AtLeast(position) => self.probe.seq_of(position).await?,
            Freshness::Latest => self.probe.seq_of_latest().await?,
            Freshness::AtSeq(seq) => *seq,
            Freshness::At(moment) => self.seq_at(moment).await?,
        };
        self.wait_published(wanted).await?;
        Ok(wanted)
    }

    async fn reach_and_pin(&self, freshness: &Freshness, ttl: Duration) -> Result<SnapshotLease> {
        let reached = self.reach(freshness).await?;
        match freshness {
            Freshness::AtSeq(_) | Freshness::At(_) => self.pin(Some(reached), ttl),
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
            if self.engine.missing_table(lease.seq(), &*self.probe)?.is_none() {
                return Ok(lease);
            }
            drop(lease);
            published.changed().await.map_err(|_| Error::Closed("the engine has ended".into()))?;
        }
    }

    fn pin(&self, exactly: Option<CommitSeq>, ttl: Duration) -> Result<SnapshotLease> {
        let (id, seq) = {
            let mut leases = self.leases.lock();
            let seq = exactly.unwrap_or_else(|| self.engine.published().borrow().seq);
            // What the engine let go of before this service began is no more in its window either.
            let kept = seq >= self.engine.horizon();
            (kept.then(|| leases.pin(seq, env::now() + ttl)).flatten(), seq)
        };
        let id = id.ok_or_else(|| self.too_old(&format!("seq {seq}")))?;
        let release = Release { latch: self.this.clone(), id };
        Ok(SnapshotLease::new(id, seq, Arc::new(release)))
    }

    fn missing_table(&self, seq: CommitSeq) -> Option<TableName> {
        self.engine.missing_table(seq, &*self.probe).ok().flatten()
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
            Freshness::At(moment) => format!("everything up to {moment}"),
        };
        let trouble = self.probe.trouble().map_or_else(String::new, |trouble| format!(" ({trouble})"));
        Error::Timeout(format!(
            "waited {wait:?} for {what}{trouble}; readable is seq {} at {}: look at `tidelake status`, raise \
             tidelake_freshness_timeout, or read with tidelake_freshness = 'any'",
            published.seq, published.position
        ))
    }
}

#[async_trait]
impl Latch for LocalLatch {
    async fn acquire(&self, freshness: Freshness, ttl: Duration, wait: Duration) -> Result<SnapshotLease> {
        match env::timeout(wait, self.reach_and_pin(&freshness, ttl)).await {
            Ok(pinned) => pinned,
            Err(_) => Err(self.too_late(&freshness, wait)),
        }
    }

    fn renew(&self, lease: &SnapshotLease, ttl: Duration) -> Result<()> {
        let now = env::now();
        self.leases.lock().renew(lease.id(), now, now + ttl)
    }

    fn check(&self, lease: &SnapshotLease) -> Result<()> {
        self.leases.lock().check(lease.id(), env::now())
    }

    fn grant_writer(&self) -> Result<WriterEpoch> {
        self.epochs.next()
    }

    fn horizon(&self) -> CommitSeq {
        self.leases.lock().horizon()
    }
}

/// What the engine shows now, and when upstream committed it: not what its position says, which a session may have set back.
fn published(engine: &dyn Replica, probe: &dyn FreshnessProbe) -> Published {
    let progress = engine.published().borrow().clone();
    let known = probe.commit_time(progress.seq).unwrap_or_else(|error| {
        tracing::warn!(%error, seq = %progress.seq, "the commit time of what is published cannot be looked up");
        None
    });
    Published { seq: progress.seq, commit_time_us: known.unwrap_or(progress.position.commit_time_us) }
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
        env::sleep(SWEEP).await;
    }
}
