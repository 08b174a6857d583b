//! Measures the programs on a backup of N keys, in time and memory, beside the floors of the machine, and prints a table.

pub mod dataset;
pub mod floor;
pub mod process;
mod report;
pub mod round;
pub mod server;
mod stream;

use std::{env, path::PathBuf};

use anyhow::Result;
use clap::Args;
use integration_tests::{binaries, measure};

use self::{
    report::Report,
    round::{Backup, Round},
};

#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Keys in the backup
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// How often each job is run; the table shows medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub runs: u64,
    /// Where the files go, about 2 kB for each key; the system's temporary folder by default
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

pub fn run(args: &BackupArgs) -> Result<()> {
    let keys = args.keys;
    // A program that was not built is told of before the backup is generated.
    let _ = (binaries::server(), binaries::tool());
    let dir = tempfile::tempdir_in(args.dir.clone().unwrap_or_else(env::temp_dir))?;
    let path = dir.path().join("backup.ndjson");
    let bytes = dataset::write(&path, keys, dataset::value)?;
    let backup = Backup { path, keys, bytes };
    let load_before = measure::load();
    let rounds: Vec<Round> = (0..args.runs).map(|_| round::run(&backup, dir.path())).collect::<Result<_>>()?;
    println!("{}", Report { backup: &backup, rounds: &rounds });
    println!("Load of the machine, averaged over a minute: {load_before} before, {} after.", measure::load());
    Ok(())
}
