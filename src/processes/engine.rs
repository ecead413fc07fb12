//! `tidelake engine`: the engine, and the Magic API for one writer and any number of readers. The latch is in the same process, or with `--latch` in
//! one of its own, to which this one reports.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use async_trait::async_trait;
use tidelake_api::{Desk, Magic, MagicServer, Reporter};
use tidelake_core::env;
use tidelake_core::ports::StoreEngine;
use tidelake_engine::{EngineOptions, MagicEngine};
use tidelake_latch::{LatchOptions, LocalLatch};
use tokio_util::sync::CancellationToken;

use super::args::EngineServeArgs;
use super::health::{self, Health};
use super::latch_line;
use super::settings::{self, EngineSettings};
use super::upstream_probe::DeskProbe;
use crate::data_dir::DataDir;
use crate::listeners::write_ports;
use crate::run::runtime;
use crate::{http, logging, shutdown};

/// How often the engine is asked whether it can go on.
const LOOK: Duration = Duration::from_millis(500);
/// How long readers and writer have to end at a shutdown.
const PATIENCE: Duration = Duration::from_secs(10);

/// `tidelake engine`.
///
/// # Errors
/// A wrong option, a directory that cannot be opened, an engine that fails.
pub fn engine(args: EngineServeArgs) -> Result<()> {
    let settings = settings::of_engine(args)?;
    logging::init(settings.common.log_format, &settings.common.log)?;
    runtime()?.block_on(serve(settings))
}

struct Served {
    engine: Arc<MagicEngine>,
    desk: Arc<Desk>,
    latch: Latched,
}

/// Where the latch is.
enum Latched {
    /// In this process.
    Here(Arc<LocalLatch>),
    /// Elsewhere.
    There(Arc<Reporter>),
}

async fn serve(settings: EngineSettings) -> Result<()> {
    let cancel = CancellationToken::new();
    shutdown::on_signals(cancel.clone())?;
    let dir = DataDir::open(&settings.data_dir, "engine", "a writer in another process")?;
    let engine = MagicEngine::open(EngineOptions {
        memtable_bytes: settings.memtable_limit,
        objects: settings.files.storage.clone(),
        cache_bytes: settings.files.cache,
        compression: settings.files.compression,
        ..EngineOptions::new(dir.engine())
    })
    .await
    .context("open the Magic Engine")?;
    let port: Arc<dyn StoreEngine> = engine.clone();
    let desk = Desk::open(&dir.writer(), engine.durable().borrow().seq).context("read what is known of the writer")?;
    let (access, guard) = (&settings.access, settings.access.guard.clone());
    let door = access.grpc("--magic-listen", settings.magic_listen).await?;
    let (latch, magic) = if settings.latches.is_empty() {
        let latch = own_latch(&settings, &dir, &port, &desk)?;
        (Latched::Here(latch.clone()), Magic::with_desk(port, latch, desk.clone()))
    } else {
        let reporter = Reporter {
            engine: port.clone(),
            desk: desk.clone(),
            name: dir.engine_name()?,
            address: door.local_addr().context("read the Magic API's address")?.to_string(),
            line: latch_line(&settings.latches)?,
            trouble: parking_lot::Mutex::default(),
        };
        (Latched::There(Arc::new(reporter)), Magic::at_latch(port, desk.clone()))
    };
    let served = Arc::new(Served { engine, desk, latch });
    settings.access.reload_on_hangup(cancel.clone())?;
    let server = MagicServer::start(door, guard, magic.clone(), cancel.child_token())?;
    let routes = health::routes(served.clone(), http::install_metrics()?).merge(http::magic_routes(magic));
    let (http, _) = http::serve(access, settings.common.http_listen, routes, cancel.child_token()).await?;
    let address = server.local_addr();
    if let Some(file) = &settings.common.ports_file {
        write_ports(file, &[("magic", &address), ("http", &http)])?;
    }
    let scheme = if access.has_tls() { "https" } else { "http" };
    eprintln!("  Magic API       {address}   (tidelake writer --engine {address}, tidelake query --engine {address})");
    eprintln!("  Status          {scheme}://{http}/api/v1/status, /metrics");
    let reporting = served.report(&cancel);
    let failed = served.until_failed(&cancel).await;
    cancel.cancel();
    if let Some(reporting) = reporting {
        let _ = reporting.await;
    }
    let closed = env::timeout(PATIENCE, server.finished()).await.is_ok();
    if !closed {
        tracing::warn!("clients hold their connections; leaving them");
    }
    match failed {
        Some(reason) => Err(anyhow!(reason)),
        None => served.end(closed).await,
    }
}

/// The latch in this process.
fn own_latch(
    settings: &EngineSettings,
    dir: &DataDir,
    engine: &Arc<dyn StoreEngine>,
    desk: &Arc<Desk>,
) -> Result<Arc<LocalLatch>> {
    let probe = Arc::new(DeskProbe::new(desk.clone(), engine.clone()));
    let options = LatchOptions {
        retention: settings.retention,
        ..LatchOptions::new(dir.latch(), tidelake_core::CommitSeq::ZERO)
    };
    LocalLatch::open(options, engine.clone(), probe).context("open the Latch Service")
}

impl Served {
    /// Tells the latch elsewhere how far the engine is, until cancelled.
    fn report(&self, cancel: &CancellationToken) -> Option<tokio::task::JoinHandle<()>> {
        let Latched::There(reporter) = &self.latch else { return None };
        let (reporter, cancel) = (reporter.clone(), cancel.child_token());
        Some(tokio::spawn(async move { reporter.run(cancel).await }))
    }

    /// `None` once cancelled.
    async fn until_failed(&self, cancel: &CancellationToken) -> Option<String> {
        loop {
            if let Some(reason) = self.failure() {
                return Some(reason);
            }
            tokio::select! {
                () = cancel.cancelled() => return None,
                () = env::sleep(LOOK) => {}
            }
        }
    }

    /// Makes everything durable, so that the next start need not wait for the writer to serve it. Unless all connections are
    /// closed: something may still be published, and served.
    async fn end(&self, closed: bool) -> Result<()> {
        let durable = self.engine.flush().await.context("flush the Magic Engine")?;
        if closed && durable == self.engine.published_seq() {
            self.desk.end(durable)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Health for Served {
    fn failure(&self) -> Option<String> {
        self.engine.failure().map(|reason| format!("the engine failed: {reason}"))
    }

    async fn not_ready(&self) -> Option<String> {
        match &self.latch {
            Latched::Here(_) => self.desk.about(self.engine.published_seq()).waiting,
            Latched::There(reporter) => {
                let trouble = reporter.trouble.lock().clone();
                trouble.map(|why| format!("the latch does not know how far this engine is: {why}"))
            }
        }
    }

    async fn status(&self) -> serde_json::Value {
        let published = self.engine.published().borrow().clone();
        let durable = self.engine.durable().borrow().seq;
        let mut status = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "seq": { "published": published.seq, "durable": durable, "oldest": self.engine.horizon() },
            "position": published.position.to_string(),
            "waiting": self.not_ready().await,
            "engine": self.engine.stats(),
        });
        match &self.latch {
            Latched::Here(latch) => {
                status["seq"]["oldest"] = serde_json::json!(latch.oldest().0);
                status["leases"] = serde_json::json!(latch.live_leases());
                status["writer"] = serde_json::json!(self.desk.trouble().unwrap_or_else(|| "connected".into()));
            }
            Latched::There(reporter) => {
                status["name"] = serde_json::json!(reporter.name);
                status["lineage"] = serde_json::json!(self.desk.lineage());
            }
        }
        status
    }
}
