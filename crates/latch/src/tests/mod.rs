#![allow(clippy::disallowed_methods, reason = "real time passes in these tests")]

mod backends;
mod fleet;

use std::time::Instant;

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
    fn horizon(&self) -> CommitSeq {
        *self.horizon.lock()
    }
    fn set_horizon(&self, seq: CommitSeq) {
        let mut horizon = self.horizon.lock();
        *horizon = seq.max(*horizon);
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

/// Knows the latest seq, and that seq n was committed at second n since 1970.
struct LatestIs(CommitSeq);

const SECOND: i64 = 1_000_000;

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
    async fn read_past(&self, _: &Moment) -> Result<()> {
        Ok(())
    }
    fn seq_at(&self, moment: &Moment) -> Result<Option<CommitSeq>> {
        let seq = match moment {
            Moment::Time(us) => (us / SECOND).cast_unsigned(),
            Moment::Position(at) => at.minor,
        };
        Ok(Some(CommitSeq(seq.min(self.0.0))).filter(|seq| seq.0 > 0))
    }
    fn commit_time(&self, seq: CommitSeq) -> Result<Option<i64>> {
        Ok(Some(seq.0.cast_signed() * SECOND))
    }
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(30);

fn engine(published: u64) -> Arc<Seqs> {
    let progress = Progress { seq: CommitSeq(published), ..Progress::default() };
    Arc::new(Seqs { published: watch::Sender::new(progress), horizon: Mutex::default(), catalog: Mutex::default() })
}

fn latch(engine: &Arc<Seqs>, dir: &std::path::Path, ready_at: u64, latest: u64) -> Arc<LocalLatch> {
    let options = LatchOptions { grace: Duration::ZERO, ..LatchOptions::new(dir, CommitSeq(ready_at)) };
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

/// Seq n, committed n seconds after the begin of time.
fn at_second(n: u64) -> Published {
    Published { seq: CommitSeq(n), commit_time_us: n.cast_signed() * SECOND }
}

/// The clock n seconds after `start`; the wall clock says n seconds after the begin of time.
fn clock(start: Instant, n: u64) -> Clock {
    Clock { steady: start + Duration::from_secs(n), wall_us: n.cast_signed() * SECOND }
}

#[test]
fn grace_keeps_what_was_just_published() {
    let start = Instant::now();
    let seq = |n| Published { seq: CommitSeq(n), commit_time_us: 0 };
    let mut leases = Leases::new(Duration::from_secs(5), Duration::ZERO, CommitSeq(1), seq(1), clock(start, 0));
    leases.observe(seq(2), clock(start, 1));
    leases.observe(seq(3), clock(start, 4));
    assert_eq!(leases.horizon(), CommitSeq(1));
    leases.observe(seq(3), clock(start, 6));
    assert_eq!(leases.horizon(), CommitSeq(2));
    leases.observe(seq(3), clock(start, 9));
    assert_eq!(leases.horizon(), CommitSeq(3));
}

/// By commit times: 100 s back, whatever was published in between; a lease holds the horizon beyond the window.
#[test]
fn the_window_holds_the_horizon() {
    let (start, retention) = (Instant::now(), Duration::from_secs(100));
    let mut leases = Leases::new(Duration::ZERO, retention, CommitSeq(1), at_second(1), clock(start, 1));
    for n in 2..=99 {
        leases.observe(at_second(n), clock(start, n));
        assert_eq!(leases.horizon(), CommitSeq(1));
    }
    leases.observe(at_second(150), clock(start, 150));
    assert_eq!(leases.horizon(), CommitSeq(50), "what was committed 100 s ago is the oldest");
    assert!(leases.pin(CommitSeq(49), start + Duration::from_secs(1000)).is_none());
    let lease = leases.pin(CommitSeq(50), start + Duration::from_secs(1000)).expect("at the horizon");
    leases.observe(at_second(300), clock(start, 300));
    assert_eq!(leases.horizon(), CommitSeq(50));
    leases.release(lease);
    leases.observe(at_second(300), clock(start, 301));
    assert_eq!(leases.horizon(), CommitSeq(150), "the newest that is 100 s old");
    leases.observe(at_second(300), clock(start, 400));
    assert_eq!(leases.horizon(), CommitSeq(300), "an idle upstream leaves one state");
}

/// While a backlog is caught up, nothing published is as young as the window: only the grace holds the horizon.
#[test]
fn a_backlog_is_not_kept() {
    let (start, hour) = (Instant::now(), 3600);
    let mut leases =
        Leases::new(Duration::from_secs(5), Duration::from_secs(100), CommitSeq(1), at_second(1), clock(start, hour));
    for n in 2..=60 {
        leases.observe(at_second(n), clock(start, hour + n));
    }
    assert_eq!(leases.horizon(), CommitSeq(55));
}

/// However often is looked, a retention is some thousand samples; the horizon is late by one of them at most.
#[test]
fn a_long_window_is_a_bounded_number_of_samples() {
    let (start, retention) = (Instant::now(), Duration::from_secs(40_960));
    let mut leases = Leases::new(Duration::ZERO, retention, CommitSeq(1), at_second(1), clock(start, 1));
    for n in 2..=100_000 {
        leases.observe(at_second(n), clock(start, n));
        assert!(leases.samples() <= 4_700, "{}", leases.samples());
    }
    let wanted = 100_000 - 40_960;
    assert!((wanted - 20..=wanted).contains(&leases.horizon().0), "{}", leases.horizon());
}

fn travelling(engine: &Arc<Seqs>, dir: &std::path::Path, latest: u64) -> Arc<LocalLatch> {
    let options = LatchOptions {
        grace: Duration::ZERO,
        retention: Duration::from_secs(1 << 40),
        ..LatchOptions::new(dir, CommitSeq::ZERO)
    };
    LocalLatch::open(options, engine.clone(), Arc::new(LatestIs(CommitSeq(latest)))).expect("open")
}

#[tokio::test]
async fn a_moment_is_a_seq() {
    let (dir, engine) = (tempfile::tempdir().expect("tempdir"), engine(9));
    let latch = travelling(&engine, dir.path(), 12);
    let at = |moment| latch.acquire(Freshness::At(moment), LONG, SHORT);
    assert_eq!(at(Moment::Time(7 * SECOND)).await.expect("lease").seq(), CommitSeq(7));
    assert_eq!(at(Moment::Time(8 * SECOND - 1)).await.expect("lease").seq(), CommitSeq(7));
    let position = SourcePosition { minor: 8, ..SourcePosition::default() };
    assert_eq!(at(Moment::Position(position)).await.expect("lease").seq(), CommitSeq(8));
    let late = at(Moment::Time(12 * SECOND)).await.expect_err("not published yet");
    assert!(matches!(&late, Error::Timeout(text) if text.contains("1970-01-01 00:00:12 UTC")), "{late}");
    let future = at(Moment::Time(tidelake_core::moment::now_us() + 60 * SECOND)).await.expect_err("in the future");
    assert!(matches!(&future, Error::Invalid(text) if text.contains("future")), "{future}");
}

#[tokio::test]
async fn a_moment_outside_the_window_is_refused_with_the_window() {
    let (dir, engine) = (tempfile::tempdir().expect("tempdir"), engine(9));
    let latch = travelling(&engine, dir.path(), 9);
    engine.set_horizon(CommitSeq(4));
    let at = |seq: i64| latch.acquire(Freshness::At(Moment::Time(seq * SECOND)), LONG, SHORT);
    for seq in [0, 3] {
        let refused = at(seq).await.expect_err("too old").to_string();
        assert!(refused.contains("outside the window") && refused.contains("seq 4, committed at"), "{refused}");
    }
    assert!(at(4).await.is_ok());
}

/// A second that is not over may gain commits: whoever asks for it waits for its end.
#[tokio::test]
async fn the_current_second_is_waited_for() {
    let (dir, engine) = (tempfile::tempdir().expect("tempdir"), engine(9));
    let latch = travelling(&engine, dir.path(), 9);
    let begun = Instant::now();
    let now = tidelake_core::moment::now_us();
    assert!(latch.acquire(Freshness::At(Moment::Time(now)), LONG, LONG).await.is_ok());
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
}

/// After a restart the window begins where it did, not at what is durable.
#[tokio::test]
async fn a_restart_keeps_the_window() {
    let (dir, engine) = (tempfile::tempdir().expect("tempdir"), engine(9));
    let now = (tidelake_core::moment::now_us() / SECOND).cast_unsigned();
    let options = LatchOptions {
        grace: Duration::ZERO,
        retention: Duration::from_secs(now - 5),
        ..LatchOptions::new(dir.path(), CommitSeq::ZERO)
    };
    let latch = LocalLatch::open(options, engine.clone(), Arc::new(LatestIs(CommitSeq(9)))).expect("open");
    latch.observe();
    assert!((5..9).contains(&latch.horizon().0), "{}", latch.horizon());
    assert_eq!(*engine.horizon.lock(), latch.horizon());
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
