//! Reading entries: from the tail in memory where it has them, else from disk, and never a mix of before and after a
//! truncation.

use std::{collections::VecDeque, io, ops::Range};

use super::{
    Disk, LogDb, codec,
    error::{corrupt, failed},
    pieces,
};
use crate::raft::types::{Entry, LogId};

/// How many bytes of entries an iterator holds.
const ITER_BYTES: u64 = 1 << 20;

impl LogDb {
    /// The entries in `range`, as far as the log has them, from the first on up to `max_bytes` (encoded); at least one if
    /// there is any. May read the disk.
    pub fn read(&self, range: Range<u64>, max_bytes: u64) -> io::Result<Vec<Entry>> {
        loop {
            let (start, on_disk_end, truncations) = {
                let view = self.view();
                let wanted = view.clamp(&range);
                let tail_start = view.tail.start().unwrap_or_else(|| view.end());
                if wanted.is_empty() || wanted.start >= tail_start {
                    let mut entries = Vec::new();
                    view.tail.copy(wanted.start, wanted.end, max_bytes, &mut entries);
                    return Ok(entries);
                }
                (wanted.start, wanted.end.min(tail_start), view.truncations)
            };
            let read = self.inner.shared.with_disk(|disk| disk.read(start..on_disk_end, max_bytes));
            // What was truncated or purged meanwhile may have been read in part: then start over with what is left.
            let view = self.view();
            if view.truncations != truncations || view.first > start {
                continue;
            }
            let (mut entries, bytes) = read?;
            if entries.len() as u64 == on_disk_end - start {
                let rest = view.clamp(&(on_disk_end..range.end));
                // The tail may have lost its front since: then the rest is for the next read.
                if view.tail.start().is_some_and(|tail| tail <= rest.start) {
                    view.tail.copy(rest.start, rest.end, max_bytes.saturating_sub(bytes), &mut entries);
                }
            }
            return Ok(entries);
        }
    }

    /// Like [`LogDb::read`], but `None` when that would read the disk.
    pub fn read_cached(&self, range: Range<u64>, max_bytes: u64) -> Option<Vec<Entry>> {
        let view = self.view();
        let wanted = view.clamp(&range);
        let mut entries = Vec::new();
        if !wanted.is_empty() {
            view.tail.start().filter(|tail| *tail <= wanted.start)?;
            view.tail.copy(wanted.start, wanted.end, max_bytes, &mut entries);
        }
        Some(entries)
    }

    /// The entries from the start of `range` on, up to the last one the log has now, with constant memory. Ends with an error
    /// when the first is purged already, or one of them is gone before it is reached: what is given has no hole. One that was
    /// replaced by then is read as it is then.
    pub fn iter(&self, range: Range<u64>) -> LogIter {
        let end = range.end.min(self.view().end());
        LogIter { log: self.clone(), next: range.start, end, ahead: VecDeque::new() }
    }

    /// The id of the entry at `index`; `None` when the log does not have it. May read the disk.
    pub fn log_id_at(&self, index: u64) -> io::Result<Option<LogId>> {
        Ok(self.read(index..index.saturating_add(1), 0)?.first().map(|entry| entry.log_id))
    }
}

impl Disk {
    pub(super) fn disk_bytes(&self) -> io::Result<u64> {
        self.db.size_on_disk().map_err(failed("size the log"))
    }

    /// Entries from the start of the range on, with their encoded size.
    fn read(&self, range: Range<u64>, max_bytes: u64) -> io::Result<(Vec<Entry>, u64)> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for (expected, found) in range.clone().zip(pieces::walk(&self.log, range.start..=range.end - 1)) {
            let found = found?;
            if found.index != expected || !found.whole {
                return Err(corrupt(format!("log entry {expected} is missing or not whole on disk")));
            }
            bytes += found.bytes.len() as u64;
            if bytes > max_bytes && !entries.is_empty() {
                return Ok((entries, bytes));
            }
            entries.push(codec::decode(found.index, &found.bytes)?);
        }
        if entries.is_empty() {
            return Err(corrupt(format!("log entry {} is missing on disk", range.start)));
        }
        Ok((entries, bytes))
    }
}

/// Entries in order, read ahead in small batches.
pub struct LogIter {
    log: LogDb,
    next: u64,
    end: u64,
    ahead: VecDeque<Entry>,
}

impl LogIter {
    fn read_ahead(&mut self) -> io::Result<()> {
        let entries = self.log.read(self.next..self.end, ITER_BYTES)?;
        match entries.first() {
            Some(entry) if entry.log_id.index == self.next => {
                self.ahead = entries.into();
                Ok(())
            }
            _ => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("log entry {} is not in the log, which starts at {}", self.next, self.log.view().first),
            )),
        }
    }
}

impl Iterator for LogIter {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ahead.is_empty()
            && self.next < self.end
            && let Err(error) = self.read_ahead()
        {
            self.next = self.end;
            return Some(Err(error));
        }
        let entry = self.ahead.pop_front()?;
        self.next = entry.log_id.index + 1;
        Some(Ok(entry))
    }
}
