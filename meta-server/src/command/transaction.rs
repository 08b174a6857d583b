//! The transaction of the public protocol: conditional operations first, then `condition`, `if_then` and `else_then`.

use serde::{Deserialize, Deserializer, Serialize};

use super::{BooleanExpression, Condition};

/// Reads and writes that are applied as one; [`crate::apply`] says which of its parts runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<ConditionalOperation>,
    pub condition: Vec<Condition>,
    pub if_then: Vec<TxnOp>,
    pub else_then: Vec<TxnOp>,
}

/// Operations that run when the predicate holds; without a predicate, always.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionalOperation {
    pub predicate: Option<BooleanExpression>,
    pub operations: Vec<TxnOp>,
}

/// An operation, in the wrapper that the format puts around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnOp {
    #[serde(default = "empty_get", deserialize_with = "null_is_empty_get")]
    pub request: Operation,
}

/// One read or write inside a [`Transaction`]. Without a `match_seq` any record will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    Get {
        key: String,
    },
    Put {
        key: String,
        #[serde(with = "super::bytes")]
        value: Vec<u8>,
        /// Seconds since 1970, or milliseconds (see [`backup_plugin::record::expiry_ms`]).
        expire_at: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl_ms: Option<u64>,
        match_seq: Option<u64>,
    },
    Delete {
        key: String,
        match_seq: Option<u64>,
    },
    DeleteByPrefix {
        prefix: String,
    },
    /// Adds `delta` to a number kept as text, counting from at least `max_value`.
    #[serde(alias = "FetchAddU64")]
    FetchIncreaseU64 {
        key: String,
        match_seq: Option<u64>,
        delta: i64,
        #[serde(default)]
        max_value: u64,
    },
    /// Puts under a key that ends in the next number of the counter at `sequence_key`.
    PutSequential {
        prefix: String,
        sequence_key: String,
        #[serde(with = "super::bytes")]
        value: Vec<u8>,
        expires_at_ms: Option<u64>,
        ttl_ms: Option<u64>,
    },
}

/// What `"request":null` stands for.
fn empty_get() -> Operation {
    Operation::Get { key: String::new() }
}

fn null_is_empty_get<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Operation, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(empty_get))
}
