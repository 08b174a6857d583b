//! The main job, end to end, on an embedded store in a temporary folder: start a node, write, export while writing, check the
//! export, import it as a new cluster with new ids, start that, read everything back. Prints each step with the command line
//! that does the same. Ends with OK, or with an error and a non-zero exit.

#![allow(clippy::print_stdout, reason = "the steps are this program's output")]

mod client;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use backup_plugin::{
    cluster::{Member, MemberList},
    codec,
    export::file::BackupFile,
    import::{self, ImportOptions, ImportOutcome},
    record::{Record, StateRecord},
};
use client::Client;
use meta_server::{
    backup::target::StoreTarget,
    config::{Config, LogSettings, RaftSettings, Settings, StderrLogSettings},
    server::Server,
};
use tokio::task::JoinHandle;

/// Keys that are there before the export begins.
const KEYS: u64 = 5_000;
/// What the writer has written when the export begins.
const FIRST_WRITES: u64 = 20;
/// How long the writer may take to begin, and the new node to lead.
const LIMIT: Duration = Duration::from_secs(10);

/// Every key with its value.
type Content = BTreeMap<String, Vec<u8>>;

fn main() -> ExitCode {
    let run = || tokio::runtime::Runtime::new()?.block_on(run());
    match run() {
        Ok(()) => {
            println!("\nOK");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let temp = tempfile::tempdir().context("cannot create a temporary folder")?;
    let (first, second) = (temp.path().join("node-1"), temp.path().join("node-7"));
    let backup = temp.path().join("backup.ndjson");

    step("Start a node", &["databend-meta --single --id 1 --raft-dir node-1"]);
    let server = start(&first, Some(1)).await?;
    said(&format!("node 1 serves gRPC on {}", server.grpc_address()));

    step("Write", &["databend-metactl upsert --key app/000001 --value one      # once for each key"]);
    let client = Client::connect(server.grpc_address()).await?;
    let began = Instant::now();
    for number in (0..KEYS).step_by(100) {
        client.put((number..number + 100).map(app_key)).await?;
    }
    said(&format!("{KEYS} keys in {:.2} s, in transactions of 100", began.elapsed().as_secs_f64()));

    step("Export over gRPC while a writer goes on", &["databend-metactl export backup.ndjson"]);
    let writer = Writer::start(server.grpc_address());
    let written_before = writer.wait_for_the_first().await?;
    let lines = client.export_to(BackupFile::create(&backup)?).await?;
    let written_after = writer.stop().await?;
    said(&format!(
        "{lines} lines, {} bytes; the writer went from {written_before} keys to {written_after}",
        len(&backup)?
    ));

    step("Check the export: all keys of before, and of the writer's a beginning without a gap", &[]);
    let exported = read_backup(&backup)?;
    check(&exported, written_before, written_after)?;
    said(&format!("{} keys, one moment of the store", exported.len()));
    server.shutdown().await;

    step(
        "Import it as a new cluster, with a new node id and address",
        &["databend-metactl import backup.ndjson --raft-dir node-7 --id 7 --initial-cluster 7=127.0.0.1:28007"],
    );
    import_as(&backup, &second, 7, "7=127.0.0.1:28007")?;

    step("Start it, and read everything back", &["databend-meta --raft-dir node-7", "databend-metactl status"]);
    let began = Instant::now();
    let server = start(&second, None).await?;
    let client = Client::connect(server.grpc_address()).await?;
    let restored = client.read_when_led("", LIMIT).await?;
    said(&format!("node {} leads and answered after {:.2} s", server.node().id(), began.elapsed().as_secs_f64()));
    ensure!(restored == exported, "what was read back is not what was exported");
    ensure!(server.node().nodes().keys().eq([&7]), "the old node's address is still known");
    client.put([("app/after".to_owned(), b"the restore".to_vec())]).await?;
    said(&format!("{} keys are there, and writes go on", restored.len()));
    server.shutdown().await;
    Ok(())
}

async fn start(raft_dir: &Path, single: Option<u64>) -> anyhow::Result<Server> {
    let any_port = || Some("127.0.0.1:0".to_owned());
    let settings = Settings {
        admin_api_address: any_port(),
        grpc_api_address: any_port(),
        log: LogSettings { stderr: StderrLogSettings { on: Some(false), ..Default::default() }, ..Default::default() },
        raft_config: RaftSettings {
            id: single,
            single: single.map(|_| true),
            raft_dir: Some(raft_dir.to_owned()),
            raft_advertise_host: Some("127.0.0.1".to_owned()),
            ..Default::default()
        },
        ..Default::default()
    };
    Ok(Server::start(Config::new(settings)?).await?)
}

fn import_as(backup: &Path, raft_dir: &Path, id: u64, member: &str) -> anyhow::Result<()> {
    let members = MemberList::new([member.parse::<Member>()?])?;
    let options = ImportOptions::new(Some(id), Some(members))?;
    let input = BufReader::new(File::open(backup)?);
    let target = StoreTarget::new(raft_dir.to_owned());
    let outcome = import::run(input, &backup.display().to_string(), &target, &options, &mut |_| {})?;
    let ImportOutcome::Imported(summary) = outcome else {
        anyhow::bail!("a new folder can not have been imported before");
    };
    let cluster_id = summary.cluster_id.context("an import with a list starts a cluster")?;
    said(&format!("{} keys; the new cluster is {cluster_id}", summary.keys));
    Ok(())
}

/// The keys and values of a backup file.
fn read_backup(path: &Path) -> anyhow::Result<Content> {
    let mut content = Content::new();
    for line in BufReader::new(File::open(path)?).lines() {
        if let Record::State(StateRecord::Kv { key, value }) = codec::decode(&line?)? {
            content.insert(key, value.data);
        }
    }
    Ok(content)
}

/// A client wrote `app/…` before the export and `live/…`, in order, during it. What was acknowledged before the export was
/// asked for is in it.
fn check(exported: &Content, written_before: u64, written_after: u64) -> anyhow::Result<()> {
    let live = exported.keys().filter(|key| key.starts_with("live/")).count() as u64;
    // One more may have been applied than was acknowledged.
    let possible = written_before..=written_after + 1;
    ensure!(possible.contains(&live), "the export has {live} keys of the writer, not one of {possible:?}");
    let expected: Content = (0..KEYS).map(app_key).chain((0..live).map(live_key)).collect();
    ensure!(*exported == expected, "the export is not one moment of the store");
    Ok(())
}

/// Writes one key after the other until it is stopped.
struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Writer {
    fn start(address: SocketAddr) -> Writer {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), written.clone());
        let task = tokio::spawn(async move {
            let client = Client::connect(address).await?;
            while !stopped.load(Ordering::Relaxed) {
                client.put([live_key(count.load(Ordering::Relaxed))]).await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        Writer { stop, written, task }
    }

    /// Returns how many of its writes were acknowledged, once some were.
    async fn wait_for_the_first(&self) -> anyhow::Result<u64> {
        let began = Instant::now();
        while self.written.load(Ordering::Relaxed) < FIRST_WRITES {
            ensure!(began.elapsed() < LIMIT, "the writer does not get on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(self.written.load(Ordering::Relaxed))
    }

    /// Returns how many of its writes were acknowledged.
    async fn stop(self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await??;
        Ok(self.written.load(Ordering::Relaxed))
    }
}

fn app_key(number: u64) -> (String, Vec<u8>) {
    (format!("app/{number:06}"), format!("value {number}").into_bytes())
}

fn live_key(number: u64) -> (String, Vec<u8>) {
    (format!("live/{number:06}"), number.to_be_bytes().to_vec())
}

fn len(path: &Path) -> anyhow::Result<u64> {
    Ok(std::fs::metadata(path)?.len())
}

fn step(title: &str, commands: &[&str]) {
    println!("\n{title}");
    for command in commands {
        println!("  $ {command}");
    }
}

fn said(text: &str) {
    println!("  {text}");
}
