//! `GET` and `PUT /api/v1/interval`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Shared;
use crate::config::check_interval;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    interval_ms: f64,
}

fn current(shared: &Shared) -> Json<Interval> {
    Json(Interval { interval_ms: shared.pipeline.writer().interval().as_secs_f64() * 1000.0 })
}

pub async fn read(State(shared): State<Shared>) -> Json<Interval> {
    current(&shared)
}

pub async fn write(State(shared): State<Shared>, body: Result<Json<Interval>, JsonRejection>) -> Response {
    let refuse = |reason: String| (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response();
    let Json(wanted) = match body {
        Ok(body) => body,
        Err(rejection) => return refuse(format!("{}; send {{\"interval_ms\":20}}", rejection.body_text())),
    };
    let Ok(interval) = Duration::try_from_secs_f64(wanted.interval_ms / 1000.0) else {
        return refuse(format!("interval_ms {} is not a duration", wanted.interval_ms));
    };
    if let Err(error) = check_interval(interval).and_then(|()| shared.pipeline.set_interval(interval)) {
        return refuse(error.to_string());
    }
    tracing::info!(interval_ms = wanted.interval_ms, "interval changed");
    current(&shared).into_response()
}
