//! The processes of a world, each as the real one wires it, without listeners: two latches at an etcd, two engines, writers, two fronts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use parking_lot::Mutex;
use tidelake_access::Guard;
use tidelake_api::{
    Connection, Desk, FleetStore, HubOptions, HubSeat, LatchLine, Magic, RemoteLatch, Reporter, Served,
};
use tidelake_core::testing::MemStore;
use tidelake_core::{Error, env};
use tidelake_latch::backend::{Backend, EtcdBackend};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::disk::Disk;
use super::etcd::Etcd;
use super::flaws::Flaw;
use super::net::Net;
use super::readers::{Front, Seen};
use super::store::Store;
use super::upstream::{BankSource, Upstream};
use super::world::{Command, Shared, World};
use crate::cli::{Cli, Command as Asked};
use crate::config::Settings;
use crate::data_dir::DataDir;
use crate::processes::fed::{self, Begun, takeover};
use crate::processes::latch::terms;
use crate::wishes::Kept;

/// Runs what is no process: network, upstream's load, what happens to others.
pub const OUTSIDE: usize = 0;
pub const LATCHES: [usize; 2] = [1, 2];
pub const ENGINES: [usize; 2] = [3, 4];
pub const FRONTS: [usize; 2] = [5, 6];
pub const WRITERS: [usize; 3] = [7, 8, 9];
pub const NAMES: [&str; 10] =
    ["outside", "latch 0", "latch 1", "engine 0", "engine 1", "front 0", "front 1", "writer 0", "writer 1", "writer 2"];

/// What outlives processes.
pub struct Processes {
    pub shared: Arc<Shared>,
    pub net: Arc<Net>,
    pub etcd: Arc<Etcd>,
    pub upstream: Arc<Upstream>,
    pub seen: Arc<Seen>,
    /// Disks of the engines.
    pub stores: [Mutex<MemStore>; 2],
    /// An older state of each, for a disk that lies.
    pub older: [Mutex<MemStore>; 2],
    pub cut_from_upstream: watch::Sender<bool>,
    outside: Handle,
    disks: [Arc<Disk>; 3],
    guard: Arc<Guard>,
    dir: PathBuf,
    pub flaw: Option<Flaw>,
}

impl Processes {
    /// Nothing runs yet. To be called within the runtime of the outside.
    pub fn new(shared: Arc<Shared>, dir: PathBuf, flaw: Option<Flaw>) -> Arc<Processes> {
        Arc::new(Processes {
            net: Net::new(shared.clone()),
            etcd: Etcd::new(shared.clone(), flaw),
            upstream: Upstream::new(shared.clone(), flaw),
            seen: Arc::new(Seen::new(shared.clone())),
            shared,
            stores: Default::default(),
            older: Default::default(),
            cut_from_upstream: watch::Sender::new(false),
            outside: Handle::current(),
            disks: WRITERS.map(|node| Arc::new(Disk::new(dir.join(NAMES[node]).join("buffer")))),
            guard: Arc::default(),
            dir,
            flaw,
        })
    }

    /// Does what was commanded.
    pub fn obey(self: &Arc<Self>, world: &mut World, command: Command) {
        self.shared.note(|| format!("{command:?}"));
        match command {
            Command::Kill { node, power } => self.kill(world, node, power),
            Command::Start(node) if !world.nodes[node].runs() => self.start(world, node),
            Command::Start(_) => {}
            Command::Freeze(node) | Command::Thaw(node) => {
                let frozen = matches!(command, Command::Freeze(_)) && world.nodes[node].runs();
                world.nodes[node].frozen = frozen;
                self.net.freeze(node, frozen);
            }
        }
    }

    fn kill(&self, world: &mut World, node: usize, power: bool) {
        self.net.freeze(node, false);
        world.kill(node);
        self.net.gone(node);
        if let Some(at) = ENGINES.iter().position(|engine| *engine == node) {
            let mut store = self.stores[at].lock();
            let lies = self.flaw == Some(Flaw::FlushLies);
            *store = if lies { self.older[at].lock().crash() } else { store.crash() };
        }
        if power && WRITERS.contains(&node) {
            self.disks[node - WRITERS[0]].lose_power(&self.shared);
        }
    }

    fn start(self: &Arc<Self>, world: &mut World, node: usize) {
        let (own, env) = (self.clone(), world.nodes[node].env.clone());
        world.start(node, move |runtime| {
            let started = match node {
                _ if LATCHES.contains(&node) => own.latch(node, &env),
                _ if ENGINES.contains(&node) => own.engine(node, &env),
                _ if FRONTS.contains(&node) => own.front(node),
                _ => {
                    own.writer(node, &runtime);
                    Ok(())
                }
            };
            started.unwrap_or_else(|error| panic!("{} does not start: {error:#}", NAMES[node]));
        });
    }

    fn dir_of(&self, node: usize) -> PathBuf {
        self.dir.join(NAMES[node])
    }

    fn line(&self, node: usize) -> Result<Arc<LatchLine>> {
        Ok(LatchLine::of(LATCHES.map(|latch| self.net.connect(node, latch)).to_vec())?)
    }

    fn engines(&self, node: usize) -> Vec<(String, Connection)> {
        ENGINES.map(|engine| (NAMES[engine].to_owned(), self.net.connect(node, engine))).to_vec()
    }

    fn latch(&self, node: usize, env: &Arc<super::world::NodeEnv>) -> Result<()> {
        let backend: Arc<dyn Backend> = Arc::new(EtcdBackend::over(self.etcd.gateway(node), "tidelake", NAMES[node]));
        let (seat, cancel) = (HubSeat::default(), CancellationToken::new());
        self.net.serve(node, env.clone(), Served::hub(self.guard.clone(), seat.clone(), cancel.clone()));
        let patience = Duration::from_secs(5);
        let options = HubOptions { patience, retention: Duration::ZERO, grace: Duration::from_secs(1) };
        let shared = self.shared.clone();
        tokio::spawn(async move {
            let ended = terms(&backend, &seat, options, &cancel).await;
            shared.violation(format!("{} ended: {ended:?}", NAMES[node]));
        });
        Ok(())
    }

    fn engine(&self, node: usize, env: &Arc<super::world::NodeEnv>) -> Result<()> {
        let at = node - ENGINES[0];
        let store = self.stores[at].lock().clone();
        let engine = Store::watched(store, self.shared.clone(), self.flaw);
        let desk = Desk::open(&self.dir_of(node), engine.durable().borrow().seq)?;
        let reporter = Reporter {
            engine: engine.clone(),
            desk: desk.clone(),
            name: NAMES[node].to_owned(),
            address: NAMES[node].to_owned(),
            line: self.line(node)?,
            trouble: Mutex::default(),
        };
        let magic = Magic::at_latch(engine, desk);
        self.net.serve(node, env.clone(), Served::magic(self.guard.clone(), magic, CancellationToken::new()));
        tokio::spawn(async move { reporter.run(CancellationToken::new()).await });
        Ok(())
    }

    fn front(&self, node: usize) -> Result<()> {
        let line = self.line(node)?;
        let connections: Vec<Connection> = self.engines(node).into_iter().map(|(_, connection)| connection).collect();
        let fleet = FleetStore::new(&connections, line.clone())?;
        let front = Front::new(NAMES[node], RemoteLatch::at(line), fleet, self.seen.clone(), self.upstream.clone());
        front.start();
        Ok(())
    }

    fn writer(self: &Arc<Self>, node: usize, runtime: &Handle) {
        let own = self.clone();
        runtime.spawn(async move {
            let ended = own.write(node).await;
            let why = ended
                .as_ref()
                .map_or_else(|error| format!("{error:#}"), |()| "cancelled".into())
                .replace(&own.dir.display().to_string(), "DIR");
            own.shared.note(|| format!("{} ended: {why}", NAMES[node]));
            let replaced = ended
                .as_ref()
                .is_err_and(|error| error.chain().any(|cause| matches!(cause.downcast_ref(), Some(Error::Invalid(_)))));
            own.shared.command(Command::Kill { node, power: false });
            if !replaced {
                // Whoever looks after processes starts it again.
                let shared = own.shared.clone();
                own.outside.spawn(async move {
                    env::sleep(Duration::from_secs(1)).await;
                    shared.command(Command::Start(node));
                });
            }
        });
    }

    async fn write(&self, node: usize) -> Result<()> {
        let settings = settings(&self.dir_of(node))?;
        let cancel = CancellationToken::new();
        let dir = DataDir::open(&settings.data_dir, "bank", "the bank")?;
        let line = self.line(node)?;
        let connections = self.engines(node);
        let lineage = takeover::lineage(&dir, &line, &connections, &cancel).await?.context("cancelled")?;
        self.shared.note(|| format!("{} writes {lineage:?}", NAMES[node]));
        let source = Arc::new(BankSource::new(self.upstream.clone(), self.disks[node - WRITERS[0]].clone()));
        let mut cut = self.cut_from_upstream.subscribe();
        let followed = source.clone();
        tokio::spawn(async move {
            loop {
                followed.cut.send_replace(*cut.borrow_and_update());
                if cut.changed().await.is_err() {
                    return;
                }
            }
        });
        let kept = Kept::load(&dir)?;
        let begun = Begun { settings, dir, upstream: None, line, connections, lineage, kept };
        let work = Arc::new(fed::open(begun, (source, None), &cancel)?);
        // Threads of connections go on meanwhile.
        env::sleep(self.shared.ms(0..30)).await;
        work.begin().await?;
        work.pipeline().wait().await
    }
}

/// Settings of a writer: small windows, so that much happens in little time.
fn settings(dir: &std::path::Path) -> Result<Settings> {
    let dir = dir.display().to_string();
    let line = [
        "tidelake",
        "run",
        "--source",
        "file:/nowhere",
        "--interval",
        "80ms",
        "--flush-interval",
        "700ms",
        "--retention",
        "0s",
    ];
    let cli = Cli::try_parse_from(line.into_iter().chain(["--data-dir", &dir]))?;
    match cli.command {
        Asked::Run(args) => Settings::from_run(args),
        _ => anyhow::bail!("not `run`"),
    }
}
