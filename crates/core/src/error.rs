//! One error type over all ports. A kind says what the caller can do about it.

use crate::position::SourcePosition;

/// Result over all ports.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, sorted by what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input (configuration, SQL, a file, the upstream's settings) is wrong: tell the user, do not retry.
    #[error("{0}")]
    Invalid(String),
    /// Stored or received bytes are not what they must be: stop, name the place.
    #[error("corrupt data in {place}: {reason}")]
    Corrupt {
        /// File and offset, or source position.
        place: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// Something the event stream asks for that Tidelake does not do: stop the table or the pipeline here.
    #[error("unsupported at {position}: {reason}")]
    Unsupported {
        /// Where in the upstream's bin log.
        position: Box<SourcePosition>,
        /// What it is and what the user can do.
        reason: String,
    },
    /// The rows do not fit what is stored (a delete of a missing row, a second row of one key): the replica
    /// differs from upstream, so the table must stop.
    #[error("table {table} diverged: {reason}")]
    Diverged {
        /// `database.table`.
        table: String,
        /// The first row that did not fit.
        reason: String,
    },
    /// The named thing does not exist.
    #[error("{0} not found")]
    NotFound(String),
    /// Whoever asks may not.
    #[error("access denied: {0}")]
    Denied(String),
    /// The lease lapsed or its snapshot is below the horizon: acquire a new one.
    #[error("snapshot expired: {0}")]
    SnapshotExpired(String),
    /// A newer writer has taken over: this one must end.
    #[error("writer epoch {mine} is fenced by epoch {newest}")]
    Fenced {
        /// The refused epoch.
        mine: u64,
        /// The epoch that holds now.
        newest: u64,
    },
    /// A configured limit was reached; retry later or raise the limit.
    #[error("limit reached: {0}")]
    Limit(String),
    /// Not done in time; the state is unchanged, retry if wanted.
    #[error("timed out: {0}")]
    Timeout(String),
    /// The other side (upstream, engine process) cannot be reached now: retry with backoff.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The operating system refused; `context` is verb and object.
    #[error("{context}: {source}")]
    Io {
        /// Verb and object, e.g. `open segment /x/y`.
        context: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The component is shut down or poisoned by an earlier error (kept in the text).
    #[error("closed: {0}")]
    Closed(String),
    /// A broken promise inside Tidelake: a bug. Stop loudly.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// Adds what was being done to an I/O error.
    pub fn io(context: impl Into<String>, source: std::io::Error) -> Error {
        Error::Io { context: context.into(), source }
    }

    /// A corrupt-data error.
    pub fn corrupt(place: impl Into<String>, reason: impl Into<String>) -> Error {
        Error::Corrupt { place: place.into(), reason: reason.into() }
    }

    /// True if the same call may succeed later without a change by the user.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Limit(_) | Error::Timeout(_) | Error::Unavailable(_))
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(e: arrow::error::ArrowError) -> Self {
        Error::Internal(format!("arrow: {e}"))
    }
}
