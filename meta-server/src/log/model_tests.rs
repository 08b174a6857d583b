//! Random requests against a plain map, with the log closed and opened again in between.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    LogDb,
    testing::{all_entries, entry, id, truncate_after},
};
use crate::raft::types::{Entry, LogId, Vote};

#[derive(Debug, Clone)]
enum Step {
    Append {
        count: u64,
        size: usize,
    },
    /// Drops this many entries from the end.
    Truncate {
        count: u64,
    },
    TruncateAll,
    /// Purges this many entries from the start; more than there are moves beyond the end.
    Purge {
        count: u64,
    },
    Vote,
    Committed,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..20_u64, 0..9000_usize).prop_map(|(count, size)| Step::Append { count, size }),
        2 => (0..30_u64).prop_map(|count| Step::Truncate { count }),
        1 => Just(Step::TruncateAll),
        2 => (1..40_u64).prop_map(|count| Step::Purge { count }),
        1 => Just(Step::Vote),
        1 => Just(Step::Committed),
        2 => Just(Step::Reopen),
    ]
}

/// What the log should be.
#[derive(Default)]
struct Model {
    entries: BTreeMap<u64, Entry>,
    purged: Option<LogId>,
    committed: Option<LogId>,
    vote: Option<Vote>,
    term: u64,
}

impl Model {
    fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, entry)| entry.log_id).or(self.purged)
    }

    fn run(&mut self, log: &LogDb, step: &Step) {
        match *step {
            Step::Append { count, size } => {
                let start = self.last().map_or(0, |last| last.index + 1);
                let entries: Vec<_> = (start..start + count).map(|index| entry(self.term, index, size)).collect();
                self.entries.extend(entries.iter().map(|entry| (entry.log_id.index, entry.clone())));
                log.append_blocking(entries).unwrap();
            }
            Step::Truncate { count } => {
                for _ in 0..count {
                    self.entries.pop_last();
                }
                self.term += 1;
                truncate_after(log, self.last()).unwrap();
            }
            Step::TruncateAll => {
                self.entries.clear();
                self.term += 1;
                truncate_after(log, None).unwrap();
            }
            Step::Purge { count } => {
                let first = self.entries.first_key_value().map(|(index, _)| *index);
                let first = first.or(self.purged.map(|purged| purged.index + 1)).unwrap_or_default();
                let upto =
                    self.entries.get(&(first + count)).map_or(id(self.term, first + count), |entry| entry.log_id);
                self.entries = self.entries.split_off(&(upto.index + 1));
                self.purged = Some(upto);
                log.purge_blocking(upto).unwrap();
            }
            Step::Vote => {
                self.term += 1;
                self.vote = Some(Vote::new(self.term, 3));
                log.update_state_blocking(|state| state.vote = self.vote).unwrap();
            }
            Step::Committed => {
                self.committed = self.last();
                log.set_committed(self.committed);
            }
            Step::Reopen => log.close().unwrap(),
        }
    }

    fn check(&self, log: &LogDb) {
        assert_eq!(log.last_log_id(), self.last());
        assert_eq!(log.purged(), self.purged);
        assert_eq!(log.first_index(), self.entries.keys().next().copied());
        let state = log.state();
        assert_eq!((state.vote, state.committed), (self.vote, self.committed));
        assert_eq!(all_entries(log), self.entries.values().cloned().collect::<Vec<_>>());
        for (index, entry) in self.entries.iter().step_by(7) {
            assert_eq!(log.read(*index..index + 1, 0).unwrap(), std::slice::from_ref(entry));
            let two = self.entries.range(index..).take(2).map(|(_, entry)| entry.clone()).collect::<Vec<_>>();
            assert_eq!(log.read(*index..index + 2, u64::MAX).unwrap(), two);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_what_a_map_would_be_however_often_it_is_opened(steps in prop::collection::vec(step(), 1..40)) {
        let dir = TempDir::new().unwrap();
        let mut log = LogDb::open(dir.path()).unwrap();
        let mut model = Model::default();
        for step in &steps {
            model.run(&log, step);
            if matches!(step, Step::Reopen) {
                log = LogDb::open(dir.path()).unwrap();
            }
            model.check(&log);
        }
    }
}
