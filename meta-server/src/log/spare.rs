//! The file that the next segment will be, made while the current one is filled: zeros, as long as a segment is, on disk and under
//! its name. What begins a segment, or makes it longer, is waited for by every write; with this it is one header.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use super::segment::{self, NEW};

/// Bytes written at once.
const PART: usize = 256 * 1024;

pub(super) struct Spare {
    path: PathBuf,
    /// `None` once it was taken.
    thread: Option<JoinHandle<io::Result<File>>>,
}

impl Spare {
    /// Begins to make the segment of this number in `dir`; `None` where there is no thread to be had.
    pub(super) fn prepare(dir: &Path, number: u32, len: u64) -> Option<Self> {
        let (dir, path) = (dir.to_owned(), segment::path(dir, number));
        let place = path.clone();
        let make = move || make(&dir, &place, len);
        let thread = thread::Builder::new().name("raft-log-spare".to_owned()).spawn(make).ok()?;
        Some(Self { path, thread: Some(thread) })
    }

    /// Waits until it is there; `None` where it could not be made. What there is of it then is to be made over.
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
            // What stays is found to be blank, and goes, when the log is opened.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn make(dir: &Path, path: &Path, len: u64) -> io::Result<File> {
    let new = dir.join(NEW);
    let file = fill(&new, len).and_then(|file| fs::rename(&new, path).map(|()| file)).inspect_err(|_| {
        let _ = fs::remove_file(&new);
    })?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

/// `len` zeros on disk, over what is in `path`.
fn fill(path: &Path, len: u64) -> io::Result<File> {
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

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_spare_is_zeros_over_what_was_there() {
        let dir = TempDir::new().unwrap();
        let path = segment::path(dir.path(), 7);
        for left in [dir.path().join(NEW), path.clone()] {
            fs::write(left, "left by a killed process").unwrap();
        }
        let len = PART as u64 * 2 + 7;
        let file = Spare::prepare(dir.path(), 7, len).unwrap().take().unwrap();
        assert_eq!(file.metadata().unwrap().len(), len);
        assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 0));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_that_is_not_needed_or_can_not_be_made_leaves_nothing() {
        let dir = TempDir::new().unwrap();
        drop(Spare::prepare(dir.path(), 1, 10).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(Spare::prepare(&dir.path().join("no folder"), 1, 10).unwrap().take().is_none());
        let in_the_way = segment::path(dir.path(), 1);
        fs::create_dir_all(in_the_way.join("folder")).unwrap();
        assert!(Spare::prepare(dir.path(), 1, 10).unwrap().take().is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
