//! The newer transaction: a list of branches, the first that may run does.

use serde::{Deserialize, Serialize};

use super::Predicate;

/// The first branch whose predicate holds is run; the rest is skipped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvTransaction {
    pub branches: Vec<KvBranch>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvBranch {
    pub predicate: Predicate,
    pub operations: Vec<KvOperation>,
}

/// One read or write inside a [`KvTransaction`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvOperation {
    Get {
        key: String,
    },
    Put {
        target: KvTarget,
        payload: KvPayload,
    },
    Delete {
        target: KvTarget,
    },
    DeleteByPrefix {
        prefix: String,
    },
    /// Adds `delta` to a number kept as text, counting from at least `floor`.
    FetchIncreaseU64 {
        target: KvTarget,
        delta: i64,
        floor: u64,
    },
    /// Puts under a key that ends in the next number of the counter at `sequence_key`.
    PutSequential {
        prefix: String,
        sequence_key: String,
        payload: KvPayload,
    },
}

/// The record to change, and the sequence number it has to have; without one any will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvTarget {
    pub key: String,
    pub match_seq: Option<u64>,
}

/// What to write. A ttl wins over a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvPayload {
    #[serde(with = "super::bytes")]
    pub value: Vec<u8>,
    pub expire_at_ms: Option<u64>,
    pub ttl_ms: Option<u64>,
}
