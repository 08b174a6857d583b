//! One generation: a log, a base, and where they came from.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use backup_plugin::{clock::now_ms, record::LogId, target::Source};
use serde::{Deserialize, Serialize};

use super::{StoreError, catch_up::catch_up, draw_incarnation, is_folder};
use crate::{
    base::{Base, BaseBuilder, BaseMeta},
    log::LogDb,
    raft::types::{log_id, record_log_id},
    state::{BaseNames, StateMachine, StateOptions, base_name},
};

const LOG: &str = "log";
const ORIGIN: &str = "ORIGIN";

/// An open generation. The caller holds the folder's lock.
pub struct Generation {
    dir: PathBuf,
    log: LogDb,
    base: Base,
}

impl Generation {
    /// Makes an empty one in `dir`, durably, with an incarnation of its own.
    pub fn create(dir: &Path) -> Result<(), StoreError> {
        let log = open_log(dir)?;
        let base_dir = dir.join(base_name(1));
        let build = || BaseBuilder::create(&base_dir)?.finish(BaseMeta::default());
        let (base, _) = build().map_err(StoreError::io("build", &base_dir))?;
        seal(&log, &base).and_then(|()| log.close()).map_err(StoreError::io("write the log in", dir))?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io("sync", dir))
    }

    /// Opens a complete one and checks that log and base belong together.
    pub fn open(dir: &Path) -> Result<Generation, StoreError> {
        let log = open_existing_log(dir)?;
        let Some(name) = log.state().live_base else {
            return Err(damaged(dir, "its log names no base".to_owned()));
        };
        let base = Base::open(&dir.join(&name)).map_err(StoreError::io("open the base", &dir.join(&name)))?;
        check(dir, &log, base.last_applied())?;
        Ok(Generation { dir: dir.to_owned(), log, base })
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Deletes bases that the log does not name: what a build that was killed has left.
    pub fn sweep_bases(&self) {
        let live = self.base.name();
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with("base-") || name == live {
                continue;
            }
            if let Err(err) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(path = %entry.path().display(), error = %err, "cannot delete garbage");
            }
        }
    }

    /// Starts the state machine over it.
    pub fn start(self, options: StateOptions) -> Result<(LogDb, StateMachine), StoreError> {
        let base = self.base.last_applied();
        purge_overtaken(&self.log, base).map_err(StoreError::io("purge the log in", &self.dir))?;
        let names = self.log.clone();
        let state = StateMachine::new(self.base, &self.dir, names, options)
            .map_err(StoreError::io("read the base of", &self.dir))?;
        catch_up(&self.log, &state).map_err(StoreError::io("apply the log in", &self.dir))?;
        Ok((self.log, state))
    }
}

impl BaseNames for LogDb {
    fn name(&self, base: &str) -> io::Result<()> {
        let base = base.to_owned();
        self.update_state_blocking(move |state| state.live_base = Some(base))
    }
}

/// How a generation came to be: kept in it, for those who look at it later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestry {
    /// ms since 1970.
    pub made_at_ms: u64,
    pub source: Source,
}

/// How the generation in `dir` came to be; `None`: it was not imported.
pub fn load_ancestry(dir: &Path) -> Result<Option<Ancestry>, StoreError> {
    let path = dir.join(ORIGIN);
    match fs::read(&path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(ancestry) => Ok(Some(ancestry)),
            Err(err) => Err(damaged(dir, format!("its {ORIGIN} can not be read: {err}"))),
        },
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        Err(err) => Err(StoreError::io("read", &path)(err)),
    }
}

/// Writes it into a generation that is not live yet.
pub(crate) fn store_source(dir: &Path, source: Source) -> Result<(), StoreError> {
    let path = dir.join(ORIGIN);
    let write = || -> io::Result<()> {
        let mut file = File::create(&path)?;
        file.write_all(&serde_json::to_vec(&Ancestry { made_at_ms: now_ms(), source })?)?;
        file.sync_all()
    };
    write().map_err(StoreError::io("write", &path))
}

/// Where the log of the generation in `dir` lies.
pub(crate) fn log_folder(dir: &Path) -> PathBuf {
    dir.join(LOG)
}

/// Opens, or creates, the log of the generation in `dir`.
pub(crate) fn open_log(dir: &Path) -> Result<LogDb, StoreError> {
    let path = log_folder(dir);
    LogDb::open(&path).map_err(StoreError::io("open the log in", &path))
}

/// Opens the log of the generation in `dir`, which must have one.
pub(crate) fn open_existing_log(dir: &Path) -> Result<LogDb, StoreError> {
    let path = log_folder(dir);
    if !is_folder(&path).map_err(StoreError::io("look at", &path))? {
        return Err(damaged(dir, format!("it has no folder {LOG:?}")));
    }
    if !LogDb::is_in(&path).map_err(StoreError::io("open the log in", &path))? {
        return Err(damaged(dir, format!("there is no log in its folder {LOG:?}")));
    }
    open_log(dir)
}

/// Names the base, and draws the incarnation.
fn seal(log: &LogDb, base: &Base) -> io::Result<()> {
    let name = base.name();
    log.update_state_blocking(move |state| {
        state.live_base = Some(name);
        state.incarnation = Some(draw_incarnation());
    })
}

/// `purged <= base`, and a log that reaches back to where the base ends.
pub(crate) fn check(dir: &Path, log: &LogDb, applied: Option<LogId>) -> Result<(), StoreError> {
    let text = |id: Option<LogId>| id.map_or_else(|| "nothing".to_owned(), |id| id.to_string());
    let purged = log.purged().map(record_log_id);
    if purged > applied {
        let reason = format!("its log is purged up to {}, its base holds {}", text(purged), text(applied));
        return Err(damaged(dir, reason));
    }
    let next = applied.map_or(0, |applied| applied.index + 1);
    if let Some(first) = log.first_index().filter(|first| *first > next) {
        let reason = format!("its log begins at {first}, its base holds {}", text(applied));
        return Err(damaged(dir, reason));
    }
    Ok(())
}

/// Drops a log that ends before the base, before Raft looks at its end. Raft would drop it by itself, but not one that
/// ends in a later term than the base; and where no vote is on record, as in some backups, the end of the log is what
/// tells the term to go on from.
fn purge_overtaken(log: &LogDb, applied: Option<LogId>) -> io::Result<()> {
    match applied.map(log_id) {
        Some(applied) if log.last_log_id().is_none_or(|last| last.index < applied.index) => log.purge_blocking(applied),
        _ => Ok(()),
    }
}

/// Drops a log that ends before the base and in a later term, from the copy that is exported of a node that does not run. A crash
/// between the install of a snapshot and the purge after it leaves one, whose end was never committed. Any other log before the
/// base was, and is in the export as it is in the folder.
pub(crate) fn purge_superseded(log: &LogDb, applied: Option<LogId>) -> io::Result<()> {
    match (log.last_log_id(), applied.map(log_id)) {
        (Some(last), Some(applied)) if last.index < applied.index && last > applied => log.purge_blocking(applied),
        _ => Ok(()),
    }
}

fn damaged(dir: &Path, reason: String) -> StoreError {
    StoreError::Damaged { dir: dir.to_owned(), reason }
}
