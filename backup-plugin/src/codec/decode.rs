//! One line of text into one record. The shapes below are the JSON of the format; what they may not say is refused by name.

use serde::{
    Deserialize,
    de::{IgnoredAny, SeqAccess},
};

use super::{
    SEQUENCE_KEY, kv,
    tree::{Line, Tree, read_line},
    version::UnknownVersion,
};
use crate::record::{Header, KvMeta, LogEntry, LogId, Node, Record, SeqV, StateRecord, StoredMembership, Vote};

/// Why a line is not a record.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or not the JSON of a record. Columns count bytes from 1.
    #[error("{reason} at column {column}")]
    Json { reason: String, column: usize },
    #[error("unknown tree `{tree}`: this version of the format has {known}")]
    UnknownTree { tree: String, known: &'static str },
    #[error("unknown key `{key}` in a `{kind}` record")]
    UnknownKey { kind: &'static str, key: String },
    #[error("the value of `{key}` is a `{found}`")]
    WrongValue { key: String, found: &'static str },
    #[error("the entry is filed under index {index}, but says that it is {log_id}")]
    WrongIndex { index: u64, log_id: LogId },
    #[error(transparent)]
    Version(#[from] UnknownVersion),
    #[error("the store was stopped half way through an upgrade to {0}: let the upgrade finish, then export again")]
    Upgrading(String),
    #[error("a seal where a record must be")]
    Seal,
}

/// The same reason without "line 1": a line does not know its number, its reader does.
impl From<serde_json::Error> for DecodeError {
    fn from(error: serde_json::Error) -> Self {
        let text = error.to_string();
        let position = format!(" at line {} column {}", error.line(), error.column());
        let reason = text.strip_suffix(&position).unwrap_or(&text).to_owned();
        DecodeError::Json { reason, column: error.column() }
    }
}

/// Reads one line of an export, without its newline.
///
/// Unknown fields are passed over; an unknown tree, kind or key is an error that names it.
pub fn decode(line: &str) -> Result<Record, DecodeError> {
    match kv::read(line) {
        Some(record) => Ok(Record::State(record)),
        None => decode_any(line),
    }
}

/// Reads any line, as the general JSON reader does.
pub(super) fn decode_any(line: &str) -> Result<Record, DecodeError> {
    match read_line(line)? {
        CurrentLine::Header(header) => decode_header(header).map(Record::Header),
        CurrentLine::RaftLog(record) => Ok(match record {
            LogLine::NodeId(id) => Record::NodeId(id),
            LogLine::Vote(vote) => Record::Vote(vote),
            LogLine::Committed(log_id) => Record::Committed(log_id),
            LogLine::Purged(log_id) => Record::Purged(log_id),
            LogLine::LogEntry(entry) => Record::LogEntry(entry),
        }),
        CurrentLine::StateMachine(record) => decode_state(record).map(Record::State),
        CurrentLine::Unknown(tree) => {
            Err(DecodeError::UnknownTree { tree, known: "`header`, `raft_log` and `state_machine/<n>`" })
        }
    }
}

/// A header of any version, which is its reader's to know.
pub(crate) fn decode_header(HeaderLine::DataHeader(header): HeaderLine) -> Result<Header, DecodeError> {
    let KeyValue { key, value } = header;
    match key.as_str() {
        "header" => {}
        "seal" => return Err(DecodeError::Seal),
        _ => return Err(DecodeError::UnknownKey { kind: "DataHeader", key }),
    }
    if let Some(version) = value.upgrading {
        return Err(DecodeError::Upgrading(version));
    }
    Ok(Header { version: value.version, sealed: value.sealed })
}

fn decode_state(record: StateLine) -> Result<StateRecord, DecodeError> {
    match record {
        StateLine::Sequences(KeyValue { key, value }) if key == SEQUENCE_KEY => Ok(StateRecord::Sequence(value)),
        StateLine::Sequences(KeyValue { key, .. }) => Err(DecodeError::UnknownKey { kind: "Sequences", key }),
        StateLine::StateMachineMeta(KeyValue { key, value }) => match (key.as_str(), value) {
            ("LastApplied", MetaValue::LogId(log_id)) => Ok(StateRecord::LastApplied(log_id)),
            ("LastMembership", MetaValue::Membership(membership)) => Ok(StateRecord::LastMembership(membership)),
            ("Initialized", MetaValue::Bool(_initialized)) => Ok(StateRecord::Ignored),
            ("LastApplied" | "LastMembership" | "Initialized", value) => {
                Err(DecodeError::WrongValue { key, found: value.kind() })
            }
            _ => Err(DecodeError::UnknownKey { kind: "StateMachineMeta", key }),
        },
        StateLine::Nodes(KeyValue { key: id, value: node }) => Ok(StateRecord::Node { id, node }),
        StateLine::Expire(KeyValue { key, value }) => {
            Ok(StateRecord::Expire { time_ms: key.time_ms, seq: key.seq, key: value.key })
        }
        StateLine::GenericKV(KeyValue { key, value: KvValue { seq, meta, data } }) => {
            Ok(StateRecord::Kv { key, value: SeqV { seq, meta, data } })
        }
    }
}

/// A line of the current version.
enum CurrentLine {
    Header(HeaderLine),
    RaftLog(LogLine),
    StateMachine(StateLine),
    Unknown(String),
}

impl Line for CurrentLine {
    fn read<'de, A: SeqAccess<'de>>(tree: Tree, seq: &mut A) -> Result<Option<Self>, A::Error> {
        let unknown = |tree: &str| CurrentLine::Unknown(tree.to_owned());
        Ok(match tree {
            Tree::Header => seq.next_element()?.map(CurrentLine::Header),
            Tree::RaftLog => seq.next_element()?.map(CurrentLine::RaftLog),
            Tree::StateMachine => seq.next_element()?.map(CurrentLine::StateMachine),
            Tree::RaftState => seq.next_element::<IgnoredAny>()?.map(|_| unknown("raft_state")),
            Tree::Unknown(tree) => seq.next_element::<IgnoredAny>()?.map(|_| unknown(&tree)),
        })
    }
}

#[derive(Deserialize)]
pub(crate) struct KeyValue<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
}

#[derive(Deserialize)]
pub(crate) enum HeaderLine {
    DataHeader(KeyValue<String, HeaderValue>),
}

#[derive(Deserialize)]
pub(crate) struct HeaderValue {
    version: String,
    #[serde(default)]
    upgrading: Option<String>,
    #[serde(default)]
    sealed: bool,
}

#[derive(Deserialize)]
enum LogLine {
    NodeId(Option<u64>),
    Vote(Option<Vote>),
    Committed(Option<LogId>),
    Purged(Option<LogId>),
    LogEntry(LogEntry),
}

#[derive(Deserialize)]
enum StateLine {
    Sequences(KeyValue<String, u64>),
    StateMachineMeta(KeyValue<String, MetaValue>),
    Nodes(KeyValue<u64, Node>),
    Expire(KeyValue<ExpireKey, ExpireValue>),
    GenericKV(KeyValue<String, KvValue>),
}

#[derive(Deserialize)]
enum MetaValue {
    LogId(LogId),
    Membership(StoredMembership),
    Bool(bool),
}

impl MetaValue {
    /// The name it goes by in the format.
    fn kind(&self) -> &'static str {
        match self {
            MetaValue::LogId(_) => "LogId",
            MetaValue::Membership(_) => "Membership",
            MetaValue::Bool(_) => "Bool",
        }
    }
}

#[derive(Deserialize)]
struct ExpireKey {
    time_ms: u64,
    seq: u64,
}

/// Its `seq` is passed over: old writers left it out or wrote another number.
#[derive(Deserialize)]
struct ExpireValue {
    key: String,
}

/// A [`SeqV`] whose data is an array of byte values and nothing else; `SeqV` itself would take a string for bytes.
#[derive(Deserialize)]
struct KvValue {
    seq: u64,
    #[serde(default)]
    meta: Option<KvMeta>,
    data: Vec<u8>,
}
