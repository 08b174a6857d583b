//! What everything that reads from outside must survive: each body takes any bytes, and panics where a promise is broken.
//!
//! The fuzz targets under `fuzz/` run them for as long as one likes, the tests run them over the saved inputs and what
//! grows out of those by a few changes. Knows how inputs are judged; nothing of how they are found.

mod config;
mod file;
mod line;
mod members;
mod snapshot;

use std::{fs, path::PathBuf};

pub use snapshot::whole as whole_snapshot;

/// A body with the name of its fuzz target, which is that of its corpus too.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    pub body: fn(&[u8]),
}

pub const LINE: Target = Target { name: "line", body: line::attack };
pub const FILE: Target = Target { name: "file", body: file::attack };
pub const SNAPSHOT: Target = Target { name: "snapshot", body: snapshot::attack };
pub const MEMBERS: Target = Target { name: "members", body: members::attack };
pub const CONFIG: Target = Target { name: "config", body: config::attack };

impl Target {
    /// The saved inputs, in the order of their names.
    pub fn corpus(&self) -> Vec<Vec<u8>> {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(self.name);
        let read = fs::read_dir(&dir).unwrap_or_else(|err| panic!("cannot read {}: {err}", dir.display()));
        let mut paths: Vec<_> = read.map(|entry| entry.expect("an entry of the corpus").path()).collect();
        paths.sort();
        paths.iter().map(|path| fs::read(path).expect("an input of the corpus")).collect()
    }
}
