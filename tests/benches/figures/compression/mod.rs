//! What compressing a backup costs in time and what it saves on a link of 1 Gbit/s: exports, verify and import of N keys with each
//! compression in turn. Of values that look random, and of values that are JSON.

mod report;

use std::{
    env,
    fs::{self, remove_file},
    path::Path,
    process::Command,
};

use anyhow::Result;
use integration_tests::{binaries, measure, server::free_port};

use self::report::Report;
use crate::backup::{
    BackupArgs, dataset,
    process::{self, Taken},
    round::tool,
    server::MeasuredServer,
};

/// What `--compress` takes.
pub const FORMS: [&str; 3] = ["none", "zstd", "gzip"];

type Value = fn(u64) -> Vec<u8>;

/// What differs between the backups.
const VALUES: [(&str, Value); 2] =
    [("128 bytes that look random", dataset::value), ("JSON of about 110 bytes", dataset::json_value)];

/// What each job took with one compression.
pub struct Round {
    pub export: Taken,
    /// The client.
    pub stream: Taken,
    pub verify: Taken,
    pub import: Taken,
    /// Of the file that was exported over gRPC.
    pub bytes: u64,
}

pub fn run(args: &BackupArgs) -> Result<()> {
    let _ = (binaries::server(), binaries::tool());
    for (values, value) in VALUES {
        let dir = tempfile::tempdir_in(args.dir.clone().unwrap_or_else(env::temp_dir))?;
        let load_before = measure::load();
        let rounds = rounds(args, value, dir.path())?;
        println!("{}", Report { keys: args.keys, values, rounds: &rounds });
        println!("Load of the machine, averaged over a minute: {load_before} before, {} after.\n", measure::load());
    }
    Ok(())
}

/// In each round one of every form.
fn rounds(args: &BackupArgs, value: Value, dir: &Path) -> Result<Vec<[Round; FORMS.len()]>> {
    let (backup, same, served) = (dir.join("backup"), dir.join("same-node"), dir.join("cluster"));
    dataset::write(&backup, args.keys, value)?;
    process::measure(&mut tool("import", &same, &backup))?;
    let raft_port = free_port();
    let member = format!("1=127.0.0.1:{raft_port}");
    process::measure(tool("import", &served, &backup).args(["--id", "1", "--initial-cluster", &member]))?;
    fs::remove_file(&backup)?;
    let (server, _) = MeasuredServer::start(&served, raft_port, &value(0))?;
    let round = || -> Result<[Round; FORMS.len()]> {
        let [none, zstd, gzip] = FORMS.map(|form| one(form, dir, &same, server.grpc_address()));
        Ok([none?, zstd?, gzip?])
    };
    let rounds = (0..args.runs).map(|_| round()).collect();
    server.stop();
    rounds
}

fn one(form: &str, dir: &Path, same: &Path, address: &str) -> Result<Round> {
    let (file, imported) = (dir.join("export"), dir.join("imported"));
    let export = process::measure(tool("export", same, &file).args(["--compress", form]))?;
    remove_file(&file)?;
    let mut stream = Command::new(binaries::tool());
    stream.args(["export", "--grpc-api-address", address, "--compress", form, "--db"]).arg(&file);
    let stream = process::measure(&mut stream)?;
    let bytes = file.metadata()?.len();
    let verify = process::measure(Command::new(binaries::tool()).args(["verify", "--require-seal"]).arg(&file))?;
    let import = process::measure(&mut tool("import", &imported, &file))?;
    remove_file(&file)?;
    fs::remove_dir_all(&imported)?;
    Ok(Round { export, stream, verify, import, bytes })
}
