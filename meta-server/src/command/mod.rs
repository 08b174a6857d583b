//! Commands: what a log entry asks the state machine to do, in the JSON shapes of the export format.
//!
//! One set of types serves two encodings: the JSON of an export, and MessagePack with field names in the log store. Reading is
//! as lenient as the format page says; writing gives the one normal form. Knows nothing of applying; see [`crate::apply`].

mod bytes;
mod condition;
mod display;
mod kv_transaction;
mod limits;
mod older;
mod transaction;
mod upsert;

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;

use backup_plugin::record::Node;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use condition::{BooleanExpression, Combine, Comparison, Condition, Predicate, Target};
pub use kv_transaction::{KvBranch, KvOperation, KvPayload, KvTarget, KvTransaction};
pub use limits::{LimitError, Limits};
pub use older::CommandsOf2023;
pub use transaction::{ConditionalOperation, Operation, Transaction, TxnOp};
pub use upsert::{MatchSeq, MetaSpec, Ttl, UpsertKv, ValueOp};

/// A command with the time it was proposed at: what a log entry carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCommand {
    /// Milliseconds since 1970, by the leader's clock. Old entries have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
    pub cmd: Command,
}

/// Everything that can be asked of the state machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Sets the addresses of a node. The membership of the cluster is not touched.
    AddNode {
        node_id: u64,
        node: Node,
        /// Whether to replace a node that is already there.
        #[serde(default)]
        overriding: bool,
    },
    /// Removes the addresses of a node. The membership of the cluster is not touched.
    RemoveNode {
        node_id: u64,
    },
    /// Switches a feature of the state machine. None is known today; carried because a log may hold it.
    SetFeature {
        feature: String,
        enable: bool,
    },
    UpsertKV(UpsertKv),
    Transaction(Transaction),
    KvTransaction(KvTransaction),
}

/// A text that is not a command this version knows; the message names what was found.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the command: {cause}")]
pub struct CommandError {
    cause: serde_json::Error,
}

impl LogCommand {
    /// Reads the JSON object `{"time_ms":…,"cmd":…}`. Unknown fields are ignored; an unknown command or operation is an error.
    pub fn from_json(text: &str) -> Result<Self, CommandError> {
        serde_json::from_str(text).map_err(|cause| CommandError { cause })
    }

    /// Reads the bytes of [`LogCommand::to_msgpack`].
    pub fn from_msgpack(bytes: &[u8]) -> Result<Self, rmp_serde::decode::Error> {
        rmp_serde::from_slice(bytes)
    }

    /// MessagePack with field names: a field can be added without breaking members of another version.
    pub fn to_msgpack(&self) -> std::io::Result<Vec<u8>> {
        rmp_serde::to_vec_named(self).map_err(std::io::Error::other)
    }

    /// The same object in its normal form. `time_ms` is left out when there is none.
    pub fn to_json(&self) -> serde_json::Result<Box<RawValue>> {
        serde_json::value::to_raw_value(self)
    }
}
