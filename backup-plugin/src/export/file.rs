//! Publishes a backup file: it appears under its name whole and on disk, or what was there before stays.
//!
//! Bytes go to a temporary file beside it (`temp`), which an error or a drop removes. Knows nothing of what they say.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use rustix::fs::{Advice, fadvise};
use tempfile::TempPath;

use super::temp::{sweep, temp_file};
use crate::write_behind::{Ahead, WriteBehind};

/// Bytes that are gathered before they are written; more than that at once is written as it is.
const BUFFER: usize = 64 * 1024;

/// A backup that has no name yet.
pub struct BackupFile {
    path: PathBuf,
    folder: PathBuf,
    /// Apart from its path, which `tempfile` would add to errors that name it already.
    file: BufWriter<File>,
    temp: TempPath,
    /// `None`: all of it is synced at the end.
    behind: Option<WriteBehind>,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot write a backup to {}: {reason}", path.display())]
    Refused { path: PathBuf, reason: &'static str },
    #[error("cannot {tried} {}", path.display())]
    Io { tried: &'static str, path: PathBuf, source: io::Error },
}

impl BackupFile {
    /// Begins a backup that will be called `path`. Nothing of that name is touched before [`BackupFile::publish`].
    ///
    /// A symbolic link is followed: the file it points to is replaced, in that file's folder, and the link stays.
    ///
    /// # Errors
    ///
    /// Something other than a file is in the way; the folder is missing or takes no files.
    pub fn create(path: &Path) -> Result<BackupFile, FileError> {
        let path = destination(path)?;
        let name = path.file_name().ok_or_else(|| refused(&path, "it does not end in a file name"))?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        sweep(&folder, name);
        let temp = temp_file(&folder, name).map_err(|source| FileError::Io {
            tried: "create a temporary file in",
            path: folder.clone(),
            source,
        })?;
        let written = temp.path().to_owned();
        let behind = WriteBehind::start(Ahead::TwoSteps, move || to_disk(&written)).ok();
        let (file, temp) = temp.into_parts();
        Ok(BackupFile { path, folder, file: BufWriter::with_capacity(BUFFER, file), temp, behind })
    }

    /// The file that will be replaced or made.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its bytes go until it is published.
    pub fn temp_path(&self) -> &Path {
        &self.temp
    }

    /// Makes the backup durable, then gives it its name in one step, over an older file.
    ///
    /// # Errors
    ///
    /// The older file is still there, whole; except where the folder could not be synced after the step, as the error says.
    pub fn publish(mut self) -> Result<(), FileError> {
        self.file.flush().map_err(|source| self.failed("write", source))?;
        if let Some(behind) = self.behind.take() {
            behind.finish().map_err(|source| self.failed("sync", source))?;
        }
        self.file.get_ref().sync_all().map_err(|source| self.failed("sync", source))?;
        let BackupFile { path, folder, file: _, temp, behind: _ } = self;
        // Dropped on an error, and with it the temporary file.
        temp.persist(&path).map_err(|error| FileError::Io {
            tried: "give the finished backup its name",
            path: path.clone(),
            source: error.error,
        })?;
        File::open(&folder).and_then(|folder| folder.sync_all()).map_err(|source| FileError::Io {
            tried: "sync, after the backup got its name, the folder",
            path: folder,
            source,
        })
    }

    fn failed(&self, tried: &'static str, source: io::Error) -> FileError {
        FileError::Io { tried, path: self.temp.to_path_buf(), source }
    }
}

impl Write for BackupFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        if let Some(behind) = &mut self.behind {
            behind.add(written);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Puts on disk what was written so far, and has the kernel forget it. Kept, it would push out what servers on this machine read, to make
/// room for what nobody reads soon; and memory that was not in use before is dear where the machine is a virtual one.
fn to_disk(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    file.sync_data()?;
    if let Err(error) = fadvise(&file, 0, None, Advice::DontNeed) {
        tracing::debug!(file = %path.display(), %error, "what was written stays in the kernel's memory");
    }
    Ok(())
}

/// `path`, or what it links to; refused unless it is a file or nothing.
fn destination(path: &Path) -> Result<PathBuf, FileError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path.to_owned()),
        Err(source) => return Err(FileError::Io { tried: "look at", path: path.to_owned(), source }),
    };
    if found.is_symlink() {
        let target = fs::canonicalize(path).map_err(|source| FileError::Io {
            tried: "follow the symbolic link",
            path: path.to_owned(),
            source,
        })?;
        return destination(&target);
    }
    if found.is_dir() {
        return Err(refused(path, "it is a folder; name a file in it"));
    }
    if !found.is_file() {
        return Err(refused(path, "it is a device, a pipe or a socket; write to standard output (--db \"\") instead"));
    }
    Ok(path.to_owned())
}

fn refused(path: &Path, reason: &'static str) -> FileError {
    FileError::Refused { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use tempfile::TempDir;

    use super::*;
    use crate::export::testing::names;

    fn begun(path: &Path, line: &str) -> BackupFile {
        let mut file = BackupFile::create(path).unwrap();
        writeln!(file, "{line}").unwrap();
        file
    }

    #[test]
    fn a_backup_replaces_the_older_file_when_it_is_whole() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("b");
        fs::write(&path, "old").unwrap();
        let file = begun(&path, "new");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        file.publish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(&folder), ["b"]);
    }

    #[test]
    fn a_dropped_backup_leaves_the_older_file_and_nothing_else() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("b");
        fs::write(&path, "old").unwrap();
        drop(begun(&path, "new"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(&folder), ["b"]);
    }

    #[test]
    fn a_failed_publish_leaves_no_temporary_file() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("b");
        let file = begun(&path, "new");
        fs::create_dir(&path).unwrap();
        let error = file.publish().unwrap_err();
        assert!(error.to_string().starts_with("cannot give the finished backup its name"), "{error}");
        assert_eq!(names(&folder), ["b"]);
    }

    #[test]
    fn only_a_file_may_be_in_the_way() {
        let folder = TempDir::new().unwrap();
        let missing = folder.path().join("no/b");
        let dangling = folder.path().join("dangling");
        symlink(folder.path().join("nothing"), &dangling).unwrap();
        let cases = [
            (folder.path(), "it is a folder; name a file in it"),
            (Path::new("/dev/null"), "it is a device, a pipe or a socket"),
            (Path::new("/"), "it is a folder"),
            (Path::new(""), "it does not end in a file name"),
            (&missing, "cannot create a temporary file in"),
            (&dangling, "cannot follow the symbolic link"),
        ];
        for (path, expected) in cases {
            let error = BackupFile::create(path).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_symbolic_link_stays_and_the_file_behind_it_is_replaced() {
        let folder = TempDir::new().unwrap();
        let there = TempDir::new().unwrap();
        fs::write(there.path().join("b-1"), "old").unwrap();
        let link = folder.path().join("latest");
        symlink(there.path().join("b-1"), &link).unwrap();
        begun(&link, "new").publish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(there.path().join("b-1")).unwrap(), "new\n");
        assert_eq!(names(&folder), ["latest"]);
    }
}
