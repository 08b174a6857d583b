//! Gives the room of a large folder back to the disk in small parts. All of it at once keeps some disks busy for so long that a
//! write waits a tenth of a second and more: those that are told what is free, as by the mount option `discard`.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    thread,
    time::Duration,
};

/// Bytes given back at once.
const PART: u64 = 4 * 1024 * 1024;
/// After each part, so that others get to the disk: no more than 200 MiB a second.
const PAUSE: Duration = Duration::from_millis(20);

/// Whether there is a file in `dir` that is given back in more than one part.
pub fn is_large(dir: &Path) -> io::Result<bool> {
    let mut large = false;
    each_file(dir, &mut |path| {
        large |= fs::symlink_metadata(path)?.len() > PART;
        Ok(())
    })?;
    Ok(large)
}

/// Deletes `dir` and all that is in it. Blocks, for as long as that takes.
pub fn erase(dir: &Path) -> io::Result<()> {
    each_file(dir, &mut erase_file)?;
    fs::remove_dir_all(dir)
}

fn erase_file(path: &Path) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    fs::remove_file(path)?;
    let found = file.metadata()?;
    // What has another name is not ours to cut. Without one it can get none.
    let mut len = if found.nlink() == 0 { found.len() } else { 0 };
    while len > PART {
        len -= PART;
        file.set_len(len)?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Calls `with` for each file in `dir`, however deep.
fn each_file(dir: &Path, with: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            each_file(&entry.path(), with)?;
        } else if kind.is_file() {
            with(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A folder with a file of `len` bytes, deep in it.
    fn folder(place: &TempDir, len: u64) -> std::path::PathBuf {
        let dir = place.path().join("base");
        fs::create_dir_all(dir.join("table/tables")).unwrap();
        fs::write(dir.join("meta"), "small").unwrap();
        File::create(dir.join("table/tables/1")).unwrap().set_len(len).unwrap();
        dir
    }

    #[test]
    fn all_of_it_goes_in_parts() {
        let place = TempDir::new().unwrap();
        for (len, large) in [(0, false), (PART, false), (PART + 1, true), (5 * PART / 2, true)] {
            let dir = folder(&place, len);
            assert_eq!(is_large(&dir).unwrap(), large, "{len}");
            let file = File::open(dir.join("table/tables/1")).unwrap();
            erase(&dir).unwrap();
            assert!(!dir.exists());
            // What whoever has it open still sees is its first part.
            assert_eq!(file.metadata().unwrap().len(), if large { (len - 1) % PART + 1 } else { len });
        }
    }

    #[test]
    fn what_has_another_name_stays_as_it_is() {
        let place = TempDir::new().unwrap();
        let dir = folder(&place, 2 * PART);
        let other = place.path().join("copy");
        fs::hard_link(dir.join("table/tables/1"), &other).unwrap();
        erase(&dir).unwrap();
        assert!(!dir.exists());
        assert_eq!(fs::metadata(&other).unwrap().len(), 2 * PART);
    }
}
