//! Measures what a node, or a cluster on this machine, takes of writes, reads and bulk load over gRPC, beside the floors of the
//! machine in the same run, and prints a table.
//!
//! `cargo bench -p integration-tests --bench cluster -- --rounds 5`; without `--rounds` it measures nothing.

// What it prints is what it is for.
#![allow(clippy::print_stdout)]

mod cluster;
mod echo;
mod job;
mod load;
mod log_writer;
mod report;
mod round;
mod work;

use std::{env, path::PathBuf, time::Duration};

use anyhow::Result;
use clap::{Parser, Subcommand};
use integration_tests::{binaries, measure};
use tokio::runtime::Builder;

use crate::{cluster::Cluster, echo::EchoProcess, job::JOBS, report::Report, round::Bench};

/// Measure writes, reads and bulk load over gRPC
#[derive(Debug, Parser)]
struct Args {
    /// How often everything is measured, in turn; the table shows medians. Without this nothing is measured
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<u64>,
    /// Nodes of the cluster, all on this machine
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    nodes: u64,
    /// How long each figure is measured in a round
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Threads that the clients share; the processors are shared with the server
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    client_threads: u64,
    /// Measure only the jobs with this in their name
    #[arg(long)]
    only: Option<String>,
    /// Leave out the floors, as for a profile of the server
    #[arg(long)]
    no_floors: bool,
    /// Where the stores go; the system's temporary folder by default
    #[arg(long)]
    dir: Option<PathBuf>,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    floor: Option<Floor>,
}

#[derive(Debug, Clone, Subcommand)]
enum Floor {
    /// Answer calls with what they carry, and do nothing else. Run by this program itself
    Echo,
}

fn main() -> Result<()> {
    let args = Args::parse();
    match (&args.floor, args.rounds) {
        (Some(Floor::Echo), _) => echo::serve(),
        (None, Some(rounds)) => run(&args, rounds),
        (None, None) => {
            println!("nothing to measure: say how many rounds, as in -- --rounds 5");
            Ok(())
        }
    }
}

fn run(args: &Args, rounds: u64) -> Result<()> {
    let _ = binaries::server();
    let threads = usize::try_from(args.client_threads)?;
    let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let dir = tempfile::tempdir_in(args.dir.clone().unwrap_or_else(env::temp_dir))?;
    let jobs = JOBS.iter().filter(|job| args.only.as_ref().is_none_or(|only| job.name.contains(only))).collect();
    let load_before = measure::load();
    let measured = runtime.block_on(async {
        let cluster = Cluster::start(dir.path(), args.nodes).await?;
        let echo = if args.no_floors { None } else { Some(EchoProcess::start().await?) };
        let mut bench = Bench::new(jobs, cluster.peer(), echo.as_ref(), dir.path(), Duration::from_secs(args.seconds));
        let mut measured = Vec::new();
        for _ in 0..rounds {
            measured.push(bench.round().await?);
        }
        cluster.stop().await;
        anyhow::Ok(measured)
    })?;
    println!("{}", Report { nodes: args.nodes, threads, seconds: args.seconds, rounds: &measured });
    println!("Load of the machine, averaged over a minute: {load_before} before, {} after.", measure::load());
    Ok(())
}
