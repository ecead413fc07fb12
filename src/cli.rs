//! The command line. Every option of `run` and `demo` can also be set in the environment (`TIDELAKE_...`), those of `run`
//! also in the configuration file; the command line wins over the environment, the environment over the file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::access::args::{ClientTlsArgs, HttpArgs};
use crate::options::{
    ConfigArgs, EngineFilesArgs, FreshnessArg, MemtableArgs, MovingArgs, ProcessArgs, RetentionArgs, SourceArgs,
    SqlServeArgs, parse_duration,
};
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
    /// Where from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// The configuration file.
    #[command(flatten)]
    pub config: ConfigArgs,
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
    /// What SQL is served with.
    #[command(flatten)]
    pub sql: SqlServeArgs,
    /// What everything that keeps running has.
    #[command(flatten)]
    pub process: ProcessArgs,
    /// Buffer and writer.
    #[command(flatten)]
    pub moving: MovingArgs,
    /// The engine's memory.
    #[command(flatten)]
    pub memtable: MemtableArgs,
    /// The engine's files.
    #[command(flatten)]
    pub files: EngineFilesArgs,
    /// The past.
    #[command(flatten)]
    pub retention: RetentionArgs,
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

#[cfg(test)]
mod tests;
