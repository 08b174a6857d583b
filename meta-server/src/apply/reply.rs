//! What applying a command answers: records and nodes before and after, and the responses of a transaction.

use std::fmt;

use backup_plugin::record::{Node, SeqV};
use serde::{Deserialize, Serialize};

/// What applying an entry answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// An entry with nothing to answer: blank, membership, a feature switch.
    None,
    Kv(Change),
    Node(NodeChange),
    Txn(TxnReply),
    KvTxn(KvTxnReply),
    /// A transaction that was carried out, but whose responses are more than [`MAX_REPLY_BYTES`](super::MAX_REPLY_BYTES).
    ReplyTooLarge,
}

/// A record before and after a command; both are the present record when the command did not match it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub prev: Option<SeqV>,
    pub result: Option<SeqV>,
}

/// A node before and after a command; both are the present node when the command left it alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeChange {
    pub prev: Option<Node>,
    pub result: Option<Node>,
}

/// Which part of a transaction ran, and what its operations answered, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnReply {
    pub path: ExecutedPath,
    pub responses: Vec<OpResponse>,
}

impl TxnReply {
    /// Whether a part ran because its conditions held.
    pub fn success(&self) -> bool {
        matches!(self.path, ExecutedPath::Operation(_) | ExecutedPath::Then)
    }
}

/// The part of a transaction that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecutedPath {
    /// The conditional operation at this position, counted from 0.
    Operation(usize),
    Then,
    Else,
    /// There was nothing to run.
    Nothing,
}

/// `operation:<i>`, `then`, `else`, or nothing at all.
impl fmt::Display for ExecutedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExecutedPath::Operation(position) => write!(f, "operation:{position}"),
            ExecutedPath::Then => f.write_str("then"),
            ExecutedPath::Else => f.write_str("else"),
            ExecutedPath::Nothing => Ok(()),
        }
    }
}

/// Which branch of a key-value transaction ran, counted from 0, and what its operations answered, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvTxnReply {
    pub executed_branch: Option<u32>,
    pub responses: Vec<OpResponse>,
}

/// What one operation of a transaction answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpResponse {
    Get {
        key: String,
        value: Option<SeqV>,
    },
    /// Also the answer to a sequential put, with the key that it made.
    Put {
        key: String,
        prev: Option<SeqV>,
        current: Option<SeqV>,
    },
    Delete {
        key: String,
        /// Whether a record was removed.
        success: bool,
        prev: Option<SeqV>,
    },
    DeleteByPrefix {
        prefix: String,
        count: u32,
    },
    FetchIncreaseU64 {
        key: String,
        /// 0 when there was no record.
        before_seq: u64,
        before: u64,
        /// 0 when there is no record.
        after_seq: u64,
        after: u64,
    },
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Applied::None => f.write_str("applied"),
            Applied::Kv(Change { prev, result }) => {
                write!(f, "seq {} -> {}", seq_of(prev.as_ref()), seq_of(result.as_ref()))
            }
            Applied::Node(NodeChange { prev, result }) => {
                let at =
                    |node: &Option<Node>| node.as_ref().map_or("none".to_owned(), |node| node.endpoint.to_string());
                write!(f, "node {} -> {}", at(prev), at(result))
            }
            Applied::Txn(TxnReply { path, responses }) => {
                let path: &dyn fmt::Display = if *path == ExecutedPath::Nothing { &"nothing" } else { path };
                write!(f, "ran {path}: {} responses", responses.len())
            }
            Applied::KvTxn(KvTxnReply { executed_branch: Some(position), responses }) => {
                write!(f, "ran branch {position}: {} responses", responses.len())
            }
            Applied::KvTxn(KvTxnReply { executed_branch: None, .. }) => f.write_str("ran no branch"),
            Applied::ReplyTooLarge => f.write_str("ran: the responses are too large to keep"),
        }
    }
}

/// The sequence number of a record; an absent one has 0.
pub(super) fn seq_of(record: Option<&SeqV>) -> u64 {
    record.map_or(0, |record| record.seq)
}
