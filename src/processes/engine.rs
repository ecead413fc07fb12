//! `tidelake engine`: engine and latch, and the Magic API for one writer and any number of readers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use async_trait::async_trait;
use tidelake_api::{Desk, Magic, MagicServer};
use tidelake_core::ports::StoreEngine;
use tidelake_engine::{EngineOptions, MagicEngine};
use tidelake_latch::{LatchOptions, LocalLatch};
use tokio_util::sync::CancellationToken;

use super::args::EngineServeArgs;
use super::health::{self, Health};
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
    latch: Arc<LocalLatch>,
    desk: Arc<Desk>,
}

async fn serve(settings: EngineSettings) -> Result<()> {
    let cancel = CancellationToken::new();
    shutdown::on_signals(cancel.clone())?;
    let dir = DataDir::open(&settings.data_dir, "engine", "a writer in another process")?;
    let engine = MagicEngine::open(EngineOptions {
        memtable_bytes: settings.memtable_limit,
        objects: settings.engine_storage.clone(),
        cache_bytes: settings.engine_cache,
        compression: settings.engine_compression,
        ..EngineOptions::new(dir.engine())
    })
    .await
    .context("open the Magic Engine")?;
    let port: Arc<dyn StoreEngine> = engine.clone();
    let desk = Desk::open(&dir.writer(), engine.durable().borrow().seq).context("read what is known of the writer")?;
    let probe = Arc::new(DeskProbe::new(desk.clone(), port.clone()));
    let options = LatchOptions {
        retention: settings.retention,
        ..LatchOptions::new(dir.latch(), tidelake_core::CommitSeq::ZERO)
    };
    let latch = LocalLatch::open(options, port.clone(), probe).context("open the Latch Service")?;
    let magic = Magic::with_desk(port, latch.clone(), desk.clone());
    let served = Arc::new(Served { engine, latch, desk });
    settings.access.reload_on_hangup(cancel.clone())?;
    let (access, guard) = (&settings.access, settings.access.guard.clone());
    let door = access.grpc("--magic-listen", settings.magic_listen).await?;
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
    let failed = served.until_failed(&cancel).await;
    cancel.cancel();
    let closed = tokio::time::timeout(PATIENCE, server.finished()).await.is_ok();
    if !closed {
        tracing::warn!("clients hold their connections; leaving them");
    }
    match failed {
        Some(reason) => Err(anyhow!(reason)),
        None => served.end(closed).await,
    }
}

impl Served {
    /// `None` once cancelled.
    async fn until_failed(&self, cancel: &CancellationToken) -> Option<String> {
        loop {
            if let Some(reason) = self.failure() {
                return Some(reason);
            }
            tokio::select! {
                () = cancel.cancelled() => return None,
                () = tokio::time::sleep(LOOK) => {}
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
        self.desk.about(self.engine.published_seq()).waiting
    }

    async fn status(&self) -> serde_json::Value {
        let published = self.engine.published().borrow().clone();
        let durable = self.engine.durable().borrow().seq;
        let waiting = self.desk.about(published.seq).waiting;
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "seq": { "published": published.seq, "durable": durable, "oldest": self.latch.oldest().0 },
            "position": published.position.to_string(),
            "leases": self.latch.live_leases(),
            "writer": self.desk.trouble().unwrap_or_else(|| "connected".into()),
            "waiting": waiting,
            "engine": self.engine.stats(),
        })
    }
}
