//! The one place where openraft's type parameters are fixed. Everything else uses the plain names below.

use backup_plugin::record;
use openraft::EmptyNode;

use crate::{apply::Applied, command::LogCommand};

openraft::declare_raft_types!(
    /// Commands in, their results out; members are known by id alone, their addresses live in the state machine.
    pub TypeConfig:
        D = LogCommand,
        R = Applied,
        NodeId = u64,
        Node = EmptyNode,
);

pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub type EntryPayload = openraft::type_config::alias::EntryPayloadOf<TypeConfig>;
pub type LeaderId = openraft::type_config::alias::LeaderIdOf<TypeConfig>;
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub type Membership = openraft::Membership<u64, EmptyNode>;
pub type Raft<SM> = openraft::Raft<TypeConfig, SM>;

/// A log id of the export format as openraft's.
pub fn log_id(id: record::LogId) -> LogId {
    LogId::new(LeaderId { term: id.leader_id.term, node_id: id.leader_id.node_id }, id.index)
}

/// A log id of openraft as the export format's.
pub fn record_log_id(id: LogId) -> record::LogId {
    record::LogId {
        leader_id: record::LeaderId { term: id.leader_id.term, node_id: id.leader_id.node_id },
        index: id.index,
    }
}
