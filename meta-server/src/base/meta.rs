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
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

const META: &str = "META";
/// The layout of the table and of this file.
const FORMAT: u32 = 1;

/// The file. Its digest is of the state's text: unlike the table, JSON would not notice a digit that has changed.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    sha256: [u8; 32],
    state: Box<RawValue>,
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
        let invalid = |reason: String| said(io::Error::new(io::ErrorKind::InvalidData, reason));
        let stored: Stored = serde_json::from_slice(&fs::read(&path).map_err(said)?).map_err(|err| said(err.into()))?;
        if stored.format != FORMAT {
            return Err(invalid(format!("its format is {}, this version reads {FORMAT}", stored.format)));
        }
        if stored.sha256 != digest(&stored.state) {
            return Err(invalid("it was changed since it was written: its digest does not fit".to_owned()));
        }
        serde_json::from_str(stored.state.get()).map_err(|err| said(err.into()))
    }

    /// Replaces the file, durably and in one step.
    pub(crate) fn store(&self, dir: &Path) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        let state = serde_json::value::to_raw_value(self)?;
        let stored = Stored { format: FORMAT, sha256: digest(&state), state };
        file.write_all(&serde_json::to_vec(&stored)?)?;
        file.as_file().sync_all()?;
        file.persist(dir.join(META))?;
        File::open(dir)?.sync_all()
    }
}

fn digest(state: &RawValue) -> [u8; 32] {
    Sha256::digest(state.get()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let meta = BaseMeta { sequence: 4711, keys: 12, ..BaseMeta::default() };
        meta.store(dir.path()).unwrap();
        assert_eq!(BaseMeta::load(dir.path()).unwrap(), meta);
        let whole = fs::read(dir.path().join(META)).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(dir.path().join(META), &flipped).unwrap();
            assert!(BaseMeta::load(dir.path()).is_err(), "bit {bit}: {}", String::from_utf8_lossy(&flipped));
        }
    }
}
