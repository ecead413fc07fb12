//! `tidelake-bench`: figures of a whole Tidelake process, with a real MariaDB as the upstream.
//!
//! It measures, it does not judge: no figure makes it fail, a wrong answer does. What was found, on which machine,
//! is in `bench/README.md`.

mod catch_up;
mod freshness;
mod subject;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// Measures a whole Tidelake process beside a real MariaDB server.
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
}

/// What is caught up with.
#[derive(Args, Debug)]
struct CatchUp {
    /// Row changes in the binlog
    #[arg(long, default_value_t = 2_000_000)]
    changes: u64,
    /// Row changes per transaction
    #[arg(long, default_value_t = 1_000)]
    transaction: u64,
}

/// The load of a freshness run.
#[derive(Args, Debug)]
struct Freshness {
    /// Commits per second, of all clients together
    #[arg(long, default_value_t = 2_000)]
    commits: u32,
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
    }
}
