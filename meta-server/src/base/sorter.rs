//! Sorts records that come in any order, on disk: a log-structured tree in a folder of its own, whose memory is written out
//! whenever it has grown to a bound. The folder goes when the sorter is dropped.

use std::{fs, io, path::Path};

use lsm_tree::{AbstractTree, AnyTree, Guard};
use tempfile::TempDir;

use super::{ALL, broken, open_table};

/// Bytes held in memory before they are written out.
const MEMORY: u64 = 16 * 1024 * 1024;

pub struct Sorter {
    tree: AnyTree,
    dir: TempDir,
    count: u64,
}

impl Sorter {
    /// A sorter whose files lie in a new folder inside `parent`.
    pub fn new(parent: &Path) -> io::Result<Sorter> {
        fs::create_dir_all(parent)?;
        let dir = tempfile::Builder::new().prefix("sort-").tempdir_in(parent)?;
        Ok(Sorter { tree: open_table(dir.path())?, dir, count: 0 })
    }

    /// Adds a record. One with the same key replaces it.
    pub fn insert(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let (_, bytes) = self.tree.insert(key, value, self.count);
        self.count += 1;
        if bytes >= MEMORY {
            self.tree.flush_active_memtable(0).map_err(|err| broken(self.dir.path(), &err))?;
        }
        Ok(())
    }

    pub fn contains(&self, key: &[u8]) -> io::Result<bool> {
        self.tree.contains_key(key, ALL).map_err(|err| broken(self.dir.path(), &err))
    }

    /// Everything that was added, in key order.
    pub fn into_sorted(self) -> impl Iterator<Item = io::Result<(Vec<u8>, Vec<u8>)>> + Send {
        let items = self.tree.iter(ALL, None);
        // The folder moves into the closure: the files live as long as they are read.
        items.map(move |item| {
            let (key, value) = item.into_inner().map_err(|err| broken(self.dir.path(), &err))?;
            Ok((key.to_vec(), value.to_vec()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_sorted_from_memory_and_from_disk() {
        let dir = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(dir.path()).unwrap();
        let value = vec![7; 1024];
        // About 30 MiB, so that some of it is written out on the way.
        let count = 30_000_u32;
        for i in 0..count {
            sorter.insert(&(count - 1 - i).to_be_bytes(), &value).unwrap();
        }
        assert!(sorter.contains(&5_u32.to_be_bytes()).unwrap());
        assert!(!sorter.contains(&count.to_be_bytes()).unwrap());
        let keys: Vec<_> = sorter.into_sorted().map(|item| item.unwrap().0).collect();
        assert_eq!(keys, (0..count).map(|i| i.to_be_bytes().to_vec()).collect::<Vec<_>>());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "the sorter's folder is gone");
    }
}
