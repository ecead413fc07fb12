//! The command line. Every option of `run` and `demo` can also be set in the environment (`TIDELAKE_...`), those of `run`
//! also in the configuration file; the command line wins over the environment, the environment over the file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tidelake_engine::Compression;

use crate::access::args::{ClientTlsArgs, HttpArgs, MysqlTlsArgs, TlsArgs};
use crate::processes::args::{EngineArgs, LatchCommandArgs, QueryArgs, WriterArgs};

/// A columnar replica of TiDB, MySQL and MariaDB: seconds-fresh, whole transactions over all tables.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Replay a bundled real binlog of a small shop and query it
    Demo(DemoArgs),
    /// Replicate a database and serve queries on it
    Run(RunArgs),
    /// Be the engine for a writer and readers in other processes; or look into an engine (stats)
    Engine(EngineArgs),
    /// Replicate a database into an engine in another process, or into several
    Writer(WriterArgs),
    /// Serve SQL over an engine in another process, or over several
    Query(QueryArgs),
    /// Be the latch of several engines: one consistent moment over all of them; or look after one (forget)
    Latch(LatchCommandArgs),
    /// Show what a running tidelake is doing
    Status(StatusArgs),
    /// Show or change how often the Magic Writer publishes, while it runs
    Interval(IntervalArgs),
    /// Show the replicated tables; add or remove some while it runs
    Tables(TablesArgs),
    /// Copy a table again while it runs; readers keep the old one until the new one is whole
    Resync(ResyncArgs),
    /// Compare the replica with the upstream while both run; fails if a row differs
    Verify(VerifyArgs),
    /// Run SQL on a running tidelake
    Sql(SqlArgs),
    /// Check every file of the Magic Engine in a data directory that no tidelake uses
    Scrub(ScrubArgs),
    /// Check an upstream server's settings and privileges
    Doctor(DoctorArgs),
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// What a person should read on stderr.
    pub fn run(self) -> Result<()> {
        match self {
            Command::Demo(args) => crate::demo::demo(args),
            Command::Run(args) => crate::run::run(args),
            Command::Engine(args) => match args.command {
                Some(command) => crate::engine::engine(&command),
                None => crate::processes::engine::engine(args.serve),
            },
            Command::Writer(args) => crate::processes::writer::writer(args),
            Command::Query(args) => crate::processes::query::query(args),
            Command::Latch(args) => crate::processes::latch::latch(args),
            Command::Status(args) => crate::status::print(&args),
            Command::Interval(args) => crate::client::interval(&args),
            Command::Tables(args) => crate::tables::tables(&args),
            Command::Resync(args) => crate::tables::resync(&args),
            Command::Verify(args) => crate::verify::verify(&args),
            Command::Sql(args) => crate::sql::sql(args),
            Command::Scrub(args) => crate::engine::scrub(&args),
            Command::Doctor(args) => crate::doctor::doctor(args),
        }
    }
}

/// Options of `tidelake run`.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// Where to replicate from: mysql://USER:PASSWORD@HOST:PORT, file:DIR for a directory of binlog files, or
    /// ticdc-storage:DIR[?zone=...] or ticdc-storage:s3://BUCKET/PREFIX for what TiDB's TiCDC writes, kafka://HOST:PORT/TOPIC?protocol=simple
    /// for what it sends to Kafka, drainer:DIR[?zone=...] for TiDB Binlog's files
    #[arg(long, env = "TIDELAKE_SOURCE", hide_env_values = true, value_name = "URL")]
    pub source: Option<String>,
    /// For feeds of TiDB: copy the tables first, from TiDB itself, mysql://USER:PASSWORD@HOST:PORT[/?tso=START-TS], or from
    /// what Dumpling wrote, dumpling:DIR; the feed is read from that TSO on
    #[arg(long, env = "TIDELAKE_COPY_FROM", hide_env_values = true, value_name = "URL")]
    pub copy_from: Option<String>,
    /// Tables to replicate: comma-separated patterns db.table with * and ?, ! excludes [default: all]
    #[arg(long, env = "TIDELAKE_TABLES", value_name = "PATTERNS")]
    pub tables: Option<String>,
    /// Configuration file (TOML); its keys are these options' names
    #[arg(long, env = "TIDELAKE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
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
    /// Options shared with `demo`.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Options shared by `tidelake run` and `tidelake demo`.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    /// Where Tidelake keeps its data; created if missing [default of `demo`: ./tidelake-demo]
    #[arg(long, env = "TIDELAKE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// MySQL protocol listener; port 0 picks a free one [default: 127.0.0.1:4001]
    #[arg(long, env = "TIDELAKE_MYSQL_LISTEN", value_name = "ADDR")]
    pub mysql_listen: Option<SocketAddr>,
    /// Arrow Flight SQL listener; port 0 picks a free one [default: 127.0.0.1:8815]
    #[arg(long, env = "TIDELAKE_FLIGHT_LISTEN", value_name = "ADDR")]
    pub flight_listen: Option<SocketAddr>,
    /// HTTP listener (status, metrics, interval); port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "TIDELAKE_HTTP_LISTEN", value_name = "ADDR")]
    pub http_listen: Option<SocketAddr>,
    /// Certificate of all listeners.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Certificate of the MySQL listener.
    #[command(flatten)]
    pub mysql_tls: MysqlTlsArgs,
    /// Listen beyond this machine also without users and TLS
    #[arg(long, env = "TIDELAKE_INSECURE_LISTEN")]
    pub insecure_listen: bool,
    /// Write the ports in use to this file as JSON, once everything listens
    #[arg(long, env = "TIDELAKE_PORTS_FILE", value_name = "FILE")]
    pub ports_file: Option<PathBuf>,
    /// How often the Magic Writer polls and publishes, e.g. 20ms [default: 100ms]
    #[arg(long, env = "TIDELAKE_INTERVAL", value_name = "DURATION", value_parser = parse_duration)]
    pub interval: Option<Duration>,
    /// Data Buffer: most bytes kept on disk before fetching waits [default: 8GiB]
    #[arg(long, env = "TIDELAKE_BUFFER_LIMIT", value_name = "BYTES")]
    pub buffer_limit: Option<ByteSize>,
    /// Magic Engine: bytes of published rows in memory before a flush [default: 256MiB]
    #[arg(long, env = "TIDELAKE_MEMTABLE_LIMIT", value_name = "BYTES")]
    pub memtable_limit: Option<ByteSize>,
    /// Magic Engine: an object store for its files, s3://BUCKET/PREFIX?endpoint=URL&region=NAME, credentials from
    /// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; the data directory is a cache of it then [default: the data directory]
    #[arg(long, env = "TIDELAKE_ENGINE_STORAGE", value_name = "URL")]
    pub engine_storage: Option<String>,
    /// With --engine-storage: bytes of data files kept in the data directory [default: 16GiB]
    #[arg(long, env = "TIDELAKE_ENGINE_CACHE", value_name = "BYTES")]
    pub engine_cache: Option<ByteSize>,
    /// Magic Engine: how merged files are compressed: lz4 is read twice as fast, zstd is smaller [default: lz4]
    #[arg(long, env = "TIDELAKE_ENGINE_COMPRESSION", value_name = "lz4|zstd")]
    pub engine_compression: Option<CompressionArg>,
    /// Longest time published rows stay without a flush [default: 60s]
    #[arg(long, env = "TIDELAKE_FLUSH_INTERVAL", value_name = "DURATION", value_parser = parse_duration)]
    pub flush_interval: Option<Duration>,
    /// How far back the past can be read (AS OF TIMESTAMP), by the upstream's commit times; 0s: not at all [default: 15m]
    #[arg(long, env = "TIDELAKE_RETENTION", value_name = "DURATION", value_parser = parse_duration)]
    pub retention: Option<Duration>,
    /// Memory for queries; beyond it they spill to disk or fail [default: 1GiB]
    #[arg(long, env = "TIDELAKE_QUERY_MEMORY", value_name = "BYTES")]
    pub query_memory: Option<ByteSize>,
    /// Default of the session variable tidelake_freshness [default: any]
    #[arg(long, env = "TIDELAKE_FRESHNESS", value_name = "any|latest")]
    pub freshness: Option<FreshnessArg>,
    /// Time zone in which SQL sessions begin, e.g. Europe/Berlin or +02:00 [default: the upstream's]
    #[arg(long, env = "TIDELAKE_TIME_ZONE", value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// Log lines as text or JSON, on stderr [default: text]
    #[arg(long, env = "TIDELAKE_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What to log, e.g. info or tidelake_binlog=debug [default: info]
    #[arg(long, env = "TIDELAKE_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

/// `any` or `latest`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FreshnessArg {
    /// What is published now.
    #[default]
    Any,
    /// Everything the upstream has committed when the statement starts.
    Latest,
}

/// How the engine compresses what it merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompressionArg {
    /// Fast to read.
    #[default]
    Lz4,
    /// Small.
    Zstd,
}

impl From<CompressionArg> for Compression {
    fn from(arg: CompressionArg) -> Compression {
        match arg {
            CompressionArg::Lz4 => Compression::Lz4,
            CompressionArg::Zstd => Compression::Zstd,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Options of `tidelake demo`.
#[derive(Clone, Debug, Default, Args)]
pub struct DemoArgs {
    /// End after the queries instead of staying up
    #[arg(long)]
    pub exit: bool,
    /// Options shared with `run`; the data directory is ./tidelake-demo unless given.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Options of `tidelake status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Print the server's JSON
    #[arg(long)]
    pub json: bool,
    /// Which server.
    #[command(flatten)]
    pub http: HttpArgs,
}

/// Options of `tidelake interval`.
#[derive(Clone, Debug, Args)]
pub struct IntervalArgs {
    /// The new interval, 1ms to 60s; without it, the current one is printed
    #[arg(value_parser = parse_duration)]
    pub interval: Option<Duration>,
    /// Which server.
    #[command(flatten)]
    pub http: HttpArgs,
}

/// Options of `tidelake tables`.
#[derive(Clone, Debug, Args)]
pub struct TablesArgs {
    /// What to do; without it, the patterns and tables are printed
    #[arg(requires = "pattern")]
    pub action: Option<TablesAction>,
    /// The tables: db.table with * and ?
    pub pattern: Option<String>,
    /// Which server.
    #[command(flatten)]
    pub http: HttpArgs,
}

/// What `tidelake tables` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TablesAction {
    /// Replicate these tables too
    Add,
    /// No longer replicate these tables, and drop them from the replica
    Remove,
}

/// Options of `tidelake resync`.
#[derive(Clone, Debug, Args)]
pub struct ResyncArgs {
    /// The table: db.table (a name with a dot in it in backticks)
    pub table: String,
    /// Return only once the new copy is in its place
    #[arg(long)]
    pub wait: bool,
    /// Which server.
    #[command(flatten)]
    pub http: HttpArgs,
}

/// Options of `tidelake verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// Tables to compare: patterns as for --tables of `run` [default: all of the replica]
    pub tables: Option<String>,
    /// Print the verdicts as JSON
    #[arg(long)]
    pub json: bool,
    /// Which server.
    #[command(flatten)]
    pub http: HttpArgs,
}

/// Options of `tidelake sql`.
#[derive(Clone, Debug, Args)]
pub struct SqlArgs {
    /// The statements, separated by semicolons; `-` reads them from standard input
    pub statements: String,
    /// MySQL protocol address of the running tidelake
    #[arg(long, env = "TIDELAKE_MYSQL", value_name = "ADDR", default_value = "127.0.0.1:4001")]
    pub connect: String,
    /// Database to use
    #[arg(long, short = 'D')]
    pub database: Option<String>,
    /// User name
    #[arg(long, short, default_value = "tidelake")]
    pub user: String,
    /// Password; better given by TIDELAKE_PASSWORD than on the command line
    #[arg(long, env = "TIDELAKE_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// Certificates.
    #[command(flatten)]
    pub tls: ClientTlsArgs,
    /// How to print the rows
    #[arg(long, short, default_value = "table")]
    pub format: OutputFormat,
    /// Set tidelake_freshness for these statements
    #[arg(long, value_name = "any|latest")]
    pub freshness: Option<FreshnessArg>,
}

impl SqlArgs {
    /// For a listener of this process.
    #[must_use]
    pub fn local(address: SocketAddr, database: &str) -> SqlArgs {
        SqlArgs {
            statements: String::new(),
            connect: address.to_string(),
            database: Some(database.into()),
            user: "tidelake".into(),
            password: None,
            tls: ClientTlsArgs::default(),
            format: OutputFormat::Table,
            freshness: None,
        }
    }
}

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// A table for people.
    Table,
    /// CSV with a header line.
    Csv,
    /// One JSON object a row.
    Json,
}

/// `tidelake engine ...`.
#[derive(Clone, Debug, Subcommand)]
pub enum EngineCommand {
    /// Show files, dead rows, memory and write amplification of every table
    Stats(EngineStatsArgs),
}

/// Options of `tidelake engine stats`.
#[derive(Clone, Debug, Args)]
pub struct EngineStatsArgs {
    /// Read this data directory, which no tidelake may be using, instead of asking a running tidelake
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which server.
    #[command(flatten)]
    pub http: HttpArgs,
}

/// Options of `tidelake scrub`.
#[derive(Clone, Debug, Args)]
pub struct ScrubArgs {
    /// The data directory; no tidelake may be using it
    #[arg(long, env = "TIDELAKE_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `tidelake doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// The upstream: mysql://USER:PASSWORD@HOST:PORT
    #[arg(env = "TIDELAKE_SOURCE", hide_env_values = true)]
    pub url: String,
    /// Tables to check privileges for, as for `run`
    #[arg(long, env = "TIDELAKE_TABLES", value_name = "PATTERNS")]
    pub tables: Option<String>,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// A number with a unit.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|e| format!("{e}; give a number with a unit, e.g. 20ms, 1s, 1m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_duration_needs_a_unit() {
        assert_eq!(parse_duration("20ms"), Ok(Duration::from_millis(20)));
        assert!(parse_duration("20").unwrap_err().contains("unit"));
    }
}
