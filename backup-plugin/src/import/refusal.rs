//! Every reason for which an input is not imported. Knows neither the file nor the line: whoever reports it does.

use crate::{
    cluster::Exhausted,
    export::MAX_LINE_BYTES,
    record::{LogId, MAX_KEY_BYTES},
    upgrade::Retired,
};

use super::{
    room::LARGEST,
    stop::{Reach, Stop},
};

/// Why the record in a line, or a file as a whole, is not imported.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    // Records that must be there, once.
    #[error("a `header` record that is not the first line")]
    HeaderLate,
    #[error("a second `{kind}` record; the first is in line {first}")]
    Twice { kind: &'static str, first: u64 },
    #[error("it was exported from node {found}, not from node {given}: leave out --id, or give --initial-cluster too")]
    OtherNode { found: u64, given: u64 },
    #[error("it does not say which node it was exported from: give --id")]
    NoNodeId,
    #[error(
        "its vote is of term {term}, behind its last log id {last}: --initial-cluster restores its data to a new cluster"
    )]
    VoteBehind { term: u64, last: LogId },
    #[error("it holds no state: neither log entries nor a state machine")]
    NoState,
    #[error("the state machine has no `{missing}` record: the file is cut, or not a whole export")]
    StateIncomplete { missing: &'static str },
    #[error("it has no state machine, and its log starts after {purged}: the file is cut, or not a whole export")]
    LogWithoutState { purged: LogId },

    // What only early servers could hold.
    #[error("{0} is of a kind that no current server can hold: --drop-retired leaves out all that is")]
    Retired(Retired),
    #[error(
        "{retired} can not be applied any more, and nothing that the file holds includes it: {}",
        applied.map_or("it has no state machine".to_owned(), |applied| format!("its state machine ends at {applied}"))
    )]
    RetiredTail { retired: Retired, applied: Option<LogId> },

    // Key-value records and nodes.
    #[error("a key of {len} bytes: a key has 1 to {MAX_KEY_BYTES} bytes")]
    KeyLength { len: usize },
    #[error("seq 0: sequence numbers start at 1")]
    SeqZero,
    #[error("seq {seq} belongs to an earlier record already")]
    SeqTwice { seq: u64 },
    #[error("seq {seq} is above {counter}, the last one given out according to `Sequences`")]
    SeqAboveCounter { seq: u64, counter: u64 },
    #[error("there are keys but no `Sequences` record")]
    NoSequence,
    #[error("node {id} has a record already")]
    NodeTwice { id: u64 },

    // Membership.
    #[error("a membership in which nobody votes")]
    NoVoter,
    #[error("a membership whose voter {id} is not among its nodes")]
    UnknownVoter { id: u64 },

    // The log, and the log ids that speak of it.
    #[error("log entry {found} where {expected} must follow")]
    LogGap { expected: u64, found: u64 },
    #[error("log entry {found} is of an earlier leader than {previous} before it")]
    LogBack { previous: LogId, found: LogId },
    #[error("the log starts with {first}, not with entry {expected}")]
    LogStart { first: LogId, expected: u64 },
    #[error("{name} {log_id} is above {limit_name} {limit}")]
    Above { name: &'static str, log_id: LogId, limit_name: &'static str, limit: LogId },
    #[error("{name} is {log_id}, but the log has {entry} there")]
    NotInLog { name: &'static str, log_id: LogId, entry: LogId },
    #[error("{name} {value} leaves no room for those that come after it: the largest that is taken is {LARGEST}")]
    NoRoom { name: &'static str, value: u64 },
    #[error(transparent)]
    Exhausted(#[from] Exhausted),

    #[error("{stop} is not where this backup reaches: {reach}")]
    OutOfReach { stop: Stop, reach: Reach },
    #[error(
        "node {node_id} is one of {voters} voters: one member alone can not go back to {stop}; --initial-cluster starts a new \
         cluster from there"
    )]
    StopOneOfMany { node_id: u64, voters: usize, stop: Stop },

    #[error(
        "its record would be written as a line of {bytes} bytes, with null for what this one leaves out, and none is longer than \
         {MAX_LINE_BYTES}: it could not be exported again"
    )]
    NeverWritten { bytes: usize },

    /// The target's own reason.
    #[error("{0}")]
    Target(String),
}
