//! Why a command did not do its work, and the exit code that says so.

use std::{io, path::PathBuf, process::ExitCode};

use backup_plugin::{
    cluster::MemberListError,
    export::{NotAnExport, file::FileError},
    import::{ImportError, OptionsError},
    input::InputError,
};

use super::{admin::AdminError, client::ClientError, diff::DiffError, older::OlderError};
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum CtlError {
    #[error(transparent)]
    Members(#[from] MemberListError),
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{} is inside the store in {}: name a file outside of it", file.display(), raft_dir.display())]
    InsideStore { file: PathBuf, raft_dir: PathBuf },
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The disk under the folder failed, or is full.
    #[error("the import failed, and {} holds what it held", raft_dir.display())]
    NotImported { raft_dir: PathBuf, source: ImportError },
    #[error(transparent)]
    Diff(#[from] DiffError),
    /// Of a command that answers with exit code 1.
    #[error(transparent)]
    NoAnswer(Box<CtlError>),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("what {from} sent is not an export")]
    NotAnExport { from: String, source: NotAnExport },
    #[error("cannot write what {from} holds for another version")]
    Older { from: String, source: OlderError },
    #[error("{from} sent nothing at all, not even a header")]
    NothingSent { from: String },
    #[error("{from} sent no log and no state: there would be nothing to restore")]
    NothingToRestore { from: String },
    #[error("cannot read the backup {}", path.display())]
    OpenInput { path: PathBuf, source: io::Error },
    #[error(
        "{folder} is a folder, not a backup file: of a store, `export --raft-dir {folder} FILE` makes one, `generations \
         --raft-dir {folder}` says what is in it, and `diff` compares it", folder = path.display()
    )]
    FolderForFile { path: PathBuf },
    #[error("standard input is a terminal: name a backup file, or send one (databend-metactl import … < FILE)")]
    InputIsTerminal,
    #[error("cannot read the store in {}", path.display())]
    ReadStore { path: PathBuf, source: io::Error },
    #[error(
        "the disk is too full for {input}: even the least that it can take, {least} bytes, is more than the {free} bytes that are \
         free in {}; nothing was changed", raft_dir.display()
    )]
    DiskTooFull { input: String, least: u64, free: u64, raft_dir: PathBuf },
    #[error(
        "to try {input} takes about {needed} bytes in {}, which has {free} left: set TMPDIR to a folder with more", folder.display()
    )]
    NoRoomToTry { input: String, needed: u64, free: u64, folder: PathBuf },
    #[error(
        "cannot tell whether {input} could be imported: it could not be tried in {}, which TMPDIR names", folder.display()
    )]
    NotTried { input: String, folder: PathBuf, source: Box<CtlError> },
    #[error("{input} was imported, but what came out again is not what went in: {what} was {expected}, and is {found}")]
    DrillDiffers { input: String, what: &'static str, expected: String, found: String },
    #[error("no generation is kept in {}: an import keeps the one it replaces with --keep-old", raft_dir.display())]
    NothingKept { raft_dir: PathBuf },
    #[error("no generation {name} is kept in {}, only [{}]", raft_dir.display(), kept.join(" "))]
    NoSuchGeneration { name: String, raft_dir: PathBuf, kept: Vec<String> },
    #[error("{name} is the live generation already")]
    IsLive { name: String },
    #[error("{address} did nothing of what it was asked: {example}")]
    NoCall { address: String, example: String },
    #[error("cannot write to standard output")]
    Stdout(#[source] io::Error),
    #[error("cannot write the result as JSON")]
    Json(#[source] serde_json::Error),
    #[error("interrupted, before the work was done")]
    Interrupted,
    #[error("interrupted: nothing was imported, and {} holds what it held", raft_dir.display())]
    ImportInterrupted { raft_dir: PathBuf },
    #[error("cannot run the threads and signal handlers of this tool")]
    Runtime(#[source] io::Error),
}

impl CtlError {
    /// 2 for flags that do not fit each other, and where 1 is an answer; 1 for everything else.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            CtlError::Members(_) | CtlError::Options(_) | CtlError::NoAnswer(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}
