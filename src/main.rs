//! Tidelake: one binary, every part. This package is the only place where concrete types meet: it reads the
//! configuration, wires source, buffer, writer, engine, latch and calculator together, and talks to people.

mod access;
mod cli;
mod client;
mod config;
mod data_dir;
mod demo;
mod doctor;
mod engine;
mod feed;
mod http;
mod listeners;
mod logging;
mod options;
mod pipeline;
mod probe;
mod processes;
mod progress;
mod run;
mod shutdown;
#[cfg(test)]
mod sim;
mod sql;
mod status;
mod tables;
mod upstream;
mod verify;
mod where_from;
mod wishes;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
