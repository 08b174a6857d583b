//! Long runs of what the tests do in short; a broken promise ends them.
//!
//! `cargo bench -p integration-tests --bench faults -- faults --minutes 5 --exports`; without a command it does nothing.

// What it prints is what it is for.
#![allow(clippy::print_stdout)]

mod faults;
mod growth;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use integration_tests::binaries;
use tokio::runtime::Runtime;

/// Restore clusters and break them
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// What cargo says to every bench
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kill, freeze, restart and cut off nodes of a cluster under load, in random order
    Faults(faults::Faults),
    /// Write again and again, and watch disk and memory
    Growth(growth::Watch),
}

fn main() -> ExitCode {
    // A program that was not built is told of before anything is done.
    let _ = (binaries::server(), binaries::tool());
    let runtime = Runtime::new().expect("a runtime");
    match Args::parse().command {
        Some(Command::Faults(faults)) => runtime.block_on(faults.run()),
        Some(Command::Growth(watch)) => runtime.block_on(watch.run()),
        None => {
            println!("nothing to do: say what, as in -- faults --minutes 5");
            ExitCode::SUCCESS
        }
    }
}
