//! The main job, end to end, on embedded stores in a temporary folder: start a node, write, export while writing, check the
//! export, import it as a new cluster of three with new ids, start that, read everything back from each of its nodes. Prints
//! each step with the command line that does the same. Ends with OK, or with an error and a non-zero exit.

#![allow(clippy::print_stdout, reason = "the steps are this program's output")]

mod client;

use std::{
    collections::BTreeMap,
    fs::File,
    net::{SocketAddr, TcpListener},
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
    export::file::BackupFile,
    import::{self, ImportOptions, ImportOutcome},
    input::Reader,
    record::{Record, StateRecord},
    upgrade::Decoded,
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
/// The nodes of the new cluster.
const NEW_IDS: [u64; 3] = [7, 8, 9];
/// How long the writer may take to begin, and the new cluster to be led.
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
    let backup = temp.path().join("backup.ndjson");

    step("Start a node", &["databend-meta --single --id 1 --raft-dir node-1"]);
    let server = start(&temp.path().join("node-1"), free_port()?, Some(1)).await?;
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

    let ports = [free_port()?, free_port()?, free_port()?];
    let list: Vec<String> = NEW_IDS.iter().zip(ports).map(|(id, port)| format!("{id}=127.0.0.1:{port}")).collect();
    step(
        "Import it on three new nodes, with the same list on each",
        &[&format!(
            "databend-metactl import backup.ndjson --raft-dir node-7 --id 7 --initial-cluster {}",
            list.join(" ")
        )],
    );
    let folder = |id: u64| temp.path().join(format!("node-{id}"));
    for id in NEW_IDS {
        import_as(&backup, &folder(id), id, &list)?;
    }

    step("Start them, in any order, and read everything back from each", &["databend-meta --raft-dir node-7"]);
    let began = Instant::now();
    let mut cluster = Vec::new();
    for (id, port) in NEW_IDS.into_iter().zip(ports).rev() {
        cluster.push(start(&folder(id), port, None).await?);
    }
    let mut clients = Vec::new();
    for server in &cluster {
        clients.push(Client::connect(server.grpc_address()).await?);
    }
    for (server, client) in cluster.iter().zip(&clients) {
        let restored = client.read_when_led("", LIMIT).await?;
        let node = server.node();
        said(&format!("node {} answered {:.2} s after the first start", node.id(), began.elapsed().as_secs_f64()));
        ensure!(restored == exported, "what was read back is not what was exported");
        ensure!(node.nodes().into_keys().eq(NEW_IDS), "the members are not those of the list");
    }
    let leader = cluster[0].node().leadership().leader.context("nobody leads")?;
    ensure!(leader == NEW_IDS[0], "node {leader} leads, and not the first of the list");

    step("Write through one node, read through another", &["databend-metactl upsert --key app/after --value restore"]);
    let after = ("app/after".to_owned(), b"restore".to_vec());
    clients[0].put([after.clone()]).await?;
    let read = clients[1].read_when_led(&after.0, LIMIT).await?;
    ensure!(read == Content::from([after]), "what was written is not there");
    said(&format!("{} keys are there, and writes go on; node {leader} leads", exported.len()));
    for server in cluster {
        server.shutdown().await;
    }
    Ok(())
}

async fn start(raft_dir: &Path, raft_port: u16, single: Option<u64>) -> anyhow::Result<Server> {
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
            raft_api_port: Some(raft_port),
            ..Default::default()
        },
        ..Default::default()
    };
    Ok(Server::start(Config::new(settings)?).await?)
}

/// A port that nobody listens on.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn import_as(backup: &Path, raft_dir: &Path, id: u64, list: &[String]) -> anyhow::Result<()> {
    let members = list.iter().map(|member| member.parse::<Member>()).collect::<Result<Vec<_>, _>>()?;
    let options = ImportOptions::new(Some(id), Some(MemberList::new(members)?))?;
    let input = File::open(backup)?;
    let target = StoreTarget::new(raft_dir.to_owned());
    let outcome = import::run(input, &backup.display().to_string(), &target, &options, &mut |_| {})?;
    let ImportOutcome::Imported(summary) = outcome else {
        anyhow::bail!("a new folder can not have been imported before");
    };
    let cluster_id = summary.cluster_id.context("an import with a list starts a cluster")?;
    said(&format!("node {id}: {} keys, of cluster {}…", summary.keys, &cluster_id[..12]));
    Ok(())
}

/// The keys and values of a backup file, which proves on the way that it is whole.
fn read_backup(path: &Path) -> anyhow::Result<Content> {
    let mut content = Content::new();
    let mut reader = Reader::open(File::open(path)?, &path.display().to_string())?;
    while let Some((_, record)) = reader.next_record()? {
        if let Decoded::Record(Record::State(StateRecord::Kv { key, value })) = record {
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
