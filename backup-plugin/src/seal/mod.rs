//! The seal: the last line of a backup file. It counts the lines before it, hashes every byte, and says where the backup comes
//! from; the first line says that it must be there. So a file that was cut or changed anywhere does not pass for a whole one.
//!
//! Knows its own two lines; of the others it sees bytes.

mod check;
mod envelope;
mod write;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

pub use check::SealFault;
pub(crate) use check::check;
pub use envelope::EnvelopeFault;
pub(crate) use envelope::{EnvelopeReader, EnvelopeWriter, LONGEST_HEAD};
pub use write::{Sealer, mark};

use crate::{
    provenance::{Consistency, Role},
    record::LogId,
};

/// What a seal says of its file, but for the hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The version of the format, as in the first line.
    pub version: String,
    /// Lines before the seal.
    pub records: u64,
    /// `None`: the node belonged to none, or did not say; so with what follows.
    #[serde(default)]
    pub cluster_id: Option<String>,
    #[serde(default)]
    pub node_id: Option<u64>,
    #[serde(default, deserialize_with = "if_known")]
    pub role: Option<Role>,
    #[serde(default)]
    pub last_applied: Option<LogId>,
    #[serde(default)]
    pub committed: Option<LogId>,
    /// Log entries above the last one that is known to be committed.
    #[serde(default)]
    pub tail: Option<u64>,
    /// `None`, written as `unknown`: the server did not say.
    #[serde(default, serialize_with = "or_unknown", deserialize_with = "if_known")]
    pub consistency: Option<Consistency>,
    /// By the clock of the machine that wrote the file, RFC 3339.
    #[serde(default)]
    pub written_at: String,
    /// What wrote it, with its version.
    #[serde(default)]
    pub program: String,
}

/// `node 1 (Leader) of cluster 0123…, linearizable, written 2026-11-22T12:08:45.325Z by databend-metactl 0.1.0`
impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node_id {
            Some(id) => write!(f, "node {id}")?,
            None => f.write_str("a node that did not say")?,
        }
        if let Some(role) = self.role {
            write!(f, " ({role:?})")?;
        }
        if let Some(id) = &self.cluster_id {
            write!(f, " of cluster {id}")?;
        }
        match self.consistency {
            Some(consistency) => write!(f, ", {consistency}")?,
            None => f.write_str(", consistency unknown")?,
        }
        write!(f, ", written {} by {}", self.written_at, self.program)
    }
}

/// `linearizable`, `local`, `offline` or `unknown`.
pub fn or_unknown<S: Serializer>(consistency: &Option<Consistency>, serializer: S) -> Result<S::Ok, S::Error> {
    match consistency {
        Some(consistency) => consistency.serialize(serializer),
        None => serializer.serialize_str("unknown"),
    }
}

/// A word that a later program may write, and this one has no name for, is none.
fn if_known<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// How the seal's line begins, and what stands around the hash, the last field, which ends the file.
const START: &str = r#"["header",{"DataHeader":{"key":"seal","value":"#;
const HASH: &str = r#","sha256":""#;
const END: &str = "\"}}}]\n";
/// Hex digits of the hash.
const DIGITS: usize = 64;
