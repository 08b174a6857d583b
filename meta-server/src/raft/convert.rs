//! Between openraft's types and the record model of the export format.

use backup_plugin::record;
use openraft::{EmptyNode, entry::RaftEntry};

use super::types::{Entry, EntryPayload, LeaderId, Membership, StoredMembership, Vote, log_id, record_log_id};
use crate::command::{CommandError, LogCommand};

fn record_leader_id(id: LeaderId) -> record::LeaderId {
    record::LeaderId { term: id.term, node_id: id.node_id }
}

pub fn vote(vote: record::Vote) -> Vote {
    Vote {
        leader_id: LeaderId { term: vote.leader_id.term, node_id: vote.leader_id.node_id },
        committed: vote.committed,
    }
}

pub fn record_vote(vote: Vote) -> record::Vote {
    record::Vote { leader_id: record_leader_id(vote.leader_id), committed: vote.committed }
}

/// Fails when a voter is not among the nodes.
pub fn membership(membership: &record::Membership) -> Result<Membership, openraft::error::MembershipError<u64>> {
    let nodes = membership.nodes.keys().map(|id| (*id, EmptyNode {})).collect::<std::collections::BTreeMap<_, _>>();
    Membership::new(membership.configs.clone(), nodes)
}

pub fn record_membership(membership: &Membership) -> record::Membership {
    record::Membership {
        configs: membership.get_joint_config().clone(),
        nodes: membership.nodes().map(|(id, _)| (*id, record::NoAddress {})).collect(),
    }
}

pub fn record_stored_membership(stored: &StoredMembership) -> record::StoredMembership {
    record::StoredMembership {
        log_id: stored.log_id().map(record_log_id),
        membership: record_membership(stored.membership()),
    }
}

/// An entry as an export writes it.
pub fn record_entry(entry: &Entry) -> std::io::Result<record::LogEntry> {
    let payload = match &entry.payload {
        EntryPayload::Blank => record::Payload::Blank,
        EntryPayload::Membership(membership) => record::Payload::Membership(record_membership(membership)),
        EntryPayload::Normal(command) => record::Payload::Normal(command.to_json()?),
    };
    Ok(record::LogEntry { log_id: record_log_id(entry.log_id()), payload })
}

/// Why an entry of an export can not become one of this log.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("the membership can not be: {0}")]
    Membership(String),
}

/// An entry of an export, its command decoded.
pub fn entry(entry: &record::LogEntry) -> Result<Entry, EntryError> {
    let payload = match &entry.payload {
        record::Payload::Blank => EntryPayload::Blank,
        record::Payload::Membership(record) => {
            EntryPayload::Membership(membership(record).map_err(|err| EntryError::Membership(err.to_string()))?)
        }
        record::Payload::Normal(json) => EntryPayload::Normal(LogCommand::from_json(json.get())?),
    };
    Ok(Entry::new(log_id(entry.log_id), payload))
}
