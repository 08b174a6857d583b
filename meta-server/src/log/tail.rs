//! The newest entries of the log, in memory: everything that is not on disk yet, and of what is, as much as fits a bound.
//! Feeds replication and apply without a disk read or a decode. Knows nothing of files.

use std::collections::VecDeque;

use crate::raft::types::Entry;

/// What is on disk already is kept up to this many bytes (encoded size).
const KEEP_BYTES: u64 = 8 << 20;

/// Entries at contiguous indexes, up to the last one of the log.
#[derive(Debug, Default)]
pub(super) struct Tail {
    items: VecDeque<Item>,
    bytes: u64,
}

#[derive(Debug)]
struct Item {
    entry: Entry,
    /// Encoded size.
    bytes: u64,
    /// The request that brought it; it is on disk once this request is.
    request: u64,
}

impl Tail {
    /// The index of the oldest entry here.
    pub(super) fn start(&self) -> Option<u64> {
        self.items.front().map(|item| item.entry.log_id.index)
    }

    pub(super) fn len(&self) -> u64 {
        self.items.len() as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the entry after the last one.
    pub(super) fn push(&mut self, entry: Entry, bytes: u64, request: u64) {
        debug_assert!(self.items.back().is_none_or(|last| last.entry.log_id.index + 1 == entry.log_id.index));
        self.bytes += bytes;
        self.items.push_back(Item { entry, bytes, request });
    }

    /// Drops the entries above `index`.
    pub(super) fn truncate_after(&mut self, index: u64) {
        while self.items.back().is_some_and(|item| item.entry.log_id.index > index) {
            self.bytes -= self.items.pop_back().map_or(0, |item| item.bytes);
        }
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.bytes = 0;
    }

    /// Drops the entries up to `index`.
    pub(super) fn purge(&mut self, index: u64) {
        while self.items.front().is_some_and(|item| item.entry.log_id.index <= index) {
            self.pop_front();
        }
    }

    /// Drops the oldest entries above the bound, of those that came with requests up to `durable`.
    pub(super) fn evict(&mut self, durable: u64) {
        while self.bytes > KEEP_BYTES && self.items.front().is_some_and(|item| item.request <= durable) {
            self.pop_front();
        }
    }

    pub(super) fn get(&self, index: u64) -> Option<&Entry> {
        let offset = index.checked_sub(self.start()?)?;
        self.items.get(usize::try_from(offset).ok()?).map(|item| &item.entry)
    }

    /// Copies entries from `index` on into `out`, up to `end` (exclusive) and `max_bytes`; at least one if `out` is empty.
    pub(super) fn copy(&self, index: u64, end: u64, max_bytes: u64, out: &mut Vec<Entry>) {
        let Some(start) = self.start() else { return };
        let skip = usize::try_from(index.saturating_sub(start)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        for item in self.items.iter().skip(skip).take_while(|item| item.entry.log_id.index < end) {
            bytes += item.bytes;
            if bytes > max_bytes && !out.is_empty() {
                return;
            }
            out.push(item.entry.clone());
        }
    }

    fn pop_front(&mut self) {
        self.bytes -= self.items.pop_front().map_or(0, |item| item.bytes);
    }
}
