//! What an import tells: how far it is, what it read, what it made, and what the operator should know.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    codec::Version,
    input::Compression,
    record::{LogId, Record, StateRecord},
    seal::Seal,
};

/// How far the reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub lines: u64,
    /// Of the input as it is: compressed.
    pub bytes: u64,
}

/// What became of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportOutcome {
    /// The new generation is live.
    Imported(ImportSummary),
    /// The live generation came from this very input: nothing was changed.
    Unchanged(ImportSummary),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportSummary {
    /// The node that the new generation is.
    pub node_id: u64,
    /// The id of the new cluster, when a list was given.
    pub cluster_id: Option<String>,
    /// Where the new state ends; `None` when all of it is in the log.
    pub last_applied: Option<LogId>,
    /// Log entries in the file that its state machine does not cover.
    pub tail: u64,
    /// Key-value records in the new state.
    pub keys: u64,
    /// The last sequence number given out.
    pub sequence: u64,
    /// Of the format that the file is in.
    pub version: Version,
    pub compression: Compression,
    pub lines: u64,
    /// Without any compression.
    pub bytes: u64,
    /// Of those bytes, 64 lower-case hex digits.
    pub sha256: String,
    /// The content digest of the new state, 64 lower-case hex digits.
    pub content: String,
    pub records: RecordCounts,
    /// What was left out because no current server can hold it, by kind.
    pub dropped: BTreeMap<String, u64>,
    /// `None`: the file has none.
    pub seal: Option<Seal>,
    pub warnings: Vec<Warning>,
}

/// How many records of each kind the file holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordCounts {
    pub log_entries: u64,
    pub nodes: u64,
    pub expires: u64,
    pub keys: u64,
    /// The header, identity and hard state, and what the state machine has once.
    pub others: u64,
}

impl RecordCounts {
    pub(super) fn push(&mut self, record: &Record) {
        let count = match record {
            Record::LogEntry(_) => &mut self.log_entries,
            Record::State(StateRecord::Node { .. }) => &mut self.nodes,
            Record::State(StateRecord::Expire { .. }) => &mut self.expires,
            Record::State(StateRecord::Kv { .. }) => &mut self.keys,
            _ => &mut self.others,
        };
        *count += 1;
    }
}

/// What an import can not know, and the operator should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The file has no seal.
    Unsealed,
    /// So many of each kind were left out: no current server can hold them.
    Retired(BTreeMap<String, u64>),
    /// The log up to this id, LastApplied, was left out: it starts in the middle, or holds what is retired.
    LogDropped { applied: LogId },
    /// One node of several was restored as it was.
    OneOfMany { node_id: u64, voters: BTreeSet<u64> },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Unsealed => {
                f.write_str("the file has no seal: if it was cut at the end of a line, that can not be seen")
            }
            Warning::Retired(counts) => {
                f.write_str("left out, because no current server can hold them:")?;
                for (i, (kind, count)) in counts.iter().enumerate() {
                    write!(f, "{} {count} {kind}", if i == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Warning::LogDropped { applied } => write!(
                f,
                "the log up to {applied}, which the state machine includes, was left out: it starts in the middle, or \
                 holds commands that are retired"
            ),
            Warning::OneOfMany { node_id, voters } => write!(
                f,
                "this restores node {node_id}, one of {} voters: restore all of them from their own files, or none",
                voters.len()
            ),
        }
    }
}
