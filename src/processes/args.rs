//! Options of the processes. Names, variables and keys of the file are those of `tidelake run` where they mean the same.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Subcommand};

use crate::access::args::{EngineLoginArgs, EtcdArgs, HttpArgs, LatchArgs, MysqlTlsArgs, TlsArgs};
use crate::cli::{CompressionArg, EngineCommand, FreshnessArg, LogFormat, RunArgs, ServeArgs, parse_duration};

/// What every process has.
#[derive(Clone, Debug, Default, Args)]
pub struct CommonArgs {
    /// Configuration file (TOML); its keys are these options' names, and those of the other processes
    #[arg(long, env = "TIDELAKE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// HTTP listener (status, health, metrics); port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "TIDELAKE_HTTP_LISTEN", value_name = "ADDR")]
    pub http_listen: Option<SocketAddr>,
    /// Listen beyond this machine also without users and TLS
    #[arg(long, env = "TIDELAKE_INSECURE_LISTEN")]
    pub insecure_listen: bool,
    /// Certificate of all listeners.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Write the ports in use to this file as JSON, once everything listens
    #[arg(long, env = "TIDELAKE_PORTS_FILE", value_name = "FILE")]
    pub ports_file: Option<PathBuf>,
    /// Log lines as text or JSON, on stderr [default: text]
    #[arg(long, env = "TIDELAKE_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What to log, e.g. info or tidelake_binlog=debug [default: info]
    #[arg(long, env = "TIDELAKE_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

/// Options of `tidelake engine`.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct EngineArgs {
    /// Look into an engine instead of being one
    #[command(subcommand)]
    pub command: Option<EngineCommand>,
    /// The engine's process
    #[command(flatten)]
    pub serve: EngineServeArgs,
}

/// Options of the engine's process.
#[derive(Clone, Debug, Default, Args)]
pub struct EngineServeArgs {
    /// Where the engine keeps its data; created if missing
    #[arg(long, env = "TIDELAKE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Magic API listener, for the writer and for readers; port 0 picks a free one [default: 127.0.0.1:8816]
    #[arg(long, env = "TIDELAKE_MAGIC_LISTEN", value_name = "ADDR")]
    pub magic_listen: Option<SocketAddr>,
    /// Bytes of published rows in memory before a flush [default: 256MiB]
    #[arg(long, env = "TIDELAKE_MEMTABLE_LIMIT", value_name = "BYTES")]
    pub memtable_limit: Option<ByteSize>,
    /// An object store for the engine's files, as for `run` [default: the data directory]
    #[arg(long, env = "TIDELAKE_ENGINE_STORAGE", value_name = "URL")]
    pub engine_storage: Option<String>,
    /// With --engine-storage: bytes of data files kept in the data directory [default: 16GiB]
    #[arg(long, env = "TIDELAKE_ENGINE_CACHE", value_name = "BYTES")]
    pub engine_cache: Option<ByteSize>,
    /// How merged files are compressed: lz4 is read twice as fast, zstd is smaller [default: lz4]
    #[arg(long, env = "TIDELAKE_ENGINE_COMPRESSION", value_name = "lz4|zstd")]
    pub engine_compression: Option<CompressionArg>,
    /// How far back the past can be read (AS OF TIMESTAMP), by the upstream's commit times; 0s: not at all [default: 15m]
    /// With --latch, the latch's own option of the name counts
    #[arg(long, env = "TIDELAKE_RETENTION", value_name = "DURATION", value_parser = parse_duration)]
    pub retention: Option<Duration>,
    /// Where the latch is.
    #[command(flatten)]
    pub latch: LatchArgs,
    /// What every process has.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Options of `tidelake latch`.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LatchCommandArgs {
    /// Look after a latch instead of being one
    #[command(subcommand)]
    pub command: Option<LatchCommand>,
    /// The latch's process
    #[command(flatten)]
    pub serve: LatchServeArgs,
}

/// `tidelake latch ...`.
#[derive(Clone, Debug, Subcommand)]
pub enum LatchCommand {
    /// Forget an engine that was taken away for good, so that no latch waits for it any more; `tidelake status` of the latch lists them
    Forget(ForgetArgs),
}

/// Options of `tidelake latch forget`.
#[derive(Clone, Debug, Args)]
pub struct ForgetArgs {
    /// The engine's name, as the latch's status has it (the file engine-name in its data directory). It must not run any more
    #[arg(long, value_name = "NAME")]
    pub engine: String,
    /// Which latch: the one that leads. A user needs the right "admin"
    #[command(flatten)]
    pub http: HttpArgs,
}

/// Options of the latch's process.
#[derive(Clone, Debug, Default, Args)]
pub struct LatchServeArgs {
    /// Where the latch keeps what it must not forget; created if missing. Not needed with --latch-backend
    #[arg(long, env = "TIDELAKE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Keep it in etcd instead: `etcd://HOST:PORT[,HOST:PORT...][/PREFIX]`. Several latches may then run, of which one leads
    #[arg(long, env = "TIDELAKE_LATCH_BACKEND", value_name = "URL")]
    pub latch_backend: Option<String>,
    /// How to come in there.
    #[command(flatten)]
    pub etcd: EtcdArgs,
    /// Listener for engines, writer and readers; port 0 picks a free one [default: 127.0.0.1:8817]
    #[arg(long, env = "TIDELAKE_LATCH_LISTEN", value_name = "ADDR")]
    pub latch_listen: Option<SocketAddr>,
    /// How long readers wait for an engine that lacks what another one has, before it is left out until it has caught up [default: 5s]
    #[arg(long, env = "TIDELAKE_ENGINE_PATIENCE", value_name = "DURATION", value_parser = parse_duration)]
    pub engine_patience: Option<Duration>,
    /// How far back the past can be read (AS OF TIMESTAMP), by the upstream's commit times; 0s: not at all [default: 15m]
    #[arg(long, env = "TIDELAKE_RETENTION", value_name = "DURATION", value_parser = parse_duration)]
    pub retention: Option<Duration>,
    /// What every process has.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Options of `tidelake writer`.
#[derive(Clone, Debug, Default, Args)]
pub struct WriterArgs {
    /// The engine's Magic API, HOST:PORT; with --latch, each of the engines that have all tables
    #[arg(long, env = "TIDELAKE_ENGINE", value_name = "ADDR", value_delimiter = ',')]
    pub engine: Vec<String>,
    /// Where the latch is.
    #[command(flatten)]
    pub latch: LatchArgs,
    /// How to come in there.
    #[command(flatten)]
    pub engine_login: EngineLoginArgs,
    /// Where to replicate from, as for `run`
    #[arg(long, env = "TIDELAKE_SOURCE", hide_env_values = true, value_name = "URL")]
    pub source: Option<String>,
    /// For feeds of TiDB: copy the tables first, as for `run`
    #[arg(long, env = "TIDELAKE_COPY_FROM", hide_env_values = true, value_name = "URL")]
    pub copy_from: Option<String>,
    /// Tables to replicate: comma-separated patterns db.table with * and ?, ! excludes [default: all]
    #[arg(long, env = "TIDELAKE_TABLES", value_name = "PATTERNS")]
    pub tables: Option<String>,
    /// For directories: wait for more data at the end instead of only serving what was read
    #[arg(long, env = "TIDELAKE_FOLLOW")]
    pub follow: bool,
    /// Rows per chunk of the initial copy [default: 20000]
    #[arg(long, env = "TIDELAKE_COPY_CHUNK_ROWS", value_name = "ROWS")]
    pub copy_chunk_rows: Option<usize>,
    /// Chunks read at the same time, of one large table or of several tables [default: 2]
    #[arg(long, env = "TIDELAKE_COPY_THREADS", value_name = "N")]
    pub copy_threads: Option<usize>,
    /// Our replica server id on the upstream; must be unique among its replicas [default: random]
    #[arg(long, env = "TIDELAKE_SERVER_ID", value_name = "ID")]
    pub server_id: Option<u32>,
    /// Where the Data Buffer is; created if missing. Empty, the writer takes over where the engine is
    #[arg(long, env = "TIDELAKE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// How often to poll and publish, e.g. 20ms [default: 100ms]
    #[arg(long, env = "TIDELAKE_INTERVAL", value_name = "DURATION", value_parser = parse_duration)]
    pub interval: Option<Duration>,
    /// Most bytes kept on disk before fetching waits [default: 8GiB]
    #[arg(long, env = "TIDELAKE_BUFFER_LIMIT", value_name = "BYTES")]
    pub buffer_limit: Option<ByteSize>,
    /// Bytes of published rows in the engine's memory that make the writer ask for a flush [default: 256MiB]
    #[arg(long, env = "TIDELAKE_MEMTABLE_LIMIT", value_name = "BYTES")]
    pub memtable_limit: Option<ByteSize>,
    /// Longest time published rows stay without a flush [default: 60s]
    #[arg(long, env = "TIDELAKE_FLUSH_INTERVAL", value_name = "DURATION", value_parser = parse_duration)]
    pub flush_interval: Option<Duration>,
    /// How long commit times can be looked up for AS OF TIMESTAMP; the engine's own option of the name is how long rows are kept [default: 15m]
    #[arg(long, env = "TIDELAKE_RETENTION", value_name = "DURATION", value_parser = parse_duration)]
    pub retention: Option<Duration>,
    /// What every process has.
    #[command(flatten)]
    pub common: CommonArgs,
}

impl WriterArgs {
    /// The same as options of `tidelake run`, without those that are the engine's or a reader's; the engines and the latch.
    pub fn split(self) -> (RunArgs, EnginesArgs) {
        let common = self.common;
        let serve = ServeArgs {
            data_dir: self.data_dir,
            http_listen: common.http_listen,
            insecure_listen: common.insecure_listen,
            tls: common.tls,
            ports_file: common.ports_file,
            interval: self.interval,
            buffer_limit: self.buffer_limit,
            memtable_limit: self.memtable_limit,
            flush_interval: self.flush_interval,
            retention: self.retention,
            log_format: common.log_format,
            log: common.log,
            ..ServeArgs::default()
        };
        let run = RunArgs {
            source: self.source,
            copy_from: self.copy_from,
            tables: self.tables,
            config: common.config,
            follow: self.follow,
            copy_chunk_rows: self.copy_chunk_rows,
            copy_threads: self.copy_threads,
            server_id: self.server_id,
            serve,
        };
        (run, EnginesArgs { engine: self.engine, login: self.engine_login, latch: self.latch })
    }
}

/// Where engines and latch are, and how to come in.
#[derive(Clone, Debug, Default)]
pub struct EnginesArgs {
    /// `--engine`.
    pub engine: Vec<String>,
    /// How to come in there.
    pub login: EngineLoginArgs,
    /// Where the latch is.
    pub latch: LatchArgs,
}

/// Options of `tidelake query`.
#[derive(Clone, Debug, Default, Args)]
pub struct QueryArgs {
    /// The engine's Magic API, HOST:PORT: of `tidelake engine`, or the Flight listener of `tidelake run`; with --latch, of each engine
    /// that may be read
    #[arg(long, env = "TIDELAKE_ENGINE", value_name = "ADDR", value_delimiter = ',')]
    pub engine: Vec<String>,
    /// Where the latch is.
    #[command(flatten)]
    pub latch: LatchArgs,
    /// How to come in there.
    #[command(flatten)]
    pub engine_login: EngineLoginArgs,
    /// MySQL protocol listener; port 0 picks a free one [default: 127.0.0.1:4001]
    #[arg(long, env = "TIDELAKE_MYSQL_LISTEN", value_name = "ADDR")]
    pub mysql_listen: Option<SocketAddr>,
    /// Arrow Flight SQL listener; port 0 picks a free one [default: 127.0.0.1:8815]
    #[arg(long, env = "TIDELAKE_FLIGHT_LISTEN", value_name = "ADDR")]
    pub flight_listen: Option<SocketAddr>,
    /// Certificate of the MySQL listener.
    #[command(flatten)]
    pub mysql_tls: MysqlTlsArgs,
    /// Memory for queries; beyond it they spill to the system's temporary directory or fail [default: 1GiB]
    #[arg(long, env = "TIDELAKE_QUERY_MEMORY", value_name = "BYTES")]
    pub query_memory: Option<ByteSize>,
    /// Default of the session variable tidelake_freshness [default: any]
    #[arg(long, env = "TIDELAKE_FRESHNESS", value_name = "any|latest")]
    pub freshness: Option<FreshnessArg>,
    /// Time zone in which SQL sessions begin, e.g. Europe/Berlin or +02:00 [default: the upstream's]
    #[arg(long, env = "TIDELAKE_TIME_ZONE", value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// What every process has.
    #[command(flatten)]
    pub common: CommonArgs,
}
