//! Between openraft's types and what members send each other. A field that a message can not do without is asked for by name;
//! knows nothing of who sends what.

use std::io;

use backup_plugin::record;
use meta_proto::raft as pb;
use tonic::Status;

use super::{
    convert,
    guard::Held,
    types::{self, Entry, EntryPayload, LeaderId, LogId, TypeConfig, Vote, record_log_id},
};
use crate::command::LogCommand;

pub type AppendEntriesRequest = openraft::raft::AppendEntriesRequest<TypeConfig>;
pub type StreamAppendResult = openraft::raft::StreamAppendResult<TypeConfig>;
pub type VoteRequest = openraft::raft::VoteRequest<TypeConfig>;
pub type VoteResponse = openraft::raft::VoteResponse<TypeConfig>;
type StreamAppendError = openraft::raft::StreamAppendError<TypeConfig>;

/// A message that lacks what it can not do without, or holds what can not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot understand a message of another member: `{field}` {problem}")]
pub struct Malformed {
    field: String,
    problem: String,
}

impl Malformed {
    pub fn missing(field: &str) -> Self {
        Self { field: field.to_owned(), problem: "is missing".to_owned() }
    }

    pub fn invalid(field: &str, reason: &dyn std::fmt::Display) -> Self {
        Self { field: field.to_owned(), problem: format!("can not be: {reason}") }
    }
}

impl From<Malformed> for Status {
    fn from(malformed: Malformed) -> Self {
        Status::invalid_argument(malformed.to_string())
    }
}

/// A field that must be there.
pub fn required<T>(field: Option<T>, name: &'static str) -> Result<T, Malformed> {
    field.ok_or_else(|| Malformed::missing(name))
}

pub fn log_id_to_pb(id: LogId) -> pb::LogId {
    let LeaderId { term, node_id } = id.leader_id;
    pb::LogId { leader_id: Some(pb::LeaderId { term, node_id }), index: id.index }
}

/// The log id that a message has as `name`.
pub fn log_id(id: pb::LogId, name: &str) -> Result<LogId, Malformed> {
    let missing = || Malformed::missing(&format!("{name}.leader_id"));
    let pb::LeaderId { term, node_id } = id.leader_id.ok_or_else(missing)?;
    Ok(LogId::new(LeaderId { term, node_id }, id.index))
}

/// One that may be absent.
pub fn optional_log_id(id: Option<pb::LogId>, name: &str) -> Result<Option<LogId>, Malformed> {
    id.map(|id| log_id(id, name)).transpose()
}

pub fn vote_to_pb(vote: &Vote) -> pb::Ballot {
    let LeaderId { term, node_id } = vote.leader_id;
    pb::Ballot { leader_id: Some(pb::LeaderId { term, node_id }), committed: vote.committed }
}

pub fn vote(ballot: Option<pb::Ballot>) -> Result<Vote, Malformed> {
    let ballot = required(ballot, "vote")?;
    let pb::LeaderId { term, node_id } = required(ballot.leader_id, "vote.leader_id")?;
    Ok(Vote { leader_id: LeaderId { term, node_id }, committed: ballot.committed })
}

fn membership_to_pb(membership: &record::Membership) -> pb::Membership {
    let configs = membership.configs.iter().map(|ids| pb::Voters { ids: ids.iter().copied().collect() });
    pb::Membership { configs: configs.collect(), nodes: membership.nodes.keys().copied().collect() }
}

fn membership(membership: pb::Membership) -> record::Membership {
    record::Membership {
        configs: membership.configs.into_iter().map(|voters| voters.ids.into_iter().collect()).collect(),
        nodes: membership.nodes.into_iter().map(|id| (id, record::NoAddress {})).collect(),
    }
}

pub fn stored_membership_to_pb(stored: &record::StoredMembership) -> pb::StoredMembership {
    pb::StoredMembership {
        log_id: stored.log_id.map(|id| log_id_to_pb(types::log_id(id))),
        membership: Some(membership_to_pb(&stored.membership)),
    }
}

/// The membership that a message has as `last_membership`. One without an entry of its own is one that was imported.
pub fn last_membership(stored: Option<pb::StoredMembership>) -> Result<record::StoredMembership, Malformed> {
    let stored = required(stored, "last_membership")?;
    let log_id = optional_log_id(stored.log_id, "last_membership.log_id")?.map(record_log_id);
    let membership = membership(required(stored.membership, "last_membership.membership")?);
    if membership.configs.is_empty() {
        return Err(Malformed::missing("last_membership.membership.configs"));
    }
    convert::membership(&membership).map_err(|error| Malformed::invalid("last_membership.membership", &error))?;
    Ok(record::StoredMembership { log_id, membership })
}

pub fn node_to_pb(id: u64, node: &record::Node) -> pb::Node {
    let record::Node { name, endpoint, grpc_api_advertise_address } = node;
    pb::Node {
        id,
        name: name.clone(),
        host: endpoint.addr.clone(),
        port: u32::from(endpoint.port),
        grpc_address: grpc_api_advertise_address.clone(),
    }
}

pub fn node(node: pb::Node) -> Result<(u64, record::Node), Malformed> {
    let not_a_port = |_| Malformed::invalid("node.port", &format!("{} is not a port", node.port));
    let port = u16::try_from(node.port).map_err(not_a_port)?;
    let endpoint = record::Endpoint { addr: node.host, port };
    Ok((node.id, record::Node { name: node.name, endpoint, grpc_api_advertise_address: node.grpc_address }))
}

fn entry_to_pb(entry: &Entry) -> io::Result<pb::Entry> {
    let payload = match &entry.payload {
        EntryPayload::Blank => pb::entry::Payload::Blank(pb::Blank {}),
        EntryPayload::Membership(membership) => {
            pb::entry::Payload::Membership(membership_to_pb(&convert::record_membership(membership)))
        }
        EntryPayload::Normal(command) => pb::entry::Payload::Command(command.to_msgpack()?),
    };
    Ok(pb::Entry { log_id: Some(log_id_to_pb(entry.log_id)), payload: Some(payload) })
}

fn entry(entry: pb::Entry) -> Result<Entry, Malformed> {
    let payload = match required(entry.payload, "entry.payload")? {
        pb::entry::Payload::Blank(pb::Blank {}) => EntryPayload::Blank,
        pb::entry::Payload::Membership(message) => EntryPayload::Membership(
            convert::membership(&membership(message))
                .map_err(|error| Malformed::invalid("entry.membership", &error))?,
        ),
        pb::entry::Payload::Command(bytes) => EntryPayload::Normal(
            LogCommand::from_msgpack(&bytes).map_err(|error| Malformed::invalid("entry.command", &error))?,
        ),
    };
    Ok(Entry { log_id: log_id(required(entry.log_id, "entry.log_id")?, "entry.log_id")?, payload })
}

/// Fails when a command can not be encoded, which no command in a log does.
pub fn append_to_pb(request: &AppendEntriesRequest, caller: pb::Caller) -> io::Result<pb::AppendRequest> {
    Ok(pb::AppendRequest {
        caller: Some(caller),
        vote: Some(vote_to_pb(&request.vote)),
        prev_log_id: request.prev_log_id.map(log_id_to_pb),
        committed: request.leader_commit.map(log_id_to_pb),
        entries: request.entries.iter().map(entry_to_pb).collect::<io::Result<_>>()?,
        incarnations: Default::default(),
        starts: Default::default(),
        held: Vec::new(),
    })
}

pub fn held_to_pb(held: Held) -> pb::Held {
    let Held { peer, incarnation, log_id } = held;
    pb::Held { node_id: peer, incarnation, log_id: Some(log_id_to_pb(log_id)) }
}

pub fn held(held: pb::Held) -> Result<Held, Malformed> {
    let pb::Held { node_id, incarnation, log_id: id } = held;
    Ok(Held { peer: node_id, incarnation, log_id: log_id(required(id, "held.log_id")?, "held.log_id")? })
}

pub fn append(request: pb::AppendRequest) -> Result<AppendEntriesRequest, Malformed> {
    Ok(AppendEntriesRequest {
        vote: vote(request.vote)?,
        prev_log_id: optional_log_id(request.prev_log_id, "prev_log_id")?,
        leader_commit: optional_log_id(request.committed, "committed")?,
        entries: request.entries.into_iter().map(entry).collect::<Result<_, _>>()?,
    })
}

pub fn append_result_to_pb(result: StreamAppendResult) -> pb::append_reply::Result {
    match result {
        Ok(matched) => pb::append_reply::Result::Matched(pb::Matched { log_id: matched.map(log_id_to_pb) }),
        Err(StreamAppendError::Conflict(id)) => pb::append_reply::Result::Conflict(log_id_to_pb(id)),
        Err(StreamAppendError::HigherVote(vote)) => pb::append_reply::Result::HigherVote(vote_to_pb(&vote)),
    }
}

pub fn append_result(result: Option<pb::append_reply::Result>) -> Result<StreamAppendResult, Malformed> {
    Ok(match required(result, "result")? {
        pb::append_reply::Result::Matched(matched) => Ok(optional_log_id(matched.log_id, "matched.log_id")?),
        pb::append_reply::Result::Conflict(id) => Err(StreamAppendError::Conflict(log_id(id, "conflict")?)),
        pb::append_reply::Result::HigherVote(ballot) => Err(StreamAppendError::HigherVote(vote(Some(ballot))?)),
    })
}

pub fn vote_request_to_pb(request: &VoteRequest, pre_vote: bool, caller: pb::Caller) -> pb::VoteRequest {
    pb::VoteRequest {
        caller: Some(caller),
        vote: Some(vote_to_pb(&request.vote)),
        last_log_id: request.last_log_id.map(log_id_to_pb),
        leadership_transfer: request.leadership_transfer,
        pre_vote,
    }
}

pub fn vote_request(request: pb::VoteRequest) -> Result<VoteRequest, Malformed> {
    let mut vote_request = VoteRequest::new(vote(request.vote)?, optional_log_id(request.last_log_id, "last_log_id")?);
    vote_request.leadership_transfer = request.leadership_transfer;
    Ok(vote_request)
}

pub fn vote_reply_to_pb(response: &VoteResponse, responder: pb::Responder) -> pb::VoteReply {
    pb::VoteReply {
        responder: Some(responder),
        vote: Some(vote_to_pb(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.map(log_id_to_pb),
    }
}

pub fn vote_reply(reply: pb::VoteReply) -> Result<VoteResponse, Malformed> {
    Ok(VoteResponse::new(vote(reply.vote)?, optional_log_id(reply.last_log_id, "last_log_id")?, reply.granted))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{command::arbitrary::log_command, log::testing::id};

    fn caller() -> pb::Caller {
        pb::Caller { node_id: 1, target: 2, ..pb::Caller::default() }
    }

    proptest! {
        #[test]
        fn entries_arrive_as_they_were_sent(commands in prop::collection::vec(log_command(), 0..4)) {
            let mut entries: Vec<Entry> = (4..)
                .zip(commands)
                .map(|(index, command)| Entry { log_id: id(2, index), payload: EntryPayload::Normal(command) })
                .collect();
            entries.insert(0, Entry { log_id: id(2, 3), payload: EntryPayload::Blank });
            let sent = AppendEntriesRequest {
                vote: Vote { leader_id: id(2, 0).leader_id, committed: true },
                prev_log_id: Some(id(1, 2)),
                leader_commit: None,
                entries,
            };
            let arrived = append(append_to_pb(&sent, caller()).unwrap()).unwrap();
            prop_assert_eq!(arrived.vote, sent.vote);
            prop_assert_eq!(arrived.prev_log_id, sent.prev_log_id);
            prop_assert_eq!(arrived.leader_commit, None);
            prop_assert_eq!(arrived.entries, sent.entries);
        }
    }

    #[test]
    fn a_membership_arrives_as_it_was_sent() {
        let record = record::Membership {
            configs: vec![[1, 2].into(), [2, 3].into()],
            nodes: [1, 2, 3, 9].map(|id| (id, record::NoAddress {})).into(),
        };
        let payload = EntryPayload::Membership(convert::membership(&record).unwrap());
        let sent = Entry { log_id: id(1, 1), payload };
        assert_eq!(entry(entry_to_pb(&sent).unwrap()).unwrap(), sent);
    }

    #[test]
    fn results_arrive_as_they_were_sent() {
        let higher = Vote { leader_id: id(7, 0).leader_id, committed: false };
        for result in [
            Ok(None),
            Ok(Some(id(1, 2))),
            Err(StreamAppendError::Conflict(id(1, 2))),
            Err(StreamAppendError::HigherVote(higher)),
        ] {
            assert_eq!(append_result(Some(append_result_to_pb(result.clone()))).unwrap(), result);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let request = pb::AppendRequest { caller: Some(caller()), ..pb::AppendRequest::default() };
        let error = append(request).unwrap_err().to_string();
        assert_eq!(error, "cannot understand a message of another member: `vote` is missing");
        assert_eq!(append_result(None).unwrap_err(), Malformed::missing("result"));
        let nobodys = pb::LogId { leader_id: None, index: 1 };
        let error = append_result(Some(pb::append_reply::Result::Conflict(nobodys))).unwrap_err();
        assert_eq!(error, Malformed::missing("conflict.leader_id"));
    }
}
