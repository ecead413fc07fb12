//! `/api/v1/verify`: comparing the replica with the upstream.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Shared;
use crate::verify::Report;

/// What to compare.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Patterns as for `--tables`; empty: every table of the replica.
    #[serde(default)]
    tables: String,
}

pub async fn read(State(shared): State<Shared>) -> Json<Report> {
    Json(shared.pipeline.verifier.as_ref().map(|verifier| verifier.report()).unwrap_or_default())
}

pub async fn start(State(shared): State<Shared>, body: Result<Json<Wanted>, JsonRejection>) -> Response {
    let refuse = |status, reason: String| (status, format!("{reason}\n")).into_response();
    let Json(wanted) = match body {
        Ok(body) => body,
        Err(rejection) => {
            let reason = format!("{}; send {{\"tables\":\"db.*\"}}", rejection.body_text());
            return refuse(StatusCode::BAD_REQUEST, reason);
        }
    };
    let Some(verifier) = &shared.pipeline.verifier else {
        let why = "the source is no server: there is nothing to compare with";
        return refuse(StatusCode::CONFLICT, why.to_owned());
    };
    match verifier.start(&wanted.tables) {
        Ok(report) => (StatusCode::ACCEPTED, Json(report)).into_response(),
        Err(error) => refuse(StatusCode::CONFLICT, format!("{error:#}")),
    }
}
