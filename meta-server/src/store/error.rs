//! Why a raft_dir can not be used.

use std::{
    io,
    path::{Path, PathBuf},
};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the name of the folder is empty: --raft-dir, or raft_dir in a configuration file, is to name one")]
    Unnamed,
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    #[error("{} is empty: there is no store in it", .0.display())]
    Empty(PathBuf),
    #[error("{} holds an empty store: no node was ever started or imported there", .0.display())]
    NoNode(PathBuf),
    #[error("{} is not a store of this program: {found}", dir.display())]
    Foreign { dir: PathBuf, found: String },
    #[error("{} is in use{}: stop the server that runs on it, or name another folder", dir.display(), by_pid(*pid))]
    Locked { dir: PathBuf, pid: Option<u32> },
    #[error("{} is damaged: {reason}", dir.display())]
    Damaged { dir: PathBuf, reason: String },
    /// The new generation is live, but after a power cut it may be the old one again.
    #[error("{} was replaced, but it is not certain that this is on disk for good: do it again", dir.display())]
    Unsynced { dir: PathBuf, source: io::Error },
    #[error("cannot {tried} {}", path.display())]
    Io { tried: &'static str, path: PathBuf, source: io::Error },
}

impl StoreError {
    /// For `map_err`: what was tried, and on what.
    pub fn io(tried: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Io { tried, path, source }
    }

    /// Whether something was not there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

fn by_pid(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}
