//! What a state has beside its keys. It differs between any two clusters, so it is told and decides nothing.

use std::collections::BTreeMap;

use crate::record::{LogId, Membership, Node, StateRecord};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beside {
    /// The log id that it is the state of.
    pub last_applied: Option<LogId>,
    /// The last sequence number given out.
    pub sequence: u64,
    pub membership: Membership,
    pub nodes: BTreeMap<u64, Node>,
}

impl Beside {
    /// Takes what a record says of it; a key-value record says nothing.
    pub fn push(&mut self, record: StateRecord) {
        match record {
            StateRecord::Sequence(sequence) => self.sequence = sequence,
            StateRecord::LastApplied(log_id) => self.last_applied = Some(log_id),
            StateRecord::LastMembership(stored) => self.membership = stored.membership,
            StateRecord::Node { id, node } => {
                self.nodes.insert(id, node);
            }
            StateRecord::Expire { .. } | StateRecord::Kv { .. } | StateRecord::Ignored => {}
        }
    }
}
