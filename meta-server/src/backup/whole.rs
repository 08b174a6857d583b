//! The state of a stopped node with all of its log applied, what is not known to be committed included: what a new
//! cluster that is made of the node holds. Changes nothing in the folder, as an offline export does.

use std::path::Path;

use super::{offline::GenerationCopy, replay::replay};
use crate::{
    raft::types,
    state::State,
    store::{RaftDir, StoreError, log_folder},
};

/// A stopped node's whole state, its folder locked.
pub struct WholeState {
    pub state: State,
    pub node_id: u64,
    pub cluster_id: Option<String>,
    /// Entries that are applied, and of which it is not known whether they are committed.
    pub uncommitted: u64,
    _dir: RaftDir,
}

impl WholeState {
    /// Locks the folder and applies its log. `copy` is the path of a [`PrivateCopy`] that nothing else uses, and that
    /// stays for as long as this does.
    ///
    /// [`PrivateCopy`]: super::offline::PrivateCopy
    pub fn open(raft_dir: &Path, copy: &Path) -> Result<WholeState, StoreError> {
        let dir = RaftDir::lock_to_read(raft_dir)?;
        let Some(generation) = dir.current() else { return Err(StoreError::Empty(raft_dir.to_owned())) };
        let GenerationCopy { log, state } = GenerationCopy::open(&generation, copy)?;
        let raft = log.state();
        let Some(node_id) = raft.node_id else { return Err(StoreError::NoNode(raft_dir.to_owned())) };
        let next = state.last_applied().map_or(0, |id| id.index + 1);
        let end = log.last_log_id().map_or(0, |id| types::record_log_id(id).index + 1).max(next);
        let committed_end = raft.committed.map_or(0, |id| types::record_log_id(id).index + 1).clamp(next, end);
        let state = replay(state, &log, next..end, copy)
            .map_err(StoreError::io("apply the log in", &log_folder(&generation)))?;
        Ok(WholeState { state, node_id, cluster_id: raft.cluster_id, uncommitted: end - committed_end, _dir: dir })
    }
}
