//! What a generation of a stopped store holds, in a few words for an operator. Reads it in a private copy, as an offline export
//! does, and changes nothing.

use std::{collections::BTreeSet, fs, io, path::Path};

use backup_plugin::record::LogId;
use serde::Serialize;

use super::offline::{GenerationCopy, PrivateCopy, apply_committed};
use crate::{
    raft::types,
    store::{StoreError, log_folder},
};

/// A generation, up to the last log entry that is known to be committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GenerationFacts {
    pub node_id: Option<u64>,
    pub cluster_id: Option<String>,
    pub voters: BTreeSet<u64>,
    pub last_applied: Option<LogId>,
    /// The last entry in the log, which may not be known to be committed.
    pub last_log_id: Option<LogId>,
    /// Key-value records.
    pub keys: u64,
    /// The last sequence number given out.
    pub sequence: u64,
}

impl GenerationFacts {
    /// Reads the generation in `dir`, whose folder is locked.
    pub fn read(dir: &Path) -> Result<GenerationFacts, StoreError> {
        let copy = PrivateCopy::create()?;
        let GenerationCopy { log, state } = GenerationCopy::open(dir, copy.path())?;
        let raft = log.state();
        let read = || {
            let state = apply_committed(state, &log, copy.path())?;
            let is_base = state.last_applied() == state.base().last_applied();
            let keys = if is_base { state.base().meta().keys } else { count(state.prefix(""))? };
            io::Result::Ok((state, keys))
        };
        let (state, keys) = read().map_err(StoreError::io("apply the log in", &log_folder(dir)))?;
        Ok(GenerationFacts {
            node_id: raft.node_id,
            cluster_id: raft.cluster_id,
            voters: state.last_membership().membership.voters(),
            last_applied: state.last_applied(),
            last_log_id: log.last_log_id().map(types::record_log_id),
            keys,
            sequence: state.sequence(),
        })
    }
}

/// Bytes of the files in a folder and below it.
pub fn folder_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { folder_bytes(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

fn count<T>(mut items: impl Iterator<Item = io::Result<T>>) -> io::Result<u64> {
    items.try_fold(0, |count, item| item.map(|_| count + 1))
}
