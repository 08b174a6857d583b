//! A restore target in memory: keeps the promises of the seam, records what it was told, and fails at the call it is told to. And
//! texts of exports with small changes.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    rc::Rc,
};

use crate::{
    cluster::ContentHasher,
    record::{LogEntry, LogId, SeqV, StateRecord},
    target::{RestoreError, RestoreGeneration, RestoreTarget, RestoredState, Seed, Source},
};

/// What a committed generation was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) seed: Seed,
    pub(super) source: Source,
    pub(super) replayed: bool,
    pub(super) log: Vec<LogEntry>,
    /// As they came, but for the key-value records.
    pub(super) records: Vec<StateRecord>,
    pub(super) keys: BTreeMap<String, SeqV>,
}

#[derive(Default)]
pub(crate) struct MemoryTarget {
    shared: Rc<Shared>,
}

#[derive(Default)]
struct Shared {
    calls: Cell<u64>,
    fail_at: Cell<Option<u64>>,
    live: RefCell<Option<Live>>,
}

impl MemoryTarget {
    /// Fails at call `n`, counted from 1.
    pub(super) fn failing_at(n: u64) -> Self {
        let target = MemoryTarget::default();
        target.shared.fail_at.set(Some(n));
        target
    }

    /// The last generation that was committed.
    pub(super) fn live(&self) -> Option<Live> {
        self.shared.live.borrow().clone()
    }

    pub(super) fn calls(&self) -> u64 {
        self.shared.calls.get()
    }
}

impl Shared {
    fn call(&self, tried: &str) -> Result<(), RestoreError> {
        self.calls.set(self.calls.get() + 1);
        if self.fail_at.get() == Some(self.calls.get()) {
            return Err(RestoreError::Io { tried: tried.to_owned(), source: io::Error::other("the disk is full") });
        }
        Ok(())
    }
}

impl RestoreTarget for MemoryTarget {
    type Generation = MemoryGeneration;

    fn begin(&self) -> Result<MemoryGeneration, RestoreError> {
        self.shared.call("cannot begin")?;
        Ok(MemoryGeneration {
            shared: self.shared.clone(),
            replayed: false,
            sequence: 0,
            applied: None,
            log: Vec::new(),
            records: Vec::new(),
            keys: BTreeMap::new(),
        })
    }
}

pub(crate) struct MemoryGeneration {
    shared: Rc<Shared>,
    replayed: bool,
    sequence: u64,
    applied: Option<LogId>,
    log: Vec<LogEntry>,
    records: Vec<StateRecord>,
    keys: BTreeMap<String, SeqV>,
}

impl RestoreGeneration for MemoryGeneration {
    fn log_entry(&mut self, _line: u64, entry: LogEntry) -> Result<(), RestoreError> {
        self.shared.call("cannot take a log entry")?;
        self.log.push(entry);
        Ok(())
    }

    fn state_record(&mut self, line: u64, record: StateRecord) -> Result<(), RestoreError> {
        self.shared.call("cannot take a record")?;
        match record {
            StateRecord::Sequence(sequence) => self.sequence = sequence,
            StateRecord::LastApplied(log_id) => self.applied = Some(log_id),
            StateRecord::Kv { key, value } => {
                if self.keys.insert(key.clone(), value).is_some() {
                    return Err(RestoreError::Input {
                        line: Some(line),
                        reason: format!("key `{key}` is there twice"),
                    });
                }
                return Ok(());
            }
            StateRecord::LastMembership(_) | StateRecord::Node { .. } => {}
            StateRecord::Expire { .. } | StateRecord::Ignored => panic!("{record:?} is not for a target"),
        }
        self.records.push(record);
        Ok(())
    }

    fn finish_state(&mut self, replay: bool) -> Result<RestoredState, RestoreError> {
        self.shared.call("cannot finish the state")?;
        self.replayed = replay;
        if replay {
            self.applied = self.applied.max(self.log.last().map(|entry| entry.log_id));
        }
        let mut hasher = ContentHasher::new();
        for (key, value) in &self.keys {
            hasher.push(key, value);
        }
        Ok(RestoredState {
            last_applied: self.applied,
            sequence: self.sequence,
            keys: self.keys.len() as u64,
            digest: hasher.finish(),
        })
    }

    fn commit(self, seed: Seed, source: Source) -> Result<(), RestoreError> {
        self.shared.call("cannot commit")?;
        let MemoryGeneration { shared, replayed, log, records, keys, .. } = self;
        *shared.live.borrow_mut() = Some(Live { seed, source, replayed, log, records, keys });
        Ok(())
    }
}

/// A change to a text; lines count from 1.
pub(super) enum Edit {
    /// Replaces the first text by the second in a line.
    Change(usize, &'static str, &'static str),
    /// Puts a line before another.
    Insert(usize, &'static str),
    Remove(usize),
    /// Keeps so many lines.
    Cut(usize),
}

/// The text with changes, one after the other.
pub(super) fn edited(text: &str, edits: &[Edit]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for edit in edits {
        match *edit {
            Edit::Change(line, from, to) => {
                assert!(lines[line - 1].contains(from), "{from} is not in {}", lines[line - 1]);
                lines[line - 1] = lines[line - 1].replacen(from, to, 1);
            }
            Edit::Insert(line, text) => lines.insert(line - 1, text.to_owned()),
            Edit::Remove(line) => drop(lines.remove(line - 1)),
            Edit::Cut(count) => lines.truncate(count),
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
