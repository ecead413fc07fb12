//! `/api/v1/tables` and `/api/v1/resync`: which tables are replicated, and copying one again.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tidelake_core::TableName;

use super::Shared;
use crate::status::{self, TableReport};

/// The answer of `/api/v1/tables`.
#[derive(Serialize, Deserialize)]
pub struct Tables {
    /// `--tables`; empty: all.
    pub tables: String,
    /// Patterns added while it ran; they stand behind those of `--tables`.
    pub changes: Vec<String>,
    /// Tables that were asked to be copied again and are not whole yet, as `database.table`.
    pub resyncs: Vec<String>,
    /// Tables that were asked to be copied again and never will be: upstream has them no more.
    pub given_up: Vec<String>,
    /// All tables of the replica.
    pub replicated: Vec<TableReport>,
}

/// What to change.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum Change {
    /// A pattern.
    Add(String),
    /// A pattern.
    Remove(String),
}

/// Which table to copy again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resync {
    database: String,
    table: String,
}

fn refuse(status: StatusCode, reason: impl std::fmt::Display) -> Response {
    (status, format!("{reason}\n")).into_response()
}

/// Files and feeds have nothing to copy from.
fn refuse_files() -> Response {
    let why = "the source is no server that tables could be copied from: start with other --tables and a new data directory instead";
    refuse(StatusCode::CONFLICT, why)
}

pub async fn read(State(shared): State<Shared>) -> Json<Tables> {
    let wishes = shared.pipeline.wishes.as_ref();
    let texts = |names: Vec<TableName>| names.iter().map(ToString::to_string).collect();
    // In this order: what is given up meanwhile is in both, never in none.
    let resyncs = wishes.map(|w| texts(w.resyncs())).unwrap_or_default();
    let given_up = wishes.map(|w| texts(w.given_up())).unwrap_or_default();
    Json(Tables {
        tables: shared.pipeline.tables.clone(),
        changes: wishes.map(|w| w.changes()).unwrap_or_default(),
        resyncs,
        given_up,
        replicated: status::gather(&shared.pipeline).tables,
    })
}

pub async fn change(State(shared): State<Shared>, body: Result<Json<Change>, JsonRejection>) -> Response {
    let (pattern, include) = match body {
        Ok(Json(Change::Add(pattern))) => (pattern, true),
        Ok(Json(Change::Remove(pattern))) => (pattern, false),
        Err(rejection) => {
            let form = r#"send {"add":"db.table"} or {"remove":"db.table"}"#;
            return refuse(StatusCode::BAD_REQUEST, format!("{}; {form}", rejection.body_text()));
        }
    };
    let Some(wishes) = shared.pipeline.wishes.clone() else { return refuse_files() };
    match wishes.change_tables(&pattern, include) {
        Ok(()) => read(State(shared)).await.into_response(),
        Err(error) => refuse(StatusCode::BAD_REQUEST, format!("{error:#}")),
    }
}

/// Accepted, not done: `resyncs` of `/api/v1/tables` no longer names the table when it is, or when it is `given_up`.
pub async fn resync(State(shared): State<Shared>, body: Result<Json<Resync>, JsonRejection>) -> Response {
    let name = match body {
        Ok(Json(Resync { database, table })) => TableName::new(database, table),
        Err(rejection) => {
            let form = r#"send {"database":"...","table":"..."}"#;
            return refuse(StatusCode::BAD_REQUEST, format!("{}; {form}", rejection.body_text()));
        }
    };
    let Some(wishes) = shared.pipeline.wishes.clone() else { return refuse_files() };
    if !shared.pipeline.has_table(&name) {
        return refuse(StatusCode::NOT_FOUND, format!("the replica has no table {name}"));
    }
    match wishes.resync(&name) {
        Ok(()) => (StatusCode::ACCEPTED, read(State(shared)).await).into_response(),
        Err(error) => refuse(StatusCode::BAD_REQUEST, format!("{error:#}")),
    }
}
