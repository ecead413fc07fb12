//! The HTTP listener: status, interval, tables, health and metrics.

mod guarded;
mod interval;
mod magic;
mod metrics;
mod tables;
mod verify;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio_util::sync::CancellationToken;

pub use magic::{latch_routes, routes as magic_routes};
pub use metrics::{Handle, install as install_metrics};
pub use tables::Tables;

use crate::access::Access;
use crate::pipeline::Pipeline;
use crate::status;

/// What handlers share.
#[derive(Clone)]
struct Shared {
    pipeline: Arc<Pipeline>,
    metrics: metrics::Handle,
}

/// Binds and serves until cancelled. Returns the bound address and the server's task.
///
/// # Errors
/// If the address cannot be bound.
pub async fn serve(
    access: &Access,
    address: SocketAddr,
    routes: Router,
    cancel: CancellationToken,
) -> Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let door = access.http("--http-listen", address).await?;
    let bound = door.local_addr().context("read the HTTP listener's address")?;
    let routes = guarded::guard(routes, access.guard.clone());
    let router = if bound.ip().is_loopback() { routes.layer(middleware::from_fn(only_local_names)) } else { routes };
    let listener = guarded::HttpDoor::new(bound, door.open(cancel.clone()));
    let service = router.into_make_service_with_connect_info::<guarded::Peer>();
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(cancel.cancelled_owned()).await {
            tracing::error!(%error, "the HTTP listener ended");
        }
    });
    Ok((bound, task))
}

/// What a process with a source answers.
pub fn of_pipeline(pipeline: Arc<Pipeline>, metrics: Handle) -> Router {
    let magic = pipeline.serving.as_ref().map(|serving| magic::routes(serving.magic_api.clone()));
    let shared = Shared { pipeline, metrics };
    let routes = Router::new()
        .route("/api/v1/status", get(report))
        .route("/api/v1/interval", get(interval::read).put(interval::write))
        .route("/api/v1/tables", get(tables::read).post(tables::change))
        .route("/api/v1/resync", post(tables::resync))
        .route("/api/v1/engine", get(engine))
        .route("/api/v1/verify", get(verify::read).post(verify::start))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics::page))
        .with_state(shared);
    routes.merge(magic.unwrap_or_default())
}

/// A web page elsewhere may point its own host name at the loopback address; it must not reach us that way.
async fn only_local_names(headers: HeaderMap, request: axum::extract::Request, next: Next) -> Response {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or("localhost");
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_ip = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if is_ip || name.eq_ignore_ascii_case("localhost") {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "this listener answers on loopback names only\n").into_response()
}

async fn report(State(shared): State<Shared>) -> Json<status::StatusReport> {
    Json(status::gather(&shared.pipeline))
}

async fn engine(State(shared): State<Shared>) -> Response {
    match &shared.pipeline.serving {
        Some(serving) => Json(serving.magic.stats()).into_response(),
        None => (StatusCode::NOT_FOUND, "the engine is in another process: ask that one\n").into_response(),
    }
}

async fn health(State(shared): State<Shared>) -> Response {
    match shared.pipeline.failure() {
        None => "ok\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn ready(State(shared): State<Shared>) -> Response {
    match shared.pipeline.not_ready() {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}
