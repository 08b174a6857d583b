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

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::{
    floor::Floor,
    report::Report,
    round::{Backup, Programs, Round},
    server::Ports,
};

/// Measure import and export on a generated backup
#[derive(Debug, Parser)]
struct Args {
    /// Keys in the backup; without this nothing is measured
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    keys: Option<u64>,
    /// How often each job is run; the table shows medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
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
        (None, Some(keys)) => measure(&args, keys),
        (None, None) => {
            println!("nothing to measure: say how many keys, as in -- --keys 100000");
            Ok(())
        }
    }
}

fn measure(args: &Args, keys: u64) -> Result<()> {
    let programs = find_programs()?;
    let dir = tempfile::tempdir_in(args.dir.clone().unwrap_or_else(env::temp_dir))?;
    let path = dir.path().join("backup.ndjson");
    let bytes = dataset::write(&path, keys)?;
    let backup = Backup { path, keys, bytes };
    let ports = Ports::free()?;
    let rounds: Vec<Round> =
        (0..args.runs).map(|_| round::run(&programs, &backup, ports, dir.path())).collect::<Result<_>>()?;
    println!("{}", Report { backup: &backup, rounds: &rounds });
    Ok(())
}

/// The programs that were built in the same profile as this one: cargo puts them one folder up.
fn find_programs() -> Result<Programs> {
    let floors = env::current_exe().context("cannot tell where this program is")?;
    let folder = floors.ancestors().nth(2).context("this program is in no folder")?.to_owned();
    let find = |name: &str| {
        let path = folder.join(name);
        ensure!(path.is_file(), "{} is missing: build it first, with `cargo build --release`", path.display());
        Ok(path)
    };
    Ok(Programs { server: find("databend-meta")?, tool: find("databend-metactl")?, floors })
}
