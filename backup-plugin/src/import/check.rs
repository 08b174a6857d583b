//! What an input must be to be imported: each record as it comes, then all of them against each other.
//!
//! Knows nothing of text, of targets, or of what the operator asked for.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Once, Refusal, Stop,
    length::check_length,
    log::{LogCheck, check_membership},
    retired::RetiredCheck,
    room::check_room,
    state::StateCheck,
    summary::RecordCounts,
};
use crate::{
    codec::Version,
    record::{HardState, Header, LogId, Membership, Node, Record, StateRecord, Vote},
    upgrade::Decoded,
};

/// Takes every record of an input, then tells what they come to.
#[derive(Debug, Default)]
pub(super) struct Checks {
    version: Version,
    header: Once<Header>,
    node_id: Once<Option<u64>>,
    vote: Once<Option<Vote>>,
    committed: Once<Option<LogId>>,
    purged: Once<Option<LogId>>,
    log: LogCheck,
    state: StateCheck,
    retired: RetiredCheck,
    counts: RecordCounts,
}

/// What an input that passed its checks says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// As the file has it, but for a `purged` that was raised.
    pub(super) hard_state: HardState,
    /// The line that told the node id.
    pub(super) node_id_line: Option<u64>,
    /// Where the restored state ends: with the last log entry, or the state if that is ahead, or where the import was told to stop.
    pub(super) last: LogId,
    /// What the file has as of its state: addresses, by id.
    pub(super) nodes: BTreeMap<u64, Node>,
    /// By the last membership that is restored.
    pub(super) learners: BTreeSet<u64>,
    /// Log entries that the state machine does not cover yet.
    pub(super) tail: u64,
    /// Who votes by the last membership that the file knows.
    pub(super) voters: BTreeSet<u64>,
    pub(super) counts: RecordCounts,
    /// The log up to LastApplied, which is this, is not to be kept although the file has it.
    pub(super) log_dropped: Option<LogId>,
    /// What was left out because it is retired, by kind.
    pub(super) retired: BTreeMap<String, u64>,
}

/// A refusal of the input as a whole, with the line that shows it best.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) line: Option<u64>,
    pub(super) refusal: Refusal,
}

impl Checks {
    /// `drop_retired`: whether the operator lets retired records go.
    pub(super) fn new(version: Version, drop_retired: bool) -> Self {
        Checks { version, retired: RetiredCheck::new(drop_retired), ..Checks::default() }
    }

    /// For an import that stops there.
    pub(super) fn stopping_at(self, stop: Option<Stop>) -> Self {
        Checks { log: LogCheck::stopping_at(stop), ..self }
    }

    /// Checks what `line` says against what those before it said. Gives the record to hand on, if it is of use to a target:
    /// identity and hard state go into the seed, the expire index is rebuilt, and log entries beyond the stop are left out.
    pub(super) fn push(&mut self, line: u64, decoded: Decoded) -> Result<Option<Record>, Refusal> {
        let record = match decoded {
            Decoded::Record(record) => record,
            Decoded::Ignored => {
                self.counts.others += 1;
                return Ok(None);
            }
            Decoded::Retired(retired) => match self.retired.push(line, retired)? {
                Some(entry) => Record::LogEntry(entry),
                None => return Ok(None),
            },
        };
        self.counts.push(&record);
        self.check(line, &record)?;
        let restored = match &record {
            Record::LogEntry(_) => !self.log.is_past_stop(),
            Record::State(record) => !matches!(record, StateRecord::Expire { .. } | StateRecord::Ignored),
            _ => false,
        };
        Ok(restored.then_some(record))
    }

    fn check(&mut self, line: u64, record: &Record) -> Result<(), Refusal> {
        check_room(record)?;
        check_length(record)?;
        match record {
            Record::Header(_) if line > 1 && self.header.get().is_none() => Err(Refusal::HeaderLate),
            Record::Header(header) => self.header.set("header", line, header.clone()),
            Record::NodeId(id) => self.node_id.set("NodeId", line, *id),
            Record::Vote(vote) => self.vote.set("Vote", line, *vote),
            Record::Committed(log_id) => self.committed.set("Committed", line, *log_id),
            Record::Purged(log_id) => self.purged.set("Purged", line, *log_id),
            Record::LogEntry(entry) => self.log.push(line, entry),
            Record::State(record) => self.state.push(line, record),
        }
    }

    /// Checks all records against each other, once the last one is in.
    pub(super) fn finish(self) -> Result<Facts, Fault> {
        let headless = self.check_log_start()?;
        let retired = self.retired.ends_log(self.state.applied.get().copied())?;
        self.state.check_sequence().map_err(|at| Fault { line: Some(at.line), refusal: at.value })?;
        let end = match (self.log.last(), self.check_state()?) {
            (Some(log), Some(applied)) if log.index > applied.index => log,
            (Some(log), Some(applied)) => {
                // A log below its state: a node that took a snapshot and stopped before it cleared its old log.
                check_above("the last log entry", log, "LastApplied", applied).map_err(whole)?;
                applied
            }
            (Some(last), None) | (None, Some(last)) => last,
            (None, None) => return Err(whole(Refusal::NoState)),
        };
        self.check_log_ids(end)?;
        let applied = self.state.applied.get().copied();
        let last = self.log.end(applied, end).map_err(whole)?;
        let log_dropped = applied.filter(|_| headless || retired);
        let membership = self.membership();
        Ok(Facts {
            hard_state: HardState {
                node_id: self.node_id.known(),
                vote: self.vote.known(),
                committed: self.committed.known().map(|known| if known.index > last.index { last } else { known }),
                purged: log_dropped.or(self.purged.known()),
            },
            node_id_line: self.node_id.line(),
            last,
            tail: self.log.len_above(applied.map(|applied| applied.index)) - (end.index - last.index),
            voters: membership.map(Membership::voters).unwrap_or_default(),
            learners: membership.map(Membership::learners).unwrap_or_default(),
            nodes: self.state.nodes.clone(),
            counts: self.counts,
            log_dropped,
            retired: self.retired.counts(),
        })
    }

    /// The log starts right after what was purged, or at 0. Whether it does neither, and nothing says what came before, which is
    /// well where the state machine covers that.
    fn check_log_start(&self) -> Result<bool, Fault> {
        let (Some(first), Some(last)) = (self.log.first(), self.log.last()) else { return Ok(false) };
        let fault = |refusal| Err(Fault { line: Some(first.line), refusal });
        let first = first.value;
        let Some(purged) = self.purged.known() else {
            let covered = |applied: &LogId| first.index <= applied.index + 1 && last.index >= applied.index;
            return match first.index {
                0 => Ok(false),
                _ if self.version.lacks_purged() && self.state.applied.get().is_some_and(covered) => Ok(true),
                _ => fault(Refusal::LogStart { first, expected: 0 }),
            };
        };
        // Older servers wrote down what they were about to purge before they did: it may still be there.
        let still_there = self.version < Version::V004 && first.index <= purged.index;
        if purged.index.checked_add(1) != Some(first.index) && !still_there {
            return fault(Refusal::LogStart { first, expected: purged.index.saturating_add(1) });
        }
        if first.index > purged.index && first.leader_id < purged.leader_id {
            return fault(Refusal::LogBack { previous: purged, found: first });
        }
        Ok(false)
    }

    /// A state machine says what it is at, or is not there at all, or that of a node that has applied nothing: then the log tells
    /// the whole of it. Returns LastApplied.
    fn check_state(&self) -> Result<Option<LogId>, Fault> {
        if self.state.is_empty() {
            return match self.purged.known() {
                Some(purged) => Err(whole(Refusal::LogWithoutState { purged })),
                None => Ok(None),
            };
        }
        // Its log is then checked to begin at 0, and to be there.
        if self.state.is_blank() && self.purged.known().is_none() {
            return Ok(None);
        }
        let missing = |missing| whole(Refusal::StateIncomplete { missing });
        let applied = *self.state.applied.get().ok_or_else(|| missing("LastApplied"))?;
        let membership = self.state.membership.get().ok_or_else(|| missing("LastMembership"))?;
        check_membership(&membership.membership)
            .map_err(|refusal| Fault { line: self.state.membership.line(), refusal })?;
        Ok(Some(applied))
    }

    /// Every log id that speaks of the log agrees with it, and with `last`, where the file ends.
    ///
    /// `Committed` has no lower bound: a node writes it down late, so one below LastApplied is stale, not wrong.
    fn check_log_ids(&self, last: LogId) -> Result<(), Fault> {
        let applied = self.state.applied.get().copied();
        let membership = self.state.membership.get().and_then(|stored| stored.log_id);
        let known = [
            ("Purged", self.purged.known(), self.purged.line()),
            ("LastMembership", membership, self.state.membership.line()),
            ("LastApplied", applied, self.state.applied.line()),
            ("Committed", self.committed.known(), self.committed.line()),
        ];
        for (name, log_id, line) in known {
            let Some(log_id) = log_id else { continue };
            let (limit_name, limit) = match (name, applied) {
                ("Purged" | "LastMembership", Some(applied)) => ("LastApplied", applied),
                _ => ("the last log id", last),
            };
            self.check_in_log(name, log_id)
                .and_then(|()| check_above(name, log_id, limit_name, limit))
                .map_err(|refusal| Fault { line, refusal })?;
        }
        Ok(())
    }

    fn check_in_log(&self, name: &'static str, log_id: LogId) -> Result<(), Refusal> {
        match self.log.at(log_id.index) {
            Some(entry) if entry != log_id => Err(Refusal::NotInLog { name, log_id, entry }),
            _ => Ok(()),
        }
    }

    /// The last one that is restored.
    fn membership(&self) -> Option<&Membership> {
        let applied = self.state.membership.get();
        match (self.log.membership(), applied) {
            // The log's last membership is news only if the state does not have a later one.
            (Some((index, in_log)), Some(stored)) if stored.log_id.is_none_or(|log_id| *index > log_id.index) => {
                Some(in_log)
            }
            (_, Some(stored)) => Some(&stored.membership),
            (Some((_, in_log)), None) => Some(in_log),
            (None, None) => None,
        }
    }
}

/// Both are log ids of the same history: the lower one by index is the lower one by leader too, and one index has one id.
fn check_above(name: &'static str, log_id: LogId, limit_name: &'static str, limit: LogId) -> Result<(), Refusal> {
    let fits = log_id == limit || (log_id.index < limit.index && log_id.leader_id <= limit.leader_id);
    if fits { Ok(()) } else { Err(Refusal::Above { name, log_id, limit_name, limit }) }
}

fn whole(refusal: Refusal) -> Fault {
    Fault { line: None, refusal }
}
