//! What a node must not forget beside its entries, and the bytes of each value. Knows nothing of when it is written.

use std::{collections::BTreeMap, fmt, io};

use backup_plugin::record;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::error::{corrupt, failed};
use crate::raft::{
    convert,
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

/// The values beside the log, each stored under a key of its own, as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// The folder of the live base.
    pub live_base: Option<String>,
    /// This node was told that it has forgotten what it acknowledged: nothing it says may count any more.
    pub reborn: bool,
    /// Stand for election at the next open: set by an import that starts a new lineage.
    pub elect_on_open: bool,
    /// The node joins a cluster as this, and was not told yet that it is that.
    pub joining: Option<Role>,
}

/// A value to be written, or removed (`None`), under its key.
pub(super) type Change = (&'static str, Option<Vec<u8>>);

pub(super) const COMMITTED: &str = "committed";
pub(super) const PURGED: &str = "purged";
/// How many syncs there were: written last before each one, by the writer alone.
pub(super) const SYNCS: &str = "syncs";
const NODE_ID: &str = "node_id";
const VOTE: &str = "vote";
const CLUSTER_ID: &str = "cluster_id";
const INCARNATION: &str = "incarnation";
const PEER_INCARNATIONS: &str = "peer_incarnations";
const LIVE_BASE: &str = "live_base";
const ELECT_ON_OPEN: &str = "elect_on_open";
const JOINING: &str = "joining";
const REBORN: &str = "reborn";

impl RaftState {
    /// What has to be written to come from `old` to this.
    pub(super) fn changes_since(&self, old: &RaftState) -> io::Result<Vec<Change>> {
        let old = old.values()?;
        Ok(self.values()?.into_iter().filter(|value| !old.contains(value)).collect())
    }

    fn values(&self) -> io::Result<[Change; 11]> {
        let peers = (!self.peer_incarnations.is_empty()).then_some(&self.peer_incarnations);
        Ok([
            to_json(NODE_ID, self.node_id.as_ref())?,
            to_json(VOTE, self.vote.map(convert::record_vote).as_ref())?,
            log_id_change(COMMITTED, self.committed)?,
            log_id_change(PURGED, self.purged)?,
            to_json(CLUSTER_ID, self.cluster_id.as_ref())?,
            to_json(INCARNATION, self.incarnation.as_ref())?,
            to_json(PEER_INCARNATIONS, peers)?,
            to_json(LIVE_BASE, self.live_base.as_ref())?,
            to_json(ELECT_ON_OPEN, self.elect_on_open.then_some(&true))?,
            to_json(JOINING, self.joining.as_ref())?,
            to_json(REBORN, self.reborn.then_some(&true))?,
        ])
    }

    /// Reads every value.
    pub(super) fn in_tree(tree: &sled::Tree) -> io::Result<Self> {
        Self::read(|key| tree.get(key).map_err(failed(format!("read `{key}` of the Raft state"))))
    }

    /// Reads every value with `get`, which returns the bytes under a key.
    fn read(get: impl Fn(&str) -> io::Result<Option<sled::IVec>>) -> io::Result<Self> {
        let log_id_at = |key| io::Result::Ok(from_json::<record::LogId>(key, get(key)?)?.map(log_id));
        Ok(Self {
            node_id: from_json(NODE_ID, get(NODE_ID)?)?,
            vote: from_json(VOTE, get(VOTE)?)?.map(convert::vote),
            committed: log_id_at(COMMITTED)?,
            purged: log_id_at(PURGED)?,
            cluster_id: from_json(CLUSTER_ID, get(CLUSTER_ID)?)?,
            incarnation: from_json(INCARNATION, get(INCARNATION)?)?,
            peer_incarnations: from_json(PEER_INCARNATIONS, get(PEER_INCARNATIONS)?)?.unwrap_or_default(),
            live_base: from_json(LIVE_BASE, get(LIVE_BASE)?)?,
            elect_on_open: from_json(ELECT_ON_OPEN, get(ELECT_ON_OPEN)?)?.unwrap_or_default(),
            joining: from_json(JOINING, get(JOINING)?)?,
            reborn: from_json(REBORN, get(REBORN)?)?.unwrap_or_default(),
        })
    }
}

/// The value of [`SYNCS`].
pub(super) fn encode_syncs(syncs: u64) -> [u8; 8] {
    syncs.to_be_bytes()
}

/// Zero for a log that was last written by a version that did not count.
pub(super) fn decode_syncs(value: Option<sled::IVec>) -> io::Result<u64> {
    let Some(value) = value else { return Ok(0) };
    let bytes =
        value.as_ref().try_into().map_err(|_| corrupt(format!("`{SYNCS}` of the Raft state is not 8 bytes")))?;
    Ok(u64::from_be_bytes(bytes))
}

/// A log id as it is stored under `key`.
pub(super) fn log_id_change(key: &'static str, id: Option<LogId>) -> io::Result<Change> {
    to_json(key, id.map(record_log_id).as_ref())
}

fn to_json<T: Serialize>(key: &'static str, value: Option<&T>) -> io::Result<Change> {
    let bytes =
        value.map(serde_json::to_vec).transpose().map_err(failed(format!("encode `{key}` of the Raft state")))?;
    Ok((key, bytes))
}

fn from_json<T: DeserializeOwned>(key: &str, bytes: Option<sled::IVec>) -> io::Result<Option<T>> {
    let Some(bytes) = bytes else { return Ok(None) };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| corrupt(format!("`{key}` of the Raft state cannot be read: {e}")))
}
