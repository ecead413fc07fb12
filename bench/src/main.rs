//! `tidelake-bench`: figures of a whole Tidelake process with a real MariaDB as the upstream, and of reading beside peers.
//!
//! It measures, it does not judge: no figure makes it fail, a wrong answer does. What was found, on which machine,
//! is in `bench/README.md`.

mod answers;
mod catch_up;
mod clickhouse;
mod flight;
mod footprint;
mod freshness;
mod history;
mod lab;
mod peer;
mod plain;
mod restart;
mod scans;
mod subject;
mod tpch;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// The allocator of `tidelake`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Tidelake beside other systems.
#[derive(Debug, Parser)]
struct Cli {
    /// The Tidelake to measure
    #[arg(long, global = true, default_value = "target/debug/tidelake")]
    tidelake: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Rows per second from a directory of binlog files to readable rows, and peak memory
    CatchUp(CatchUp),
    /// Time from a commit upstream until a reader sees it, while many commit
    Freshness(Freshness),
    /// How long a process is away after `kill -9`, with a tail to replay
    Restart(Restart),
    /// SQL over the replica beside DataFusion over plain Parquet, compacted and with a tenth of the rows changed
    Scans(Scans),
    /// Memory of a large table's indexes, and time to open it again
    Footprint(Footprint),
    /// Scans of a wide table over the Magic API beside the same in the process, and leases a second
    Flight(Flight),
    /// The 22 TPC-H queries with a tenth of the rows changed, beside plain Parquet and ClickHouse FINAL
    Tpch(Tpch),
}

/// What is scanned.
#[derive(Args, Debug)]
struct Scans {
    /// Rows of the table
    #[arg(long, default_value_t = 2_000_000)]
    rows: u64,
    /// The best of so many rounds counts
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Leave the changes in the memtable
    #[arg(long)]
    in_memory: bool,
    /// Ask only what has this in its name
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Compression of the base files, and of the plain one
    #[arg(long, value_enum, default_value_t = Codec::Lz4)]
    compression: Codec,
    /// Most rows of a row group of the plain file: DataFusion reads groups side by side
    #[arg(long, default_value_t = 1 << 20)]
    plain_group_rows: usize,
}

/// How files are compressed.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Codec {
    #[default]
    Lz4,
    Zstd,
}

/// How large it is.
#[derive(Args, Debug)]
struct Footprint {
    /// Rows of the table
    #[arg(long, default_value_t = 10_000_000)]
    rows: u64,
}

/// What is scanned over the wire.
#[derive(Args, Debug)]
struct Flight {
    /// Rows of the table
    #[arg(long, default_value_t = 2_000_000)]
    rows: u64,
    /// Numeric columns beside the key
    #[arg(long, default_value_t = 15)]
    columns: usize,
    /// Splits read at a time
    #[arg(long, default_value_t = 2)]
    splits: usize,
    /// The best of so many rounds counts
    #[arg(long, default_value_t = 5)]
    rounds: u32,
}

/// A TPC-H run.
#[derive(Args, Debug)]
struct Tpch {
    /// Scale factor
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// The best of so many rounds counts
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Change no rows after loading
    #[arg(long)]
    unchanged: bool,
    /// HTTP interface of a running ClickHouse, e.g. http://127.0.0.1:8123/
    #[arg(long)]
    clickhouse: Option<String>,
}

/// What is caught up with.
#[derive(Args, Debug)]
struct CatchUp {
    /// Row changes in the binlog
    #[arg(long, default_value_t = 2_000_000)]
    changes: u64,
    /// Row changes per transaction: from ten on one statement, below that a statement for every row
    #[arg(long, default_value_t = 1_000)]
    transaction: u64,
    /// Then let a MariaDB replica of the same upstream catch up, and print the ratio
    #[arg(long)]
    beside_replica: bool,
    /// That replica's `slave_parallel_threads`
    #[arg(long, default_value_t = 4)]
    replica_threads: u32,
    /// A further argument of Tidelake; may be given several times
    #[arg(long, allow_hyphen_values = true)]
    option: Vec<String>,
}

/// What is there when it is killed.
#[derive(Args, Debug)]
struct Restart {
    /// Row changes before it
    #[arg(long, default_value_t = 3_000_000)]
    changes: u64,
    /// A further argument of Tidelake; may be given several times
    #[arg(long, allow_hyphen_values = true)]
    option: Vec<String>,
}

/// The load of a freshness run.
#[derive(Args, Debug)]
struct Freshness {
    /// Commits per second, of all clients together
    #[arg(long, default_value_t = 2_000)]
    commits: u32,
    /// Row changes per commit: one updates the client's counter, the others insert
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=1000))]
    changes: u32,
    /// Clients of the upstream
    #[arg(long, default_value_t = 16)]
    clients: u32,
    /// Seconds that are measured, after five that are not
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Tidelake's publish interval
    #[arg(long, default_value = "50ms")]
    interval: String,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Command::CatchUp(args) => catch_up::measure(&cli.tidelake, &args),
        Command::Freshness(args) => freshness::measure(&cli.tidelake, &args),
        Command::Restart(args) => restart::measure(&cli.tidelake, &args),
        Command::Scans(args) => runtime()?.block_on(scans::measure(&args)),
        Command::Flight(args) => runtime()?.block_on(flight::measure(&args)),
        Command::Footprint(args) => runtime()?.block_on(footprint::measure(&args)),
        Command::Tpch(args) => runtime()?.block_on(tpch::measure(&args)),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Runtime::new()?)
}
