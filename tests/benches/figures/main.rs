//! The figures: what the programs take of time and memory, beside the floors of the machine in the same run, as tables.
//!
//! `cargo bench -p integration-tests --bench figures -- all` is the quick one; without a command nothing is measured.

// What it prints is what it is for.
#![allow(clippy::print_stdout)]

mod all;
mod backup;
mod cluster;
mod compression;
mod live;
mod stand_in;

use anyhow::Result;
use clap::{Parser, Subcommand};

use self::{
    backup::{BackupArgs, floor::Floor},
    cluster::ClusterArgs,
    live::LiveArgs,
};

/// Measure the programs beside the floors of this machine
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
    /// Everything below, small: to see that nothing got slower
    All,
    /// Import, export, verify, inspect and start, of a generated backup
    Backup(BackupArgs),
    /// What compressing a backup costs in time, and what it saves on a link
    Compression(BackupArgs),
    /// Writes, reads and bulk load over gRPC, of a node or of several
    Cluster(ClusterArgs),
    /// A server with many keys that exports and compacts while clients write, and that is killed and started again
    Live(LiveArgs),
    /// A floor. Run by this program itself
    #[command(subcommand, hide = true)]
    Floor(Floor),
    /// Answer calls with what they carry, and do nothing else. Run by this program itself
    #[command(hide = true)]
    Echo,
}

fn main() -> Result<()> {
    match Args::parse().command {
        Some(Command::All) => all::run(),
        Some(Command::Backup(args)) => backup::run(&args),
        Some(Command::Compression(args)) => compression::run(&args),
        Some(Command::Cluster(args)) => cluster::run(&args),
        Some(Command::Live(args)) => live::run(&args),
        Some(Command::Floor(floor)) => floor.run(),
        Some(Command::Echo) => cluster::echo::serve(),
        None => {
            println!("nothing to measure: say what, as in -- all");
            Ok(())
        }
    }
}
