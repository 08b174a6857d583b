//! What applying a command means: the rules of the format page, over whatever holds the state. Knows nothing of Raft or of disks.

use std::{fmt, io};

use backup_plugin::record::{Node, SeqV};
use serde::{Deserialize, Serialize};

/// The state that commands are applied to. Every read sees the writes before it.
pub trait StateStore {
    /// The record under `key`, expired or not.
    fn get(&self, key: &str) -> io::Result<Option<SeqV>>;
    /// Writes a record, and its place in the expire index.
    fn put(&mut self, key: &str, value: SeqV) -> io::Result<()>;
    /// Removes a record and its place in the expire index; nothing to remove is fine.
    fn remove(&mut self, key: &str) -> io::Result<()>;
    /// Every key under `prefix`, in byte order, expired ones included.
    fn keys_with_prefix(&self, prefix: &str) -> io::Result<Vec<String>>;
    /// How many keys are under `prefix`, expired ones included.
    fn count_prefix(&self, prefix: &str) -> io::Result<u64>;
    /// The keys of all records with an expiry before `time_ms`, oldest first.
    fn expired_before(&self, time_ms: u64) -> io::Result<Vec<String>>;
    /// Takes the next sequence number.
    fn next_seq(&mut self) -> u64;
    fn node(&self, id: u64) -> Option<Node>;
    /// Writes a node, or removes it (`None`).
    fn set_node(&mut self, id: u64, node: Option<Node>);
}

/// A record before and after a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub prev: Option<SeqV>,
    pub result: Option<SeqV>,
}

/// What applying an entry answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// An entry with nothing to answer: blank, membership, a feature switch.
    None,
    Kv(Change),
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
