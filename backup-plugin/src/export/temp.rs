//! The temporary file of a backup that has no name yet, `.NAME.export-XXXXXX.tmp`, and those of killed exports, which the next
//! export into that folder sweeps.
//!
//! A lock tells one that is written to from one that was left. Knows nothing of what is written.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use rustix::fs::OFlags;
use tempfile::NamedTempFile;

/// Stands between the name of the backup and what `tempfile` draws.
const INFIX: &str = ".export-";
const SUFFIX: &str = ".tmp";
/// The characters between prefix and suffix: what `tempfile` draws.
const RANDOM: usize = 6;
/// What only its owner may read.
const MODE: u32 = 0o600;
/// How long nothing was written to what an export to another name has left. On a network file system, locks of other machines may
/// not be seen; an export that goes on writes more often than this.
const LEFT_ALONE: Duration = Duration::from_secs(10 * 60);
/// Sweepers that may come between a file and its lock.
const ATTEMPTS: usize = 8;

/// A new file for the bytes of the backup `name`, with a lock that tells the sweeps of other exports that it is alive.
pub(super) fn temp_file(folder: &Path, name: &OsStr) -> io::Result<NamedTempFile> {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(INFIX);
    // `tempfile`'s own way to make one puts the path into the error, which names the folder already.
    let make = |path: &Path| File::options().read(true).write(true).create_new(true).mode(MODE).open(path);
    for _ in 0..ATTEMPTS {
        let temp = tempfile::Builder::new().prefix(&prefix).suffix(SUFFIX).rand_bytes(RANDOM).make_in(folder, make)?;
        if is_kept(&temp) {
            return Ok(temp);
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "other programs remove what is made there"))
}

/// Whether no sweep took the file before it was locked, and none will from now on.
fn is_kept(temp: &NamedTempFile) -> bool {
    match temp.as_file().try_lock() {
        Ok(()) => match (temp.as_file().metadata(), fs::symlink_metadata(temp.path())) {
            (Ok(ours), Ok(named)) => (ours.dev(), ours.ino()) == (named.dev(), named.ino()),
            _ => false,
        },
        Err(TryLockError::WouldBlock) => false,
        // Where a file system has no locks, its files are never swept.
        Err(TryLockError::Error(_)) => true,
    }
}

/// Removes what killed exports left, whichever their names. What cannot be removed stays: a new export does not depend on it.
pub(super) fn sweep(folder: &Path, name: &OsStr) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let temp = entry.file_name();
        let Some(backup) = backup_name(&temp) else { continue };
        let quiet = if backup == name.as_encoded_bytes() { Duration::ZERO } else { LEFT_ALONE };
        if entry.file_type().is_ok_and(|found| found.is_file()) {
            sweep_file(&entry.path(), quiet);
        }
    }
}

/// Removes a file that nobody holds a lock on, and that was not written to for as long as `quiet`.
fn sweep_file(path: &Path, quiet: Duration) {
    let Some(file) = open_left(path, quiet) else { return };
    if file.try_lock().is_err() {
        return;
    }
    match fs::remove_file(path) {
        Ok(()) => tracing::info!(file = %path.display(), "removed what a killed export left"),
        // It has got its name, or another sweep was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(file = %path.display(), %error, "cannot remove what a killed export left"),
    }
}

/// Something else may have taken the place of the file: a link is not followed, and a pipe not waited for.
fn open_left(path: &Path, quiet: Duration) -> Option<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = File::options().read(true).custom_flags(flags.cast_signed()).open(path).ok()?;
    let found = file.metadata().ok().filter(fs::Metadata::is_file)?;
    // One that was written in the future, by the clock of another machine, is none that was left.
    let left = quiet.is_zero() || found.modified().ok()?.elapsed().is_ok_and(|age| age >= quiet);
    left.then_some(file)
}

/// The name of the backup that a temporary file is for; `None`: it is none.
fn backup_name(temp: &OsStr) -> Option<&[u8]> {
    let name = temp.as_encoded_bytes().strip_prefix(b".")?.strip_suffix(SUFFIX.as_bytes())?;
    let (name, random) = name.split_at_checked(name.len().checked_sub(RANDOM)?)?;
    let backup = name.strip_suffix(INFIX.as_bytes())?;
    (!backup.is_empty() && random.iter().all(u8::is_ascii_alphanumeric)).then_some(backup)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, time::SystemTime};

    use rustix::fs::Mode;
    use tempfile::TempDir;

    use super::*;
    use crate::export::testing::names;

    fn leave(folder: &TempDir, name: &str, age: Duration) {
        let file = File::create(folder.path().join(name)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn what_killed_exports_left_is_swept_whatever_their_names_and_nothing_else_is() {
        let folder = TempDir::new().unwrap();
        let running = ["b", "c"].map(|name| temp_file(folder.path(), OsStr::new(name)).unwrap());
        for running in &running {
            running.as_file().set_modified(SystemTime::now() - 2 * LEFT_ALONE).unwrap();
        }
        leave(&folder, ".b.export-a1B2c3.tmp", Duration::ZERO);
        leave(&folder, ".b-2026-11-25.export-a1B2c3.tmp", 2 * LEFT_ALONE);
        let stay = [
            ".b.export-.tmp",
            ".b.export-a1B2c_.tmp",
            ".b.tmp",
            ".export-a1B2c3.tmp",
            ".fresh.export-a1B2c3.tmp",
            "b.export-a1B2c3.tmp",
        ];
        for name in stay {
            leave(&folder, name, if name.starts_with(".fresh") { LEFT_ALONE / 2 } else { 2 * LEFT_ALONE });
        }

        sweep(folder.path(), OsStr::new("b"));
        assert!(running.iter().all(|running| running.path().exists()));
        drop(running);
        assert_eq!(names(&folder), stay);
    }

    #[test]
    fn why_no_file_can_be_made_is_said_without_its_path() {
        let folder = TempDir::new().unwrap();
        let error = temp_file(&folder.path().join("missing"), OsStr::new("b")).unwrap_err();
        assert_eq!(error.to_string(), "No such file or directory (os error 2)");
        let temp = temp_file(folder.path(), OsStr::new("b")).unwrap();
        assert_eq!(temp.as_file().metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_sweep_opens_nothing_but_files() {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        // Who opened this one to read it would wait for a writer.
        rustix::fs::mkfifoat(rustix::fs::CWD, at(".b.export-pipe00.tmp"), Mode::from_raw_mode(0o600)).unwrap();
        symlink(at("precious"), at(".b.export-link00.tmp")).unwrap();
        fs::create_dir(at(".b.export-folder.tmp")).unwrap();
        fs::write(at("precious"), "").unwrap();
        let before = names(&folder);
        sweep(folder.path(), OsStr::new("b"));
        assert_eq!(names(&folder), before);
        // The same where it took the place of a file since the folder was listed.
        for name in [".b.export-pipe00.tmp", ".b.export-link00.tmp", ".b.export-folder.tmp"] {
            assert!(open_left(&at(name), Duration::ZERO).is_none(), "{name}");
        }
    }

    #[test]
    fn a_file_that_a_sweep_has_taken_is_not_written_to() {
        let folder = TempDir::new().unwrap();
        let temp = || tempfile::Builder::new().tempfile_in(&folder).unwrap();
        assert!(is_kept(&temp()));
        let swept = temp();
        fs::remove_file(swept.path()).unwrap();
        assert!(!is_kept(&swept));
        let about_to_be = temp();
        let sweeper = open_left(about_to_be.path(), Duration::ZERO).unwrap();
        sweeper.try_lock().unwrap();
        assert!(!is_kept(&about_to_be));
    }
}
