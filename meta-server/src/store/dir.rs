//! The folder that holds a store: its lock, its generations, and the name of the live one. The switch of that name is the one
//! commit point of an import.
//!
//! ```text
//! LOCK          held (flock) by whoever has the folder open; holds the process id
//! CURRENT       the name of the live generation
//! gen-000001/   a generation; one that CURRENT does not name is garbage, deleted under the lock, unless it is kept
//! new-000002/   one that is being built, or that was when its import died
//! ```
//!
//! A generation that is to survive being replaced is marked as kept (`kept.rs`), durably, before CURRENT names another.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use super::{
    StoreError, is_folder, kept,
    lock::{self, LOCK, create_durably},
};

const CURRENT: &str = "CURRENT";
const GENERATION: &str = "gen-";
const UNFINISHED: &str = "new-";
/// How the files begin that are to become CURRENT.
const TEMPORARY: &str = ".CURRENT-";
/// What a fresh mount brings.
const LOST_AND_FOUND: &str = "lost+found";

/// What becomes of a generation that another one replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    Delete,
    /// It can be switched back to, until it is pruned.
    Keep,
}

/// A complete generation in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub name: String,
    pub path: PathBuf,
    pub live: bool,
    /// When it was replaced, in ms since 1970, for one that is kept; `None` for the live one.
    pub replaced_at_ms: Option<u64>,
}

/// A locked folder. The lock goes with it.
#[derive(Debug)]
pub struct RaftDir {
    path: PathBuf,
    _lock: File,
    /// The live generation.
    current: Option<String>,
}

/// Somebody else's folder may come and go that often while one is being locked.
const LOCK_TRIES: u32 = 1000;

impl RaftDir {
    /// Locks a folder to write to it; creates it if it is missing. Refuses one that holds anything but a store.
    pub fn lock(path: &Path) -> Result<RaftDir, StoreError> {
        if path.as_os_str().is_empty() {
            return Err(StoreError::Unnamed);
        }
        let mut missing = None;
        for _ in 0..LOCK_TRIES {
            let locked = create_durably(path)
                .map_err(StoreError::io("create", path))
                .and_then(|()| RaftDir::lock_what_is_there(path));
            match locked {
                Ok(Some(locked)) => return Ok(locked),
                // It went while it was being locked: an import that fails takes the folder along that it has made. Another one
                // may be there by now.
                Ok(None) => {}
                Err(err) if err.is_missing() => missing = Some(err),
                Err(err) => return Err(err),
            }
        }
        let replaced = || StoreError::io("lock", path)(io::Error::other("its LOCK is replaced again and again"));
        Err(missing.unwrap_or_else(replaced))
    }

    /// `None`: what was locked is not there any more.
    fn lock_what_is_there(path: &Path) -> Result<Option<RaftDir>, StoreError> {
        let has_lock = || path.join(LOCK).exists();
        // A folder that is not ours gets no LOCK. One that has it may be in the middle of a change, and is looked at under the lock.
        if !has_lock()
            && let Err(err) = read_content(path)
            && !has_lock()
        {
            return Err(err);
        }
        let Some(lock) = lock::lock(path)? else { return Ok(None) };
        let current = read_content(path)?;
        lock::sign(&lock);
        Ok(Some(RaftDir { path: path.to_owned(), _lock: lock, current }))
    }

    /// Locks the folder of a store to write to it; one that holds none is refused and left as it is.
    pub fn lock_store(path: &Path) -> Result<RaftDir, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing(path.to_owned()));
        }
        if !path.join(LOCK).exists() && read_content(path)?.is_none() {
            return Err(StoreError::Empty(path.to_owned()));
        }
        RaftDir::lock(path).and_then(RaftDir::with_store)
    }

    /// Locks the folder of a store to read from it. Creates and changes nothing, so that a read-only mount will do.
    pub fn lock_to_read(path: &Path) -> Result<RaftDir, StoreError> {
        let missing = |err: io::Error| match err.kind() {
            ErrorKind::NotFound => StoreError::Missing(path.to_owned()),
            _ => StoreError::io("read", path)(err),
        };
        if fs::read_dir(path).map_err(missing)?.next().is_none() {
            return Err(StoreError::Empty(path.to_owned()));
        }
        let Some(lock) = lock::lock_to_read(path)? else {
            read_content(path)?;
            if !path.join(CURRENT).exists() {
                return Err(StoreError::Empty(path.to_owned()));
            }
            let reason = "its LOCK is gone; if no server runs on it, create an empty file of that name".to_owned();
            return Err(StoreError::Damaged { dir: path.to_owned(), reason });
        };
        let current = read_content(path)?;
        RaftDir { path: path.to_owned(), _lock: lock, current }.with_store()
    }

    fn with_store(self) -> Result<RaftDir, StoreError> {
        if self.current.is_some() { Ok(self) } else { Err(StoreError::Empty(self.path)) }
    }

    /// Removes a folder that the caller has locked, where there is nothing in it but the lock.
    pub fn remove_unused(path: &Path) {
        // What stays is an empty folder, which is in nobody's way.
        if names(path).is_ok_and(|names| names == [LOCK]) {
            let _ = fs::remove_file(path.join(LOCK)).and_then(|()| fs::remove_dir(path));
        }
    }

    /// The complete generations, as [`RaftDir::generations`] has them, without the lock: they may be others when this returns.
    pub fn peek(path: &Path) -> Result<Vec<Found>, StoreError> {
        if !path.exists() {
            return Ok(Vec::new());
        }
        complete(path, read_content(path)?.as_deref())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of the live generation; `None` before there is one.
    pub fn current(&self) -> Option<PathBuf> {
        self.current.as_ref().map(|name| self.path.join(name))
    }

    /// A folder for a generation to be built in. It becomes one in [`RaftDir::switch_to`].
    pub fn begin_generation(&self) -> Result<PathBuf, StoreError> {
        let mut last = 0;
        for name in names(&self.path)? {
            last = last.max(number(&name, GENERATION).or_else(|| number(&name, UNFINISHED)).unwrap_or(0));
        }
        let dir = self.path.join(format!("{UNFINISHED}{:06}", last + 1));
        fs::create_dir(&dir).map_err(StoreError::io("create", &dir))?;
        Ok(dir)
    }

    /// Makes what was built in `built` the live generation, durably and in one step, then deletes every other that is not kept.
    /// Returns where it lies now.
    ///
    /// After [`StoreError::Unsynced`] the generation is live; every other error leaves the old one live.
    pub fn switch_to(&mut self, built: &Path, replaced: Replaced) -> Result<PathBuf, StoreError> {
        let name = built.file_name().unwrap_or_default().to_string_lossy().replace(UNFINISHED, GENERATION);
        let generation = self.path.join(&name);
        let publish = || {
            self.mark_live(replaced)?;
            fs::rename(built, &generation)?;
            self.name(&name)
        };
        let folder = match publish() {
            Ok(folder) => folder,
            Err(err) => {
                // Not live: it goes with what else is unfinished.
                let _ = fs::rename(&generation, built);
                return Err(StoreError::io("replace", &self.path.join(CURRENT))(err));
            }
        };
        self.switched(name, &folder)?;
        Ok(generation)
    }

    /// Makes a kept generation the live one, durably and in one step, and keeps the one that it replaces.
    ///
    /// After [`StoreError::Unsynced`] it is live; every other error leaves the old one live.
    pub fn switch_back(&mut self, kept: &Found) -> Result<(), StoreError> {
        let publish = || {
            self.mark_live(Replaced::Keep)?;
            self.name(&kept.name)
        };
        let folder = publish().map_err(StoreError::io("replace", &self.path.join(CURRENT)))?;
        self.switched(kept.name.clone(), &folder)
    }

    /// The complete generations: the live one first, then the kept ones, the last that was replaced first.
    pub fn generations(&self) -> Result<Vec<Found>, StoreError> {
        complete(&self.path, self.current.as_deref())
    }

    /// Deletes a kept generation. What a kill in the middle leaves is garbage, and goes with the next open.
    pub fn prune(&self, kept: &Found) -> Result<(), StoreError> {
        kept::unmark(&kept.path)
            .and_then(|()| fs::remove_dir_all(&kept.path))
            .map_err(StoreError::io("delete", &kept.path))
    }

    /// Marks the live generation as one that stays when it is replaced, or as one that does not.
    fn mark_live(&self, replaced: Replaced) -> io::Result<()> {
        match (self.current(), replaced) {
            (Some(live), Replaced::Keep) => kept::mark(&live),
            (Some(live), Replaced::Delete) => kept::unmark(&live),
            (None, _) => Ok(()),
        }
    }

    /// Puts a name into CURRENT, in one step. What is in the folder is on disk before, the step itself when the folder, which
    /// is returned, is synced.
    fn name(&self, generation: &str) -> io::Result<File> {
        let folder = File::open(&self.path)?;
        folder.sync_all()?;
        let mut temp = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(&self.path)?;
        writeln!(temp, "{generation}")?;
        temp.as_file().sync_all()?;
        temp.persist(self.path.join(CURRENT))?;
        Ok(folder)
    }

    fn switched(&mut self, name: String, folder: &File) -> Result<(), StoreError> {
        self.current = Some(name);
        // The others stay until it is certain that none of them can be named again.
        folder.sync_all().map_err(|source| StoreError::Unsynced { dir: self.path.clone(), source })?;
        self.sweep();
        Ok(())
    }

    /// Deletes what a killed import left: generations that are neither live nor kept, unfinished ones, and temporary files. Without a
    /// live one none is certain to be garbage. What can not be deleted now is only in the way of disk space, so it is logged and left.
    pub fn sweep(&self) {
        let Ok(names) = names(&self.path) else { return };
        for name in names {
            let path = self.path.join(&name);
            let old = self.current.as_ref().is_some_and(|current| *current != name);
            let garbage = || number(&name, GENERATION).is_some() && old && !kept::is_marked(&path);
            let removed = if number(&name, UNFINISHED).is_some() || garbage() {
                fs::remove_dir_all(&path)
            } else if name.starts_with(TEMPORARY) {
                fs::remove_file(&path)
            } else {
                continue;
            };
            match removed {
                Ok(()) => tracing::info!(path = %path.display(), "deleted what an unfinished import left"),
                Err(err) => tracing::warn!(path = %path.display(), error = %err, "cannot delete garbage"),
            }
        }
    }
}

/// The live generation's name, or `None` in a folder that holds no store yet; an error in one that holds something else.
fn read_content(dir: &Path) -> Result<Option<String>, StoreError> {
    let current = dir.join(CURRENT);
    match fs::read_to_string(&current) {
        Ok(text) => return named(dir, text.trim_end()).map(Some),
        Err(err) if err.kind() == ErrorKind::NotFound => {}
        Err(err) if err.kind() == ErrorKind::InvalidData => {
            return Err(foreign(dir, "its CURRENT is not text".to_owned()));
        }
        Err(err) => return Err(StoreError::io("read", &current)(err)),
    }
    let names = names(dir)?;
    // An unfinished generation is ours only where a lock was taken before it was begun.
    let locked = names.iter().any(|name| name == LOCK);
    let of_no_store = |name: &&String| {
        let ours = *name == LOCK || locked && [GENERATION, UNFINISHED].iter().any(|kind| number(name, kind).is_some());
        let of_the_mount = *name == LOST_AND_FOUND || name.starts_with('.');
        !ours && !of_the_mount
    };
    if let Some(name) = names.iter().find(of_no_store) {
        return Err(foreign(dir, format!("it holds {name:?}")));
    }
    // Either a process died in the step that names its first generation, or CURRENT was lost: with one there is no question
    // which is live.
    let mut complete = names.into_iter().filter(|name| number(name, GENERATION).is_some());
    match (complete.next(), complete.next()) {
        (None, _) => Ok(None),
        (Some(only), None) => Ok(Some(only)),
        (Some(one), Some(other)) => Err(StoreError::Damaged {
            dir: dir.to_owned(),
            reason: format!(
                "it has no CURRENT, and both {one} and {other}: write the name of the one to use into a file CURRENT"
            ),
        }),
    }
}

/// The generation that CURRENT names.
fn named(dir: &Path, name: &str) -> Result<String, StoreError> {
    if number(name, GENERATION).is_none() {
        let start: String = name.chars().take(40).collect();
        return Err(foreign(dir, format!("its CURRENT names {start:?}, not a generation")));
    }
    let generation = dir.join(name);
    if !is_folder(&generation).map_err(StoreError::io("look at", &generation))? {
        let reason = format!("CURRENT names {name}, which is not there");
        return Err(StoreError::Damaged { dir: dir.to_owned(), reason });
    }
    Ok(name.to_owned())
}

fn complete(dir: &Path, current: Option<&str>) -> Result<Vec<Found>, StoreError> {
    let mut found = Vec::new();
    for name in names(dir)?.into_iter().filter(|name| number(name, GENERATION).is_some()) {
        let path = dir.join(&name);
        let live = current == Some(&name);
        let replaced_at_ms = kept::replaced_at_ms(&path)?.filter(|_| !live);
        if live || replaced_at_ms.is_some() {
            found.push(Found { name, path, live, replaced_at_ms });
        }
    }
    found.sort_by_key(|found| std::cmp::Reverse((found.live, found.replaced_at_ms, found.name.clone())));
    Ok(found)
}

fn foreign(dir: &Path, found: String) -> StoreError {
    StoreError::Foreign { dir: dir.to_owned(), found }
}

fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = fs::read_dir(dir).map_err(StoreError::io("read", dir))?;
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    entries.map(name).collect::<io::Result<_>>().map_err(StoreError::io("read", dir))
}

/// The number of a folder of this kind.
fn number(name: &str, kind: &str) -> Option<u64> {
    name.strip_prefix(kind)?.parse().ok()
}

#[cfg(test)]
mod tests;
