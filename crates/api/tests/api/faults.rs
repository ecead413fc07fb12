//! Lines that are cut, servers that restart, readers that are too slow: an error, never fewer rows or other ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use futures::{StreamExt, TryStreamExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_api::{Connection, FlightStore, RemoteLatch};
use tidelake_core::ports::{Freshness, Latch, ScanRequest, ScanSplit, StoreEngine, StoreWriter};
use tidelake_core::testing::tables::{Row, accounts, create, inserts, int, position, text};
use tidelake_core::{CommitSeq, Error, Result, TableId};
use tidelake_testkit::TcpProxy;

use crate::served::{Kind, Served, tempdir};

const LONG: Duration = Duration::from_secs(60);
const TABLE: TableId = TableId(1);
/// Rows of 2 KiB: more bytes than are on their way at a time.
const MANY: usize = 20_000;

/// A server behind a line that can be cut, and a client of it.
struct Line {
    kind: Kind,
    served: Option<Served>,
    proxy: TcpProxy,
    store: FlightStore,
    latch: RemoteLatch,
    writer: Box<dyn StoreWriter>,
    seq: u64,
}

async fn start(kind: &Kind) -> Served {
    let kind = kind.clone();
    tokio::task::spawn_blocking(move || Served::start(&kind)).await.expect("started")
}

impl Line {
    async fn open() -> Line {
        let kind = Kind::Engine(Arc::new(tempdir()));
        let served = start(&kind).await;
        let proxy = TcpProxy::start(served.address.port());
        let connection = Connection::open(&format!("http://127.0.0.1:{}", proxy.port())).expect("an address");
        let latch = RemoteLatch::over(connection.clone());
        let store = FlightStore::over(connection).await.expect("connect");
        let epoch = latch.grant_writer().expect("epoch");
        let mut writer = store.open_writer(epoch).await.expect("writer");
        writer.stage(create(&accounts(TABLE.0, "a"), 1)).await.expect("stage");
        writer.publish(CommitSeq(1), position(1)).await.expect("publish");
        Line { kind, served: Some(served), proxy, store, latch, writer, seq: 1 }
    }

    /// One transaction of new rows.
    async fn insert(&mut self, ids: std::ops::Range<usize>) -> Result<()> {
        self.seq += 1;
        let note = text(&"x".repeat(2048));
        let rows: Vec<Row> = ids.map(|id| vec![int(id as i64), int(10), note.clone()]).collect();
        self.writer.stage(inserts(&accounts(TABLE.0, "a"), self.seq, &rows)).await?;
        self.writer.publish(CommitSeq(self.seq), position(self.seq)).await
    }

    async fn fill(&mut self) {
        for first in (0..MANY).step_by(2000) {
            self.insert(first..first + 2000).await.expect("inserted");
        }
    }

    /// The server ends and begins again, with what it had made durable.
    async fn restart(&mut self) {
        self.served = None;
        let served = start(&self.kind).await;
        self.proxy.lead_to(served.address.port());
        self.served = Some(served);
    }

    async fn splits(&self, request: &ScanRequest) -> Result<Vec<ScanSplit>> {
        Ok(self.store.plan_scan(request).await?.splits)
    }

    /// Rows of a split; what `between` does comes after each batch.
    async fn read(&self, split: &ScanSplit, mut between: impl FnMut(usize)) -> (usize, Result<()>) {
        let mut rows = 0;
        let mut batches = match self.store.read_split(split).await {
            Ok(batches) => batches,
            Err(e) => return (0, Err(e)),
        };
        while let Some(batch) = batches.next().await {
            match batch {
                Ok(batch) => rows += batch.num_rows(),
                Err(e) => return (rows, Err(e)),
            }
            between(rows);
        }
        (rows, Ok(()))
    }
}

/// Tried again while the line is being made anew.
async fn once_connected<T, F: Future<Output = Result<T>>>(mut ask: impl FnMut() -> F) -> Result<T> {
    let begun = Instant::now();
    loop {
        match ask().await {
            Err(Error::Unavailable(_)) if begun.elapsed() < LONG => tokio::time::sleep(Duration::from_millis(20)).await,
            other => return other,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_stream_is_an_error() {
    let mut line = Line::open().await;
    line.fill().await;
    let lease = line.latch.acquire(Freshness::Any, LONG, LONG).await.expect("lease");
    let request = ScanRequest::new(&lease, TABLE);
    let split = line.splits(&request).await.expect("a plan").remove(0);
    let mut rng = StdRng::seed_from_u64(5);
    let mut cut_short = 0;
    for _ in 0..15 {
        let at = rng.random_range(0..MANY * 3 / 4);
        let mut cut = false;
        let (rows, ended) = line
            .read(&split, |rows| {
                if rows >= at && !cut {
                    line.proxy.reset();
                    cut = true;
                }
            })
            .await;
        match ended {
            // What was on its way may have been all that was missing.
            Ok(()) => assert_eq!(rows, MANY, "a stream that ended well is whole"),
            Err(Error::Unavailable(_)) => cut_short += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(cut_short >= 10, "only {cut_short} of 15 streams were cut");
    let (rows, _) = once_connected(|| async {
        let (rows, ended) = line.read(&split, |_| {}).await;
        ended.map(|()| (rows, ()))
    })
    .await
    .expect("the line is up, and the lease lives");
    assert_eq!(rows, MANY);
}

/// Without a row yet, it is sent again until the line is there; with some, it is an error at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_that_lost_its_line_before_its_first_row_is_sent_again() {
    let mut line = Line::open().await;
    line.fill().await;
    let lease = line.latch.acquire(Freshness::Any, LONG, LONG).await.expect("lease");
    let split = line.splits(&ScanRequest::new(&lease, TABLE)).await.expect("a plan").remove(0);
    for _ in 0..3 {
        line.proxy.cut();
        let healed = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            line.proxy.heal();
        };
        let ((rows, ended), ()) = tokio::join!(line.read(&split, |_| {}), healed);
        ended.expect("it was sent again");
        assert_eq!(rows, MANY);
    }
    // A lease that is over is not waited for.
    line.restart().await;
    let begun = Instant::now();
    let (rows, ended) = line.read(&split, |_| {}).await;
    assert!(rows == 0 && matches!(ended, Err(Error::SnapshotExpired(_))), "{ended:?}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv8_a_stream_ends_with_its_lease() {
    let mut line = Line::open().await;
    line.fill().await;
    let short = Duration::from_millis(400);
    let lease = line.latch.acquire(Freshness::Any, short, LONG).await.expect("lease");
    let split = line.splits(&ScanRequest::new(&lease, TABLE)).await.expect("a plan").remove(0);
    let mut slept = false;
    let (rows, ended) = line
        .read(&split, |_| {
            if !slept {
                std::thread::sleep(short * 2);
                slept = true;
            }
        })
        .await;
    assert!(matches!(ended, Err(Error::SnapshotExpired(_))), "{ended:?} after {rows} rows");
    assert!(matches!(line.latch.check(&lease), Err(Error::SnapshotExpired(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv8_nothing_is_read_by_a_lease_of_before_a_restart() {
    let mut line = Line::open().await;
    line.insert(0..10).await.expect("inserted");
    line.store.flush().await.expect("flush");
    line.insert(10..30).await.expect("inserted");
    let lease = line.latch.acquire(Freshness::Any, LONG, LONG).await.expect("lease");
    assert_eq!(lease.seq(), CommitSeq(3));
    let request = ScanRequest::new(&lease, TABLE);
    let split = line.splits(&request).await.expect("a plan").remove(0);
    line.restart().await;

    let planned = once_connected(|| line.splits(&request)).await;
    assert!(matches!(planned, Err(Error::SnapshotExpired(_))), "{planned:?}");
    let (rows, ended) = line.read(&split, |_| {}).await;
    assert!(rows == 0 && matches!(ended, Err(Error::SnapshotExpired(_))), "{rows} rows, {ended:?}");
    // Nobody has told this process yet, so it is told when it renews.
    assert!(matches!(line.latch.renew(&lease, LONG), Err(Error::SnapshotExpired(_))));
    assert!(matches!(line.latch.check(&lease), Err(Error::SnapshotExpired(_))));
    // The writer of before is no writer any more, and what it had not made durable is to be sent again.
    assert!(matches!(line.insert(30..31).await, Err(Error::Closed(_))));
    let begun = Instant::now();
    while line.store.published_seq() != CommitSeq(2) {
        assert!(begun.elapsed() < LONG, "{} is shown as published", line.store.published_seq());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let lease = line.latch.acquire(Freshness::Any, LONG, LONG).await.expect("a new lease");
    let split = line.splits(&ScanRequest::new(&lease, TABLE)).await.expect("a plan").remove(0);
    let (rows, ended) = line.read(&split, |_| {}).await;
    ended.expect("reads");
    assert_eq!((lease.seq(), rows), (CommitSeq(2), 10));
    let epoch = line.latch.grant_writer().expect("epoch");
    (line.writer, line.seq) = (line.store.open_writer(epoch).await.expect("a new writer"), 2);
    line.insert(10..30).await.expect("sent again");
}

/// Leases of another connection are nothing that this one may name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_is_read_without_a_lease_of_the_connection() {
    let mut line = Line::open().await;
    line.insert(0..10).await.expect("inserted");
    let other = RemoteLatch::open(&line.served.as_ref().expect("up").url()).expect("an address");
    let lease = other.acquire(Freshness::Any, LONG, LONG).await.expect("lease");
    let split = line.splits(&ScanRequest::new(&lease, TABLE)).await.expect("a plan").remove(0);
    drop(lease);
    let (rows, ended) = line.read(&split, |_| {}).await;
    ended.expect("reads while the seq is kept");
    assert_eq!(rows, 10);
}

/// A step larger than a message is staged in pieces, a row larger than a piece in one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_rows_pass() {
    let mut line = Line::open().await;
    let def = accounts(TABLE.0, "a");
    let notes: Vec<String> = (1..=3).map(|n| char::from(b'a' + n).to_string().repeat(20 << 20)).collect();
    let rows: Vec<Row> = notes.iter().enumerate().map(|(i, note)| vec![int(i as i64), int(1), text(note)]).collect();
    line.writer.stage(inserts(&def, 2, &rows)).await.expect("stage");
    line.writer.publish(CommitSeq(2), position(2)).await.expect("publish");
    let lease = line.latch.acquire(Freshness::Any, LONG, LONG).await.expect("lease");
    let split = line.splits(&ScanRequest::new(&lease, TABLE)).await.expect("a plan").remove(0);
    let batches: Vec<RecordBatch> =
        line.store.read_split(&split).await.expect("read").try_collect().await.expect("rows");
    let mut read: Vec<Row> =
        batches.iter().flat_map(|b| tidelake_core::testing::tables::cells_of(b).expect("cells")).collect();
    read.sort_by_key(|row| format!("{:?}", row[0]));
    assert!(read == rows, "{} rows came back, and not the same", read.len());
}
