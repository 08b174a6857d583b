//! The record model: one type for each thing an export says, in the current version of the format. Plain data with the JSON
//! shapes of the format page; knows nothing of lines, of older versions, or of who stores it.

mod raft;
mod state;

pub use raft::{LeaderId, LogEntry, LogId, Membership, NoAddress, Payload, StoredMembership, Vote};
pub use state::{Endpoint, EndpointError, KvMeta, MAX_KEY_BYTES, Node, SeqV, expiry_ms, is_milliseconds};

/// The version of the format that is written.
pub const DATA_VERSION: &str = "V004";

/// One line of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The first line.
    Header(Header),
    /// The node the export was taken from; `None` when the line says null.
    NodeId(Option<u64>),
    Vote(Option<Vote>),
    /// The last log id known to be committed.
    Committed(Option<LogId>),
    /// The last log id that is no longer in the log.
    Purged(Option<LogId>),
    LogEntry(LogEntry),
    State(StateRecord),
}

/// The first line of an export: which version of the format follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub version: String,
    /// The last line is a seal.
    pub sealed: bool,
}

/// One record of the state machine. An export writes them in the order of the variants; inside a variant, `Node` by id,
/// `Expire` by (time, seq), `Kv` by key in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateRecord {
    /// The last sequence number given out (`generic-kv`).
    Sequence(u64),
    LastApplied(LogId),
    LastMembership(StoredMembership),
    Node {
        id: u64,
        node: Node,
    },
    /// The index of what expires when. It follows from `Kv`: written for other readers, never trusted on the way in.
    Expire {
        time_ms: u64,
        seq: u64,
        key: String,
    },
    Kv {
        key: String,
        value: SeqV,
    },
    /// A record that is read and dropped (`Initialized`).
    Ignored,
}

impl StateRecord {
    /// Whether a node that has applied nothing may have written this.
    pub fn is_blank(&self) -> bool {
        match self {
            StateRecord::Sequence(sequence) => *sequence == 0,
            StateRecord::LastMembership(stored) => {
                stored.log_id.is_none() && stored.membership.nodes.is_empty() && stored.membership.voters().is_empty()
            }
            StateRecord::Ignored => true,
            StateRecord::LastApplied(_)
            | StateRecord::Node { .. }
            | StateRecord::Expire { .. }
            | StateRecord::Kv { .. } => false,
        }
    }
}

/// What a node's log store knows beside its entries. All log ids as in the export; `None` reads as null.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HardState {
    pub node_id: Option<u64>,
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
}
