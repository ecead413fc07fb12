use tidelake_core::ports::store::Progress;
use tidelake_core::ports::{BatchStream, ScanPlan, ScanRequest, ScanSplit, StoreWriter, TableStats};
use tidelake_core::testing::tables::accounts;
use tidelake_core::{Catalog, SchemaChange, TableId, TableState};
use tokio::sync::watch;

use super::*;

/// An engine of which only the published seq and the horizon matter.
struct Seqs {
    published: watch::Sender<Progress>,
    horizon: Mutex<CommitSeq>,
    catalog: Mutex<Arc<Catalog>>,
}

impl Seqs {
    fn publish(&self, seq: u64) {
        self.published.send_modify(|p| p.seq = CommitSeq(seq));
    }
}

#[async_trait]
impl StoreEngine for Seqs {
    async fn open_writer(&self, _: WriterEpoch) -> Result<Box<dyn StoreWriter>> {
        Err(Error::Internal("no writer here".into()))
    }
    fn published(&self) -> watch::Receiver<Progress> {
        self.published.subscribe()
    }
    fn durable(&self) -> watch::Receiver<Progress> {
        self.published.subscribe()
    }
    fn catalog(&self, _: CommitSeq) -> Result<Arc<Catalog>> {
        Ok(self.catalog.lock().clone())
    }
    async fn plan_scan(&self, _: &ScanRequest) -> Result<ScanPlan> {
        Err(Error::Internal("no rows here".into()))
    }
    async fn read_split(&self, _: &ScanSplit) -> Result<BatchStream> {
        Err(Error::Internal("no rows here".into()))
    }
    fn set_horizon(&self, seq: CommitSeq) {
        *self.horizon.lock() = seq;
    }
    async fn flush(&self) -> Result<CommitSeq> {
        Ok(self.published.borrow().seq)
    }
    fn table_stats(&self, _: TableId) -> Result<TableStats> {
        Ok(TableStats::default())
    }
    fn unflushed_bytes(&self) -> u64 {
        0
    }
}

/// Knows the latest seq.
struct LatestIs(CommitSeq);

#[async_trait]
impl FreshnessProbe for LatestIs {
    async fn seq_of_latest(&self) -> Result<CommitSeq> {
        Ok(self.0)
    }
    fn missing_table(&self, catalog: &Catalog) -> Option<TableName> {
        catalog.awaiting_copy().cloned()
    }
    async fn seq_of(&self, position: &SourcePosition) -> Result<CommitSeq> {
        Ok(CommitSeq(position.minor))
    }
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(30);

fn engine(published: u64) -> Arc<Seqs> {
    let progress = Progress { seq: CommitSeq(published), ..Progress::default() };
    Arc::new(Seqs { published: watch::Sender::new(progress), horizon: Mutex::default(), catalog: Mutex::default() })
}

fn latch(engine: &Arc<Seqs>, dir: &std::path::Path, ready_at: u64, latest: u64) -> Arc<LocalLatch> {
    let options = LatchOptions { retention: Duration::ZERO, ..LatchOptions::new(dir, CommitSeq(ready_at)) };
    LocalLatch::open(options, engine.clone(), Arc::new(LatestIs(CommitSeq(latest)))).expect("open")
}

#[tokio::test]
async fn a_live_lease_holds_the_horizon() {
    let (dir, engine) = (tempfile::tempdir().expect("tempdir"), engine(5));
    let latch = latch(&engine, dir.path(), 0, 0);
    let lease = latch.acquire(Freshness::Any, LONG, SHORT).await.expect("lease");
    let clone = lease.clone();
    assert_eq!(lease.seq(), CommitSeq(5));
    for seq in 6..20 {
        engine.publish(seq);
        latch.observe();
    }
    assert_eq!(latch.horizon(), CommitSeq(5));
    assert_eq!(*engine.horizon.lock(), CommitSeq(5));
    drop(lease);
    latch.observe();
    assert_eq!(latch.horizon(), CommitSeq(5), "the clone still holds it");
    drop(clone);
    latch.observe();
    assert_eq!(*engine.horizon.lock(), CommitSeq(19));
}

#[tokio::test]
async fn inv8_a_lapsed_lease_is_refused_for_good() {
    let (dir, engine) = (tempfile::tempdir().expect("tempdir"), engine(5));
    let latch = latch(&engine, dir.path(), 0, 0);
    let lease = latch.acquire(Freshness::Any, SHORT, SHORT).await.expect("lease");
    assert!(latch.check(&lease).is_ok());
    tokio::time::sleep(SHORT * 2).await;
    assert!(matches!(latch.check(&lease), Err(Error::SnapshotExpired(_))));
    assert!(matches!(latch.renew(&lease, LONG), Err(Error::SnapshotExpired(_))));
    assert!(matches!(latch.check(&lease), Err(Error::SnapshotExpired(_))), "no way back");
}

#[tokio::test]
async fn a_renewed_lease_lives_on() {
    let (dir, engine) = (tempfile::tempdir().expect("tempdir"), engine(5));
    let latch = latch(&engine, dir.path(), 0, 0);
    let lease = latch.acquire(Freshness::Any, SHORT, SHORT).await.expect("lease");
    latch.renew(&lease, LONG).expect("renew");
    tokio::time::sleep(SHORT * 2).await;
    latch.check(&lease).expect("still live");
}

#[tokio::test]
async fn latest_waits_until_it_is_readable() {
    let (dir, engine) = (tempfile::tempdir().expect("tempdir"), engine(5));
    let latch = latch(&engine, dir.path(), 0, 8);
    let waiting = tokio::spawn({
        let latch = latch.clone();
        async move { latch.acquire(Freshness::Latest, LONG, LONG).await }
    });
    tokio::time::sleep(SHORT).await;
    assert!(!waiting.is_finished());
    engine.publish(9);
    assert_eq!(waiting.await.expect("task").expect("lease").seq(), CommitSeq(9));
}

#[tokio::test]
async fn latest_that_does_not_come_is_a_clear_error() {
    let (dir, engine) = (tempfile::tempdir().expect("tempdir"), engine(5));
    let latch = latch(&engine, dir.path(), 0, 8);
    let error = latch.acquire(Freshness::Latest, LONG, SHORT).await.expect_err("too late");
    let text = error.to_string();
    assert!(matches!(error, Error::Timeout(_)) && text.contains("seq 5") && text.contains("timeout"), "{text}");
}

#[tokio::test]
async fn inv7_readers_wait_for_the_replay_after_a_restart() {
    let (dir, engine) = (tempfile::tempdir().expect("tempdir"), engine(5));
    let latch = latch(&engine, dir.path(), 7, 0);
    assert!(matches!(latch.acquire(Freshness::Any, LONG, SHORT).await, Err(Error::Timeout(_))));
    engine.publish(7);
    assert_eq!(latch.acquire(Freshness::Any, LONG, SHORT).await.expect("lease").seq(), CommitSeq(7));
}

#[tokio::test]
async fn below_the_horizon_nothing_can_be_pinned() {
    let (dir, engine) = (tempfile::tempdir().expect("tempdir"), engine(5));
    let latch = latch(&engine, dir.path(), 0, 0);
    engine.publish(9);
    latch.observe();
    latch.observe();
    let refused = latch.acquire(Freshness::AtSeq(CommitSeq(6)), LONG, SHORT).await;
    assert!(matches!(refused, Err(Error::SnapshotExpired(_))), "{refused:?}");
    assert!(latch.acquire(Freshness::AtSeq(CommitSeq(9)), LONG, SHORT).await.is_ok());
}

#[tokio::test]
async fn inv9_epochs_grow_across_restarts() {
    let (dir, engine) = (tempfile::tempdir().expect("tempdir"), engine(0));
    let first = latch(&engine, dir.path(), 0, 0).grant_writer().expect("epoch");
    let second = latch(&engine, dir.path(), 0, 0).grant_writer().expect("epoch");
    assert!(second > first);
    std::fs::write(dir.path().join("epoch"), "x").expect("write");
    let options = LatchOptions::new(dir.path(), CommitSeq::ZERO);
    let refused = LocalLatch::open(options, engine, Arc::new(LatestIs(CommitSeq::ZERO)));
    assert!(refused.is_err_and(|e| e.to_string().contains("epoch")));
}

#[test]
fn retention_keeps_what_was_just_published() {
    let start = Instant::now();
    let mut leases = Leases::new(Duration::from_secs(5), CommitSeq(1), start);
    leases.observe(CommitSeq(2), start + Duration::from_secs(1));
    leases.observe(CommitSeq(3), start + Duration::from_secs(4));
    assert_eq!(leases.horizon(), CommitSeq(1));
    leases.observe(CommitSeq(3), start + Duration::from_secs(6));
    assert_eq!(leases.horizon(), CommitSeq(2));
    leases.observe(CommitSeq(3), start + Duration::from_secs(9));
    assert_eq!(leases.horizon(), CommitSeq(3));
}

/// A catalog with one table in this state.
fn catalog_with(state: TableState) -> Arc<Catalog> {
    let def = Box::new(accounts(1, "accounts"));
    let mut catalog = Catalog::default();
    catalog.apply(CommitSeq(1), &SchemaChange::CreateTable { def, state }).expect("fits");
    Arc::new(catalog)
}

fn stopped(reason: &str) -> TableState {
    TableState::Stopped { reason: reason.into(), at: SourcePosition::default() }
}

#[tokio::test]
async fn latest_waits_for_a_table_that_stopped_until_it_is_copied_again() {
    let (dir, engine) = (tempfile::tempdir().expect("tempdir"), engine(5));
    *engine.catalog.lock() = catalog_with(stopped("resync: its key was dropped"));
    let latch = latch(&engine, dir.path(), 0, 5);
    assert!(latch.acquire(Freshness::Any, LONG, SHORT).await.is_ok(), "any does not wait");
    let error = latch.acquire(Freshness::Latest, LONG, SHORT).await.expect_err("it is not there").to_string();
    assert!(error.contains(".accounts"), "{error}");
    let waiting = tokio::spawn(async move { latch.acquire(Freshness::Latest, LONG, LONG).await });
    tokio::time::sleep(SHORT).await;
    assert!(!waiting.is_finished());
    *engine.catalog.lock() = catalog_with(TableState::Live);
    engine.publish(6);
    assert_eq!(waiting.await.expect("joined").expect("lease").seq(), CommitSeq(6));
}

#[tokio::test]
async fn latest_does_not_wait_for_a_table_that_nothing_brings_back() {
    let (dir, engine) = (tempfile::tempdir().expect("tempdir"), engine(5));
    *engine.catalog.lock() = catalog_with(stopped("a row did not fit"));
    let latch = latch(&engine, dir.path(), 0, 5);
    assert!(latch.acquire(Freshness::Latest, LONG, SHORT).await.is_ok());
}
