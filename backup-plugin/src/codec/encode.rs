//! One record into one line of text, in the field order of the format: what today's writers write, byte for byte.

use serde::Serialize;

use super::{SEQUENCE_KEY, kv};
use crate::record::{LogEntry, LogId, Node, Record, StateRecord, StoredMembership, Vote};

/// Appends one line to `out`, without a newline.
pub fn encode(record: &Record, out: &mut Vec<u8>) {
    match record {
        Record::Header(header) => {
            let value = HeaderValue { version: &header.version, sealed: header.sealed };
            write_line(out, "header", &HeaderLine::DataHeader(KeyValue { key: "header", value }));
        }
        Record::NodeId(id) => write_line(out, RAFT_LOG, &LogLine::NodeId(id)),
        Record::Vote(vote) => write_line(out, RAFT_LOG, &LogLine::Vote(vote)),
        Record::Committed(log_id) => write_line(out, RAFT_LOG, &LogLine::Committed(log_id)),
        Record::Purged(log_id) => write_line(out, RAFT_LOG, &LogLine::Purged(log_id)),
        Record::LogEntry(entry) => write_line(out, RAFT_LOG, &LogLine::LogEntry(entry)),
        Record::State(record) => encode_state(record, out),
    }
}

fn encode_state(record: &StateRecord, out: &mut Vec<u8>) {
    let meta = |key, value| StateLine::StateMachineMeta(KeyValue { key, value });
    let line = match record {
        StateRecord::Sequence(value) => StateLine::Sequences(KeyValue { key: SEQUENCE_KEY, value: *value }),
        StateRecord::LastApplied(log_id) => meta("LastApplied", MetaValue::LogId(log_id)),
        StateRecord::LastMembership(membership) => meta("LastMembership", MetaValue::Membership(membership)),
        StateRecord::Node { id, node } => StateLine::Nodes(KeyValue { key: *id, value: node }),
        StateRecord::Expire { time_ms, seq, key } => {
            let value = ExpireValue { seq: *seq, key };
            StateLine::Expire(KeyValue { key: ExpireKey { time_ms: *time_ms, seq: *seq }, value })
        }
        StateRecord::Kv { key, value } => return kv::write(key, value, out),
        StateRecord::Ignored => meta("Initialized", MetaValue::Bool(true)),
    };
    write_line(out, "state_machine/0", &line);
}

/// Appends `["<tree>",<record>]`.
pub(crate) fn write_line(out: &mut Vec<u8>, tree: &str, record: &impl Serialize) {
    // A Vec takes every byte, and no record has a map key that JSON cannot write: there is nothing left to fail.
    serde_json::to_writer(out, &(tree, record)).expect("a record is always written");
}

const RAFT_LOG: &str = "raft_log";

#[derive(Serialize)]
struct KeyValue<K, V> {
    key: K,
    value: V,
}

#[derive(Serialize)]
enum HeaderLine<'a> {
    DataHeader(KeyValue<&'a str, HeaderValue<'a>>),
}

#[derive(Serialize)]
struct HeaderValue<'a> {
    version: &'a str,
    #[serde(skip_serializing_if = "is_false")]
    sealed: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Serialize)]
enum LogLine<'a> {
    NodeId(&'a Option<u64>),
    Vote(&'a Option<Vote>),
    Committed(&'a Option<LogId>),
    Purged(&'a Option<LogId>),
    LogEntry(&'a LogEntry),
}

#[derive(Serialize)]
enum StateLine<'a> {
    Sequences(KeyValue<&'a str, u64>),
    StateMachineMeta(KeyValue<&'a str, MetaValue<'a>>),
    Nodes(KeyValue<u64, &'a Node>),
    Expire(KeyValue<ExpireKey, ExpireValue<'a>>),
}

#[derive(Serialize)]
enum MetaValue<'a> {
    LogId(&'a LogId),
    Membership(&'a StoredMembership),
    Bool(bool),
}

#[derive(Serialize)]
struct ExpireKey {
    time_ms: u64,
    seq: u64,
}

#[derive(Serialize)]
struct ExpireValue<'a> {
    seq: u64,
    key: &'a str,
}
