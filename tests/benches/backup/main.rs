//! Measures the programs on a backup of N keys, in time and memory, beside the floors of the machine, and prints a table.
//!
//! `cargo bench -p integration-tests --bench backup -- --keys 100000`; without `--keys` it measures nothing.

// What it prints is what it is for.
#![allow(clippy::print_stdout)]

mod dataset;
mod floor;
mod process;
mod report;
mod round;
mod server;

use std::{env, path::PathBuf};

use anyhow::Result;
use clap::Parser;
use integration_tests::{binaries, measure};

use crate::{
    floor::Floor,
    report::Report,
    round::{Backup, Round},
};

/// Measure import and export on a generated backup
#[derive(Debug, Parser)]
struct Args {
    /// Keys in the backup; without this nothing is measured
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    keys: Option<u64>,
    /// How often each job is run; the table shows medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Where the files go, about 2.5 kB for each key; the system's temporary folder by default
    #[arg(long)]
    dir: Option<PathBuf>,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
    /// Run by this program itself
    #[command(subcommand)]
    floor: Option<Floor>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    match (&args.floor, args.keys) {
        (Some(floor), _) => floor.run(),
        (None, Some(keys)) => run(&args, keys),
        (None, None) => {
            println!("nothing to measure: say how many keys, as in -- --keys 100000");
            Ok(())
        }
    }
}

fn run(args: &Args, keys: u64) -> Result<()> {
    // A program that was not built is told of before the backup is generated.
    let _ = (binaries::server(), binaries::tool());
    let dir = tempfile::tempdir_in(args.dir.clone().unwrap_or_else(env::temp_dir))?;
    let path = dir.path().join("backup.ndjson");
    let bytes = dataset::write(&path, keys)?;
    let backup = Backup { path, keys, bytes };
    let load_before = measure::load();
    let rounds: Vec<Round> = (0..args.runs).map(|_| round::run(&backup, dir.path())).collect::<Result<_>>()?;
    println!("{}", Report { backup: &backup, rounds: &rounds });
    println!("Load of the machine, averaged over a minute: {load_before} before, {} after.", measure::load());
    Ok(())
}
