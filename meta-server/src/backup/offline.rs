//! Exports from a stopped node's folder. Changes nothing in it: what an engine writes to recover goes to a private copy.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use backup_plugin::{
    provenance::Origin,
    record::{HardState, LogEntry, StateRecord},
    source::{BackupView, Extent},
};
use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

use super::{replay::replay, view::StoreView};
use crate::{
    base::Base,
    error_chain::chain,
    log::LogDb,
    raft::{convert, types},
    state::State,
    store::{RaftDir, StoreError, check, log_folder, open_existing_log, purge_superseded},
};

/// A stopped node's store, locked and open for reading.
pub struct OfflineBackup {
    // Dropped in this order: readers first, then the lock.
    view: StoreView,
    left_out: u64,
    _dir: RaftDir,
}

impl OfflineBackup {
    /// [`OfflineBackup::open_extent`] of a moment: the state, and all of the log.
    pub fn open(raft_dir: &Path, copy: &Path) -> Result<OfflineBackup, StoreError> {
        OfflineBackup::open_extent(raft_dir, copy, Extent::Moment)
    }

    /// Locks the folder, and brings its state up to the last entry that is known to be committed; for a history, leaves it as it
    /// is on disk.
    ///
    /// `copy` is the path of a [`PrivateCopy`] that nothing else uses, and that stays for as long as this does.
    pub fn open_extent(raft_dir: &Path, copy: &Path, extent: Extent) -> Result<OfflineBackup, StoreError> {
        let as_of = if extent == Extent::History { AsOf::Base } else { AsOf::Commit };
        OfflineBackup::open_as_of(as_of, raft_dir, copy, extent)
    }

    /// [`OfflineBackup::open`] with the state as it is on disk: right after an import, that is what the import was given.
    pub fn open_as_stored(raft_dir: &Path, copy: &Path) -> Result<OfflineBackup, StoreError> {
        OfflineBackup::open_as_of(AsOf::Base, raft_dir, copy, Extent::Moment)
    }

    fn open_as_of(as_of: AsOf, raft_dir: &Path, copy: &Path, extent: Extent) -> Result<OfflineBackup, StoreError> {
        let dir = RaftDir::lock_to_read(raft_dir)?;
        let Some(generation) = dir.current() else { return Err(StoreError::Empty(raft_dir.to_owned())) };
        let GenerationCopy { log, mut state } = GenerationCopy::open(&generation, copy)?;
        let raft = log.state();
        if raft.node_id.is_none() {
            return Err(StoreError::NoNode(raft_dir.to_owned()));
        }
        if let AsOf::Commit = as_of {
            state = apply_committed(state, &log, copy)
                .map_err(StoreError::io("apply the log in", &log_folder(&generation)))?;
        }

        let applied = state.last_applied();
        let known = raft.committed.map(types::record_log_id);
        let committed = match (as_of, extent) {
            // What is in the base is committed, whether or not that was written down.
            (_, Extent::History) => known.filter(|id| Some(*id) > applied).or(applied),
            (AsOf::Base, _) => known,
            // A faithful restore of a file that says null says null again.
            (AsOf::Commit, _) => known.and(applied),
        };
        let last_log = log.last_log_id().map(types::record_log_id);
        let known_end = if extent == Extent::History { committed } else { applied }.map_or(0, |id| id.index + 1);
        let tail = last_log.map_or(0, |id| (id.index + 1).saturating_sub(known_end));
        let (purged, last, tail, left_out) = match extent {
            // They may have been acknowledged, so they are exported.
            Extent::Moment | Extent::WholeLog => (log.purged().map(types::record_log_id), last_log, tail, 0),
            Extent::History => (applied, last_log, tail, 0),
            Extent::StateOnly => (applied, applied, 0, tail),
        };
        let origin = Origin {
            cluster_id: raft.cluster_id,
            node_id: raft.node_id,
            role: None,
            last_applied: applied,
            committed,
            tail,
        };
        let vote = raft.vote.map(convert::record_vote);
        let view = StoreView {
            origin,
            hard_state: HardState { node_id: raft.node_id, vote, committed, purged },
            last_index: last.map(|id| id.index),
            state: Arc::new(state),
            log,
            hold: None,
        };
        Ok(OfflineBackup { view, left_out, _dir: dir })
    }

    /// Log entries that may have been acknowledged, and that the extent leaves out.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

/// Up to where a state is brought.
#[derive(Clone, Copy)]
enum AsOf {
    Base,
    Commit,
}

/// A generation, open in a private copy. Whoever opens it holds the folder's lock.
pub(super) struct GenerationCopy {
    pub(super) log: LogDb,
    /// As of the base.
    pub(super) state: State,
}

impl GenerationCopy {
    /// `copy` is as in [`OfflineBackup::open`].
    pub(super) fn open(generation: &Path, copy: &Path) -> Result<GenerationCopy, StoreError> {
        let log_dir = log_folder(generation);
        copy_folder(&log_dir, &log_folder(copy), Tables::Copy).map_err(StoreError::io("copy", &log_dir))?;
        let log = open_existing_log(copy).map_err(|err| unopened(err, copy, generation))?;
        let Some(name) = log.state().live_base else {
            return Err(StoreError::Damaged { dir: generation.to_owned(), reason: "its log names no base".to_owned() });
        };
        let base_dir = generation.join(&name);
        let base_copy = copy.join(&name);
        copy_folder(&base_dir, &base_copy, Tables::Link).map_err(StoreError::io("copy", &base_dir))?;
        let open = || State::of_base(Arc::new(Base::open(&base_copy)?));
        let opened = open().map_err(StoreError::io("open the base", &base_copy));
        let state = opened.map_err(|err| unopened(err, copy, generation))?;

        check(generation, &log, state.last_applied())?;
        purge_superseded(&log, state.last_applied()).map_err(StoreError::io("purge the copy of", &log_dir))?;
        Ok(GenerationCopy { log, state })
    }
}

/// Brings a state up to the last entry that is known to be committed.
pub(super) fn apply_committed(state: State, log: &LogDb, copy: &Path) -> io::Result<State> {
    let next = state.last_applied().map_or(0, |id| id.index + 1);
    let end = log.state().committed.min(log.last_log_id()).map_or(0, |id| id.index() + 1);
    if end > next { replay(state, log, next..end, copy) } else { Ok(state) }
}

impl BackupView for OfflineBackup {
    fn origin(&self) -> Origin {
        self.view.origin()
    }

    fn hard_state(&self) -> io::Result<HardState> {
        self.view.hard_state()
    }

    fn log_entries(&self) -> impl Iterator<Item = io::Result<LogEntry>> + Send {
        self.view.log_entries()
    }

    fn state_records(&self) -> impl Iterator<Item = io::Result<StateRecord>> + Send {
        self.view.state_records()
    }

    fn check_limit(&self) -> io::Result<()> {
        self.view.check_limit()
    }
}

/// The ids of the node, and of its cluster, in a stopped node's folder; `None`: it has none.
pub fn ids(raft_dir: &Path) -> Result<Option<(u64, Option<String>)>, StoreError> {
    let dir = RaftDir::lock_to_read(raft_dir)?;
    let Some(generation) = dir.current() else { return Ok(None) };
    let copy = PrivateCopy::create()?;
    let log_dir = log_folder(&generation);
    copy_folder(&log_dir, &log_folder(copy.path()), Tables::Copy).map_err(StoreError::io("copy", &log_dir))?;
    let log = open_existing_log(copy.path()).map_err(|err| unopened(err, copy.path(), &generation))?;
    let state = log.state();
    Ok(state.node_id.map(|node_id| (node_id, state.cluster_id)))
}

/// The private copies that this process has, by their paths.
static COPIES: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A folder for what an engine writes to recover. It goes with this; one that a killed export left, with the next export.
pub struct PrivateCopy {
    dir: TempDir,
    /// The folder itself, locked: tells the sweep of another export that this one is alive.
    _alive: File,
}

const COPY_PREFIX: &str = "databend-meta-export-";
const REMOVALS: usize = 10;
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl PrivateCopy {
    pub fn create() -> Result<PrivateCopy, StoreError> {
        let parent = std::env::temp_dir();
        sweep_copies(&parent);
        let create = || loop {
            let dir = tempfile::Builder::new().prefix(COPY_PREFIX).tempdir_in(&parent)?;
            let alive = File::open(dir.path()).and_then(|alive| alive.lock().map(|()| alive));
            // Until it is locked, the sweep of another export may take it away.
            if dir.path().exists() {
                copies().insert(dir.path().to_owned());
                break Ok(PrivateCopy { dir, _alive: alive? });
            }
        };
        create().map_err(StoreError::io("create a folder in", &parent))
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Removes all that this process has: its end does not wait for the threads that work in them.
    pub fn remove_all() {
        std::mem::take(&mut *copies()).iter().for_each(|path| remove(path));
    }
}

impl Drop for PrivateCopy {
    fn drop(&mut self) {
        copies().remove(self.dir.path());
        remove(self.dir.path());
    }
}

fn copies() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    COPIES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread that nobody waits for may still be adding to it, which makes a removal fail.
fn remove(copy: &Path) {
    for _ in 0..REMOVALS {
        match fs::remove_dir_all(copy) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            _ => break,
        }
    }
}

/// Deletes what killed exports left. Whatever can not be deleted is somebody else's.
fn sweep_copies(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(COPY_PREFIX) {
            continue;
        }
        // What has the name and is no folder, a FIFO for one, is not waited for. Locked until it is gone: nobody begins in it
        // meanwhile.
        if let Ok(folder) = rustix::fs::open(&path, FOLDER, Mode::empty()).map(File::from)
            && folder.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Why the copy does not open. Damage is the original's, and said of it; what a disk does not do may be that of either.
fn unopened(err: StoreError, copy: &Path, generation: &Path) -> StoreError {
    match &err {
        StoreError::Io { source, .. } if !is_damage(source.kind()) => {
            let source = io::Error::new(source.kind(), err);
            StoreError::Io { tried: "open a copy of", path: generation.to_owned(), source }
        }
        _ => {
            let reason = chain(&err).replace(&*copy.to_string_lossy(), &generation.to_string_lossy());
            StoreError::Damaged { dir: generation.to_owned(), reason }
        }
    }
}

/// Whether an error says what is, or is not, in a file, and not what the system did not do.
fn is_damage(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidData, IsADirectory, NotADirectory, NotFound, Other, UnexpectedEof};
    // `Other` is what readers of formats have; the system's own errors never are.
    matches!(kind, InvalidData | UnexpectedEof | NotFound | IsADirectory | NotADirectory | Other)
}

/// How the files of a folder named `tables` come along: they are large and never written to.
#[derive(Clone, Copy)]
enum Tables {
    Copy,
    Link,
}

fn copy_folder(from: &Path, to: &Path, tables: Tables) -> io::Result<()> {
    fs::create_dir(to)?;
    let link = matches!(tables, Tables::Link) && from.file_name().is_some_and(|name| name == "tables");
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target, tables)?;
        } else if link {
            symlink(fs::canonicalize(entry.path())?, &target)?;
        } else {
            // Without the mode: what could only be read there is written to here.
            io::copy(&mut File::open(entry.path())?, &mut File::create_new(&target)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn damage_is_said_of_the_original_and_a_failing_disk_is_no_damage() {
        let (copy, generation) = (Path::new("/tmp/copy"), Path::new("/m/gen-000001"));
        let told = |source| chain(&unopened(StoreError::io("open the log in", copy)(source), copy, generation));
        for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ACCESS, Errno::MFILE, Errno::AGAIN, Errno::ROFS] {
            let said = told(errno.into());
            assert!(
                said.starts_with("cannot open a copy of /m/gen-000001: cannot open the log in /tmp/copy: "),
                "{said}"
            );
        }
        let missing = io::Error::from(Errno::NOENT);
        let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
        for source in [io::Error::new(io::ErrorKind::InvalidData, "/tmp/copy/1.wal ends early"), missing, cut] {
            let said = told(source);
            assert!(said.starts_with("/m/gen-000001 is damaged: cannot open the log in /m/gen-000001: "), "{said}");
            assert!(!said.contains("/tmp/copy"), "{said}");
        }
    }
}
