//! Commands: what a log entry asks the state machine to do, in the JSON shapes of the export format.

use std::fmt;

use backup_plugin::record::Node;
use serde::{Deserialize, Serialize};

/// A command with the time it was proposed at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCommand {
    /// Milliseconds since 1970, by the leader's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
    pub cmd: Command,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    AddNode {
        node_id: u64,
        node: Node,
        #[serde(default)]
        overriding: bool,
    },
    RemoveNode {
        node_id: u64,
    },
    SetFeature {
        feature: String,
        enable: bool,
    },
}

impl fmt::Display for LogCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
