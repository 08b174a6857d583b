//! What a base is the state of: everything in the state machine that is not a key-value record. One small JSON file, written
//! last: a base without it is not complete.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use backup_plugin::record::{LogId, Node, StoredMembership};
use serde::{Deserialize, Serialize};

const META: &str = "META";
/// The layout of the table and of this file.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored<T> {
    format: u32,
    state: T,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseMeta {
    pub last_applied: Option<LogId>,
    pub last_membership: StoredMembership,
    /// The last sequence number given out.
    pub sequence: u64,
    pub nodes: BTreeMap<u64, Node>,
    /// Key-value records in the table.
    pub keys: u64,
}

impl BaseMeta {
    pub fn new(
        last_applied: Option<LogId>,
        last_membership: StoredMembership,
        sequence: u64,
        nodes: BTreeMap<u64, Node>,
    ) -> Self {
        BaseMeta { last_applied, last_membership, sequence, nodes, keys: 0 }
    }

    pub(super) fn load(dir: &Path) -> io::Result<BaseMeta> {
        let path = dir.join(META);
        let said = |err: io::Error| io::Error::new(err.kind(), format!("cannot read {}: {err}", path.display()));
        let stored: Stored<BaseMeta> =
            serde_json::from_slice(&fs::read(&path).map_err(said)?).map_err(|err| said(err.into()))?;
        if stored.format != FORMAT {
            let reason = format!("its format is {}, this version reads {FORMAT}", stored.format);
            return Err(said(io::Error::new(io::ErrorKind::InvalidData, reason)));
        }
        Ok(stored.state)
    }

    /// Replaces the file, durably and in one step.
    pub(crate) fn store(&self, dir: &Path) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(&serde_json::to_vec(&Stored { format: FORMAT, state: self })?)?;
        file.as_file().sync_all()?;
        file.persist(dir.join(META))?;
        File::open(dir)?.sync_all()
    }
}
