//! The floors: the least that each job takes on this machine, as programs of their own, so that their memory is told apart.
//! Each does one thing with the crate that the store uses, and nothing of what makes it a backup.

use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use lsm_tree::{AbstractTree, AnyTree, Guard, SequenceNumberCounter};
use sha2::{Digest, Sha256};

use super::{dataset, stream};

const BUFFER: usize = 1024 * 1024;

#[derive(Debug, Clone, Subcommand)]
pub enum Floor {
    /// Puts the records into a new table in one sorted ingestion
    Ingest { table: PathBuf, keys: u64 },
    /// Reads every record of the table
    Iterate { table: PathBuf, keys: u64 },
    /// Reads a file and computes its SHA-256
    Hash { file: PathBuf },
    /// Writes a new file of so many bytes, and syncs it
    Write { file: PathBuf, bytes: u64 },
    /// Streams the lines of a file, from memory, to whoever calls
    Send { file: PathBuf },
    /// Takes what is streamed there, hashes it, writes it to a new file, and syncs it
    Receive { address: String, file: PathBuf },
}

impl Floor {
    /// How `program`, this one, is told to run it.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg("floor");
        match self {
            Floor::Ingest { table, keys } => command.arg("ingest").arg(table).arg(keys.to_string()),
            Floor::Iterate { table, keys } => command.arg("iterate").arg(table).arg(keys.to_string()),
            Floor::Hash { file } => command.arg("hash").arg(file),
            Floor::Write { file, bytes } => command.arg("write").arg(file).arg(bytes.to_string()),
            Floor::Send { file } => command.arg("send").arg(file),
            Floor::Receive { address, file } => command.arg("receive").arg(address).arg(file),
        };
        command
    }

    pub fn run(&self) -> Result<()> {
        let did = match self {
            Floor::Ingest { table, keys } => ingest(table, *keys),
            Floor::Iterate { table, keys } => iterate(table, *keys),
            Floor::Hash { file } => hash(file),
            Floor::Write { file, bytes } => write(file, *bytes),
            Floor::Send { file } => stream::send(file),
            Floor::Receive { address, file } => stream::receive(address, file),
        };
        did.with_context(|| format!("the floor {self:?} failed"))
    }
}

fn ingest(table: &Path, keys: u64) -> Result<()> {
    let tree = open(table)?;
    let mut ingestion = tree.ingestion()?;
    for i in 0..keys {
        ingestion.write(dataset::key(i), dataset::value(i))?;
    }
    ingestion.finish()?;
    Ok(())
}

fn iterate(table: &Path, keys: u64) -> Result<()> {
    let mut count = 0;
    let mut bytes = 0;
    for item in open(table)?.iter(u64::MAX >> 1, None) {
        let (key, value) = item.into_inner()?;
        count += 1;
        bytes += key.len() + value.len();
    }
    ensure!(count == keys && bytes > 0, "the table has {count} records instead of {keys}");
    Ok(())
}

fn hash(file: &Path) -> Result<()> {
    let mut file = File::open(file)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            std::hint::black_box(hasher.finalize());
            return Ok(());
        }
        hasher.update(&buffer[..read]);
    }
}

fn write(file: &Path, bytes: u64) -> Result<()> {
    let mut file = File::create_new(file)?;
    let buffer = vec![b'7'; BUFFER];
    let mut left = bytes;
    while left > 0 {
        let part = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.write_all(&buffer[..part])?;
        left -= part as u64;
    }
    file.sync_all()?;
    Ok(())
}

fn open(table: &Path) -> Result<AnyTree> {
    let config = lsm_tree::Config::new(table, SequenceNumberCounter::default(), SequenceNumberCounter::default());
    Ok(config.open()?)
}
