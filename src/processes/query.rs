//! `tidelake query`: SQL over an engine in another process, or over several at one latch. It keeps nothing, so any number of them may run.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use async_trait::async_trait;
use tidelake_api::{Connection, FleetStore, FlightStore, LatchLine, RemoteLatch, about};
use tidelake_calc::flight::FlightServer;
use tidelake_calc::session::SqlService;
use tidelake_calc::sql::{SqlEngine, SqlOptions};
use tidelake_calc::wire::WireServer;
use tidelake_core::env;
use tidelake_core::ports::{Latch, StoreEngine};
use tokio_util::sync::CancellationToken;

use super::args::QueryArgs;
use super::health::{self, Health};
use super::settings::{self, Places, QuerySettings};
use super::{AGAIN, connect, latch_line, until_answered};
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
    engines: String,
    /// To whoever has the latch.
    line: Arc<LatchLine>,
    store: Arc<dyn StoreEngine>,
}

async fn serve(settings: QuerySettings) -> Result<()> {
    let cancel = CancellationToken::new();
    shutdown::on_signals(cancel.clone())?;
    let Some((store, line)) = reach(&settings.places, &cancel).await? else { return Ok(()) };
    let Some(upstream) = learn(&line, &cancel).await? else { return Ok(()) };
    let latch: Arc<dyn Latch> = Arc::new(RemoteLatch::at(line.clone()));
    let sql: Arc<dyn SqlService> = SqlEngine::new(sql_options(&settings, &upstream, store.clone(), latch)?)?;
    let access = &settings.access;
    access.reload_on_hangup(cancel.clone())?;
    let wire = WireServer::bind(settings.sql.mysql_listen, sql.clone(), access.wire_options(), cancel.child_token())
        .await
        .with_context(|| format!("listen on {} (--mysql-listen)", settings.sql.mysql_listen))?;
    let door = access.grpc("--flight-listen", settings.sql.flight_listen).await?;
    let flight = FlightServer::start(door, access.guard.clone(), sql, None, cancel.child_token())?;
    let engines: Vec<&str> = settings.places.engines.iter().map(|place| place.address.as_str()).collect();
    let served = Arc::new(Served { engines: engines.join(", "), line, store });
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
    match env::timeout(PATIENCE, ended).await {
        Ok(ended) => Ok(ended?),
        Err(_) => Err(anyhow!("clients hold their connections after {PATIENCE:?}; leaving them")),
    }
}

/// The engine and its latch, or the engines and theirs; `None` if cancelled before.
async fn reach(places: &Places, cancel: &CancellationToken) -> Result<Option<(Arc<dyn StoreEngine>, Arc<LatchLine>)>> {
    let connections: Vec<Connection> = places.engines.iter().map(connect).collect::<Result<_>>()?;
    if !places.latches.is_empty() {
        let line = latch_line(&places.latches)?;
        let fleet: Arc<dyn StoreEngine> = FleetStore::new(&connections, line.clone())?;
        return Ok(Some((fleet, line)));
    }
    let connection = connections.into_iter().next().context("no engine is named")?;
    let what = "the engine cannot be reached";
    let Some(store) = until_answered(what, cancel, || FlightStore::over(connection.clone())).await? else {
        return Ok(None);
    };
    Ok(Some((Arc::new(store), LatchLine::to(connection))))
}

/// What the writer told the latch of the upstream; waits until it did.
async fn learn(line: &LatchLine, cancel: &CancellationToken) -> Result<Option<Upstream>> {
    let mut said = false;
    loop {
        let ask = || async { about(&line.leading()).await };
        let Some(known) = until_answered("nobody says what the upstream is", cancel, ask).await? else {
            return Ok(None);
        };
        if let Some(upstream) = known.upstream {
            return Ok(Some(serde_json::from_value(upstream).context("read what the engine knows of the upstream")?));
        }
        if !said {
            tracing::warn!("no writer has told yet which upstream it follows: waiting for that");
        }
        said = true;
        tokio::select! {
            () = cancel.cancelled() => return Ok(None),
            () = env::sleep(AGAIN) => {}
        }
    }
}

fn sql_options(
    settings: &QuerySettings,
    upstream: &Upstream,
    store: Arc<dyn StoreEngine>,
    latch: Arc<dyn Latch>,
) -> Result<SqlOptions> {
    Ok(SqlOptions {
        server_version: upstream.replica_version(),
        zones: Upstream::zones(Some(upstream), settings.sql.time_zone.as_deref())?,
        memory_limit_bytes: settings.sql.query_memory as usize,
        default_freshness: settings.sql.freshness.into(),
        ..SqlOptions::new(store, latch, upstream.flavor)
    })
}

#[async_trait]
impl Health for Served {
    fn failure(&self) -> Option<String> {
        None
    }

    async fn not_ready(&self) -> Option<String> {
        match about(&self.line.leading()).await {
            Ok(about) => about.waiting,
            Err(error) => Some(format!("the latch (of {}) does not answer: {error}", self.engines)),
        }
    }

    async fn status(&self) -> serde_json::Value {
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "engine": self.engines,
            "seq": { "published": self.store.published_seq() },
            "waiting": self.not_ready().await,
        })
    }
}
