//! How much an export has to include, and what it says of where it comes from. Plain data; knows nothing of who finds
//! it out, and nothing of how it is sent.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::record::LogId;

/// What a client wants an export to include.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// What one node has applied, without asking any other.
    Local,
    /// Every write that was acknowledged before the export was asked for, or no export.
    Linearizable,
    /// Linearizable, or local where no leader confirms that.
    Auto,
}

/// What an export turned out to include.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// Every write that was acknowledged before the export was asked for.
    Linearizable,
    /// What one node had applied, which may miss writes that were acknowledged.
    Local,
    /// What a stopped node has on disk.
    Offline,
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Consistency::Linearizable => "linearizable",
            Consistency::Local => "local",
            Consistency::Offline => "offline",
        })
    }
}

/// What a node that runs is to its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    Leader,
    Follower,
    Candidate,
    Learner,
}

/// Which node an export was read from, and where that node stood.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// `None` while the node belongs to no cluster.
    pub cluster_id: Option<String>,
    pub node_id: Option<u64>,
    /// `None` for a node that does not run.
    pub role: Option<Role>,
    /// The log id of the state; `None` where the log is all there is.
    pub last_applied: Option<LogId>,
    /// The last log id of the export that is known to be committed.
    pub committed: Option<LogId>,
    /// Log entries of the export above the last one that is known to be committed.
    pub tail: u64,
}

/// Where an export comes from, and what it includes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    pub origin: Origin,
    pub consistency: Consistency,
    /// Why it is not linearizable although that was wanted; `None` where it is what was asked for.
    pub fallback: Option<String>,
}
