//! The Magic API for clients without gRPC: the same calls and tickets, rows as a plain Arrow IPC stream.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use serde::Serialize;
use tidelake_access::Caller;
use tidelake_api::errors::WireError;
use tidelake_api::ipc::{ipc_schema, ipc_stream};
use tidelake_api::wire::{Planned, decode, encode, to_hex};
use tidelake_api::{HubSeat, Magic};
use tidelake_core::{Error, Result};

/// The content type of rows.
const ARROW_STREAM: &str = "application/vnd.apache.arrow.stream";

/// The answer to `plan`.
#[derive(Serialize)]
struct HttpPlan {
    /// An IPC stream with the schema and no rows, two hexadecimal digits a byte.
    schema: String,
    #[serde(flatten)]
    planned: Planned,
}

/// `/api/v1/magic/...`
pub fn routes(magic: Arc<Magic>) -> Router {
    Router::new().route("/api/v1/magic/{call}", post(call)).with_state(magic)
}

/// The same for the calls of a latch in a process of its own.
pub fn latch_routes(seat: HubSeat) -> Router {
    Router::new().route("/api/v1/magic/{call}", post(latch_call)).with_state(seat)
}

async fn latch_call(
    State(seat): State<HubSeat>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !is_json(&headers) {
        return no_json();
    }
    let answered = seat.call(&caller, &name, &body).await.map(json_answer);
    answered.unwrap_or_else(|e| refused(&e))
}

/// A web page elsewhere can send no JSON without being asked whether it may.
fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/json"))
}

fn no_json() -> Response {
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the request as application/json\n").into_response()
}

/// `POST /api/v1/magic/{call}`
async fn call(
    State(magic): State<Arc<Magic>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !is_json(&headers) {
        return no_json();
    }
    let answered = match name.as_str() {
        "plan" => plan(&magic, &caller, &body).await,
        "split" => split(&magic, &caller, &body).await,
        name => magic.call(&caller, name, &body).await.map(json_answer),
    };
    answered.unwrap_or_else(|e| refused(&e))
}

async fn plan(magic: &Magic, caller: &Caller, body: &[u8]) -> Result<Response> {
    let (schema, planned) = magic.plan(caller, decode(body)?).await?;
    let schema = to_hex(&ipc_schema(&schema)?);
    Ok(json_answer(encode(HttpPlan { schema, planned })?))
}

async fn split(magic: &Arc<Magic>, caller: &Caller, body: &[u8]) -> Result<Response> {
    let (schema, batches) = magic.read(caller, &decode(body)?).await?;
    let body = Body::from_stream(ipc_stream(&schema, batches)?);
    Ok(([(header::CONTENT_TYPE, ARROW_STREAM)], body).into_response())
}

fn json_answer(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The error as JSON; the status says what a client can do.
fn refused(error: &Error) -> Response {
    let status = match error {
        Error::Invalid(_) | Error::Unsupported { .. } => StatusCode::BAD_REQUEST,
        Error::NotFound(_) => StatusCode::NOT_FOUND,
        Error::SnapshotExpired(_) => StatusCode::GONE,
        Error::Denied(_) | Error::Fenced { .. } => StatusCode::FORBIDDEN,
        Error::Diverged { .. } => StatusCode::CONFLICT,
        Error::Limit(_) => StatusCode::TOO_MANY_REQUESTS,
        Error::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
        Error::Unavailable(_) | Error::Closed(_) => StatusCode::SERVICE_UNAVAILABLE,
        Error::Corrupt { .. } | Error::Io { .. } | Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let body = serde_json::to_vec(&WireError::from(error)).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
