//! What applying a command means: the rules of the format page, over whatever holds the state. Knows nothing of Raft or of disks.
//!
//! A command always applies; one whose conditions do not hold changes nothing and says so in its reply. The only error is a store
//! that cannot be read or written, and that stops the node. What a reply holds is bounded, whatever the log asks for; the
//! effects of a command do not depend on that.

mod conditions;
mod expiry;
mod operations;
mod reply;
mod responses;
mod transaction;
mod writer;

#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod rules;

use std::io;

use backup_plugin::record::{Node, SeqV};

pub use reply::{Applied, Change, ExecutedPath, KvTxnReply, NodeChange, OpResponse, TxnReply};
pub use responses::MAX_REPLY_BYTES;
use writer::Writer;

use crate::command::{Command, LogCommand};

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

/// Applies one command: first removes what has expired by the time of its entry, then does what it asks.
///
/// After an error the store may hold a part of the command, so it must not be used further.
pub fn apply<S: StateStore>(store: &mut S, command: &LogCommand) -> io::Result<Applied> {
    if let Some(time_ms) = command.time_ms {
        expiry::clean(store, time_ms)?;
    }
    let mut writer = Writer::new(store, command.time_ms);
    Ok(match &command.cmd {
        Command::AddNode { node_id, node, overriding } => {
            let prev = store.node(*node_id);
            if prev.is_some() && !overriding {
                Applied::Node(NodeChange { result: prev.clone(), prev })
            } else {
                store.set_node(*node_id, Some(node.clone()));
                Applied::Node(NodeChange { prev, result: Some(node.clone()) })
            }
        }
        Command::RemoveNode { node_id } => {
            let prev = store.node(*node_id);
            store.set_node(*node_id, None);
            Applied::Node(NodeChange { prev, result: None })
        }
        Command::SetFeature { .. } => Applied::None,
        Command::UpsertKV(upsert) => Applied::Kv(writer.upsert(upsert)?),
        Command::Transaction(txn) => writer.transaction(txn)?.map_or(Applied::ReplyTooLarge, Applied::Txn),
        Command::KvTransaction(txn) => writer.kv_transaction(txn)?.map_or(Applied::ReplyTooLarge, Applied::KvTxn),
    })
}
