//! One round: every job once, floors and programs in turn, so that whatever else the machine does falls on all of them alike.

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use integration_tests::{binaries, measure::Usage, server::free_port};

use super::{
    dataset,
    floor::Floor,
    process::{self, Taken},
    server::MeasuredServer,
    stream::Sender,
};

/// What is measured: a backup file, and how much is in it.
pub struct Backup {
    pub path: PathBuf,
    pub keys: u64,
    pub bytes: u64,
}

/// What each job took.
pub struct Round {
    pub write: Taken,
    pub hash: Taken,
    pub ingest: Taken,
    pub iterate: Taken,
    pub import: Taken,
    pub import_cluster: Taken,
    pub verify: Taken,
    pub inspect: Taken,
    pub export: Taken,
    pub start: Taken,
    /// The client.
    pub stream: Taken,
    /// The same from a server that has nothing to do but to send.
    pub receive: Taken,
    /// The server, before and after it streamed.
    pub before: Usage,
    pub after: Usage,
}

/// Runs every job in a folder inside `dir`, which is gone afterwards.
pub fn run(backup: &Backup, dir: &Path) -> Result<Round> {
    let dir = tempfile::tempdir_in(dir)?;
    let at = |name: &str| dir.path().join(name);
    let this = env::current_exe()?;
    let floor = |floor: &Floor| process::measure(&mut floor.command(&this));
    let raft_port = free_port();
    let (same, cluster) = (at("same-node"), at("cluster"));

    let write = floor(&Floor::Write { file: at("written"), bytes: backup.bytes })?;
    fs::remove_file(at("written"))?;
    let import = process::measure(&mut tool("import", &same, &backup.path))?;
    let hash = floor(&Floor::Hash { file: backup.path.clone() })?;
    let import_as = |members: &[&str]| {
        let mut import = tool("import", &cluster, &backup.path);
        import.args(["--id", "1", "--initial-cluster"]).args(members);
        process::measure(&mut import)
    };
    let member = format!("1=127.0.0.1:{raft_port}");
    let import_cluster = import_as(&[&member, "2=127.0.0.2:28004", "3=127.0.0.3:28004"])?;
    // What the server starts on: it is to lead alone.
    fs::remove_dir_all(&cluster)?;
    import_as(&[&member])?;
    let look = |command: &str| process::measure(Command::new(binaries::tool()).arg(command).arg(&backup.path));
    let verify = look("verify")?;
    let inspect = look("inspect")?;
    let ingest = floor(&Floor::Ingest { table: at("table"), keys: backup.keys })?;

    let export = process::measure(&mut tool("export", &same, &at("export")))?;
    check_export(&at("export"), backup)?;
    fs::remove_file(at("export"))?;
    fs::remove_dir_all(&same)?;
    let iterate = floor(&Floor::Iterate { table: at("table"), keys: backup.keys })?;
    fs::remove_dir_all(at("table"))?;

    let (server, start) = MeasuredServer::start(&cluster, raft_port, &dataset::value(0))?;
    let before = server.usage()?;
    let stream = process::measure(
        Command::new(binaries::tool())
            .args(["export", "--grpc-api-address", server.grpc_address()])
            .arg("--db")
            .arg(at("stream")),
    )?;
    let after = server.usage()?;
    server.stop();
    check_export(&at("stream"), backup)?;
    fs::remove_file(at("stream"))?;
    let sender = Sender::start(&mut Floor::Send { file: backup.path.clone() }.command(&this))?;
    let receive = floor(&Floor::Receive { address: sender.address().to_owned(), file: at("received") })?;

    Ok(Round {
        write,
        hash,
        ingest,
        iterate,
        import,
        import_cluster,
        verify,
        inspect,
        export,
        start,
        stream,
        receive,
        before,
        after,
    })
}

/// `databend-metactl`, of a folder and a file.
pub fn tool(command: &str, raft_dir: &Path, file: &Path) -> Command {
    let mut tool = Command::new(binaries::tool());
    tool.arg(command).arg("--raft-dir").arg(raft_dir).arg("--db").arg(file);
    tool
}

/// A fast export that lost a key is not measured but refused.
fn check_export(path: &Path, backup: &Backup) -> Result<()> {
    let keys = || -> Result<u64> {
        let mut file = BufReader::with_capacity(1024 * 1024, File::open(path)?);
        let mut line = Vec::new();
        let mut keys = 0;
        while file.read_until(b'\n', &mut line)? > 0 {
            keys += u64::from(line.starts_with(br#"["state_machine/0",{"GenericKV""#));
            line.clear();
        }
        Ok(keys)
    };
    let keys = keys().with_context(|| format!("cannot read the export {}", path.display()))?;
    ensure!(keys == backup.keys, "the export {} has {keys} keys instead of {}", path.display(), backup.keys);
    Ok(())
}
