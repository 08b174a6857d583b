//! The file that the next segment will be, made while the current one is filled: zeros, as long as a segment is, on disk. What
//! begins a segment, or makes it longer, is waited for by every write; with this it is one header.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

/// Bytes written at once.
const PART: usize = 256 * 1024;

pub(super) struct Spare {
    path: PathBuf,
    /// `None` once it was taken.
    thread: Option<JoinHandle<io::Result<File>>>,
}

impl Spare {
    /// Begins to make one in `path`, over what is there; `None` where there is no thread to be had.
    pub(super) fn prepare(path: PathBuf, len: u64) -> Option<Self> {
        let place = path.clone();
        let make = move || make(&place, len).inspect_err(|_| remove(&place));
        let thread = thread::Builder::new().name("raft-log-spare".to_owned()).spawn(make).ok()?;
        Some(Self { path, thread: Some(thread) })
    }

    /// Waits until it is there; `None` where it could not be made, and then nothing is.
    pub(super) fn take(mut self) -> Option<File> {
        self.thread.take()?.join().ok()?.ok()
    }
}

impl Drop for Spare {
    /// One that was not needed goes.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take()
            && matches!(thread.join(), Ok(Ok(_)))
        {
            remove(&self.path);
        }
    }
}

fn make(path: &Path, len: u64) -> io::Result<File> {
    let mut file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
    let zeros = vec![0; PART];
    let mut left = len;
    while left > 0 {
        let part = usize::try_from(left).map_or(PART, |left| left.min(PART));
        file.write_all(&zeros[..part])?;
        left -= part as u64;
    }
    file.sync_all()?;
    Ok(file)
}

/// The next one is made over what can not be removed.
fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_spare_is_zeros_over_what_was_there() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("new");
        fs::write(&path, "left by a killed process").unwrap();
        let len = PART as u64 * 2 + 7;
        let file = Spare::prepare(path.clone(), len).unwrap().take().unwrap();
        assert_eq!(file.metadata().unwrap().len(), len);
        assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 0));
    }

    #[test]
    fn one_that_is_not_needed_or_can_not_be_made_leaves_nothing() {
        let dir = TempDir::new().unwrap();
        drop(Spare::prepare(dir.path().join("new"), 10).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(Spare::prepare(dir.path().join("no folder/new"), 10).unwrap().take().is_none());
    }
}
