//! Measures what a node, or a cluster on this machine, takes of writes, reads and bulk load over gRPC, beside the floors of the
//! machine in the same run, and prints a table.

pub mod echo;
pub mod job;
pub mod load;
mod log_writer;
pub mod nodes;
mod report;
mod round;
pub mod work;

use std::{env, path::PathBuf, time::Duration};

use anyhow::Result;
use clap::Args;
use integration_tests::{binaries, measure};
use tokio::runtime::Builder;

use self::{echo::EchoProcess, job::JOBS, nodes::Cluster, report::Report, round::Bench};

#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// How often everything is measured, in turn; the table shows medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub rounds: u64,
    /// Nodes of the cluster, all on this machine
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub nodes: u64,
    /// How long each figure is measured in a round
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Threads that the clients share; the processors are shared with the server
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub client_threads: u64,
    /// Measure only the jobs with this in their name
    #[arg(long)]
    pub only: Option<String>,
    /// Leave out the floors, as for a profile of the server
    #[arg(long)]
    pub no_floors: bool,
    /// Where the stores go; the system's temporary folder by default
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

pub fn run(args: &ClusterArgs) -> Result<()> {
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
        for _ in 0..args.rounds {
            measured.push(bench.round().await?);
        }
        cluster.stop().await;
        anyhow::Ok(measured)
    })?;
    println!("{}", Report { nodes: args.nodes, threads, seconds: args.seconds, rounds: &measured });
    println!("Load of the machine, averaged over a minute: {load_before} before, {} after.", measure::load());
    Ok(())
}
