//! A latch in a process of its own and two engines at it, over real sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use tempfile::TempDir;
use tidelake_access::{Door, Guard};
use tidelake_api::wire::Question;
use tidelake_api::{
    Connection, Desk, FleetLine, FleetStore, FlightStore, Hub, HubOptions, HubSeat, HubServer, LatchLine, Magic,
    MagicServer, RemoteLatch, Reporter, WriterLine, fence, join,
};
use tidelake_core::ports::{Freshness, Latch, ScanRequest, SnapshotLease, StoreEngine, StoreWriter};
use tidelake_core::testing::tables::{accounts, create, inserts, int, null, position};
use tidelake_core::{CommitSeq, Error, Result, TableId};
use tidelake_latch::backend::{Backend, FileBackend};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::served::{Kind, open, tempdir};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(400);
/// How long readers wait for an engine.
const PATIENCE: Duration = Duration::from_secs(4);

/// Threads of a process of its own; it is killed when dropped.
struct Threads {
    cancel: CancellationToken,
    runtime: Option<Runtime>,
}

impl Threads {
    fn start<F: Future<Output: Send> + Send + 'static>(
        serve: impl FnOnce(CancellationToken) -> F,
    ) -> (Threads, F::Output) {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let cancel = CancellationToken::new();
        let (task, done) = (runtime.spawn(serve(cancel.clone())), std::sync::mpsc::channel());
        runtime.spawn(async move { done.0.send(task.await.expect("served")) });
        let output = tokio::task::block_in_place(|| done.1.recv().expect("served"));
        (Threads { cancel, runtime: Some(runtime) }, output)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.cancel.cancel();
        if let Some(runtime) = self.runtime.take() {
            std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(10))).join().expect("ended");
        }
    }
}

fn local() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// A latch at one address, over all its starts.
pub(crate) struct LatchHome {
    dir: Arc<TempDir>,
    pub(crate) address: SocketAddr,
    /// What leads there.
    pub(crate) seat: HubSeat,
    threads: Option<Threads>,
}

impl LatchHome {
    fn start() -> LatchHome {
        let mut home =
            LatchHome { dir: Arc::new(tempdir()), address: local(), seat: HubSeat::default(), threads: None };
        home.restart();
        home
    }

    pub(crate) fn restart(&mut self) {
        self.threads = None;
        self.seat = HubSeat::default();
        let (dir, address, seat) = (self.dir.clone(), self.address, self.seat.clone());
        let (threads, address) = Threads::start(move |cancel| async move {
            let leading = loop {
                match FileBackend::new(dir.path()).campaign().expect("asked") {
                    Some(leading) => break leading,
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            };
            let options = HubOptions { patience: PATIENCE, retention: Duration::ZERO, grace: Duration::ZERO };
            seat.take(Some(Hub::open(leading, options).await.expect("a page")));
            let door = Door::grpc(address, None).await.expect("bind");
            HubServer::start(door, Arc::<Guard>::default(), seat, cancel).expect("start").local_addr()
        });
        (self.threads, self.address) = (Some(threads), address);
    }

    fn line(&self) -> Arc<LatchLine> {
        LatchLine::to(Connection::open(&format!("http://{}", self.address)).expect("an address"))
    }

    async fn acquire(&self, freshness: Freshness) -> Result<SnapshotLease> {
        RemoteLatch::at(self.line()).acquire(freshness, LONG, SHORT).await
    }

    /// What is readable now.
    pub(crate) async fn shown(&self) -> Result<u64> {
        Ok(self.acquire(Freshness::Any).await?.seq().0)
    }

    pub(crate) async fn shows(&self, seq: u64) {
        let begun = Instant::now();
        while self.shown().await.ok() != Some(seq) {
            assert!(begun.elapsed() < Duration::from_secs(10), "shown is {:?}, not {seq}", self.shown().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// An engine at one address, over all its starts.
pub(crate) struct EngineHome {
    kind: Kind,
    desk: Arc<TempDir>,
    name: &'static str,
    pub(crate) address: SocketAddr,
    threads: Option<Threads>,
}

impl EngineHome {
    fn start(name: &'static str, latch: &LatchHome) -> EngineHome {
        let (kind, desk) = (Kind::Engine(Arc::new(tempdir())), Arc::new(tempdir()));
        let mut home = EngineHome { kind, desk, name, address: local(), threads: None };
        home.restart(latch);
        home
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.threads = None;
    }

    pub(crate) fn restart(&mut self, latch: &LatchHome) {
        self.kill();
        let (kind, desk, line, address) = (self.kind.clone(), self.desk.clone(), latch.line(), self.address);
        let name = self.name.to_owned();
        let (threads, address) = Threads::start(move |cancel| async move {
            let engine = open(&kind).await;
            let durable = engine.durable().borrow().seq;
            let desk = Desk::open(desk.path(), durable).expect("desk");
            let door = Door::grpc(address, None).await.expect("bind");
            let (engine_too, desk_too) = (engine.clone(), desk.clone());
            let server =
                MagicServer::start(door, Arc::<Guard>::default(), Magic::at_latch(engine, desk), cancel.clone());
            let address = server.expect("start").local_addr();
            let trouble = parking_lot::Mutex::default();
            let reporter =
                Reporter { engine: engine_too, desk: desk_too, name, address: address.to_string(), line, trouble };
            tokio::spawn(async move { reporter.run(cancel).await });
            address
        });
        (self.threads, self.address) = (Some(threads), address);
    }

    fn connection(&self) -> Connection {
        Connection::open(&format!("http://{}", self.address)).expect("an address")
    }

    /// A writer of this buffer, which has begun.
    pub(crate) async fn writer(
        &self,
        latch: &LatchHome,
        session: &FleetLine,
        lineage: &str,
    ) -> Result<Box<dyn StoreWriter>> {
        let epoch = FleetLine::grant(&latch.line(), Some(lineage)).await?;
        join(&self.connection(), epoch, lineage, session.ancestors()).await?;
        FlightStore::over(self.connection()).await?.open_writer(epoch).await
    }
}

/// A latch, two engines with a table, and a session of the writer `b`, which has told that readers may read.
pub(crate) struct Rig {
    pub(crate) latch: LatchHome,
    pub(crate) engines: [EngineHome; 2],
    pub(crate) session: FleetLine,
}

pub(crate) async fn rig() -> (Rig, [Box<dyn StoreWriter>; 2]) {
    let latch = LatchHome::start();
    let engines = [EngineHome::start("one", &latch), EngineHome::start("two", &latch)];
    let session = FleetLine::begin(latch.line(), "b").await.expect("the first buffer is taken");
    session.tell(true, None, Some(CommitSeq::ZERO)).await.expect("told");
    let mut writers = Vec::new();
    for engine in &engines {
        writers.push(engine.writer(&latch, &session, "b").await.expect("writer"));
    }
    // Until the latch has heard that both have begun: one that has not is not waited for.
    tokio::time::sleep(SHORT).await;
    let writers: [Box<dyn StoreWriter>; 2] = writers.try_into().ok().expect("two");
    (Rig { latch, engines, session }, writers)
}

/// A table at seq 1, and one row with each seq from 2 on.
pub(crate) async fn publish(writer: &mut dyn StoreWriter, seqs: std::ops::RangeInclusive<u64>) -> Result<()> {
    let def = accounts(1, "a");
    for seq in seqs {
        if seq == 1 {
            writer.stage(create(&def, 1)).await?;
        } else {
            writer.stage(inserts(&def, seq, &[vec![int(seq as i64), int(10), null()]])).await?;
        }
        writer.publish(CommitSeq(seq), position(seq)).await?;
    }
    Ok(())
}

async fn rows(store: &dyn StoreEngine, lease: &SnapshotLease) -> Result<usize> {
    let plan = store.plan_scan(&ScanRequest::new(lease, TableId(1))).await?;
    let mut rows = 0;
    for split in &plan.splits {
        let batches: Vec<_> = store.read_split(split).await?.try_collect().await?;
        rows += batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>();
    }
    Ok(rows)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_readable_at_every_engine() {
    let (rig, [mut first, mut second]) = rig().await;
    publish(&mut *first, 1..=5).await.expect("published");
    assert_eq!(rig.latch.shown().await.expect("a seq"), 0, "the other has nothing yet");
    publish(&mut *second, 1..=3).await.expect("published");
    rig.latch.shows(3).await;
    let line = rig.latch.line();
    let latch = RemoteLatch::at(line.clone());
    let lease = latch.acquire(Freshness::Any, LONG, SHORT).await.expect("lease");
    for engine in &rig.engines {
        let fleet = FleetStore::new(&[engine.connection()], line.clone()).expect("a store");
        assert_eq!(rows(&*fleet, &lease).await.expect("rows"), 2);
        assert_eq!(fleet.catalog(lease.seq()).expect("a catalog").tables.len(), 1);
    }
    // A published seq is shown within milliseconds.
    for seq in 4..=5 {
        publish(&mut *second, seq..=seq).await.expect("published");
        let begun = Instant::now();
        rig.latch.shows(seq).await;
        println!("seq {seq} was shown after {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    }
    // The lease holds the horizon of both.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for engine in &rig.engines {
        let store = FlightStore::over(engine.connection()).await.expect("connect");
        assert_eq!(store.horizon(), CommitSeq(3));
    }
    drop(lease);
    let begun = Instant::now();
    for engine in &rig.engines {
        let store = FlightStore::over(engine.connection()).await.expect("connect");
        while store.horizon() != CommitSeq(5) {
            assert!(begun.elapsed() < Duration::from_secs(10), "the horizon is {}", store.horizon());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Whatever a latch says: an engine gives no seq that it has not, or no more, or that is another buffer's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_judges_for_itself() {
    let (rig, [mut first, mut second]) = rig().await;
    publish(&mut *first, 1..=5).await.expect("published");
    publish(&mut *second, 1..=2).await.expect("published");
    rig.latch.shows(2).await;
    let held = rig.latch.acquire(Freshness::Any).await.expect("lease");
    // The second lags: what it lacks is shown without it after a patience.
    rig.latch.shows(5).await;
    let line = rig.latch.line();
    let lease = RemoteLatch::at(line.clone()).acquire(Freshness::Any, LONG, SHORT).await.expect("lease");
    let lagging = FleetStore::new(&[rig.engines[1].connection()], line.clone()).expect("a store");
    let refused = rows(&*lagging, &lease).await;
    assert!(matches!(&refused, Err(Error::Unavailable(why)) if why.contains("not published yet")), "{refused:?}");
    // A front with both asks the one that has it.
    let both = [rig.engines[1].connection(), rig.engines[0].connection()];
    let fleet = FleetStore::new(&both, line.clone()).expect("a store");
    assert_eq!(rows(&*fleet, &lease).await.expect("rows"), 4);
    assert_eq!(fleet.catalog(CommitSeq(5)).expect("a catalog").tables.len(), 1);
    // Its leases are given elsewhere, and so are epochs and the horizon.
    let alone = RemoteLatch::over(rig.engines[0].connection());
    assert!(
        matches!(alone.acquire(Freshness::Any, LONG, SHORT).await, Err(Error::Invalid(why)) if why.contains("--latch"))
    );
    assert!(matches!(alone.grant_writer(), Err(Error::Invalid(_))));
    assert!(matches!(WriterLine::begin(rig.engines[0].connection(), "b", false).await.err(), Some(Error::Invalid(_))));
    let store = FlightStore::over(rig.engines[0].connection()).await.expect("connect");
    store.set_horizon(CommitSeq(5));
    assert!(store.horizon() <= held.seq(), "nobody but the latch moves it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv7_what_was_shown_is_waited_for() {
    let (mut rig, [mut first, mut second]) = rig().await;
    publish(&mut *first, 1..=5).await.expect("published");
    publish(&mut *second, 1..=5).await.expect("published");
    rig.latch.shows(5).await;
    let (line, latch) = (rig.latch.line(), RemoteLatch::at(rig.latch.line()));
    let lease = latch.acquire(Freshness::Any, LONG, SHORT).await.expect("lease");
    // Latch and both engines are killed: nothing was durable in the engines.
    rig.latch.restart();
    for engine in &mut rig.engines {
        engine.restart(&rig.latch);
    }
    drop((first, second));
    assert!(matches!(latch.renew(&lease, LONG), Err(Error::SnapshotExpired(_))), "leases end with their latch");
    assert!(matches!(rig.latch.shown().await, Err(Error::Timeout(why)) if why.contains("seq 5")), "5 was shown");
    // No writer has said anything to this latch: what was shown is known without it.
    let session = FleetLine::begin(rig.latch.line(), "b").await.expect("begins again");
    let mut second = rig.engines[1].writer(&rig.latch, &session, "b").await.expect("writer");
    publish(&mut *second, 1..=4).await.expect("published");
    assert!(matches!(rig.latch.shown().await, Err(Error::Timeout(_))));
    publish(&mut *second, 5..=5).await.expect("published");
    rig.latch.shows(5).await;
    let lease = RemoteLatch::at(line.clone()).acquire(Freshness::Any, LONG, SHORT).await.expect("lease");
    let engines = [rig.engines[0].connection(), rig.engines[1].connection()];
    let fleet = FleetStore::new(&engines, line).expect("a store");
    assert_eq!(rows(&*fleet, &lease).await.expect("of the one that has it"), 4);
}

/// A new buffer begins where the engines are; leases, writers and engines of the one before are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv9_seqs_are_of_one_buffer() {
    let (rig, [mut first, mut second]) = rig().await;
    publish(&mut *first, 1..=5).await.expect("published");
    publish(&mut *second, 1..=3).await.expect("published");
    rig.latch.shows(3).await;
    let line = rig.latch.line();
    let old = RemoteLatch::at(line.clone()).acquire(Freshness::Any, LONG, SHORT).await.expect("lease");
    let known = FleetLine::lineages(&line).await.expect("whose");
    assert_eq!(known.lineage.as_deref(), Some("b"));
    assert!(
        matches!(FleetLine::begin(line.clone(), "c").await.err(), Some(Error::Invalid(why)) if why.contains("another Data Buffer"))
    );

    let epoch = FleetLine::grant(&line, None).await.expect("an epoch");
    for (engine, durable) in rig.engines.iter().zip([5, 3]) {
        assert_eq!(fence(&engine.connection(), epoch).await.expect("fenced").durable.seq, CommitSeq(durable));
    }
    let fenced = publish(&mut *first, 6..=6).await;
    assert!(matches!(fenced, Err(Error::Fenced { .. })), "{fenced:?}");
    let (b, at) = (Some("b".to_owned()), CommitSeq(5));
    let late = FleetLine::take_over(&line, epoch, "c", None, b.clone(), at).await;
    assert!(matches!(late, Err(Error::Invalid(_))), "somebody was faster");
    FleetLine::take_over(&line, epoch, "c", b.clone(), b, at).await.expect("takes over");
    assert!(
        matches!(FleetLine::grant(&line, Some("b")).await.err(), Some(Error::Invalid(_))),
        "the one before is refused"
    );
    assert!(rig.session.tell(true, None, Some(CommitSeq::ZERO)).await.is_err());
    assert!(matches!(rig.latch.shown().await, Err(Error::Timeout(_))), "nobody knows from when on they may read");

    let session = FleetLine::begin(line.clone(), "c").await.expect("begins");
    let mut new = rig.engines[0].writer(&rig.latch, &session, "c").await.expect("what it has is the beginning");
    publish(&mut *new, 6..=7).await.expect("published");
    session.tell(true, None, Some(CommitSeq(6))).await.expect("told");
    rig.latch.shows(7).await;
    let fleet = FleetStore::new(&[rig.engines[0].connection()], line.clone()).expect("a store");
    let refused = rows(&*fleet, &old).await;
    assert!(matches!(refused, Err(Error::SnapshotExpired(_))), "{refused:?}");
    // The second is of the same beginning, and lacks what is in no buffer any more: it may join, and shows nothing that it has not.
    rig.engines[1].writer(&rig.latch, &session, "c").await.expect("joins");
    let lagging = FleetStore::new(&[rig.engines[1].connection()], line.clone()).expect("a store");
    let lease = RemoteLatch::at(line).acquire(Freshness::Any, LONG, SHORT).await.expect("lease");
    assert_eq!(lease.seq(), CommitSeq(7));
    assert!(matches!(rows(&*lagging, &lease).await, Err(Error::Unavailable(_))));
    assert_eq!(rows(&*fleet, &lease).await.expect("rows"), 6);
}

/// An engine that went on with the old buffer beyond where the new one began is of neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv9_an_engine_that_went_another_way_is_refused() {
    let (rig, [mut first, mut second]) = rig().await;
    publish(&mut *first, 1..=3).await.expect("published");
    let line = rig.latch.line();
    let epoch = FleetLine::grant(&line, None).await.expect("an epoch");
    fence(&rig.engines[0].connection(), epoch).await.expect("fenced");
    // The new writer did not know of the second engine, where the old one goes on.
    let b = Some("b".to_owned());
    FleetLine::take_over(&line, epoch, "c", b.clone(), b, CommitSeq(3)).await.expect("takes over");
    publish(&mut *second, 1..=4).await.expect("nobody fenced it");
    let session = FleetLine::begin(line.clone(), "c").await.expect("begins");
    let refused = rig.engines[1].writer(&rig.latch, &session, "c").await.err();
    assert!(matches!(&refused, Some(Error::Invalid(why)) if why.contains("another Data Buffer")), "{refused:?}");
    session.tell(true, None, Some(CommitSeq(3))).await.expect("told");
    rig.engines[0].writer(&rig.latch, &session, "c").await.expect("joins");
    rig.latch.shows(3).await;
    let lease = RemoteLatch::at(line.clone()).acquire(Freshness::Any, LONG, SHORT).await.expect("lease");
    let foreign = FleetStore::new(&[rig.engines[1].connection()], line).expect("a store");
    assert!(matches!(rows(&*foreign, &lease).await, Err(Error::SnapshotExpired(_))), "its seq 3 may be something else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_reach_the_writer_through_the_latch() {
    let (rig, [mut first, mut second]) = rig().await;
    publish(&mut *first, 1..=5).await.expect("published");
    publish(&mut *second, 1..=5).await.expect("published");
    let refused = rig.latch.acquire(Freshness::Latest).await;
    assert!(matches!(&refused, Err(Error::Timeout(why)) if why.contains("no writer")), "{refused:?}");
    let session = FleetLine::begin(rig.latch.line(), "b").await.expect("begins");
    let answering = tokio::spawn(async move {
        session
            .answer(|question| async move {
                match question {
                    Question::Latest => Ok(Some(CommitSeq(4))),
                    other => Err(Error::NotFound(format!("{other:?}"))),
                }
            })
            .await
    });
    rig.latch.shows(5).await;
    assert_eq!(rig.latch.acquire(Freshness::Latest).await.expect("answered").seq(), CommitSeq(5));
    // The session before has noticed.
    assert!(matches!(rig.session.tell(true, None, None).await, Err(Error::Fenced { .. })));
    answering.abort();
}

/// Calls that are an engine's, and ones that nobody has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_latch_is_no_engine() {
    let latch = LatchHome::start();
    let connection = Connection::open(&format!("http://{}", latch.address)).expect("an address");
    let store = FlightStore::over(connection).await.expect("its progress is like an engine's");
    assert!(matches!(store.catalog(CommitSeq(0)), Err(Error::NotFound(_))));
    assert!(store.flush().await.is_err());
    assert!(matches!(latch.shown().await, Err(Error::Timeout(why)) if why.contains("no writer")));
}
