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
    fs::{self, File, TryLockError},
    io::{self, ErrorKind, Read, Seek, Write},
    path::{Path, PathBuf},
};

use super::{StoreError, kept};

const LOCK: &str = "LOCK";
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

impl RaftDir {
    /// Locks a folder to write to it; creates it if it is missing. Refuses one that holds anything but a store.
    pub fn lock(path: &Path) -> Result<RaftDir, StoreError> {
        create_durably(path).map_err(StoreError::io("create", path))?;
        read_content(path)?;
        let lock_path = path.join(LOCK);
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&lock_path)
            .map_err(StoreError::io("open", &lock_path))?;
        take(&mut lock, path)?;
        // Only for the message to others: a full disk must not keep a server from starting.
        let pid = std::process::id().to_string();
        let _ = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| lock.write_all(pid.as_bytes()));
        // Only under the lock is it certain which generation is live.
        let current = read_content(path)?;
        Ok(RaftDir { path: path.to_owned(), _lock: lock, current })
    }

    /// Locks the folder of a store to write to it; one that holds none is refused and left as it is.
    pub fn lock_store(path: &Path) -> Result<RaftDir, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing(path.to_owned()));
        }
        if read_content(path)?.is_none() {
            return Err(StoreError::Empty(path.to_owned()));
        }
        RaftDir::lock(path)
    }

    /// Locks a folder to read from it. Creates and changes nothing, so that a read-only mount will do.
    pub fn lock_to_read(path: &Path) -> Result<RaftDir, StoreError> {
        let missing = |err: io::Error| match err.kind() {
            ErrorKind::NotFound => StoreError::Missing(path.to_owned()),
            _ => StoreError::io("read", path)(err),
        };
        let mut entries = fs::read_dir(path).map_err(missing)?;
        read_content(path)?;
        if entries.next().is_none() {
            return Err(StoreError::Empty(path.to_owned()));
        }
        let lock_path = path.join(LOCK);
        let mut lock = match File::open(&lock_path) {
            Ok(lock) => lock,
            Err(err) if err.kind() == ErrorKind::NotFound && path.join(CURRENT).exists() => {
                let reason = "its LOCK is gone; if no server runs on it, create an empty file of that name".to_owned();
                return Err(StoreError::Damaged { dir: path.to_owned(), reason });
            }
            Err(err) if err.kind() == ErrorKind::NotFound => return Err(StoreError::Empty(path.to_owned())),
            Err(err) => return Err(StoreError::io("open", &lock_path)(err)),
        };
        take(&mut lock, path)?;
        match read_content(path)? {
            Some(current) => Ok(RaftDir { path: path.to_owned(), _lock: lock, current: Some(current) }),
            None => Err(StoreError::Empty(path.to_owned())),
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

/// Creates a folder and what is missing above it, each with its name on disk for good.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    create_durably(parent)?;
    fs::create_dir(path)?;
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    File::open(parent)?.sync_all()
}

fn take(lock: &mut File, dir: &Path) -> Result<(), StoreError> {
    match lock.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = lock.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            Err(StoreError::Locked { dir: dir.to_owned(), pid })
        }
        Err(TryLockError::Error(err)) => Err(StoreError::io("lock", dir)(err)),
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
    if !dir.join(name).is_dir() {
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
mod tests {
    use super::*;

    #[test]
    fn a_fresh_mount_and_a_missing_folder_can_be_locked() {
        let temp = tempfile::tempdir().unwrap();
        for (name, entries) in [("missing", &[][..]), ("mount", &["lost+found", ".snapshot"][..])] {
            let dir = temp.path().join(name);
            for entry in entries {
                fs::create_dir_all(dir.join(entry)).unwrap();
            }
            let locked = RaftDir::lock(&dir).unwrap();
            assert_eq!(locked.current(), None);
        }
    }

    #[test]
    fn a_folder_with_something_else_is_refused_by_name_of_it() {
        let temp = tempfile::tempdir().unwrap();
        for (file, content, said) in [
            ("photos.zip", "", "it holds \"photos.zip\""),
            ("CURRENT", "MANIFEST-000005\n", "its CURRENT names \"MANIFEST-000005\""),
        ] {
            let dir = temp.path().join(file);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join(file), content).unwrap();
            let said_by = RaftDir::lock(&dir).unwrap_err().to_string();
            assert!(said_by.contains(said), "{said_by}");
            let said_by = RaftDir::lock_to_read(&dir).unwrap_err().to_string();
            assert!(said_by.contains(said), "{said_by}");
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing was created");
        }
    }

    #[test]
    fn a_second_lock_names_the_process_that_has_the_first() {
        let temp = tempfile::tempdir().unwrap();
        let _held = RaftDir::lock(temp.path()).unwrap();
        let said = RaftDir::lock(temp.path()).unwrap_err().to_string();
        assert!(said.contains(&format!("in use by process {}", std::process::id())), "{said}");
    }

    #[test]
    fn the_switch_names_one_generation_and_sweeps_the_others() {
        let temp = tempfile::tempdir().unwrap();
        let mut dir = RaftDir::lock(temp.path()).unwrap();
        let built = dir.begin_generation().unwrap();
        let first = dir.switch_to(&built, Replaced::Delete).unwrap();
        let garbage = dir.begin_generation().unwrap();
        let built = dir.begin_generation().unwrap();
        let second = dir.switch_to(&built, Replaced::Delete).unwrap();
        assert!(!first.exists() && !garbage.exists() && second.exists());
        drop(dir);
        assert_eq!(RaftDir::lock_to_read(temp.path()).unwrap().current(), Some(second));
    }

    #[test]
    fn a_kept_generation_survives_imports_and_opens_and_can_be_switched_back_to_and_forth() {
        let temp = tempfile::tempdir().unwrap();
        let mut dir = RaftDir::lock(temp.path()).unwrap();
        let next = |dir: &mut RaftDir, replaced| {
            let built = dir.begin_generation().unwrap();
            dir.switch_to(&built, replaced).unwrap()
        };
        let first = next(&mut dir, Replaced::Delete);
        let second = next(&mut dir, Replaced::Keep);
        let third = next(&mut dir, Replaced::Delete);
        assert!(first.exists() && !second.exists() && third.exists());
        drop(dir);
        let mut dir = RaftDir::lock_store(temp.path()).unwrap();
        dir.sweep();
        for (from, to) in [(&third, &first), (&first, &third), (&third, &first)] {
            let found = dir.generations().unwrap();
            assert_eq!(
                found.iter().map(|found| (&found.path, found.live)).collect::<Vec<_>>(),
                [(from, true), (to, false)]
            );
            dir.switch_back(&found[1]).unwrap();
            assert_eq!(dir.current().as_ref(), Some(to));
        }
        // The mark of its first time does not keep the live one from being replaced.
        let fourth = next(&mut dir, Replaced::Delete);
        assert!(!first.exists() && third.exists());
        let kept = dir.generations().unwrap().pop().unwrap();
        dir.prune(&kept).unwrap();
        assert!(!third.exists() && fourth.exists());
    }

    #[test]
    fn nothing_is_made_of_a_folder_without_a_store() {
        let temp = tempfile::tempdir().unwrap();
        assert!(matches!(RaftDir::lock_store(&temp.path().join("missing")), Err(StoreError::Missing(_))));
        assert!(matches!(RaftDir::lock_store(temp.path()), Err(StoreError::Empty(_))));
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[test]
    fn reading_needs_a_store_and_creates_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let missing = temp.path().join("missing");
        assert!(matches!(RaftDir::lock_to_read(&missing), Err(StoreError::Missing(_))));
        assert!(!missing.exists());
        assert!(matches!(RaftDir::lock_to_read(temp.path()), Err(StoreError::Empty(_))));
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_store_whose_current_is_lost_is_kept() {
        let temp = tempfile::tempdir().unwrap();
        let mut dir = RaftDir::lock(temp.path()).unwrap();
        let built = dir.begin_generation().unwrap();
        let live = dir.switch_to(&built, Replaced::Delete).unwrap();
        drop(dir);
        fs::remove_file(temp.path().join(CURRENT)).unwrap();
        for _ in 0..2 {
            let dir = RaftDir::lock(temp.path()).unwrap();
            dir.sweep();
            assert_eq!(dir.current(), Some(live.clone()));
        }
        assert_eq!(RaftDir::lock_to_read(temp.path()).unwrap().current(), Some(live.clone()));

        fs::create_dir(temp.path().join("gen-000002")).unwrap();
        let said = RaftDir::lock(temp.path()).unwrap_err().to_string();
        assert!(said.contains("write the name of the one to use"), "{said}");
        assert!(live.exists());
    }

    #[test]
    fn a_folder_that_was_never_locked_is_not_ours_whatever_its_names() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("gen-000007")).unwrap();
        assert!(matches!(RaftDir::lock(temp.path()), Err(StoreError::Foreign { .. })));
        assert!(temp.path().join("gen-000007").exists());
    }
}
