//! Engines behind a Magic API on loopback: the server has threads of its own, as in another process.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tidelake_access::{Door, Guard, ServerTls};
use tidelake_api::wire::Question;
use tidelake_api::{Desk, FlightStore, Magic, MagicServer};
use tidelake_core::ports::StoreEngine;
use tidelake_core::testing::MemStore;
use tidelake_core::{Catalog, CommitSeq, Error, Moment, Result, SourcePosition, TableName};
use tidelake_engine::{EngineOptions, MagicEngine};
use tidelake_latch::{FreshnessProbe, LatchOptions, LocalLatch};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

/// An upstream whose newest commit is what is published.
struct NoUpstream;

#[async_trait]
impl FreshnessProbe for NoUpstream {
    async fn seq_of_latest(&self) -> Result<CommitSeq> {
        Err(Error::Unavailable("no upstream here".into()))
    }
    fn missing_table(&self, _: &Catalog) -> Option<TableName> {
        None
    }
    async fn seq_of(&self, position: &SourcePosition) -> Result<CommitSeq> {
        Ok(CommitSeq(position.minor))
    }
    async fn read_past(&self, _: &Moment) -> Result<()> {
        Ok(())
    }
    fn seq_at(&self, moment: &Moment) -> Result<Option<CommitSeq>> {
        Ok(match moment {
            // times here are seqs; nothing is known of real ones, so a latch that opens keeps what the engine has
            Moment::Time(us) => Some(CommitSeq(us.cast_unsigned())).filter(|seq| (1..1_000_000).contains(&seq.0)),
            Moment::Position(at) => Some(CommitSeq(at.minor)),
        })
    }
    fn commit_time(&self, seq: CommitSeq) -> Result<Option<i64>> {
        Ok(Some(seq.0.cast_signed()))
    }
}

/// The writer at the desk.
struct AtDesk(Arc<Desk>);

#[async_trait]
impl FreshnessProbe for AtDesk {
    async fn seq_of_latest(&self) -> Result<CommitSeq> {
        Ok(self.0.ask(Question::Latest).await?.expect("a seq"))
    }
    fn missing_table(&self, _: &Catalog) -> Option<TableName> {
        None
    }
    async fn seq_of(&self, position: &SourcePosition) -> Result<CommitSeq> {
        Ok(self.0.ask(Question::SeqOf(position.clone())).await?.expect("a seq"))
    }
    async fn read_past(&self, _: &Moment) -> Result<()> {
        Ok(())
    }
    fn seq_at(&self, _: &Moment) -> Result<Option<CommitSeq>> {
        Ok(None)
    }
    fn commit_time(&self, _: CommitSeq) -> Result<Option<i64>> {
        Ok(None)
    }
    async fn ready_at(&self) -> Result<CommitSeq> {
        self.0.ready().await
    }
    fn trouble(&self) -> Option<String> {
        self.0.trouble()
    }
}

/// What is served.
#[derive(Clone)]
pub enum Kind {
    /// The Magic Engine in a directory.
    Engine(Arc<TempDir>),
    /// The oracle.
    Memory(MemStore),
}

/// A directory in memory where the machine has one.
pub fn tempdir() -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Opens it, once nobody else has it open.
pub async fn open(kind: &Kind) -> Arc<dyn StoreEngine> {
    let dir = match kind {
        Kind::Memory(store) => return Arc::new(store.clone()),
        Kind::Engine(dir) => dir,
    };
    let mut options = EngineOptions::new(dir.path().join("engine"));
    (options.row_group_rows, options.max_files, options.max_dead) = (16, 1000, 1.0);
    for _ in 0..500 {
        match MagicEngine::open(options.clone()).await {
            Err(Error::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            other => return other.expect("open engine"),
        }
    }
    panic!("the directory stays locked");
}

/// A server in threads of its own.
pub struct Served {
    pub address: SocketAddr,
    cancel: CancellationToken,
    runtime: Option<Runtime>,
    _latch: TempDir,
}

impl Served {
    /// Serves readers and a writer.
    pub fn start(kind: &Kind) -> Served {
        Served::start_with(kind, None)
    }

    /// The same with a desk in this directory: the writer must begin there, and is asked for seqs.
    pub fn with_desk(kind: &Kind, desk: &Path) -> Served {
        Served::start_with(kind, Some(desk))
    }

    fn start_with(kind: &Kind, desk: Option<&Path>) -> Served {
        Served::start_guarded(kind, desk, Arc::default(), None)
    }

    /// Behind a guard, and with a certificate.
    pub fn start_guarded(kind: &Kind, desk: Option<&Path>, guard: Arc<Guard>, tls: Option<Arc<ServerTls>>) -> Served {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let (cancel, dir) = (CancellationToken::new(), tempdir());
        let address = runtime.block_on(async {
            let engine = open(kind).await;
            // Epochs outlive the process where more than the engine does.
            let epochs = desk.unwrap_or(dir.path()).join("epochs");
            let hour = Duration::from_secs(3600);
            let options = LatchOptions { grace: hour, retention: hour, ..LatchOptions::new(epochs, CommitSeq::ZERO) };
            let magic = match desk {
                None => {
                    let latch = LocalLatch::open(options, engine.clone(), Arc::new(NoUpstream)).expect("latch");
                    Magic::for_all(engine, latch)
                }
                Some(dir) => {
                    let durable = engine.durable().borrow().seq;
                    let desk = Desk::open(dir, durable).expect("desk");
                    let probe = Arc::new(AtDesk(desk.clone()));
                    let latch = LocalLatch::open(options, engine.clone(), probe).expect("latch");
                    Magic::with_desk(engine, latch, desk)
                }
            };
            let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let door = Door::grpc(local, tls).await.expect("bind");
            MagicServer::start(door, guard, magic, cancel.clone()).expect("start").local_addr()
        });
        Served { address, cancel, runtime: Some(runtime), _latch: dir }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client of it.
    pub async fn store(&self) -> FlightStore {
        FlightStore::connect(&self.url()).await.expect("connect")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.cancel.cancel();
        if let Some(runtime) = self.runtime.take() {
            // Not on a runtime's own thread.
            std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(10))).join().expect("ended");
        }
    }
}
