//! An export as a reader of an older version takes it: records of the current one in, in the order of an export; lines of the
//! older one out, in its order. Memory stays constant.
//!
//! ```text
//! current  header, id, vote, committed, purged, log, sequence, applied, membership, nodes, expiries, keys
//! older    header, id, vote, committed, log, purged, nodes, applied, membership, expiries, keys, sequence
//! ```
//! Commands are the host's: it says how they looked, and which of them nobody could read then.

mod lines;

#[cfg(test)]
mod tests;

use serde_json::value::RawValue;

use crate::{
    codec::Version,
    record::{KvMeta, LogEntry, LogId, Payload, Record, StateRecord, is_milliseconds},
};

/// The versions that can be written for.
pub const WRITTEN: [Version; 2] = [Version::V002, Version::V003];

/// How a host's commands looked in an older version.
pub trait OlderCommands {
    /// The JSON object `{"time_ms":…,"cmd":…}` in the form of V002 and V003.
    fn rewrite(&self, command: &RawValue) -> Result<Older, String>;
}

/// A command for an older reader.
#[derive(Debug)]
pub enum Older {
    /// It means there what it means here.
    Same(Box<RawValue>),
    /// It can be read, but whoever applies it passes over what is named.
    Misread { command: Box<RawValue>, what: &'static str },
    /// It can not be read: nobody knew what is named.
    Unreadable { what: &'static str },
}

/// Why an export can not be written for an older reader.
#[derive(Debug, thiserror::Error)]
pub enum DowngradeError {
    #[error("log entry {log_id} holds {what}, which no program of {version} can read")]
    Unreadable { version: Version, log_id: LogId, what: &'static str },
    #[error(
        "log entry {log_id} holds {what}, which a program of {version} passes over, and nothing says that it is applied: that \
         program would come to another state"
    )]
    Misread { version: Version, log_id: LogId, what: &'static str },
    #[error("log entry {log_id}: {reason}")]
    Command { log_id: LogId, reason: String },
}

impl DowngradeError {
    /// Whether it helps to leave out the log that the state machine includes.
    pub fn goes_with_log(&self, applied: Option<LogId>) -> bool {
        match self {
            DowngradeError::Unreadable { log_id, .. } => applied.is_some_and(|applied| log_id.index <= applied.index),
            DowngradeError::Misread { .. } | DowngradeError::Command { .. } => false,
        }
    }
}

/// What a reader of an older version may make of an export that it can read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caveats {
    /// Records that expire at a time in milliseconds: older programs took it for seconds.
    pub millisecond_expiries: u64,
}

/// Writes one export for readers of an older version.
pub struct Downgrade<C> {
    version: Version,
    commands: C,
    /// LastApplied, as far as it is known before the log.
    applied: Option<LogId>,
    drop_log: bool,
    // Held until their turn.
    purged: Option<LogId>,
    meta: Vec<StateRecord>,
    sequence: Option<StateRecord>,
    caveats: Caveats,
}

impl<C: OlderCommands> Downgrade<C> {
    /// `version` is one of [`WRITTEN`]. `applied`: where the state machine ends, `None` where that is not known yet.
    pub fn new(version: Version, commands: C, applied: Option<LogId>) -> Self {
        Downgrade {
            version,
            commands,
            applied,
            drop_log: false,
            purged: None,
            meta: Vec::new(),
            sequence: None,
            caveats: Caveats::default(),
        }
    }

    /// Leaves out the log that the state machine includes: everything up to `applied`.
    #[must_use]
    pub fn without_applied_log(mut self, drop: bool) -> Self {
        self.drop_log = drop;
        self
    }

    /// Takes the next record; gives what is to be written for it, without newlines.
    pub fn push(&mut self, record: Record) -> Result<Vec<String>, DowngradeError> {
        let mut out = Vec::new();
        match record {
            Record::Purged(purged) => self.purged = purged,
            Record::LogEntry(entry) if self.is_dropped(entry.log_id) => {}
            Record::LogEntry(entry) => {
                let entry = Record::LogEntry(self.entry(entry)?);
                self.line(&entry, &mut out);
            }
            Record::State(record) => {
                self.end_log(&mut out);
                self.state(record, &mut out);
            }
            record @ (Record::Header(_) | Record::NodeId(_) | Record::Vote(_) | Record::Committed(_)) => {
                self.line(&record, &mut out);
            }
        }
        Ok(out)
    }

    /// What is left to be written, and what its reader should know.
    pub fn finish(mut self) -> (Vec<String>, Caveats) {
        let mut out = Vec::new();
        self.end_log(&mut out);
        self.end_meta(&mut out);
        if let Some(sequence) = self.sequence.take() {
            self.line(&Record::State(sequence), &mut out);
        }
        (out, self.caveats)
    }

    fn is_dropped(&self, log_id: LogId) -> bool {
        self.drop_log && self.is_applied(log_id)
    }

    fn is_applied(&self, log_id: LogId) -> bool {
        self.applied.is_some_and(|applied| log_id.index <= applied.index)
    }

    fn entry(&self, LogEntry { log_id, payload }: LogEntry) -> Result<LogEntry, DowngradeError> {
        let Payload::Normal(command) = payload else { return Ok(LogEntry { log_id, payload }) };
        let version = self.version;
        let older = self.commands.rewrite(&command).map_err(|reason| DowngradeError::Command { log_id, reason })?;
        let command = match older {
            Older::Same(command) => command,
            // It is never applied again.
            Older::Misread { command, .. } if self.is_applied(log_id) => command,
            Older::Misread { what, .. } => return Err(DowngradeError::Misread { version, log_id, what }),
            Older::Unreadable { what } => return Err(DowngradeError::Unreadable { version, log_id, what }),
        };
        Ok(LogEntry { log_id, payload: Payload::Normal(command) })
    }

    fn state(&mut self, record: StateRecord, out: &mut Vec<String>) {
        match record {
            StateRecord::Sequence(_) => self.sequence = Some(record),
            StateRecord::LastApplied(_) | StateRecord::LastMembership(_) => self.meta.push(record),
            StateRecord::Node { .. } => self.line(&Record::State(record), out),
            StateRecord::Expire { .. } | StateRecord::Kv { .. } => {
                if let StateRecord::Kv { value, .. } = &record
                    && let Some(KvMeta { expire_at: Some(expire_at), .. }) = value.meta
                    && is_milliseconds(expire_at)
                {
                    self.caveats.millisecond_expiries += 1;
                }
                self.end_meta(out);
                self.line(&Record::State(record), out);
            }
            StateRecord::Ignored => {}
        }
    }

    fn end_log(&mut self, out: &mut Vec<String>) {
        let mut purged = self.purged.take();
        if self.drop_log {
            // Once: what comes after the log finds nothing to drop.
            self.drop_log = false;
            purged = purged.max(self.applied);
        }
        self.line(&Record::Purged(purged), out);
    }

    fn end_meta(&mut self, out: &mut Vec<String>) {
        for record in std::mem::take(&mut self.meta) {
            self.line(&Record::State(record), out);
        }
    }

    fn line(&self, record: &Record, out: &mut Vec<String>) {
        let mut text = Vec::new();
        lines::encode(self.version, record, &mut text);
        if !text.is_empty() {
            out.push(String::from_utf8(text).expect("JSON is UTF-8"));
        }
    }
}
