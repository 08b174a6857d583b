//! What each member has acknowledged to this node as one leader. A member never lacks later what it acknowledged before, unless its
//! disk was put back to an older state: it is the same incarnation then, and has forgotten all the same.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::raft::{
    guard::Held,
    types::{LogId, Vote},
};

/// Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Acknowledged {
    by_member: Arc<Mutex<HashMap<u64, Last>>>,
}

/// The last entry that a member acknowledged, to which leader, and in which of its lives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Last {
    vote: Vote,
    incarnation: u64,
    log_id: LogId,
}

impl Acknowledged {
    /// `vote`: of this node as the leader that was answered.
    pub(super) fn note(&self, member: u64, incarnation: u64, vote: Vote, log_id: LogId) {
        let news = Last { vote, incarnation, log_id };
        self.lock()
            .entry(member)
            .and_modify(|last| {
                if last.incarnation != incarnation || last.vote != vote || last.log_id < log_id {
                    *last = news;
                }
            })
            .or_insert(news);
    }

    /// The last that a member acknowledged until now.
    pub(super) fn by(&self, member: u64) -> Option<Last> {
        self.lock().get(&member).copied()
    }

    /// What members have, of what is committed up to `committed`, for all that this node knows as the leader with this vote.
    pub(super) fn held(&self, vote: Vote, committed: LogId) -> Vec<Held> {
        let of_this_vote = |(_, last): &(&u64, &Last)| last.vote == vote;
        let held = |(member, last): (&u64, &Last)| Held {
            peer: *member,
            incarnation: last.incarnation,
            // The log of a leader, and so what matched it, is that of the cluster up to what is committed.
            log_id: last.log_id.min(committed),
        };
        self.lock().iter().filter(of_this_vote).map(held).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Last>> {
        self.by_member.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Last {
    /// What a member acknowledged that later says it has no entry like the one at `missing`, where that is a contradiction.
    pub(super) fn lost(self, incarnation: u64, vote: Vote, missing: LogId) -> Option<LogId> {
        let same = self.incarnation == incarnation && self.vote == vote;
        (same && missing.index <= self.log_id.index).then_some(self.log_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::id;

    fn vote(term: u64) -> Vote {
        Vote { leader_id: id(term, 0).leader_id, committed: true }
    }

    #[test]
    fn what_was_acknowledged_to_the_same_leader_in_the_same_life_is_missed() {
        let acknowledged = Acknowledged::default();
        acknowledged.note(2, 7, vote(3), id(3, 20));
        acknowledged.note(2, 7, vote(3), id(3, 10));
        for (member, incarnation, term, missing, expected) in [
            (2, 7, 3, 20, Some(id(3, 20))),
            (2, 7, 3, 5, Some(id(3, 20))),
            (2, 7, 3, 21, None),
            (2, 8, 3, 20, None),
            (2, 7, 4, 20, None),
            (3, 7, 3, 20, None),
        ] {
            let case = (member, incarnation, term, missing);
            let lost = acknowledged.by(member).and_then(|last| last.lost(incarnation, vote(term), id(3, missing)));
            assert_eq!(lost, expected, "{case:?}");
        }
        let held = |index| vec![Held { peer: 2, incarnation: 7, log_id: id(3, index) }];
        assert_eq!(acknowledged.held(vote(3), id(3, 15)), held(15), "the rest may be lost");
        assert_eq!(acknowledged.held(vote(3), id(3, 30)), held(20));
        assert_eq!(acknowledged.held(vote(4), id(4, 30)), [], "to another leader, who may have cut the log");
        acknowledged.note(2, 7, vote(4), id(4, 2));
        let lost = acknowledged.by(2).and_then(|last| last.lost(7, vote(4), id(4, 20)));
        assert_eq!(lost, None, "another leader, who may have cut the log");
    }
}
