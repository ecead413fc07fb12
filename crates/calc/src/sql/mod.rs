//! The SQL room: MySQL's SQL over a store engine's snapshots, run by DataFusion.
//!
//! A statement's way: `lexing` (text to tokens) -> `session` (which statement) -> `rewrite` (MySQL's operators and
//! functions become ours, on the syntax tree) -> `planner` (tables and functions for DataFusion's planner) ->
//! `lower` (types, casts and collations, on the logical plan) -> `table` (scans under the statement's lease) ->
//! `result` (MySQL's column names). `udf` holds the functions, `show` and `info_schema` what describes tables.
//!
//! One statement holds one [`SnapshotLease`](tidelake_core::ports::SnapshotLease): all its tables are read at its
//! seq. What is answered differently from the upstream is listed in `docs/sql.md`.

mod aggregates;
mod as_of;
mod collation;
mod convert;
mod datetime;
mod dialect;
mod error;
mod filters;
mod form;
mod fresh;
mod grants;
mod info_schema;
mod late;
mod lexing;
mod lower;
mod planner;
mod result;
mod rewrite;
mod running;
mod session;
mod show;
mod simple;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;
mod types;
mod udf;
mod variables;
mod whole;
mod workers;
mod zone;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SessionState, SessionStateBuilder, TaskContext};
use datafusion::prelude::SessionConfig;
use tidelake_core::ports::{Latch, StoreEngine};
use tidelake_core::types::text::ServerFlavor;

pub use variables::{DefaultFreshness, SqlZones};

use crate::session::{SessionInfo, SqlError, SqlService, SqlSession};
use variables::Variables;

/// Settings of the SQL room.
#[derive(Clone)]
pub struct SqlOptions {
    /// Where the tables are.
    pub engine: Arc<dyn StoreEngine>,
    /// Who gives leases.
    pub latch: Arc<dyn Latch>,
    /// The kind of upstream: spelling of types, printing of values.
    pub flavor: ServerFlavor,
    /// What `VERSION()` and the handshake say.
    pub server_version: String,
    /// The sessions' time zone at the start.
    pub zones: SqlZones,
    /// Bytes all running statements together may hold; more spills to disk, then fails.
    pub memory_limit_bytes: usize,
    /// Where spilled bytes go; `None`: the system's temporary directory.
    pub spill_dir: Option<PathBuf>,
    /// The sessions' `tidelake_freshness` at the start.
    pub default_freshness: DefaultFreshness,
    /// The sessions' `tidelake_freshness_timeout` at the start.
    pub freshness_timeout: Duration,
    /// How long a lease lives without renewal. Held leases are renewed three times in it.
    pub lease_ttl: Duration,
    /// Parallelism of a statement.
    pub target_partitions: usize,
    /// Threads that run queries, apart from the process's others; 0: those that ask.
    pub threads: usize,
}

impl SqlOptions {
    /// The defaults: 1 GiB, freshness 'any', 60 s for 'latest', leases of 30 s, one partition per core.
    pub fn new(engine: Arc<dyn StoreEngine>, latch: Arc<dyn Latch>, flavor: ServerFlavor) -> SqlOptions {
        let kind = match flavor {
            ServerFlavor::MariaDb => "10.11.6-MariaDB",
            ServerFlavor::MySql => "8.0.36",
            ServerFlavor::TiDb => "8.0.11-TiDB-v8.5.0",
        };
        SqlOptions {
            engine,
            latch,
            flavor,
            server_version: server_version(kind),
            zones: SqlZones::default(),
            memory_limit_bytes: 1 << 30,
            spill_dir: None,
            default_freshness: DefaultFreshness::Any,
            freshness_timeout: Duration::from_secs(60),
            lease_ttl: Duration::from_secs(30),
            target_partitions: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            threads: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
        }
    }
}

/// An upstream's version with ours behind it, as `VERSION()` says it.
#[must_use]
pub fn server_version(upstream: &str) -> String {
    format!("{upstream}-tidelake-{}", env!("CARGO_PKG_VERSION"))
}

/// The SQL room of one process. Opens sessions ([`SqlService`]).
pub struct SqlEngine {
    room: Arc<Room>,
}

/// What all sessions share.
struct Room {
    options: SqlOptions,
    state: SessionState,
    /// For plans that need little planning.
    simple: SessionState,
    /// What all plans run in.
    task: Arc<TaskContext>,
    /// Where they run.
    workers: workers::Workers,
    sessions: running::Sessions,
}

impl SqlEngine {
    /// Builds the room.
    ///
    /// # Errors
    /// If the spill directory cannot be used.
    pub fn new(options: SqlOptions) -> Result<Arc<SqlEngine>, SqlError> {
        let mode = match &options.spill_dir {
            Some(dir) => DiskManagerMode::Directories(vec![dir.clone()]),
            None => DiskManagerMode::OsTmpDirectory,
        };
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(options.memory_limit_bytes)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode))
            .build_arc()
            .map_err(error::of_datafusion)?;
        let mut config = SessionConfig::new()
            .with_target_partitions(options.target_partitions.max(1))
            .with_information_schema(false);
        // Metadata of fields (types, collations, spelling) differs along a plan; it decides no aggregate's layout.
        config.options_mut().execution.skip_physical_aggregate_schema_check = true;
        // What a sort sets aside for merging must fit beside the sort itself.
        config.options_mut().execution.sort_spill_reservation_bytes = (options.memory_limit_bytes / 16).min(10 << 20);
        let state =
            SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features().build();
        let simple = simple::state(&state);
        let (task, sessions) = (state.task_ctx(), running::Sessions::default());
        let started = workers::Workers::start(options.threads);
        let workers = started.map_err(|e| SqlError::new(1135, "HY000", format!("start the queries' threads: {e}")))?;
        Ok(Arc::new(SqlEngine { room: Arc::new(Room { options, state, simple, task, workers, sessions }) }))
    }
}

impl Room {
    fn variables(&self) -> Variables {
        let o = &self.options;
        Variables::new(&o.server_version, &o.zones, o.default_freshness, o.freshness_timeout)
    }
}

#[async_trait]
impl SqlService for SqlEngine {
    async fn open(&self, info: SessionInfo) -> Result<Box<dyn SqlSession>, SqlError> {
        Ok(Box::new(session::Session::open(Arc::clone(&self.room), info).await?))
    }

    fn server_version(&self) -> String {
        self.room.options.server_version.clone()
    }
}
