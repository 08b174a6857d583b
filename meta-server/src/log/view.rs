//! What the log is, requests that are not on disk yet included: its bounds, the values beside it, and the tail in memory.
//! Checks every change before it is made. Knows nothing of files or of who writes.

use std::{io, ops::Range};

use super::{error::refused, state::RaftState, tail::Tail};
use crate::raft::types::{Entry, LogId};

/// Invariants: entries are at `first..=last.index`, without a gap; what the tail lacks of them is on disk.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The index of the first entry, or where it would be.
    pub(super) first: u64,
    /// The last entry's, or, without entries, the last purged one's.
    pub(super) last: Option<LogId>,
    pub(super) state: RaftState,
    pub(super) tail: Tail,
    /// Counts truncations: what was read from disk meanwhile may be of either side.
    pub(super) truncations: u64,
    /// Encoded bytes of all entries that were appended.
    pub(super) appended: u64,
    /// Whether the writer looks for another `state.committed` by itself.
    pub(super) hint_is_seen: bool,
    /// The number of the last request.
    pub(super) request: u64,
}

impl View {
    /// The index after the last entry.
    pub(super) fn end(&self) -> u64 {
        self.last.map_or(self.first, |last| last.index + 1)
    }

    /// The part of `range` that the log has.
    pub(super) fn clamp(&self, range: &Range<u64>) -> Range<u64> {
        range.start.max(self.first)..range.end.min(self.end())
    }

    /// Takes entries with their encoded sizes. They follow the last one; only a log that never had any may start anywhere.
    pub(super) fn append(&mut self, entries: Vec<(Entry, u64)>) -> io::Result<()> {
        let mut expected = self.last.map(|last| last.index + 1);
        for (entry, _) in &entries {
            let index = entry.log_id.index;
            if expected.is_some_and(|expected| expected != index) {
                let last = self.last.map_or_else(|| "nothing".to_owned(), |last| last.to_string());
                return Err(refused(format!("cannot append log entry {} after {last}", entry.log_id)));
            }
            expected = Some(index + 1);
        }
        if let (None, Some((entry, _))) = (self.last, entries.first()) {
            self.first = entry.log_id.index;
        }
        for (entry, bytes) in entries {
            self.last = Some(entry.log_id);
            self.appended += bytes;
            self.tail.push(entry, bytes, self.request);
        }
        Ok(())
    }

    /// Drops the entries after `keep`, which is the id of the entry that becomes the last; returns the first that was dropped, if
    /// any was.
    pub(super) fn truncate_after(&mut self, keep: Option<LogId>) -> io::Result<Option<u64>> {
        let keep = keep.filter(|keep| keep.index >= self.first);
        let from = keep.map_or(self.first, |keep| keep.index + 1);
        if from >= self.end() {
            return Ok(None);
        }
        if let Some(keep) = keep
            && let Some(kept) = self.tail.get(keep.index)
            && kept.log_id != keep
        {
            return Err(refused(format!("cannot truncate the log after {keep}: it has {} there", kept.log_id)));
        }
        match keep {
            Some(keep) => self.tail.truncate_after(keep.index),
            None => self.tail.clear(),
        }
        self.last = keep.or(self.state.purged);
        self.truncations += 1;
        Ok(Some(from))
    }

    /// Drops the entries up to `upto`, which may lie beyond the last one.
    pub(super) fn purge(&mut self, upto: LogId) {
        self.tail.purge(upto.index);
        if self.end() <= upto.index + 1 {
            self.last = Some(upto);
        }
        self.first = upto.index + 1;
        self.state.purged = Some(upto);
    }

    /// Replaces the values beside the log.
    pub(super) fn set_state(&mut self, state: RaftState) -> io::Result<()> {
        if state.purged != self.state.purged {
            return Err(refused("cannot set the purged log id: it moves with a purge"));
        }
        if let (Some(old), Some(new)) = (&self.state.vote, &state.vote)
            && new.partial_cmp(old).is_none_or(std::cmp::Ordering::is_lt)
        {
            return Err(refused(format!("cannot save vote {new}: it is behind {old}, which was saved before")));
        }
        self.state = state;
        Ok(())
    }
}
