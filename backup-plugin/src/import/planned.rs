//! An import that is planned: what it would do, and what that takes, for an operator to look at. Plain data, and a
//! rough sum.

use std::collections::{BTreeMap, BTreeSet};

use super::{ImportPlan, ImportSummary, check::Facts};
use crate::record::{LogId, Node, Payload, Record, StateRecord};

/// What an engine keeps beside a record: lengths, numbers, its share of indexes. Keys that begin alike take less.
const RECORD_BYTES: u64 = 12;
/// The time and the number in the key of the index of what expires.
const EXPIRY_BYTES: u64 = 16;
/// What is kept beside a log entry.
const ENTRY_BYTES: u64 = 96;
/// A record of so many bytes fills a block of the table, and has its key in the index once more.
const BLOCK: usize = 4096;
/// Files that are there whatever is in them, and what is kept ready behind the end of the log.
const STORE_BYTES: u64 = 1024 * 1024;

/// What an import would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedImport {
    pub plan: ImportPlan,
    pub from: OldCluster,
    /// What the import would tell of itself once it is done.
    pub summary: ImportSummary,
    /// What the new store takes on disk while it is made, roughly, in bytes.
    pub disk_bytes: u64,
    /// Of them, those of the log.
    pub log_bytes: u64,
}

/// What a backup says of the cluster that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldCluster {
    pub node_id: Option<u64>,
    /// Where the restored state ends.
    pub last: LogId,
    pub voters: BTreeSet<u64>,
    pub learners: BTreeSet<u64>,
    pub nodes: BTreeMap<u64, Node>,
}

impl PlannedImport {
    pub(super) fn new(plan: ImportPlan, facts: Facts, summary: ImportSummary, size: Size) -> Self {
        // With a tail to apply, the state is written twice.
        let states = if plan.replay_to().is_some() && facts.tail > 0 { 2 } else { 1 };
        PlannedImport {
            from: OldCluster {
                node_id: facts.hard_state.node_id,
                last: facts.last,
                voters: facts.voters,
                learners: facts.learners,
                nodes: facts.nodes,
            },
            summary,
            disk_bytes: STORE_BYTES + states * size.state + size.log,
            log_bytes: size.log,
            plan,
        }
    }
}

/// What records take on disk, in bytes.
#[derive(Default)]
pub(super) struct Size {
    state: u64,
    log: u64,
}

impl Size {
    pub(super) fn add(&mut self, record: &Record) {
        match record {
            Record::State(StateRecord::Kv { key, value }) => {
                // The index is sorted on disk first.
                let index = 2 * (EXPIRY_BYTES + key.len() as u64 + RECORD_BYTES);
                let indexed = RECORD_BYTES + if value.expiry_ms().is_some() { index } else { 0 };
                let in_index = if key.len() + value.data.len() >= BLOCK { key.len() as u64 } else { 0 };
                self.state += key.len() as u64 + value.data.len() as u64 + indexed + in_index;
            }
            // The bytes of a value take up to four times as many as JSON, and about as many as they are in the log.
            Record::LogEntry(entry) => {
                self.log += ENTRY_BYTES
                    + match &entry.payload {
                        Payload::Normal(json) => json.get().len() as u64 / 2,
                        Payload::Blank | Payload::Membership(_) => 0,
                    };
            }
            _ => {}
        }
    }
}
