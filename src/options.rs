//! Options that several commands have, in groups, each said once: by `run` and `demo`, and by the processes (`engine`, `writer`, `query`, `latch`).
//! Certificates and logins are in `access::args`. A command to which an option means something of its own says so by `mut_arg`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use tidelake_calc::sql::DefaultFreshness;
use tidelake_engine::Compression;

use crate::access::args::{MysqlTlsArgs, TlsArgs};

/// Ports of the HTTP listeners, unless they are given: one of each process may run on one machine. The writer's is that of `run`, as `status`, `interval`,
/// `tables`, `resync` and `verify` ask it.
pub mod http_port {
    /// Of `run`, `demo` and `writer`.
    pub const WRITER: u16 = 8080;
    /// Of `engine`.
    pub const ENGINE: u16 = 8081;
    /// Of `latch`.
    pub const LATCH: u16 = 8082;
    /// Of `query`.
    pub const QUERY: u16 = 8083;
}

/// The configuration file.
#[derive(Clone, Debug, Default, Args)]
pub struct ConfigArgs {
    /// Configuration file (TOML); its keys are these options' names, and those of the other processes
    #[arg(long, env = "TIDELAKE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What everything that keeps running has.
#[derive(Clone, Debug, Default, Args)]
pub struct ProcessArgs {
    /// HTTP listener (status, health, metrics; where the writer is, interval and tables too); port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "TIDELAKE_HTTP_LISTEN", value_name = "ADDR")]
    pub http_listen: Option<SocketAddr>,
    /// Certificate of all listeners.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Listen beyond this machine also without users and TLS
    #[arg(long, env = "TIDELAKE_INSECURE_LISTEN")]
    pub insecure_listen: bool,
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

/// Where to replicate from, and what.
#[derive(Clone, Debug, Default, Args)]
pub struct SourceArgs {
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
}

/// What SQL is served with.
#[derive(Clone, Debug, Default, Args)]
pub struct SqlServeArgs {
    /// MySQL protocol listener; port 0 picks a free one [default: 127.0.0.1:4001]
    #[arg(long, env = "TIDELAKE_MYSQL_LISTEN", value_name = "ADDR")]
    pub mysql_listen: Option<SocketAddr>,
    /// Arrow Flight SQL listener; port 0 picks a free one [default: 127.0.0.1:8815]
    #[arg(long, env = "TIDELAKE_FLIGHT_LISTEN", value_name = "ADDR")]
    pub flight_listen: Option<SocketAddr>,
    /// Certificate of the MySQL listener.
    #[command(flatten)]
    pub mysql_tls: MysqlTlsArgs,
    /// Memory for queries; beyond it they spill to disk or fail [default: 1GiB]
    #[arg(long, env = "TIDELAKE_QUERY_MEMORY", value_name = "BYTES")]
    pub query_memory: Option<ByteSize>,
    /// Default of the session variable tidelake_freshness [default: any]
    #[arg(long, env = "TIDELAKE_FRESHNESS", value_name = "any|latest")]
    pub freshness: Option<FreshnessArg>,
    /// Time zone in which SQL sessions begin, e.g. Europe/Berlin or +02:00 [default: the upstream's]
    #[arg(long, env = "TIDELAKE_TIME_ZONE", value_name = "ZONE")]
    pub time_zone: Option<String>,
}

/// How data is moved on: by the Data Buffer and the Magic Writer.
#[derive(Clone, Debug, Default, Args)]
pub struct MovingArgs {
    /// How often the Magic Writer polls and publishes, e.g. 20ms [default: 100ms]
    #[arg(long, env = "TIDELAKE_INTERVAL", value_name = "DURATION", value_parser = parse_duration)]
    pub interval: Option<Duration>,
    /// Data Buffer: most bytes kept on disk before fetching waits [default: 8GiB]
    #[arg(long, env = "TIDELAKE_BUFFER_LIMIT", value_name = "BYTES")]
    pub buffer_limit: Option<ByteSize>,
    /// Longest time published rows stay without a flush [default: 60s]
    #[arg(long, env = "TIDELAKE_FLUSH_INTERVAL", value_name = "DURATION", value_parser = parse_duration)]
    pub flush_interval: Option<Duration>,
}

/// How many rows stay in memory.
#[derive(Clone, Debug, Default, Args)]
pub struct MemtableArgs {
    /// Magic Engine: bytes of published rows in memory before a flush [default: 256MiB]
    #[arg(long, env = "TIDELAKE_MEMTABLE_LIMIT", value_name = "BYTES")]
    pub memtable_limit: Option<ByteSize>,
}

/// Where the Magic Engine's files are, and how.
#[derive(Clone, Debug, Default, Args)]
pub struct EngineFilesArgs {
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
}

/// How much of the past is kept.
#[derive(Clone, Debug, Default, Args)]
pub struct RetentionArgs {
    /// How far back the past can be read (AS OF TIMESTAMP), by the upstream's commit times; 0s: not at all [default: 15m]
    #[arg(long, env = "TIDELAKE_RETENTION", value_name = "DURATION", value_parser = parse_duration)]
    pub retention: Option<Duration>,
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

impl From<FreshnessArg> for DefaultFreshness {
    fn from(arg: FreshnessArg) -> DefaultFreshness {
        match arg {
            FreshnessArg::Any => DefaultFreshness::Any,
            FreshnessArg::Latest => DefaultFreshness::Latest,
        }
    }
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

/// A number with a unit.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|e| format!("{e}; give a number with a unit, e.g. 20ms, 1s, 1m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_needs_a_unit() {
        assert_eq!(parse_duration("20ms"), Ok(Duration::from_millis(20)));
        assert!(parse_duration("20").unwrap_err().contains("unit"));
    }
}
