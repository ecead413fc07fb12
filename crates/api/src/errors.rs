//! Errors over the wire: a status code that says what a caller can do, the text, and in the details the error itself as JSON.

use serde::{Deserialize, Serialize};
use tidelake_core::{Error, SourcePosition};
use tonic::{Code, Status};

/// An error, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields are those of core's errors")]
pub enum WireError {
    Invalid { reason: String },
    Corrupt { place: String, reason: String },
    Unsupported { position: SourcePosition, reason: String },
    Diverged { table: String, reason: String },
    NotFound { reason: String },
    Denied { reason: String },
    SnapshotExpired { reason: String },
    Fenced { mine: u64, newest: u64 },
    Limit { reason: String },
    Timeout { reason: String },
    Unavailable { reason: String },
    Closed { reason: String },
    Internal { reason: String },
}

impl From<&Error> for WireError {
    fn from(error: &Error) -> WireError {
        let text = String::clone;
        match error {
            Error::Invalid(reason) => WireError::Invalid { reason: text(reason) },
            Error::Corrupt { place, reason } => WireError::Corrupt { place: text(place), reason: text(reason) },
            Error::Unsupported { position, reason } => {
                WireError::Unsupported { position: (**position).clone(), reason: text(reason) }
            }
            Error::Diverged { table, reason } => WireError::Diverged { table: text(table), reason: text(reason) },
            Error::NotFound(reason) => WireError::NotFound { reason: text(reason) },
            Error::Denied(reason) => WireError::Denied { reason: text(reason) },
            Error::SnapshotExpired(reason) => WireError::SnapshotExpired { reason: text(reason) },
            Error::Fenced { mine, newest } => WireError::Fenced { mine: *mine, newest: *newest },
            Error::Limit(reason) => WireError::Limit { reason: text(reason) },
            Error::Timeout(reason) => WireError::Timeout { reason: text(reason) },
            Error::Unavailable(reason) => WireError::Unavailable { reason: text(reason) },
            Error::Closed(reason) => WireError::Closed { reason: text(reason) },
            Error::Io { .. } => WireError::Internal { reason: error.to_string() },
            Error::Internal(reason) => WireError::Internal { reason: text(reason) },
        }
    }
}

impl From<WireError> for Error {
    fn from(error: WireError) -> Error {
        match error {
            WireError::Invalid { reason } => Error::Invalid(reason),
            WireError::Corrupt { place, reason } => Error::Corrupt { place, reason },
            WireError::Unsupported { position, reason } => Error::Unsupported { position: Box::new(position), reason },
            WireError::Diverged { table, reason } => Error::Diverged { table, reason },
            WireError::NotFound { reason } => Error::NotFound(reason),
            WireError::Denied { reason } => Error::Denied(reason),
            WireError::SnapshotExpired { reason } => Error::SnapshotExpired(reason),
            WireError::Fenced { mine, newest } => Error::Fenced { mine, newest },
            WireError::Limit { reason } => Error::Limit(reason),
            WireError::Timeout { reason } => Error::Timeout(reason),
            WireError::Unavailable { reason } => Error::Unavailable(reason),
            WireError::Closed { reason } => Error::Closed(reason),
            WireError::Internal { reason } => Error::Internal(reason),
        }
    }
}

fn code(error: &Error) -> Code {
    match error {
        Error::Invalid(_) => Code::InvalidArgument,
        Error::Corrupt { .. } => Code::DataLoss,
        Error::Unsupported { .. } => Code::Unimplemented,
        Error::Diverged { .. } => Code::Aborted,
        Error::NotFound(_) => Code::NotFound,
        Error::SnapshotExpired(_) => Code::FailedPrecondition,
        Error::Denied(_) | Error::Fenced { .. } => Code::PermissionDenied,
        Error::Limit(_) => Code::ResourceExhausted,
        Error::Timeout(_) => Code::DeadlineExceeded,
        Error::Unavailable(_) | Error::Closed(_) => Code::Unavailable,
        Error::Io { .. } | Error::Internal(_) => Code::Internal,
    }
}

/// An error as a gRPC status.
#[must_use]
pub fn to_status(error: &Error) -> Status {
    let details = serde_json::to_vec(&WireError::from(error)).unwrap_or_default();
    Status::with_details(code(error), error.to_string(), details.into())
}

/// What a status says; of a server that sends no details, by its code. What did not come from a server, but from the
/// connection to it, is `Unavailable`.
#[must_use]
pub fn of_status(status: &Status) -> Error {
    if let Some(cause) = std::error::Error::source(status) {
        return Error::Unavailable(format!("{}: {cause}", status.message()));
    }
    if let Ok(error) = serde_json::from_slice::<WireError>(status.details()) {
        return error.into();
    }
    let text = format!("{}: {}", status.code(), status.message());
    match status.code() {
        Code::InvalidArgument => Error::Invalid(text),
        Code::PermissionDenied | Code::Unauthenticated => Error::Denied(text),
        Code::NotFound => Error::NotFound(text),
        Code::ResourceExhausted => Error::Limit(text),
        Code::DeadlineExceeded => Error::Timeout(text),
        Code::Unavailable | Code::Cancelled | Code::Unknown => Error::Unavailable(text),
        _ => Error::Internal(text),
    }
}
