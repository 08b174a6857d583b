//! A server with N keys at work: what its clients see while it exports and compacts, how long a compaction takes beside them, and
//! how long a start takes after N more writes and a kill.

mod report;

use std::{
    cell::Cell,
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures::future::try_join;
use integration_tests::{
    binaries, measure,
    server::{Server, Settings, free_port},
    tool::metactl,
};
use tokio::{process::Command, runtime::Builder, time::sleep};

use self::report::Report;
use crate::{
    backup::{
        dataset,
        floor::Floor,
        process::{self, Taken},
        server::first_read,
    },
    cluster::{
        job::{JOBS, Job},
        load::{Peer, Sample},
        work::{Keys, Work, bulk_key, bulk_value},
    },
};

/// How often a compaction is looked at.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug, Args)]
pub struct LiveArgs {
    /// Keys in the store, and as many are written before the kill
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// How often everything is measured, in turn; the table shows medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub rounds: u64,
    /// How long clients write for one figure
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Where the stores go; the system's temporary folder by default
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// Of the rate of clients that do nothing else: both processors have time left beside it.
const MODERATE: f64 = 0.25;

/// What was measured in one round.
struct Round {
    /// Writes with nothing beside them, with one export after the other to a file on the same disk, with the same to `/dev/null`,
    /// and with a program that does nothing but write and sync as many bytes.
    quiet: Writes,
    exporting: Writes,
    streaming: Writes,
    writing: Writes,
    /// Exports that ended meanwhile.
    exports: u64,
    compaction: Compaction,
    /// Of the same keys, without the server.
    iterate: Taken,
    ingest: Taken,
    /// Writing as many keys again, by transactions.
    load_seconds: f64,
    /// Killed after them, until a client read a key.
    start: Taken,
}

/// What clients saw that write.
struct Writes {
    /// As fast as they are answered.
    fast: Sample,
    /// At a quarter of the rate of those that had nothing beside them, none waiting for another.
    moderate: Sample,
}

/// A compaction of everything beside clients that write.
struct Compaction {
    seconds: f64,
    /// Writes a second meanwhile.
    rate: f64,
}

pub fn run(args: &LiveArgs) -> Result<()> {
    let _ = (binaries::server(), binaries::tool());
    let dir = tempfile::tempdir_in(args.dir.clone().unwrap_or_else(env::temp_dir))?;
    let backup = dir.path().join("backup.ndjson");
    dataset::write(&backup, args.keys, dataset::value)?;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let load_before = measure::load();
    let mut rounds = Vec::new();
    for _ in 0..args.rounds {
        rounds.push(runtime.block_on(round(args, &backup, dir.path()))?);
    }
    println!("{}", Report { keys: args.keys, seconds: args.seconds, rounds: &rounds });
    println!("Load of the machine, averaged over a minute: {load_before} before, {} after.", measure::load());
    Ok(())
}

async fn round(arguments: &LiveArgs, backup: &Path, dir: &Path) -> Result<Round> {
    let dir = tempfile::tempdir_in(dir)?;
    let (store, table) = (dir.path().join("store"), dir.path().join("table"));
    let raft_port = free_port();
    let member = format!("1=127.0.0.1:{raft_port}");
    metactl([&"import", &"--raft-dir", &store, &"--db", &backup, &"--id", &"1", &"--initial-cluster", &member])
        .await
        .expect(0);
    let settings = || Settings { raft_port, ..Settings::of(&store) };
    let server = Server::start_leading(settings()).await;
    let peer = Peer { address: server.grpc_address().to_owned(), processes: vec![server.id()], token: None };
    let (keys, length) = (Arc::<Keys>::default(), Duration::from_secs(arguments.seconds));

    let fast = peer.measure(job(Work::Upsert)?, &keys, length).await?;
    let writer =
        Writer { rate: ((fast.rate * MODERATE) as u64).max(1), peer: peer.clone(), keys: keys.clone(), length };
    let quiet = Writes { fast, moderate: writer.moderate().await? };
    let this = env::current_exe()?;
    let write = {
        let (this, bytes) = (this.clone(), fs::metadata(backup)?.len());
        async move |file| {
            let write = Floor::Write { file, bytes }.command(&this);
            let ended = Command::from(write).status().await?;
            ensure!(ended.success(), "the writer {ended}");
            Ok(())
        }
    };
    let export = {
        let address = peer.address.clone();
        async move |file: PathBuf| {
            metactl([&"export", &"--grpc-api-address", &address, &"--db", &file]).await.expect(0);
            Ok(())
        }
    };
    let stream = async |_| {
        let mut export = Command::new(binaries::tool());
        export.args(["export", "--grpc-api-address", &peer.address]).stdout(Stdio::null()).stderr(Stdio::null());
        let ended = export.status().await?;
        ensure!(ended.success(), "the export {ended}");
        Ok(())
    };
    let (writing, _) = writer.beside(dir.path(), write).await?;
    let (streaming, streams) = writer.beside(dir.path(), stream).await?;
    let (exporting, exports) = writer.beside(dir.path(), export).await?;

    let compaction = compact(&server, &peer, &keys).await?;
    let ingest = process::measure(&mut Floor::Ingest { table: table.clone(), keys: arguments.keys }.command(&this))?;
    let iterate = process::measure(&mut Floor::Iterate { table, keys: arguments.keys }.command(&this))?;

    let began = Instant::now();
    while keys.loaded() < arguments.keys {
        peer.measure(job(Work::Bulk)?, &keys, Duration::from_millis(500)).await?;
    }
    let load_seconds = began.elapsed().as_secs_f64();
    server.kill().await;
    measure::quiet_disks();
    let began = Instant::now();
    let server = Server::start(settings()).await;
    first_read(&server, began, &bulk_key(0), bulk_value(0)).await?;
    let seconds = began.elapsed().as_secs_f64();
    let start = Taken { seconds, usage: measure::usage(server.id()).context("the server has ended")? };
    server.kill().await;
    let exports = exports + streams;
    Ok(Round { quiet, exporting, streaming, writing, exports, compaction, iterate, ingest, load_seconds, start })
}

fn job(work: Work) -> Result<&'static Job> {
    JOBS.iter().find(|job| job.work == work && job.clients > 1).context("there is such a job")
}

/// Clients that write, in both ways.
struct Writer {
    peer: Peer,
    keys: Arc<Keys>,
    /// Of those that do not wait for each other, in a second.
    rate: u64,
    length: Duration,
}

impl Writer {
    async fn fast(&self) -> Result<Sample> {
        self.peer.measure(job(Work::Upsert)?, &self.keys, self.length).await
    }

    async fn moderate(&self) -> Result<Sample> {
        self.peer.measure_at(self.rate, job(Work::Upsert)?, &self.keys, self.length).await
    }

    /// What they see while `work` is done again and again, each time to a file of its own, and how often it was. The files stay until the
    /// end: to give back what a large file took keeps some disks busy for long.
    async fn beside(&self, dir: &Path, work: impl AsyncFn(PathBuf) -> Result<()>) -> Result<(Writes, u64)> {
        let dir = tempfile::tempdir_in(dir)?;
        let done = Cell::new(false);
        measure::quiet_disks();
        let writes = async {
            let writes = Writes { fast: self.fast().await?, moderate: self.moderate().await? };
            done.set(true);
            anyhow::Ok(writes)
        };
        let again = async {
            let mut times = 0;
            while !done.get() {
                work(dir.path().join(times.to_string())).await?;
                times += 1;
            }
            Ok(times)
        };
        try_join(writes, again).await
    }
}

/// Compacts while clients write.
async fn compact(server: &Server, peer: &Peer, keys: &Arc<Keys>) -> Result<Compaction> {
    measure::quiet_disks();
    // Ended by hand, when the compaction has.
    let long = Duration::from_secs(120);
    let writers = {
        let (peer, keys) = (peer.clone(), keys.clone());
        let job = job(Work::Upsert)?;
        tokio::spawn(async move { peer.measure(job, &keys, long).await })
    };
    sleep(Duration::from_secs(1)).await;
    let before = snapshot(server).await;
    let (written, began) = (keys.upserted(), Instant::now());
    ensure!(server.admin("/v1/ctrl/trigger_snapshot").await.is_null(), "the server does not compact");
    while snapshot(server).await <= before {
        ensure!(!writers.is_finished(), "the compaction does not end");
        sleep(LOOK).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let rate = (keys.upserted() - written) as f64 / seconds;
    writers.abort();
    Ok(Compaction { seconds, rate })
}

async fn snapshot(server: &Server) -> Option<u64> {
    server.admin("/v1/cluster/status").await["snapshot_last_log_id"]["index"].as_u64()
}
