//! `tidelake latch`: the latch of several engines. It waits until no other one leads, serves as long as it leads, and then waits again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use async_trait::async_trait;
use tidelake_api::{Hub, HubOptions, HubSeat, HubServer, new_name};
use tidelake_core::env;
use tidelake_latch::backend::{Backend, EtcdBackend, EtcdLogin, EtcdUser, FileBackend};
use tokio_util::sync::CancellationToken;

use super::args::{ForgetArgs, LatchCommand, LatchCommandArgs};
use super::health::{self, Health};
use super::read;
use super::settings::{self, LatchBackend, LatchSettings};
use crate::access::args::EtcdArgs;
use crate::access::users::secret_of;
use crate::data_dir::DataDir;
use crate::listeners::write_ports;
use crate::run::runtime;
use crate::{client, http, logging, shutdown};

/// How often it is looked whether another one still leads.
const LOOK: Duration = Duration::from_millis(500);
/// How long clients have to end at a shutdown.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a published seq can still be pinned.
const GRACE: Duration = Duration::from_secs(5);

/// `tidelake latch`.
///
/// # Errors
/// A wrong option, a directory that cannot be opened, an address that is in use; what a running latch refuses.
pub fn latch(args: LatchCommandArgs) -> Result<()> {
    if let Some(LatchCommand::Forget(args)) = args.command {
        return forget(&args);
    }
    let settings = settings::of_latch(args.serve)?;
    logging::init(settings.common.log_format, &settings.common.log)?;
    runtime()?.block_on(serve(settings))
}

/// `tidelake latch forget`.
fn forget(args: &ForgetArgs) -> Result<()> {
    let ask = serde_json::json!({ "v": 1, "engine": args.engine });
    let answer = client::post(&args.http, "/api/v1/magic/forget", &ask)?;
    let answer: serde_json::Value = serde_json::from_str(&answer).context("read the latch's answer")?;
    let left: Vec<&str> = answer["engines"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
    println!(
        "{} is forgotten; engines left: {}",
        args.engine,
        if left.is_empty() { "none".into() } else { left.join(", ") }
    );
    Ok(())
}

async fn serve(settings: LatchSettings) -> Result<()> {
    let cancel = CancellationToken::new();
    shutdown::on_signals(cancel.clone())?;
    let backend = open_backend(&settings.backend)?;
    let seat = HubSeat::default();
    settings.access.reload_on_hangup(cancel.clone())?;
    let (access, guard) = (&settings.access, settings.access.guard.clone());
    let door = access.grpc("--latch-listen", settings.latch_listen).await?;
    let server = HubServer::start(door, guard, seat.clone(), cancel.child_token())?;
    let routes = health::routes(Arc::new(Served { seat: seat.clone() }), http::install_metrics()?);
    let routes = routes.merge(http::latch_routes(seat.clone()));
    let (http, _) = http::serve(access, settings.common.http_listen, routes, cancel.child_token()).await?;
    let address = server.local_addr();
    if let Some(file) = &settings.common.ports_file {
        write_ports(file, &[("latch", &address), ("http", &http)])?;
    }
    let scheme = if access.has_tls() { "https" } else { "http" };
    eprintln!("  Latch           {address}   (tidelake engine --latch {address}, and so writer and query)");
    eprintln!("  Status          {scheme}://{http}/api/v1/status, /metrics");
    let options = HubOptions { patience: settings.engine_patience, retention: settings.retention, grace: GRACE };
    let ended = terms(&backend, &seat, options, &cancel).await;
    cancel.cancel();
    if env::timeout(PATIENCE, server.finished()).await.is_err() {
        tracing::warn!("clients hold their connections; leaving them");
    }
    ended
}

fn open_backend(backend: &LatchBackend) -> Result<Arc<dyn Backend>> {
    Ok(match backend {
        LatchBackend::Dir(path) => {
            let dir = DataDir::open(path, "latch", "engines in other processes")?;
            Arc::new(FileBackend::new(dir.latch()))
        }
        LatchBackend::Etcd(url, args) => {
            Arc::new(EtcdBackend::parse_as(url, &new_name(), etcd_login(args)?).context("--latch-backend")?)
        }
    })
}

fn etcd_login(args: &EtcdArgs) -> Result<EtcdLogin> {
    let EtcdArgs { etcd_ca, etcd_cert, etcd_key, etcd_user, etcd_password_file } = args;
    let identity = match (etcd_cert, etcd_key) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((read("--etcd-cert", cert)?, read("--etcd-key", key)?)),
        _ => bail!("--etcd-cert and --etcd-key belong together: give both"),
    };
    let user = match (etcd_user, etcd_password_file) {
        (None, None) => None,
        (None, Some(_)) => bail!("--etcd-password-file is for a user: give --etcd-user too"),
        (Some(name), Some(file)) => Some((name, secret_of(file).context("--etcd-password-file")?)),
        (Some(name), None) => {
            let missing = "--etcd-user needs a password: in --etcd-password-file, or in the environment variable TIDELAKE_ETCD_PASSWORD";
            Some((name, std::env::var("TIDELAKE_ETCD_PASSWORD").context(missing)?))
        }
    };
    let user = user.map(|(name, password)| EtcdUser { name: name.clone(), password });
    let ca = etcd_ca.as_ref().map(|file| read("--etcd-ca", file)).transpose()?;
    Ok(EtcdLogin { ca, identity, user })
}

/// Leads whenever no other latch does, until cancelled.
pub(crate) async fn terms(
    backend: &Arc<dyn Backend>,
    seat: &HubSeat,
    options: HubOptions,
    cancel: &CancellationToken,
) -> Result<()> {
    let mut said = None;
    while !cancel.is_cancelled() {
        let asked = backend.clone();
        let campaign = env::spawn_blocking(move || asked.campaign()).await.context("campaign")?;
        let led = match campaign {
            Ok(Some(leading)) => match Hub::open(leading, options).await {
                Ok(hub) => {
                    tracing::info!(term = hub.term(), "this latch leads");
                    lead(&hub, seat, cancel).await;
                    true
                }
                // A page that is none is not mended by waiting.
                Err(error) if !error.is_transient() => return Err(anyhow!(error)).context("open the latch's page"),
                Err(error) => says(&mut said, format!("the latch's page cannot be opened: {error}")),
            },
            Ok(None) => says(&mut said, "another latch leads: waiting".to_owned()),
            Err(error) if !error.is_transient() => return Err(anyhow!(error)).context("keep the latch's page"),
            Err(error) => says(&mut said, format!("nobody knows who leads: {error}")),
        };
        if led {
            said = None;
        }
        tokio::select! {
            () = cancel.cancelled() => {}
            () = env::sleep(LOOK) => {}
        }
    }
    Ok(())
}

/// Serves until the term is over.
async fn lead(hub: &Arc<Hub>, seat: &HubSeat, cancel: &CancellationToken) {
    seat.take(Some(hub.clone()));
    tokio::select! {
        () = hub.lost() => tracing::warn!(term = hub.term(), "this latch leads no more"),
        () = cancel.cancelled() => {}
    }
    seat.take(None);
    hub.resign().await;
}

/// Says it once.
fn says(said: &mut Option<String>, what: String) -> bool {
    if said.as_ref() != Some(&what) {
        tracing::info!("{what}");
        *said = Some(what);
    }
    false
}

struct Served {
    seat: HubSeat,
}

#[async_trait]
impl Health for Served {
    fn failure(&self) -> Option<String> {
        None
    }

    async fn not_ready(&self) -> Option<String> {
        match self.seat.hub() {
            Ok(hub) => hub.waiting(),
            Err(error) => Some(error.to_string()),
        }
    }

    async fn status(&self) -> serde_json::Value {
        let version = env!("CARGO_PKG_VERSION");
        let Ok(hub) = self.seat.hub() else {
            return serde_json::json!({ "version": version, "leads": false });
        };
        let engines = hub.engines().into_iter().map(|(report, standing)| {
            serde_json::json!({
                "name": report.engine,
                "address": report.address,
                "standing": standing.word(),
                "published": report.published.seq,
                "durable": report.durable,
                "oldest": report.horizon,
            })
        });
        let engines: Vec<_> = engines.collect();
        serde_json::json!({
            "version": version,
            "leads": true,
            "term": hub.term(),
            "seq": { "published": hub.shown(), "oldest": hub.oldest() },
            "leases": hub.live_leases(),
            "writer": if hub.has_writer() { "connected" } else { "no writer is connected" },
            "engines": engines,
            "expected": hub.expected(),
            "waiting": hub.waiting(),
        })
    }
}
