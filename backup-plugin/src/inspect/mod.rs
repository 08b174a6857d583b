//! What is in a backup: what it says of itself, and how many records and bytes of each kind, counted while it goes by,
//! once, in memory that does not grow with it.
//!
//! Proves the seal on the way. Judges nothing else: what is wrong among the records is an import's to refuse, so
//! anything that decodes is counted. Knows nothing of how it is shown.

mod expiring;
mod log;
mod members;
mod prefixes;
mod reach;
mod top;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, io::Read, ops::AddAssign};

use serde::Serialize;

use expiring::Schedule;
use log::LogCount;
use members::Addresses;
use prefixes::Prefixes;
use top::Top;

pub use expiring::{Expiring, NextExpiry};
pub use log::LogFacts;
pub use prefixes::{PrefixRow, PrefixTable};
pub use reach::{Moments, Reach};

use crate::{
    hex::hex,
    input::{DecodedLine, InputError, Reader},
    record::{LogEntry, LogId, MAX_KEY_BYTES, Node, Record, SeqV, StateRecord, StoredMembership, Vote},
    seal::Seal,
    upgrade::{Decoded, Retired},
};

/// Progress is told about once for so many bytes.
const PROGRESS_STEP: u64 = 1024 * 1024;

/// What is wanted of an inspection.
#[derive(Debug, Clone, Copy)]
pub struct InspectOptions {
    /// Prefixes of more parts than this are left out.
    pub depth: usize,
    /// How many prefixes, largest values and next expiries are named.
    pub top: usize,
    /// ms since 1970: what expires is told relative to this.
    pub now_ms: u64,
}

/// What was found, and whether that is all there is.
#[derive(Debug)]
pub struct Inspected {
    pub found: Inspection,
    /// Why reading ended before the file did, or why the file is not the one that was sealed. What was found is what
    /// was read up to there, and nothing vouches for it.
    pub damage: Option<InputError>,
}

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The version of the format.
    pub version: &'static str,
    /// `none`, `zstd` or `gzip`.
    pub compression: String,
    /// Whether its first line says that its last one is a seal.
    pub sealed: bool,
    /// What the seal says; `None` for a file without one, or one that was not proved.
    pub seal: Option<Seal>,
    pub lines: u64,
    /// Of those lines, without any compression.
    pub bytes: u64,
    /// Of the input as it is.
    pub read_bytes: u64,
    /// Of the bytes without compression, 64 lower-case hex digits; `None` for a damaged file.
    pub sha256: Option<String>,
    pub node_id: Option<u64>,
    pub vote: Option<Vote>,
    /// Where the state ends.
    pub last_applied: Option<LogId>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    /// The last sequence number given out.
    pub sequence: Option<u64>,
    /// The last membership, of the log or the state, whichever is later.
    pub membership: Option<StoredMembership>,
    /// Addresses by id, as of the state.
    pub nodes: BTreeMap<u64, Node>,
    /// `None` where there is no log entry.
    pub log: Option<LogFacts>,
    pub records: Records,
    /// What no current server can hold, by kind.
    pub retired: BTreeMap<&'static str, u64>,
    pub keys: Keys,
    /// Where an import may stop; `None` where no state can be made of the file.
    pub reach: Option<Reach>,
}

/// How many, and how many bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub count: u64,
    pub bytes: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.count += other.count;
        self.bytes += other.bytes;
    }
}

impl Count {
    fn one(bytes: usize) -> Count {
        Count { count: 1, bytes: bytes as u64 }
    }
}

/// Lines by kind; bytes are of their text, so all of them together are the file without its compression.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Records {
    pub log_entries: Count,
    pub nodes: Count,
    pub expires: Count,
    pub keys: Count,
    pub retired: Count,
    /// The header, the seal, identity and hard state, what the state machine has once, and what is passed over.
    pub others: Count,
}

impl Records {
    /// Of all kinds.
    pub fn all(&self) -> Count {
        let Records { log_entries, nodes, expires, keys, retired, others } = *self;
        let mut all = Count::default();
        [log_entries, nodes, expires, keys, retired, others].into_iter().for_each(|kind| all += kind);
        all
    }
}

/// The key-value records. Bytes are of keys and values as they are, not as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Keys {
    pub count: u64,
    pub bytes: u64,
    /// In byte order, as today's exports are.
    pub sorted: bool,
    /// Keys of a length that none may have. They are in the two numbers above, and in nothing below.
    pub bad_length: u64,
    pub prefixes: PrefixTable,
    /// The records with the largest values, largest first.
    pub largest: Vec<LargeValue>,
    pub expiring: Expiring,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LargeValue {
    pub key: String,
    pub value_bytes: u64,
}

/// Reads a backup to its end, or to where it is damaged. `name` is what errors call it. `progress` is told how many
/// bytes of the input, as it is, were read.
///
/// # Errors
///
/// The input can not be read, is empty, or does not begin as an export of a version that is read.
pub fn inspect(
    input: impl Read + Send,
    name: &str,
    options: &InspectOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<Inspected, InputError> {
    let mut reader = Reader::open(input, name)?;
    let mut counts = Counts::new(options);
    let mut told = 0;
    let read = reader.for_each_line(|line| {
        if line.read_bytes - told >= PROGRESS_STEP {
            told = line.read_bytes;
            progress(told);
        }
        counts.take(line);
        Ok::<(), InputError>(())
    });
    progress(reader.read_bytes());
    let damage = read.err();
    Ok(Inspected { found: counts.finish(&reader, damage.is_none()), damage })
}

/// What was counted so far. Where a record that should come once comes again, the last one counts.
struct Counts {
    node_id: Option<u64>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    last_applied: Option<LogId>,
    sequence: Option<u64>,
    membership: Option<StoredMembership>,
    state_records: u64,
    /// Whether one of them is there because something was applied.
    has_applied: bool,
    addresses: Addresses,
    log: LogCount,
    records: Records,
    retired: BTreeMap<&'static str, u64>,
    bad_length: u64,
    prefixes: Prefixes,
    largest: Top<usize>,
    schedule: Schedule,
}

impl Counts {
    fn new(options: &InspectOptions) -> Self {
        let InspectOptions { depth, top, now_ms } = *options;
        Counts {
            node_id: None,
            vote: None,
            committed: None,
            purged: None,
            last_applied: None,
            sequence: None,
            membership: None,
            state_records: 0,
            has_applied: false,
            addresses: Addresses::default(),
            log: LogCount::default(),
            records: Records::default(),
            retired: BTreeMap::new(),
            bad_length: 0,
            prefixes: Prefixes::new(depth, top),
            largest: Top::new(top),
            schedule: Schedule::new(now_ms, top),
        }
    }

    fn take(&mut self, line: DecodedLine) {
        let kind = match line.decoded {
            Decoded::Record(record) => self.take_record(record),
            Decoded::Ignored => &mut self.records.others,
            Decoded::Retired(retired) => self.take_retired(&retired),
        };
        *kind += Count::one(line.bytes);
    }

    /// Gives what the record is counted as.
    fn take_record(&mut self, record: Record) -> &mut Count {
        match record {
            Record::Header(_) => {}
            Record::NodeId(id) => self.node_id = id,
            Record::Vote(vote) => self.vote = vote,
            Record::Committed(log_id) => self.committed = log_id,
            Record::Purged(log_id) => self.purged = log_id,
            Record::LogEntry(LogEntry { log_id, payload }) => {
                self.log.push(log_id, Some(payload));
                return &mut self.records.log_entries;
            }
            Record::State(record) => return self.take_state(record),
        }
        &mut self.records.others
    }

    fn take_state(&mut self, record: StateRecord) -> &mut Count {
        self.state_records += 1;
        self.has_applied |= !record.is_blank();
        match record {
            StateRecord::Sequence(sequence) => self.sequence = Some(sequence),
            StateRecord::LastApplied(log_id) => self.last_applied = Some(log_id),
            StateRecord::LastMembership(stored) => self.membership = Some(stored),
            StateRecord::Ignored => {}
            StateRecord::Node { id, node } => {
                self.addresses.push(id, node);
                return &mut self.records.nodes;
            }
            StateRecord::Expire { .. } => return &mut self.records.expires,
            StateRecord::Kv { key, value } => {
                self.take_key(&key, &value);
                return &mut self.records.keys;
            }
        }
        &mut self.records.others
    }

    fn take_key(&mut self, key: &str, value: &SeqV) {
        let size = Count::one(key.len() + value.data.len());
        // What is named is kept, and a longer one would be kept too.
        if !(1..=MAX_KEY_BYTES).contains(&key.len()) {
            self.bad_length += 1;
            self.prefixes.pass(size);
            return;
        }
        self.prefixes.push(key, size);
        self.largest.offer(value.data.len(), key);
        self.schedule.push(key, value);
    }

    fn take_retired(&mut self, retired: &Retired) -> &mut Count {
        let kind = match retired {
            Retired::Record(kind) => kind,
            // Its key is anything.
            Retired::Sequence(_) => "Sequences",
            Retired::Command { name, log_id } => {
                self.log.push(*log_id, None);
                name
            }
        };
        *self.retired.entry(kind).or_default() += 1;
        &mut self.records.retired
    }

    /// `whole`: the file was read to its end.
    fn finish(mut self, reader: &Reader<'_>, whole: bool) -> Inspection {
        if reader.seal().is_some() {
            let bytes = reader.bytes().saturating_sub(self.records.all().bytes);
            self.records.others += Count { count: 1, bytes };
        }
        // As an import has it: the state of a node that has applied nothing names a membership, which is nobody's.
        let has_state = self.state_records > 0 && (self.has_applied || self.membership.is_none());
        let membership = self.log.later_membership(self.membership);
        let voters = membership.as_ref().map_or(0, |stored| stored.membership.voters().len());
        let reach = self.log.reach(has_state, self.last_applied, voters > 1);
        let (total, sorted, prefixes) = self.prefixes.finish();
        let largest = self.largest.into_sorted();
        Inspection {
            version: reader.version().name(),
            compression: reader.compression().to_string(),
            sealed: reader.is_sealed(),
            seal: reader.seal().cloned(),
            lines: reader.lines(),
            // Of a damaged file, more may have been read ahead.
            bytes: self.records.all().bytes,
            read_bytes: reader.read_bytes(),
            sha256: whole.then(|| hex(&reader.sha256())),
            node_id: self.node_id,
            vote: self.vote,
            last_applied: self.last_applied,
            committed: self.committed,
            purged: self.purged,
            sequence: self.sequence,
            membership,
            nodes: self.addresses.finish(),
            log: self.log.finish(),
            records: self.records,
            retired: self.retired,
            keys: Keys {
                count: total.count,
                bytes: total.bytes,
                sorted,
                bad_length: self.bad_length,
                prefixes,
                largest: largest.into_iter().map(|(len, key)| LargeValue { key, value_bytes: len as u64 }).collect(),
                expiring: self.schedule.finish(),
            },
            reach,
        }
    }
}
