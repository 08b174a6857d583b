//! One write of one key, on the condition that its record has the sequence number the writer expects.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Writes, touches or deletes the record under `key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpsertKv {
    pub key: String,
    /// What the present record's sequence number has to be.
    pub seq: MatchSeq,
    pub value: ValueOp,
    pub value_meta: Option<MetaSpec>,
}

/// A condition on a record's sequence number; an absent record has 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MatchSeq {
    Any,
    Exact(u64),
    /// Greater than or equal to.
    GE(u64),
}

impl MatchSeq {
    pub fn accepts(self, seq: u64) -> bool {
        match self {
            MatchSeq::Any => true,
            MatchSeq::Exact(n) => seq == n,
            MatchSeq::GE(n) => seq >= n,
        }
    }
}

impl fmt::Display for MatchSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MatchSeq::Any => f.write_str("any seq"),
            MatchSeq::Exact(n) => write!(f, "seq = {n}"),
            MatchSeq::GE(n) => write!(f, "seq >= {n}"),
        }
    }
}

/// What becomes of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueOp {
    /// Data and meta are replaced.
    Update(#[serde(with = "super::bytes")] Vec<u8>),
    Delete,
    /// Only the meta is replaced; an absent record stays absent.
    AsIs,
}

/// The expiry to give to a record. A `ttl` wins over `expire_at`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaSpec {
    /// Seconds since 1970, or milliseconds (see [`backup_plugin::record::expiry_ms`]).
    pub expire_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
}

/// A time to live, counted from the time of the log entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ttl {
    pub millis: u64,
}
