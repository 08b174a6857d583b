//! Records of the state machine: key-value records with their sequence number and expiry, and nodes with their addresses.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Above this an `expire_at` is in milliseconds, otherwise in seconds.
const MAX_SECONDS: u64 = 100_000_000_000;

/// An `expire_at` as milliseconds since 1970, whichever unit it is in.
pub fn expiry_ms(expire_at: u64) -> u64 {
    if expire_at > MAX_SECONDS { expire_at } else { expire_at * 1000 }
}

/// When a record expires and when it was proposed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvMeta {
    /// Seconds since 1970, or milliseconds (see [`expiry_ms`]); kept as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_at: Option<u64>,
    /// Milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed_at_ms: Option<u64>,
}

/// A value with its sequence number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeqV {
    /// Unique in the store; a later write has a larger one.
    pub seq: u64,
    #[serde(default)]
    pub meta: Option<KvMeta>,
    /// Written to JSON as an array of byte values.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

impl SeqV {
    /// When this record expires, in milliseconds since 1970; `None`: never.
    pub fn expiry_ms(&self) -> Option<u64> {
        self.meta.and_then(|meta| meta.expire_at).map(expiry_ms)
    }
}

/// Host and port of a node's Raft service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub addr: String,
    pub port: u16,
}

/// `host:port`, with brackets around an IPv6 address.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.addr.contains(':') {
            write!(f, "[{}]:{}", self.addr, self.port)
        } else {
            write!(f, "{}:{}", self.addr, self.port)
        }
    }
}

/// A member's addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub name: String,
    pub endpoint: Endpoint,
    /// Where clients reach its gRPC service, as `host:port`.
    #[serde(default)]
    pub grpc_api_advertise_address: Option<String>,
}
