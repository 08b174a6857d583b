//! Everything at 100 000 keys, in less than two minutes: to see that nothing got slower. What is compared are the ratios to the
//! floors, not the seconds.

use std::time::Instant;

use anyhow::Result;

use crate::{
    backup::{self, BackupArgs},
    cluster::{self, ClusterArgs},
    compression,
    live::{self, LiveArgs},
};

const KEYS: u64 = 100_000;

pub fn run() -> Result<()> {
    let began = Instant::now();
    println!("## Backup\n");
    backup::run(&BackupArgs { keys: KEYS, runs: 5, dir: None })?;
    println!("\n## Compression\n");
    compression::run(&BackupArgs { keys: KEYS, runs: 1, dir: None })?;
    println!("\n## Writes and reads\n");
    let nodes = |nodes, only: Option<&str>| ClusterArgs {
        rounds: 1,
        nodes,
        seconds: 2,
        client_threads: 1,
        only: only.map(str::to_owned),
        no_floors: false,
        dir: None,
    };
    cluster::run(&nodes(1, None))?;
    cluster::run(&nodes(3, Some("64 clients")))?;
    println!("\n## At work\n");
    live::run(&LiveArgs { keys: KEYS, rounds: 1, seconds: 3, dir: None })?;
    println!("\n{:.0} s in all.", began.elapsed().as_secs_f64());
    Ok(())
}
