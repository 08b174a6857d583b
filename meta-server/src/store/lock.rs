//! The lock of a folder: a file in it, which one process at a time has locked (flock), with its id for the message to others.
//! Knows nothing of what else the folder holds.

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::Path,
    thread,
    time::Duration,
};

use super::StoreError;

pub(super) const LOCK: &str = "LOCK";

/// Locks a folder; makes the file that it is locked by. `None`: that file went while it was being locked, and somebody else may have
/// made another.
pub(super) fn lock(dir: &Path) -> Result<Option<File>, StoreError> {
    let path = dir.join(LOCK);
    let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    take(file.map_err(StoreError::io("open", &path))?, dir)
}

/// The same with what is there; makes and changes nothing. `None` also where there is no such file.
pub(super) fn lock_to_read(dir: &Path) -> Result<Option<File>, StoreError> {
    let path = dir.join(LOCK);
    match File::open(&path) {
        Ok(file) => take(file, dir),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        Err(err) => Err(StoreError::io("open", &path)(err)),
    }
}

/// Says to others who has it. Only for their message: a full disk must not keep a server from starting.
pub(super) fn sign(mut lock: &File) {
    let pid = std::process::id().to_string();
    let _ = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| lock.write_all(pid.as_bytes()));
}

/// How often, and how long apart, it is looked at who has a lock that was taken and not signed yet.
const SIGN_TRIES: u32 = 20;
const SIGN_AGAIN: Duration = Duration::from_millis(5);

/// Who has signed it.
fn signed(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().and_then(|()| lock.read_to_string(&mut text)).ok()?;
    text.trim().parse().ok()
}

fn take(mut lock: File, dir: &Path) -> Result<Option<File>, StoreError> {
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock).filter(|lock| is_at(lock, &dir.join(LOCK)))),
        Err(TryLockError::WouldBlock) => {
            let pid = (0..SIGN_TRIES).find_map(|_| {
                signed(&mut lock).or_else(|| {
                    thread::sleep(SIGN_AGAIN);
                    None
                })
            });
            Err(StoreError::Locked { dir: dir.to_owned(), pid })
        }
        Err(TryLockError::Error(err)) => Err(StoreError::io("lock", dir)(err)),
    }
}

/// Whether a file is still the one of this name.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |found: fs::Metadata| (found.dev(), found.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(named)) => id(held) == id(named),
        _ => false,
    }
}

/// Whether there is something of this name that is no folder, be it a link to nowhere.
fn is_no_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| !found.is_dir() && !path.is_dir())
}

/// Creates a folder and what is missing above it, each with its name on disk for good. It may be gone again when this returns.
pub(super) fn create_durably(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    create_durably(parent)?;
    match fs::create_dir(path) {
        // Somebody else has, meanwhile, and may have removed it since.
        Err(err) if err.kind() == ErrorKind::AlreadyExists && !is_no_folder(path) => {}
        made => made?,
    }
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    File::open(parent)?.sync_all()
}
