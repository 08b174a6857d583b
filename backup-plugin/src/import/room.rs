//! Numbers that a restored node counts on from: terms, log indexes, sequence numbers. One at the end of its range would be the
//! last, and what comes after it would start again at 0.

use super::Refusal;
use crate::record::{LogId, Record, StateRecord};

/// The largest number taken. It leaves as much room as there was before it.
pub(super) const LARGEST: u64 = u64::MAX / 2;

/// Whether the numbers in a record have room above them. A record's own seq is covered by the counter.
pub(super) fn check_room(record: &Record) -> Result<(), Refusal> {
    match record {
        Record::Vote(Some(vote)) => check("term", vote.leader_id.term),
        Record::Committed(Some(log_id)) | Record::Purged(Some(log_id)) => check_log_id(*log_id),
        Record::LogEntry(entry) => check_log_id(entry.log_id),
        Record::State(StateRecord::Sequence(sequence)) => check_sequence(*sequence),
        Record::State(StateRecord::LastApplied(log_id)) => check_log_id(*log_id),
        Record::State(StateRecord::LastMembership(stored)) => stored.log_id.map_or(Ok(()), check_log_id),
        Record::Header(_)
        | Record::NodeId(_)
        | Record::Vote(None)
        | Record::Committed(None)
        | Record::Purged(None)
        | Record::State(
            StateRecord::Node { .. } | StateRecord::Expire { .. } | StateRecord::Kv { .. } | StateRecord::Ignored,
        ) => Ok(()),
    }
}

/// Whether the last sequence number given out has room above it.
pub(super) fn check_sequence(sequence: u64) -> Result<(), Refusal> {
    check("sequence number", sequence)
}

fn check_log_id(log_id: LogId) -> Result<(), Refusal> {
    check("term", log_id.leader_id.term)?;
    check("log index", log_id.index)
}

fn check(name: &'static str, value: u64) -> Result<(), Refusal> {
    if value <= LARGEST { Ok(()) } else { Err(Refusal::NoRoom { name, value }) }
}
