//! What a node must not forget beside its entries, and how it is stored. Knows nothing of when it is written.

use std::{collections::BTreeMap, fmt};

use backup_plugin::record;
use serde::{Deserialize, Serialize};

use crate::raft::{
    convert,
    start::Start,
    types::{LogId, Vote, log_id, record_log_id},
};

/// What a node has in a cluster: a vote, or a copy alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Voter,
    Learner,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Voter => "voter",
            Role::Learner => "learner",
        })
    }
}

/// The values beside the log. They are written together, so a change of several is whole or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Stored", from = "Stored")]
pub struct RaftState {
    pub node_id: Option<u64>,
    /// Never goes back.
    pub vote: Option<Vote>,
    /// A hint: the last log id known to be committed, a moment old after a crash.
    pub committed: Option<LogId>,
    /// The last log id that is no longer in the log. Moved by a purge alone.
    pub purged: Option<LogId>,
    /// Which cluster this store belongs to.
    pub cluster_id: Option<String>,
    /// Drawn anew by every import and every fresh store.
    pub incarnation: Option<u64>,
    /// The incarnation on record for each peer that was answered.
    pub peer_incarnations: BTreeMap<u64, u64>,
    /// The last start of this store.
    pub start: Option<Start>,
    /// The last start of each peer that was answered.
    pub peer_starts: BTreeMap<u64, Start>,
    /// How far each peer is known to hold what is committed, a moment old.
    pub peer_holds: BTreeMap<u64, record::LogId>,
    /// The folder of the live base.
    pub live_base: Option<String>,
    /// This node was told that it has forgotten what it acknowledged: nothing it says may count any more.
    pub reborn: bool,
    /// Stand for election at the next open: set by an import that starts a new lineage.
    pub elect_on_open: bool,
    /// The node joins a cluster as this, and was not told yet that it is that.
    pub joining: Option<Role>,
}

/// The stored shape: fields can be added without breaking stores that exist.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Stored {
    node_id: Option<u64>,
    vote: Option<record::Vote>,
    committed: Option<record::LogId>,
    purged: Option<record::LogId>,
    cluster_id: Option<String>,
    incarnation: Option<u64>,
    peer_incarnations: BTreeMap<u64, u64>,
    start: Option<Start>,
    peer_starts: BTreeMap<u64, Start>,
    peer_holds: BTreeMap<u64, record::LogId>,
    live_base: Option<String>,
    reborn: bool,
    elect_on_open: bool,
    joining: Option<Role>,
}

impl From<RaftState> for Stored {
    fn from(state: RaftState) -> Self {
        Self {
            node_id: state.node_id,
            vote: state.vote.map(convert::record_vote),
            committed: state.committed.map(record_log_id),
            purged: state.purged.map(record_log_id),
            cluster_id: state.cluster_id,
            incarnation: state.incarnation,
            peer_incarnations: state.peer_incarnations,
            start: state.start,
            peer_starts: state.peer_starts,
            peer_holds: state.peer_holds,
            live_base: state.live_base,
            reborn: state.reborn,
            elect_on_open: state.elect_on_open,
            joining: state.joining,
        }
    }
}

impl From<Stored> for RaftState {
    fn from(stored: Stored) -> Self {
        Self {
            node_id: stored.node_id,
            vote: stored.vote.map(convert::vote),
            committed: stored.committed.map(log_id),
            purged: stored.purged.map(log_id),
            cluster_id: stored.cluster_id,
            incarnation: stored.incarnation,
            peer_incarnations: stored.peer_incarnations,
            start: stored.start,
            peer_starts: stored.peer_starts,
            peer_holds: stored.peer_holds,
            live_base: stored.live_base,
            reborn: stored.reborn,
            elect_on_open: stored.elect_on_open,
            joining: stored.joining,
        }
    }
}
