//! What lies in a folder: names, bytes, and which generation of a store is the live one.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The names in `folder`, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Every file below `folder`, with its bytes.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for name in names(folder) {
        let path = folder.join(name);
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

/// The folder of the live generation of the store in `raft_dir`.
pub fn live_generation(raft_dir: &Path) -> PathBuf {
    let current = fs::read_to_string(raft_dir.join("CURRENT")).unwrap();
    raft_dir.join(current.trim_end())
}

/// The names of the bases in the live generation.
pub fn bases(raft_dir: &Path) -> Vec<String> {
    names(&live_generation(raft_dir)).into_iter().filter(|name| name.starts_with("base-")).collect()
}

/// Copies a folder and all below it; `to` must not exist.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap_or_else(|error| panic!("cannot create {}: {error}", to.display()));
    for name in names(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap_or_else(|error| panic!("cannot copy {}: {error}", from.display()));
        }
    }
}
