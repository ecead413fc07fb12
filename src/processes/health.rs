//! HTTP of processes without a source: health, readiness, metrics.

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use crate::http::Handle;

/// What a process says of itself.
#[async_trait]
pub trait Health: Send + Sync {
    /// Why it can do no more, if so.
    fn failure(&self) -> Option<String>;

    /// Why readers must wait, if so.
    async fn not_ready(&self) -> Option<String>;

    /// `GET /api/v1/status`.
    async fn status(&self) -> serde_json::Value;
}

#[derive(Clone)]
struct Shared {
    health: Arc<dyn Health>,
    metrics: Handle,
}

/// The routes.
pub fn routes(health: Arc<dyn Health>, metrics: Handle) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(page))
        .route("/api/v1/status", get(status))
        .with_state(Shared { health, metrics })
}

async fn healthz(State(shared): State<Shared>) -> Response {
    well_or(shared.health.failure(), "ok\n")
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let reason = match shared.health.failure() {
        None => shared.health.not_ready().await,
        failure => failure,
    };
    well_or(reason, "ready\n")
}

async fn status(State(shared): State<Shared>) -> Json<serde_json::Value> {
    Json(shared.health.status().await)
}

async fn page(State(shared): State<Shared>) -> String {
    shared.metrics.run_upkeep();
    shared.metrics.render()
}

fn well_or(reason: Option<String>, well: &'static str) -> Response {
    match reason {
        None => well.into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}
