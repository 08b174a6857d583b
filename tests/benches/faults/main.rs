//! Long runs of what the tests do in short: every way to restore, where the tests take so many that any two choices meet.
//!
//! `cargo bench -p integration-tests --bench faults -- matrix`; without a command it does nothing. A broken promise ends it
//! with a panic.

// What it prints is what it is for.
#![allow(clippy::print_stdout)]

use std::time::Instant;

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
}

fn main() -> Result<()> {
    match Args::parse().command {
        Some(Command::Matrix) => Runtime::new()?.block_on(matrix()),
        None => println!("nothing to do: say what, as in -- matrix"),
    }
    Ok(())
}

async fn matrix() {
    // A program that was not built is told of before anything is done.
    let _ = (binaries::server(), binaries::tool());
    let began = Instant::now();
    let backups = Backups::take().await;
    let cases = Case::all();
    for (n, case) in cases.iter().enumerate() {
        let took = restore(*case, &backups).await;
        println!("{:2}/{} {case}: {took}", n + 1, cases.len());
    }
    println!("{} cases in {:.0} s", cases.len(), began.elapsed().as_secs_f64());
}
