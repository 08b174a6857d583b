//! The log as it goes by: one entry after the other, without a gap, leaders never going back.
//!
//! Remembers enough to say which entry stands at an index: where the log starts, where it ends, and where leaders change.

use std::collections::BTreeSet;

use super::{
    At, Refusal,
    stop::{Stop, Stopper},
};
use crate::record::{LeaderId, LogEntry, LogId, Membership, Payload};

#[derive(Debug, Default)]
pub(super) struct LogCheck {
    first: Option<At<LogId>>,
    last: Option<LogId>,
    /// For each leader, the index of its first entry; indexes ascend.
    leaders: Vec<(u64, LeaderId)>,
    membership: Option<(u64, Membership)>,
    stopper: Stopper,
}

impl LogCheck {
    pub(super) fn stopping_at(stop: Option<Stop>) -> Self {
        LogCheck { stopper: Stopper::new(stop), ..LogCheck::default() }
    }

    pub(super) fn push(&mut self, line: u64, entry: &LogEntry) -> Result<(), Refusal> {
        let log_id = entry.log_id;
        if let Some(last) = self.last {
            if last.index.checked_add(1) != Some(log_id.index) {
                return Err(Refusal::LogGap { expected: last.index.saturating_add(1), found: log_id.index });
            }
            if log_id.leader_id < last.leader_id {
                return Err(Refusal::LogBack { previous: last, found: log_id });
            }
        }
        if let Payload::Membership(membership) = &entry.payload {
            check_membership(membership)?;
        }
        let taken = self.stopper.takes(entry);
        if let Payload::Membership(membership) = &entry.payload
            && taken
        {
            self.membership = Some((log_id.index, membership.clone()));
        }
        if self.leaders.last().is_none_or(|(_, leader)| *leader != log_id.leader_id) {
            self.leaders.push((log_id.index, log_id.leader_id));
        }
        self.first.get_or_insert(At { line, value: log_id });
        self.last = Some(log_id);
        Ok(())
    }

    /// The first entry, and its line.
    pub(super) fn first(&self) -> Option<At<LogId>> {
        self.first
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.last
    }

    /// Whether the last entry, and so all that follow, lies beyond the point where the import stops.
    pub(super) fn is_past_stop(&self) -> bool {
        self.stopper.is_past()
    }

    /// Where the restored state ends, of a backup whose state is at `applied`, and whose log or state ends at `end`.
    pub(super) fn end(&self, applied: Option<LogId>, end: LogId) -> Result<LogId, Refusal> {
        self.stopper.end(applied, self.first.map(|at| at.value), end)
    }

    /// How many entries stand above `index`; all of them when it is `None`.
    pub(super) fn len_above(&self, index: Option<u64>) -> u64 {
        match (self.first, self.last) {
            (Some(first), Some(last)) => match index {
                Some(index) => last.index.saturating_sub(index),
                None => last.index - first.value.index + 1,
            },
            _ => 0,
        }
    }

    /// The last membership that is taken of the log, and its index.
    pub(super) fn membership(&self) -> Option<&(u64, Membership)> {
        self.membership.as_ref()
    }

    /// The log id of the entry at `index`, if the log has it.
    pub(super) fn at(&self, index: u64) -> Option<LogId> {
        if index > self.last?.index {
            return None;
        }
        let after = self.leaders.partition_point(|(first, _)| *first <= index);
        let (_, leader_id) = *self.leaders.get(after.checked_sub(1)?)?;
        Some(LogId { leader_id, index })
    }
}

/// A membership that Raft can work with: in every config somebody votes, and every voter is known.
pub(super) fn check_membership(membership: &Membership) -> Result<(), Refusal> {
    if membership.configs.is_empty() || membership.configs.iter().any(BTreeSet::is_empty) {
        return Err(Refusal::NoVoter);
    }
    match membership.voters().into_iter().find(|id| !membership.nodes.contains_key(id)) {
        Some(id) => Err(Refusal::UnknownVoter { id }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{LogCheck, check_membership};
    use crate::record::{LeaderId, LogEntry, LogId, Membership, NoAddress, Payload};

    fn log_id(term: u64, index: u64) -> LogId {
        LogId { leader_id: LeaderId { term, node_id: 1 }, index }
    }

    fn check(ids: &[(u64, u64)]) -> Result<LogCheck, String> {
        let mut log = LogCheck::default();
        for (line, (term, index)) in ids.iter().enumerate() {
            let entry = LogEntry { log_id: log_id(*term, *index), payload: Payload::Blank };
            log.push(line as u64, &entry).map_err(|refusal| refusal.to_string())?;
        }
        Ok(log)
    }

    #[test]
    fn gaps_and_steps_back_are_refused() {
        for (ids, expected) in [
            (&[(1, 5), (1, 7)][..], "log entry 7 where 6 must follow"),
            (&[(1, 5), (1, 5)], "log entry 5 where 6 must follow"),
            (&[(1, 5), (1, 4)], "log entry 4 where 6 must follow"),
            (&[(2, 5), (1, 6)], "log entry T1-N1.6 is of an earlier leader than T2-N1.5 before it"),
        ] {
            assert_eq!(check(ids).unwrap_err(), expected);
        }
        let end = check(&[(1, u64::MAX), (1, 0)]).unwrap_err();
        assert_eq!(end, format!("log entry 0 where {} must follow", u64::MAX));
    }

    #[test]
    fn every_entry_is_known_by_its_index() {
        let log = check(&[(1, 3), (1, 4), (3, 5), (3, 6), (4, 7)]).unwrap();
        assert_eq!(log.at(2), None);
        for (term, index) in [(1, 3), (1, 4), (3, 5), (3, 6), (4, 7)] {
            assert_eq!(log.at(index), Some(log_id(term, index)));
        }
        assert_eq!(log.at(8), None);
        assert_eq!([None, Some(2), Some(5), Some(7), Some(9)].map(|index| log.len_above(index)), [5, 5, 2, 0, 0]);
        assert_eq!((LogCheck::default().at(0), LogCheck::default().len_above(None)), (None, 0));
    }

    #[test]
    fn a_membership_needs_known_voters() {
        let membership = |configs: &[&[u64]], nodes: &[u64]| Membership {
            configs: configs.iter().map(|config| config.iter().copied().collect()).collect(),
            nodes: nodes.iter().map(|id| (*id, NoAddress {})).collect(),
        };
        for (configs, nodes, refusal) in [
            (&[&[1][..]][..], &[1, 2][..], None),
            (&[&[1], &[1, 2]], &[1, 2], None),
            (&[], &[1], Some("a membership in which nobody votes")),
            (&[&[]], &[1], Some("a membership in which nobody votes")),
            (&[&[1], &[]], &[1], Some("a membership in which nobody votes")),
            (&[&[1, 3]], &[1], Some("a membership whose voter 3 is not among its nodes")),
        ] {
            let result = check_membership(&membership(configs, nodes));
            assert_eq!(result.err().map(|refusal| refusal.to_string()).as_deref(), refusal);
        }
    }
}
