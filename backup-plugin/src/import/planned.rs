//! An import that is only planned: the input is read and checked to its end, and the plan that an import would execute is told
//! instead. Knows no target, so what a target alone can tell (a key that is there twice, a command that nobody can apply) is not
//! looked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
};

use super::{
    ImportError, ImportOptions, ImportPlan, Progress, RecordCounts, Warning, check::Checks, error::InputName, feed,
};
use crate::{
    input::Reader,
    record::{LogId, Node, Payload, Record, StateRecord},
};

/// What an engine keeps beside a record: lengths, numbers, its share of indexes.
const RECORD_BYTES: u64 = 48;
/// The same of a log entry.
const ENTRY_BYTES: u64 = 96;
/// Files that are there whatever is in them.
const STORE_BYTES: u64 = 8 * 1024 * 1024;

/// What an import would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedImport {
    pub plan: ImportPlan,
    pub from: OldCluster,
    /// Log entries that are restored and that the state in the backup does not cover.
    pub tail: u64,
    pub records: RecordCounts,
    /// The keys of the state come in order, and none twice.
    pub keys_ascend: bool,
    /// What the new store takes on disk while it is made, roughly, in bytes.
    pub disk_bytes: u64,
    pub warnings: Vec<Warning>,
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

/// Plans the import of `input`; what it takes is what [`run`](super::run) does, without a target.
///
/// # Errors
///
/// Those of an import that are not a target's.
pub fn plan(
    input: impl Read + Send,
    name: &str,
    options: &ImportOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<PlannedImport, ImportError> {
    let mut reader = Reader::open(input, name)?;
    if options.require_seal {
        reader.require_seal()?;
    }
    let name = InputName(name);
    let mut checks = Checks::new(reader.version(), options.drop_retired).stopping_at(options.stop);
    let (mut size, mut order) = (Size::default(), KeyOrder::default());
    let take = |_, record| {
        size.add(&record);
        order.add(&record);
        Ok(())
    };
    feed(&mut reader, &mut checks, take, name, progress)?;
    let facts = checks.finish().map_err(|fault| name.fault(fault))?;
    let plan = ImportPlan::new(&facts, options).map_err(|fault| name.fault(fault))?;
    let warnings = plan.warnings(&facts, reader.seal().is_some());
    // With a tail to apply, the state is written twice.
    let states = if plan.replay_to().is_some() && facts.tail > 0 { 2 } else { 1 };
    Ok(PlannedImport {
        from: OldCluster {
            node_id: facts.hard_state.node_id,
            last: facts.last,
            voters: facts.voters,
            learners: facts.learners,
            nodes: facts.nodes,
        },
        tail: facts.tail,
        records: facts.counts,
        keys_ascend: !order.broken,
        disk_bytes: STORE_BYTES + states * size.state + size.log,
        plan,
        warnings,
    })
}

/// Whether keys ascend.
#[derive(Default)]
struct KeyOrder {
    last: String,
    broken: bool,
}

impl KeyOrder {
    fn add(&mut self, record: &Record) {
        if let Record::State(StateRecord::Kv { key, .. }) = record {
            // No key is empty.
            self.broken |= *key <= self.last;
            self.last.clone_from(key);
        }
    }
}

/// What records take on disk, in bytes.
#[derive(Default)]
struct Size {
    state: u64,
    log: u64,
}

impl Size {
    fn add(&mut self, record: &Record) {
        match record {
            Record::State(StateRecord::Kv { key, value }) => {
                let indexed =
                    if value.expiry_ms().is_some() { 2 * RECORD_BYTES + key.len() as u64 } else { RECORD_BYTES };
                self.state += key.len() as u64 + value.data.len() as u64 + indexed;
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
