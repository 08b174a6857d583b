//! The log as openraft wants to see it: its log storage and log reader over [`LogDb`]. What is in memory is read right here; what
//! may need the disk is read on a thread that may block. Knows nothing of how the log is stored.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, Range, RangeBounds},
};

use futures::{Stream, StreamExt, TryStreamExt, stream};
use openraft::{
    RaftLogReader,
    errors::LeaderChanged,
    storage::{IOFlushed, LeaderBoundedStreamError, LogState, RaftLogStorage},
};

use crate::{
    log::LogDb,
    raft::types::{Entry, LeaderId, LogId, TypeConfig, Vote},
};

/// How many bytes of entries are read at once.
const READ_BYTES: u64 = 1 << 20;

/// A handle on the log for openraft; its readers are clones.
#[derive(Clone)]
pub struct LogStore {
    log: LogDb,
}

impl LogStore {
    pub fn new(log: LogDb) -> Self {
        Self { log }
    }

    /// The next batch of entries in `range`.
    async fn read(&self, range: Range<u64>) -> io::Result<Vec<Entry>> {
        if let Some(entries) = self.log.read_cached(range.clone(), READ_BYTES) {
            return Ok(entries);
        }
        let log = self.log.clone();
        tokio::task::spawn_blocking(move || log.read(range, READ_BYTES)).await.map_err(io::Error::other)?
    }

    /// The entries in `range`, a batch at a time; only the first may begin later than asked for.
    fn batches(&self, range: Range<u64>) -> impl Stream<Item = io::Result<Vec<Entry>>> + Send + use<> {
        let start = (self.clone(), range, true);
        stream::try_unfold(start, |(store, range, is_first)| async move {
            let entries = store.read(range.clone()).await?;
            let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(None) };
            if !is_first && first.log_id.index != range.start {
                return Err(not_in_log(range.start));
            }
            let rest = last.log_id.index + 1..range.end;
            Ok(Some((entries, (store, rest, false))))
        })
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        self.batches(half_open(&range)).try_concat().await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let entries = self.read(start..end).await?;
        match entries.first() {
            Some(first) if first.log_id.index == start => Ok(entries),
            None if start >= end => Ok(entries),
            _ => Err(not_in_log(start)),
        }
    }

    async fn entries_stream<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entry>> + Send {
        self.batches(half_open(&range)).map_ok(|entries| stream::iter(entries).map(Ok)).try_flatten()
    }

    /// Asks for the vote after each batch was read, so that no entry of another leader is passed on.
    async fn leader_bounded_stream<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        leader: LeaderId,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, LeaderBoundedStreamError<TypeConfig>>> + Send {
        let log = self.log.clone();
        // With nothing to read, a leader that changed is still told.
        let first_check = stream::once(std::future::ready(Ok(Vec::new())));
        let batches = first_check.chain(self.batches(half_open(&range)));
        batches
            .map(move |batch| {
                let vote = log.vote();
                if vote.is_some_and(|vote| vote.leader_id == leader && vote.committed) {
                    return batch.map_err(LeaderBoundedStreamError::IoError);
                }
                Err(LeaderChanged::new(leader, vote).into())
            })
            .map_ok(|entries| stream::iter(entries).map(Ok))
            .try_flatten()
            .scan(false, |failed, item| {
                let over = std::mem::replace(failed, *failed || item.is_err());
                std::future::ready((!over).then_some(item))
            })
    }

    /// A restored node may have no vote of its own. Having entries of a term, it has seen that term's leader.
    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let implied = || self.log.last_log_id().map(|last| Vote { leader_id: last.leader_id, committed: false });
        Ok(self.log.vote().or_else(implied))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        Ok(LogState { last_purged_log_id: self.log.purged(), last_log_id: self.log.last_log_id() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = *vote;
        self.log.update_state(move |state| state.vote = Some(vote)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.log.set_committed(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.log.state().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        self.log.append(entries.into_iter().collect(), move |result| callback.io_completed(result));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        self.log.truncate_after(last_log_id).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.log.purge(log_id).await
    }
}

fn not_in_log(index: u64) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("log entry {index} is not in the log"))
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::log::testing::{entry, id};

    fn opened() -> (TempDir, LogStore) {
        let dir = TempDir::new().unwrap();
        let log = LogDb::open(dir.path()).unwrap();
        (dir, LogStore::new(log))
    }

    #[tokio::test]
    async fn a_limited_read_is_bounded_in_bytes_and_never_empty() {
        let (_dir, mut store) = opened();
        let big = usize::try_from(READ_BYTES).unwrap() / 2;
        let entries: Vec<_> = (0..12).map(|index| entry(1, index, if index == 5 { 3 * big } else { big })).collect();
        store.log.append_blocking(entries).unwrap();
        for (start, count) in [(0, 1), (5, 1), (11, 1)] {
            assert_eq!(store.limited_get_log_entries(start, 12).await.unwrap().len(), count, "from {start}");
        }
        let missing = store.limited_get_log_entries(12, 13).await.unwrap_err();
        assert_eq!(missing.to_string(), "log entry 12 is not in the log");
        let all: Vec<_> = store.entries_stream(0..12).await.try_collect().await.unwrap();
        assert_eq!(all.last().map(|entry| entry.log_id), Some(id(1, 11)));
        assert_eq!(all.len(), 12);
    }
}
