//! The log of a backup: where it begins and ends, what is in it, and when that was proposed.

use serde::Serialize;

use super::reach::{self, Clock, Reach};
use crate::record::{LogId, Payload, StoredMembership};

/// What the log holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogFacts {
    pub first: LogId,
    pub last: LogId,
    pub entries: u64,
    pub commands: u64,
    pub blanks: u64,
    pub memberships: u64,
    /// Commands that no current server knows.
    pub retired: u64,
    /// Whether each entry follows the one before it.
    pub contiguous: bool,
    /// When the first and the last command with a time were proposed, in ms since 1970.
    pub first_time_ms: Option<u64>,
    pub last_time_ms: Option<u64>,
}

/// Takes every entry, in the order of the file.
#[derive(Default)]
pub(super) struct LogCount {
    facts: Option<LogFacts>,
    membership: Option<StoredMembership>,
    clock: Clock,
}

impl LogCount {
    /// `payload`: `None` for a command that is retired.
    pub(super) fn push(&mut self, log_id: LogId, payload: Option<Payload>) {
        let time_ms = payload.as_ref().and_then(Payload::time_ms);
        self.clock.push(log_id.index, time_ms);
        let facts = self.facts.get_or_insert(LogFacts {
            first: log_id,
            last: log_id,
            entries: 0,
            commands: 0,
            blanks: 0,
            memberships: 0,
            retired: 0,
            contiguous: true,
            first_time_ms: None,
            last_time_ms: None,
        });
        if facts.entries > 0 {
            let follows =
                facts.last.index.checked_add(1) == Some(log_id.index) && facts.last.leader_id <= log_id.leader_id;
            facts.contiguous &= follows;
        }
        facts.entries += 1;
        facts.last = log_id;
        facts.first_time_ms = facts.first_time_ms.or(time_ms);
        facts.last_time_ms = time_ms.or(facts.last_time_ms);
        match payload {
            None => facts.retired += 1,
            Some(Payload::Normal(_)) => facts.commands += 1,
            Some(Payload::Blank) => facts.blanks += 1,
            Some(Payload::Membership(membership)) => {
                facts.memberships += 1;
                self.membership = Some(StoredMembership { log_id: Some(log_id), membership });
            }
        }
    }

    /// The last membership of a file whose state has `stored`.
    pub(super) fn later_membership(&mut self, stored: Option<StoredMembership>) -> Option<StoredMembership> {
        let index = |stored: &StoredMembership| stored.log_id.map(|log_id| log_id.index);
        match (self.membership.take(), stored) {
            (Some(in_log), Some(stored)) if index(&stored) >= index(&in_log) => Some(stored),
            (in_log, stored) => in_log.or(stored),
        }
    }

    /// Where an import may stop. `has_state`: the file has a state machine, which ends at `applied`.
    pub(super) fn reach(&self, has_state: bool, applied: Option<LogId>, needs_new_cluster: bool) -> Option<Reach> {
        let log = self.facts.as_ref();
        if log.is_some_and(|log| !log.contiguous) {
            return None;
        }
        let log = log.map(|log| (log.first.index, log.last.index));
        let (first_index, last_index) = match (applied, log) {
            (Some(applied), Some((first, last))) if first <= applied.index.saturating_add(1) => {
                (applied.index, last.max(applied.index))
            }
            (Some(applied), None) => (applied.index, applied.index),
            (None, Some((0, last))) if !has_state => (0, last),
            _ => return None,
        };
        let moments = log.and_then(|(_, last)| reach::moments(&self.clock, applied.map(|applied| applied.index), last));
        Some(Reach { first_index, last_index, moments, needs_new_cluster })
    }

    pub(super) fn finish(self) -> Option<LogFacts> {
        self.facts
    }
}
