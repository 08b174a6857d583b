//! One record as a line of V002 or V003. What the state machine holds has the lines of today.

use serde::Serialize;

use crate::{
    codec::{self, Version, write_line},
    record::{LogId, Payload, Record, Vote},
};

/// Appends one line to `out`, without a newline; nothing where the older version says nothing.
pub(super) fn encode(version: Version, record: &Record, out: &mut Vec<u8>) {
    let state = |key, value, out: &mut Vec<u8>| {
        write_line(out, "raft_state", &RaftState::RaftStateKV(KeyValue { key, value }));
    };
    match record {
        Record::Header(_) => {
            let value = HeaderValue { version: version.name(), upgrading: None };
            write_line(out, "header", &HeaderLine::DataHeader(KeyValue { key: "header", value }));
        }
        Record::NodeId(Some(id)) => state("Id", StateValue::NodeId(*id), out),
        Record::Vote(Some(vote)) => state("HardState", StateValue::HardState(vote), out),
        Record::Committed(Some(log_id)) => state("Committed", StateValue::Committed(log_id), out),
        Record::Purged(Some(log_id)) => {
            let meta = KeyValue { key: "LastPurged", value: LogMetaValue::LogId(log_id) };
            write_line(out, "raft_log", &RaftLog::LogMeta(meta));
        }
        Record::NodeId(None) | Record::Vote(None) | Record::Committed(None) | Record::Purged(None) => {}
        Record::LogEntry(entry) => {
            let value = Entry { log_id: &entry.log_id, payload: &entry.payload };
            write_line(out, "raft_log", &RaftLog::Logs(KeyValue { key: entry.log_id.index, value }));
        }
        Record::State(_) => codec::encode(record, out),
    }
}

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
    upgrading: Option<&'a str>,
}

#[derive(Serialize)]
enum RaftState<'a> {
    RaftStateKV(KeyValue<&'a str, StateValue<'a>>),
}

#[derive(Serialize)]
enum StateValue<'a> {
    NodeId(u64),
    HardState(&'a Vote),
    Committed(&'a LogId),
}

#[derive(Serialize)]
enum RaftLog<'a> {
    Logs(KeyValue<u64, Entry<'a>>),
    LogMeta(KeyValue<&'a str, LogMetaValue<'a>>),
}

#[derive(Serialize)]
struct Entry<'a> {
    log_id: &'a LogId,
    payload: &'a Payload,
}

#[derive(Serialize)]
enum LogMetaValue<'a> {
    LogId(&'a LogId),
}
