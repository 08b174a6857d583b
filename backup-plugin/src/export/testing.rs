//! What the tests of exports share: a view in memory that can fail, panic, go on for ever, and tell whether it is still held; and what
//! is in a folder.

use std::{
    fs, io,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    provenance::{Origin, Role},
    record::{HardState, LeaderId, LogEntry, LogId, Payload, SeqV, StateRecord, Vote},
    source::BackupView,
};

#[derive(Default)]
pub(crate) struct FakeView {
    hard_state: HardState,
    entries: Vec<LogEntry>,
    state: Vec<StateRecord>,
    /// State records that are read before the disk fails.
    pub(crate) fail_after: Option<usize>,
    /// State records that are read before the thread panics.
    pub(crate) panic_after: Option<usize>,
    /// Repeats the last state record for ever.
    pub(crate) endless: bool,
    pub(crate) held_until: Option<Instant>,
    read: Arc<AtomicUsize>,
}

pub(crate) fn log_id(index: u64) -> LogId {
    LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
}

impl FakeView {
    /// Ten lines: five of the head, two entries, three state records.
    pub(crate) fn sample() -> FakeView {
        FakeView {
            hard_state: HardState {
                node_id: Some(1),
                vote: Some(Vote { leader_id: LeaderId { term: 1, node_id: 1 }, committed: true }),
                committed: Some(log_id(2)),
                purged: None,
            },
            entries: (1..=2).map(|index| LogEntry { log_id: log_id(index), payload: Payload::Blank }).collect(),
            state: vec![
                StateRecord::Sequence(1),
                StateRecord::LastApplied(log_id(2)),
                StateRecord::Kv { key: "a".to_owned(), value: SeqV { seq: 1, meta: None, data: vec![1] } },
            ],
            ..FakeView::default()
        }
    }

    /// Adds a record whose line takes about twice `size` bytes.
    pub(crate) fn push_value(&mut self, key: &str, size: usize) {
        let value = SeqV { seq: 2, meta: None, data: vec![7; size] };
        self.state.push(StateRecord::Kv { key: key.to_owned(), value });
    }

    /// Tells whether the view was dropped.
    pub(crate) fn released(&self) -> impl Fn() -> bool + use<> {
        let held: Weak<AtomicUsize> = Arc::downgrade(&self.read);
        move || held.strong_count() == 0
    }

    /// Tells how many state records were read.
    pub(crate) fn records_read(&self) -> impl Fn() -> usize + use<> {
        let read = self.read.clone();
        move || read.load(Ordering::SeqCst)
    }

    fn record(&self, index: usize) -> Option<io::Result<StateRecord>> {
        self.read.fetch_add(1, Ordering::SeqCst);
        if self.fail_after == Some(index) {
            return Some(Err(io::Error::other("disk gone")));
        }
        assert_ne!(self.panic_after, Some(index), "a view that panics");
        let index = if self.endless { index.min(self.state.len() - 1) } else { index };
        self.state.get(index).cloned().map(Ok)
    }
}

impl BackupView for FakeView {
    fn origin(&self) -> Origin {
        let HardState { node_id, committed, .. } = self.hard_state;
        let last_applied = self.state.iter().find_map(|record| match record {
            StateRecord::LastApplied(log_id) => Some(*log_id),
            _ => None,
        });
        Origin { cluster_id: None, node_id, role: Some(Role::Follower), last_applied, committed, tail: 0 }
    }

    fn hard_state(&self) -> io::Result<HardState> {
        Ok(self.hard_state.clone())
    }

    fn log_entries(&self) -> impl Iterator<Item = io::Result<LogEntry>> + Send {
        self.entries.iter().cloned().map(Ok)
    }

    fn state_records(&self) -> impl Iterator<Item = io::Result<StateRecord>> + Send {
        (0..).map_while(|index| self.record(index))
    }

    fn check_limit(&self) -> io::Result<()> {
        match self.held_until {
            Some(limit) if Instant::now() > limit => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the export took longer than its limit"))
            }
            _ => Ok(()),
        }
    }
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(condition: &impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < limit, "waited ten seconds in vain");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What is in a folder, in order.
pub(crate) fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
