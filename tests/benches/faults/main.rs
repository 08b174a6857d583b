//! Long runs of what the tests do in short: every way to restore, where the tests take so many that any two choices meet; nodes
//! and links that fail in random order; a fault at each I/O call in turn; every change of a sealed backup; writes without end;
//! a steady load for half an hour.
//!
//! `cargo bench -p integration-tests --bench faults -- matrix`, `faults`, `io`, `seal`, `growth` or `soak`; without a command it
//! does nothing. A broken promise ends it with a panic or a violation, and never with exit code 0.

// What it prints is what it is for.
#![allow(clippy::print_stdout)]

mod faults;
mod growth;
mod io;
mod seal;
mod soak;

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use clap::{Parser, Subcommand};
use integration_tests::{
    binaries,
    scenario::{
        backups::Backups,
        restore::{Case, restore},
    },
};
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
    /// Restore backups from everywhere into clusters of every size and list
    Matrix,
    /// Kill, freeze, restart and cut off nodes of a cluster under load, in random order
    Faults(faults::Faults),
    /// Put a fault into every I/O call of imports, rollbacks, exports and snapshots, one at a time
    Io(io::Io),
    /// Cut sealed backups anywhere, flip every bit of them, and change them in other ways
    Seal(seal::Seal),
    /// Write again and again, and watch disk and memory
    Growth(growth::Watch),
    /// Put three nodes under a steady load for half an hour, with exports every minute, and see whether anything grows
    Soak(soak::Soak),
}

fn main() -> Result<ExitCode> {
    let Some(command) = Args::parse().command else {
        println!("nothing to do: say what, as in -- matrix");
        return Ok(ExitCode::SUCCESS);
    };
    // A program that was not built is told of before anything is done.
    let _ = (binaries::server(), binaries::tool());
    let runtime = Runtime::new()?;
    Ok(match command {
        Command::Matrix => runtime.block_on(matrix()),
        Command::Faults(faults) => runtime.block_on(faults.run()),
        Command::Io(io) => runtime.block_on(io.run()),
        Command::Seal(seal) => runtime.block_on(seal.run()),
        Command::Growth(watch) => runtime.block_on(watch.run()),
        Command::Soak(soak) => runtime.block_on(soak.run()),
    })
}

async fn matrix() -> ExitCode {
    let began = Instant::now();
    let backups = Backups::take().await;
    let cases = Case::all();
    for (n, case) in cases.iter().enumerate() {
        let took = restore(*case, &backups).await;
        println!("{:2}/{} {case}: {took}", n + 1, cases.len());
    }
    println!("{} cases in {:.0} s", cases.len(), began.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}
