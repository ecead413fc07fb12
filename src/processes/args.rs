//! Options of the processes. What means the same as in `tidelake run` is said in `options`, once; here is what else there is, and what means something of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::access::args::{EngineLoginArgs, EtcdArgs, HttpArgs, LatchArgs};
use crate::cli::{EngineCommand, RunArgs, ServeArgs};
use crate::options::{
    ConfigArgs, EngineFilesArgs, MemtableArgs, MovingArgs, ProcessArgs, RetentionArgs, SourceArgs, SqlServeArgs,
    parse_duration,
};

const HTTP_OF_AN_ENGINE: &str =
    "HTTP listener (status, health, metrics); port 0 picks a free one [default: 127.0.0.1:8081]";
const HTTP_OF_A_LATCH: &str =
    "HTTP listener (status, health, metrics); port 0 picks a free one [default: 127.0.0.1:8082]";
const HTTP_OF_A_FRONT: &str =
    "HTTP listener (status, health, metrics); port 0 picks a free one [default: 127.0.0.1:8083]";
const RETENTION_OF_AN_ENGINE: &str = "How far back the past can be read (AS OF TIMESTAMP), by the upstream's commit times; 0s: not at all [default: 15m]. \
     With --latch, the latch's own option of the name counts";
const MEMTABLE_OF_A_WRITER: &str =
    "Bytes of published rows in the engine's memory that make the writer ask for a flush [default: 256MiB]";
const RETENTION_OF_A_WRITER: &str = "How long commit times can be looked up for AS OF TIMESTAMP; the engine's own option of the name is how long rows are kept [default: 15m]";
const QUERY_MEMORY_OF_A_FRONT: &str =
    "Memory for queries; beyond it they spill to the system's temporary directory or fail [default: 1GiB]";

/// What every process has.
#[derive(Clone, Debug, Default, Args)]
pub struct CommonArgs {
    /// The configuration file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// What everything that keeps running has.
    #[command(flatten)]
    pub process: ProcessArgs,
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
#[command(mut_arg("retention", |arg| arg.help(RETENTION_OF_AN_ENGINE)))]
#[command(mut_arg("http_listen", |arg| arg.help(HTTP_OF_AN_ENGINE)))]
pub struct EngineServeArgs {
    /// Where the engine keeps its data; created if missing
    #[arg(long, env = "TIDELAKE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Magic API listener, for the writer and for readers; port 0 picks a free one [default: 127.0.0.1:8816]
    #[arg(long, env = "TIDELAKE_MAGIC_LISTEN", value_name = "ADDR")]
    pub magic_listen: Option<SocketAddr>,
    /// The engine's memory.
    #[command(flatten)]
    pub memtable: MemtableArgs,
    /// The engine's files.
    #[command(flatten)]
    pub files: EngineFilesArgs,
    /// The past.
    #[command(flatten)]
    pub retention: RetentionArgs,
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
#[command(mut_arg("http", |arg| arg.default_value("127.0.0.1:8082")))]
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
#[command(mut_arg("http_listen", |arg| arg.help(HTTP_OF_A_LATCH)))]
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
    /// The past.
    #[command(flatten)]
    pub retention: RetentionArgs,
    /// What every process has.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Options of `tidelake writer`.
#[derive(Clone, Debug, Default, Args)]
#[command(mut_arg("memtable_limit", |arg| arg.help(MEMTABLE_OF_A_WRITER)))]
#[command(mut_arg("retention", |arg| arg.help(RETENTION_OF_A_WRITER)))]
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
    /// Where from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Where the Data Buffer is; created if missing. Empty, the writer takes over where the engine is
    #[arg(long, env = "TIDELAKE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Buffer and writer.
    #[command(flatten)]
    pub moving: MovingArgs,
    /// When to ask the engine for a flush.
    #[command(flatten)]
    pub memtable: MemtableArgs,
    /// How long commit times are known.
    #[command(flatten)]
    pub retention: RetentionArgs,
    /// What every process has.
    #[command(flatten)]
    pub common: CommonArgs,
}

impl WriterArgs {
    /// The same as options of `tidelake run`, without those that are the engine's or a reader's; the engines and the latch.
    pub fn split(self) -> (RunArgs, EnginesArgs) {
        let WriterArgs { engine, latch, engine_login: login, source, data_dir, moving, memtable, retention, common } =
            self;
        let CommonArgs { config, process } = common;
        let serve = ServeArgs { data_dir, process, moving, memtable, retention, ..ServeArgs::default() };
        (RunArgs { source, config, serve }, EnginesArgs { engine, login, latch })
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
#[command(mut_arg("query_memory", |arg| arg.help(QUERY_MEMORY_OF_A_FRONT)))]
#[command(mut_arg("http_listen", |arg| arg.help(HTTP_OF_A_FRONT)))]
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
    /// What SQL is served with.
    #[command(flatten)]
    pub sql: SqlServeArgs,
    /// What every process has.
    #[command(flatten)]
    pub common: CommonArgs,
}
