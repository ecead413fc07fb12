//! `tidelake query`: SQL over an engine in another process. It keeps nothing, so any number of them may run.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use async_trait::async_trait;
use tidelake_api::{Connection, FlightStore, RemoteLatch, about};
use tidelake_calc::flight::FlightServer;
use tidelake_calc::session::SqlService;
use tidelake_calc::sql::{DefaultFreshness, SqlEngine, SqlOptions};
use tidelake_calc::wire::WireServer;
use tidelake_core::ports::StoreEngine;
use tokio_util::sync::CancellationToken;

use super::args::QueryArgs;
use super::health::{self, Health};
use super::settings::{self, QuerySettings};
use super::{AGAIN, connect, until_answered};
use crate::cli::FreshnessArg;
use crate::listeners::{Addresses, write_ports};
use crate::run::runtime;
use crate::upstream::Upstream;
use crate::{http, logging, shutdown};

/// How long running statements have to end at a shutdown.
const PATIENCE: Duration = Duration::from_secs(10);

/// `tidelake query`.
///
/// # Errors
/// A wrong option, an engine of another version, an address that is in use.
pub fn query(args: QueryArgs) -> Result<()> {
    let settings = settings::of_query(args)?;
    logging::init(settings.common.log_format, &settings.common.log)?;
    runtime()?.block_on(serve(settings))
}

struct Served {
    engine: String,
    connection: Connection,
    store: Arc<FlightStore>,
}

async fn serve(settings: QuerySettings) -> Result<()> {
    let cancel = CancellationToken::new();
    shutdown::on_signals(cancel.clone())?;
    let connection = connect(&settings.engine)?;
    let what = "the engine cannot be reached";
    let store = until_answered(what, &cancel, || FlightStore::over(connection.clone())).await?;
    let Some(store) = store.map(Arc::new) else { return Ok(()) };
    let Some(upstream) = learn(&connection, &cancel).await? else { return Ok(()) };
    let sql: Arc<dyn SqlService> = SqlEngine::new(sql_options(&settings, &upstream, store.clone(), &connection)?)?;
    let access = &settings.access;
    access.reload_on_hangup(cancel.clone())?;
    let wire = WireServer::bind(settings.mysql_listen, sql.clone(), access.wire_options(), cancel.child_token())
        .await
        .with_context(|| format!("listen on {} (--mysql-listen)", settings.mysql_listen))?;
    let door = access.grpc("--flight-listen", settings.flight_listen).await?;
    let flight = FlightServer::start(door, access.guard.clone(), sql, None, cancel.child_token())?;
    let served = Arc::new(Served { engine: settings.engine.address.clone(), connection, store });
    let routes = health::routes(served, http::install_metrics()?);
    let (http, _) = http::serve(access, settings.common.http_listen, routes, cancel.child_token()).await?;
    let addresses = Addresses::new(access, wire.local_addr(), flight.local_addr(), http);
    if let Some(file) = &settings.common.ports_file {
        let Addresses { mysql, flight, http, .. } = &addresses;
        write_ports(file, &[("mysql", mysql), ("flight", flight), ("http", http)])?;
    }
    eprintln!("{addresses}");
    cancel.cancelled().await;
    let ended = async { wire.finished().await.and(flight.finished().await) };
    match tokio::time::timeout(PATIENCE, ended).await {
        Ok(ended) => Ok(ended?),
        Err(_) => Err(anyhow!("clients hold their connections after {PATIENCE:?}; leaving them")),
    }
}

/// What the writer told the engine of the upstream; waits until it did.
async fn learn(connection: &Connection, cancel: &CancellationToken) -> Result<Option<Upstream>> {
    let mut said = false;
    loop {
        let Some(known) = until_answered("the engine cannot be reached", cancel, || about(connection)).await? else {
            return Ok(None);
        };
        if let Some(upstream) = known.upstream {
            return Ok(Some(serde_json::from_value(upstream).context("read what the engine knows of the upstream")?));
        }
        if !said {
            tracing::warn!("no writer has told the engine yet which upstream it follows: waiting for that");
        }
        said = true;
        tokio::select! {
            () = cancel.cancelled() => return Ok(None),
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

fn sql_options(
    settings: &QuerySettings,
    upstream: &Upstream,
    store: Arc<FlightStore>,
    connection: &Connection,
) -> Result<SqlOptions> {
    let latch = Arc::new(RemoteLatch::over(connection.clone()));
    Ok(SqlOptions {
        server_version: upstream.replica_version(),
        zones: Upstream::zones(Some(upstream), settings.time_zone.as_deref())?,
        memory_limit_bytes: settings.query_memory as usize,
        default_freshness: match settings.freshness {
            FreshnessArg::Any => DefaultFreshness::Any,
            FreshnessArg::Latest => DefaultFreshness::Latest,
        },
        ..SqlOptions::new(store, latch, upstream.flavor)
    })
}

#[async_trait]
impl Health for Served {
    fn failure(&self) -> Option<String> {
        None
    }

    async fn not_ready(&self) -> Option<String> {
        match about(&self.connection).await {
            Ok(about) => about.waiting,
            Err(error) => Some(format!("the engine at {} does not answer: {error}", self.engine)),
        }
    }

    async fn status(&self) -> serde_json::Value {
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "engine": self.engine,
            "seq": { "published": self.store.published_seq() },
            "waiting": self.not_ready().await,
        })
    }
}
