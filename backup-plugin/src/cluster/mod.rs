//! What a new cluster starts from: the lineage that an `--initial-cluster` list gives a backup.

use crate::record::{LogEntry, LogId, Vote};

/// SHA-256 over the content of a state machine; see [`Lineage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentDigest(pub [u8; 32]);

/// The start of a new cluster: the same on every node that is given the same file and list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// 64 lower-case hex digits.
    pub cluster_id: String,
    /// Where the state ends: one above the old log, in a term of its own, led by the smallest voter.
    pub log_id: LogId,
    /// The one entry of the new log, at `log_id`: the new membership.
    pub entry: LogEntry,
    /// The entry before it, as the new leader's.
    pub purged: LogId,
    pub vote: Vote,
}
