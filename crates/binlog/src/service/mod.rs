//! A running server as a source: its bin log over a replication connection, its tables over ordinary ones.
//!
//! Rooms: `url` and connections (`connect`, `server`); `preflight` asks whether the upstream is set up
//! as Tidelake needs it; `stream` follows the bin log into the Data Buffer (`wire`, `append`, `history`),
//! and moves to another server if that has the same history (`following`, `successor`, `walk`);
//! `copy` brings in the rows that were there before; `verify` compares them with the upstream's. MariaDB since 10.3 and MySQL since 5.6 are read; where only
//! MariaDB can do something exactly, MySQL does it in a slower way or is refused, never approximately.

mod append;
mod backoff;
pub(crate) mod connect;
pub(crate) mod copy;
mod following;
pub(crate) mod history;
mod preflight;
mod server;
mod source;
mod stream;
mod successor;
mod tables;
pub(crate) mod url;
mod verify;
mod walk;
mod wire;
mod wishes;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng;
use tidelake_core::ports::{Buffer, CopyProgress, SourceState, SourceStatus};
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{Result, SourcePosition, TableDef, TableName};
use tokio::sync::{Notify, Semaphore, watch};

use crate::filter::{LiveFilter, TableFilter};
use crate::mysql::decoder::DdlInterpreter;
use connect::Connector;
use following::Following;
pub use preflight::{Finding, FindingLevel, Preflight, preflight};
pub use server::UpstreamServer;
pub use source::ServiceSource;
pub(crate) use tables::quoted_name;
use url::UpstreamUrl;
pub use verify::{Difference, Outcome, ReplicaParts, TableVerdict};
use wishes::Wishes;

/// How to read an upstream server.
#[derive(Clone)]
pub struct ServiceOptions {
    /// `mysql://USER:PASSWORD@HOST:PORT`, user and password percent-encoded; options `ssl-mode` (`disabled`,
    /// `preferred`, `required`, `verify-identity`) and `ssl-ca` (a PEM file) may follow after `/?`.
    pub url: String,
    /// Which tables are wanted.
    pub filter: TableFilter,
    /// The id under which Tidelake registers as a replica; must be unique among the upstream's replicas.
    pub server_id: u32,
    /// Rows of a chunk of the initial copy.
    pub copy_chunk_rows: usize,
    /// Bytes of rows after which a chunk ends early.
    pub copy_chunk_bytes: usize,
    /// Chunks read at the same time, of one large table or of several tables.
    pub copy_threads: usize,
    /// How often the upstream tells that it is still there while nothing happens.
    pub heartbeat: Duration,
    /// Bytes of events that may wait between the socket and the buffer.
    pub fetch_window_bytes: usize,
}

impl ServiceOptions {
    /// The defaults for an upstream: every table, a random server id between 2^31 and 2^32.
    #[must_use]
    pub fn new(url: impl Into<String>) -> ServiceOptions {
        ServiceOptions {
            url: url.into(),
            filter: TableFilter::default(),
            server_id: random_server_id(),
            copy_chunk_rows: 20_000,
            copy_chunk_bytes: 16 << 20,
            copy_threads: 2,
            heartbeat: Duration::from_secs(1),
            fetch_window_bytes: 16 << 20,
        }
    }
}

/// Without the password.
impl fmt::Debug for ServiceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = UpstreamUrl::parse(&self.url).map_or_else(|e| e.to_string(), |u| u.to_string());
        f.debug_struct("ServiceOptions")
            .field("url", &url)
            .field("filter", &self.filter)
            .field("server_id", &self.server_id)
            .field("copy_chunk_rows", &self.copy_chunk_rows)
            .field("copy_threads", &self.copy_threads)
            .field("heartbeat", &self.heartbeat)
            .finish_non_exhaustive()
    }
}

/// An id that hardly ever meets another replica's.
fn random_server_id() -> u32 {
    rand::rng().random_range(0x8000_0000..u32::MAX)
}

/// Asks an upstream who it is.
///
/// # Errors
/// [`tidelake_core::Error::Invalid`] for a wrong URL or refused login, `Unavailable` if it cannot be reached.
pub async fn upstream_server(options: &ServiceOptions) -> Result<UpstreamServer> {
    let connector = Connector::new(UpstreamUrl::parse(&options.url)?);
    let mut conn = connector.connect_plain().await?;
    UpstreamServer::detect(&connector, &mut conn).await
}

/// How the upstream's DDL is read: in the stream, and as the text of SHOW CREATE TABLE.
#[derive(Clone, Copy, Debug)]
pub struct DdlReading {
    /// A statement of the stream.
    pub changes: DdlInterpreter,
    /// The text of a table's definition, its database, the server -> the first version of the table.
    pub create_table: fn(&str, &str, ServerFlavor) -> Result<TableDef>,
}

/// What the tasks of one source share.
struct Shared {
    ddl: DdlReading,
    connector: Connector,
    options: ServiceOptions,
    /// Where the stream was told to begin.
    begin: Mutex<Option<SourcePosition>>,
    /// Which tables are wanted now.
    filter: LiveFilter,
    wishes: Wishes,
    /// Which server the stream follows, once it runs.
    following: watch::Sender<Option<Following>>,
    /// Told when a connection was opened to another server than that.
    elsewhere: Notify,
    /// Where the stream goes to, once it runs.
    buffer: OnceLock<Arc<dyn Buffer>>,
    status: Mutex<SourceStatus>,
    bytes_read: AtomicU64,
    copies: Mutex<Vec<CopyProgress>>,
    /// One permit for each chunk that is being read.
    readers: Semaphore,
    /// Why copies do not get on: by table, or (`None`) for all.
    problems: Mutex<BTreeMap<Option<TableName>, String>>,
    complete: watch::Sender<bool>,
}

impl Shared {
    fn new(options: ServiceOptions, ddl: DdlReading) -> Result<Shared> {
        Ok(Shared {
            ddl,
            connector: Connector::new(UpstreamUrl::parse(&options.url)?),
            filter: options.filter.clone().into(),
            wishes: Wishes::default(),
            readers: Semaphore::new(options.copy_threads.max(1)),
            options,
            begin: Mutex::default(),
            following: watch::Sender::new(None),
            elsewhere: Notify::new(),
            buffer: OnceLock::new(),
            status: Mutex::default(),
            bytes_read: AtomicU64::new(0),
            copies: Mutex::default(),
            problems: Mutex::default(),
            complete: watch::Sender::new(false),
        })
    }

    /// The newest place that is known of the upstream's history: it must still be part of what the upstream has.
    fn known(&self) -> Option<SourcePosition> {
        let read = self.buffer.get().and_then(|buffer| buffer.read_position().borrow().clone());
        read.or_else(|| self.begin.lock().clone()).filter(|position| !position.token.is_empty())
    }

    fn set_state(&self, state: SourceState, reason: String) {
        let mut status = self.status.lock();
        status.state = state;
        status.reason = reason;
    }

    fn note_event(&self, bytes: u64, lag_seconds: Option<f64>) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        if let Some(lag) = lag_seconds {
            self.status.lock().lag_seconds = lag;
        }
    }

    /// Changes the progress of a table's copy, which appears with the first call.
    fn note_copy(&self, name: &TableName, change: impl FnOnce(&mut CopyProgress)) {
        let mut copies = self.copies.lock();
        let index = copies.iter().position(|c| c.name == *name).unwrap_or_else(|| {
            let (rows, bytes, estimated_rows) = (0, 0, 0);
            copies.push(CopyProgress { name: name.clone(), rows, bytes, estimated_rows, done: false });
            copies.len() - 1
        });
        change(&mut copies[index]);
    }

    /// Remembers why a table (`None`: any table) cannot be copied; no problem forgets it.
    fn note_problem(&self, name: Option<&TableName>, problem: Option<String>) {
        let mut problems = self.problems.lock();
        match problem {
            Some(problem) => drop(problems.insert(name.cloned(), problem)),
            None => drop(problems.remove(&name.cloned())),
        }
    }

    fn status(&self) -> SourceStatus {
        let mut status = self.status.lock().clone();
        status.bytes_read = self.bytes_read();
        if let (true, Some((name, problem))) = (status.reason.is_empty(), self.problems.lock().first_key_value()) {
            let what = name.as_ref().map_or_else(|| "the tables".to_owned(), ToString::to_string);
            status.reason = format!("initial copy of {what}: {problem}");
        }
        status
    }

    fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }
}
