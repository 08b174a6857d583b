//! V003 to V004: identity, vote and commit left the tree `raft_state` for `raft_log`, where the entries are keyed by index no more
//! and what was purged is a record like the others.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    Decoded,
    command::upgrade_command,
    leaderless::{OldLogId, OldMembership, OldVote},
    retired::{Retired, retired_command},
};
use crate::{
    codec::{DecodeError, KeyValue},
    record::{LogEntry, Payload, Record},
};

/// A record of the tree `raft_state`.
#[derive(Deserialize)]
pub(super) enum RaftState {
    RaftStateKV(KeyValue<String, StateValue>),
}

#[derive(Deserialize)]
pub(super) enum StateValue {
    NodeId(u64),
    HardState(OldVote),
    Committed(Option<OldLogId>),
    /// Which of two state machines was live.
    StateMachineId(IgnoredAny),
}

impl StateValue {
    /// The name it goes by in the format.
    fn kind(&self) -> &'static str {
        match self {
            StateValue::NodeId(_) => "NodeId",
            StateValue::HardState(_) => "HardState",
            StateValue::Committed(_) => "Committed",
            StateValue::StateMachineId(_) => "StateMachineId",
        }
    }
}

pub(super) fn upgrade_state(RaftState::RaftStateKV(record): RaftState) -> Result<Decoded, DecodeError> {
    let KeyValue { key, value } = record;
    let record = match (key.as_str(), value) {
        ("Id", StateValue::NodeId(id)) => Record::NodeId(Some(id)),
        ("HardState", StateValue::HardState(OldVote(vote))) => Record::Vote(Some(vote)),
        ("Committed", StateValue::Committed(log_id)) => Record::Committed(log_id.map(|OldLogId(log_id)| log_id)),
        ("StateMachineId", StateValue::StateMachineId(_)) => return Ok(Decoded::Ignored),
        ("Id" | "HardState" | "Committed" | "StateMachineId", value) => {
            return Err(DecodeError::WrongValue { key, found: value.kind() });
        }
        _ => return Err(DecodeError::UnknownKey { kind: "RaftStateKV", key }),
    };
    Ok(Decoded::Record(record))
}

/// A record of the tree `raft_log`.
#[derive(Deserialize)]
pub(super) enum RaftLog {
    Logs(KeyValue<u64, OldEntry>),
    LogMeta(KeyValue<String, LogMetaValue>),
}

#[derive(Deserialize)]
pub(super) struct OldEntry {
    log_id: OldLogId,
    payload: OldPayload,
}

#[derive(Deserialize)]
enum OldPayload {
    Blank,
    Membership(OldMembership),
    Normal(Box<RawValue>),
}

#[derive(Deserialize)]
pub(super) enum LogMetaValue {
    LogId(OldLogId),
}

pub(super) fn upgrade_log(record: RaftLog) -> Result<Decoded, DecodeError> {
    match record {
        RaftLog::Logs(KeyValue { key: index, value: OldEntry { log_id: OldLogId(log_id), payload } }) => {
            if index != log_id.index {
                return Err(DecodeError::WrongIndex { index, log_id });
            }
            let payload = match payload {
                OldPayload::Blank => Payload::Blank,
                OldPayload::Membership(OldMembership(membership)) => Payload::Membership(membership),
                OldPayload::Normal(command) => match retired_command(&command) {
                    Some(name) => return Ok(Decoded::Retired(Retired::Command { name, log_id })),
                    None => Payload::Normal(upgrade_command(command)),
                },
            };
            Ok(Decoded::Record(Record::LogEntry(LogEntry { log_id, payload })))
        }
        RaftLog::LogMeta(KeyValue { key, value: LogMetaValue::LogId(OldLogId(log_id)) }) if key == "LastPurged" => {
            Ok(Decoded::Record(Record::Purged(Some(log_id))))
        }
        RaftLog::LogMeta(KeyValue { key, .. }) => Err(DecodeError::UnknownKey { kind: "LogMeta", key }),
    }
}
