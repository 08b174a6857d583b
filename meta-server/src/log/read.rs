//! Reading entries: from the tail in memory where it has them, else from disk, and never a mix of before and after a
//! truncation.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    sync::Arc,
};

use super::{
    LogDb, codec,
    error::{RECOURSE, corrupt, failed},
    frame::{self, Salt},
    index::{Index, Place},
};
use crate::raft::types::{Entry, LogId};

/// How many bytes of entries an iterator holds.
const ITER_BYTES: u64 = 1 << 20;

/// How many bytes are read at once, where entries are smaller than that.
const READ_BYTES: u64 = 256 << 10;

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
            let plan = self.inner.shared.with_disk(|disk| disk.plan(start..on_disk_end, max_bytes))?;
            // Without the lock: the writer must not wait for the disk to be read.
            let read = plan.read();
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

/// What is on disk, for readers. The writer keeps it.
pub(super) struct Disk {
    salt: Salt,
    segments: BTreeMap<u32, SegmentFile>,
    index: Index,
}

pub(super) struct SegmentFile {
    pub(super) file: Arc<File>,
    /// How long the file is.
    pub(super) bytes: u64,
}

impl Disk {
    pub(super) fn new(salt: Salt, segments: BTreeMap<u32, SegmentFile>, index: Index) -> Self {
        Self { salt, segments, index }
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    pub(super) fn index_mut(&mut self) -> &mut Index {
        &mut self.index
    }

    /// The size of its files.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    pub(super) fn set_segment(&mut self, number: u32, segment: SegmentFile) {
        self.segments.insert(number, segment);
    }

    pub(super) fn remove_segments(&mut self, numbers: &[u32]) {
        for number in numbers {
            self.segments.remove(number);
        }
    }

    /// What it takes to read entries from the start of the range on, up to `max_bytes`; at least one.
    pub(super) fn plan(&self, range: Range<u64>, max_bytes: u64) -> Plan {
        let mut plan = Plan { first: range.start, salt: self.salt, bytes: 0, entries: Vec::new() };
        let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        for place in self.index.places(range.start).take(wanted) {
            let bytes = plan.bytes + u64::from(place.len);
            let Some(segment) = self.segments.get(&place.segment) else { break };
            if bytes > max_bytes && !plan.entries.is_empty() {
                break;
            }
            plan.bytes = bytes;
            plan.entries.push((place, Arc::clone(&segment.file)));
        }
        plan
    }
}

/// Where some entries lie. Stays good when they are purged meanwhile: an open file can be read after it was deleted.
pub(super) struct Plan {
    first: u64,
    salt: Salt,
    /// Of all of them, encoded.
    bytes: u64,
    entries: Vec<(Place, Arc<File>)>,
}

impl Plan {
    /// The entries, with their encoded size.
    pub(super) fn read(&self) -> io::Result<(Vec<Entry>, u64)> {
        let mut entries = Vec::with_capacity(self.entries.len());
        let mut window = Window::default();
        let mut ahead = self.bytes;
        for (index, (place, file)) in (self.first..).zip(&self.entries) {
            let tried = || failed(format!("read log entry {index}"));
            let record = window.record(*place, file, ahead).map_err(tried())?;
            let bytes = frame::entry(record, self.salt, index)
                .ok_or_else(|| corrupt(format!("log entry {index} is damaged on disk; {RECOURSE}")))?;
            entries.push(codec::decode(index, bytes)?);
            ahead -= u64::from(place.len);
        }
        if entries.is_empty() {
            return Err(corrupt(format!("log entry {} is missing on disk", self.first)));
        }
        Ok((entries, self.bytes))
    }
}

/// A part of a segment that was read at once.
#[derive(Default)]
struct Window {
    segment: u32,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The record at `place`; reads on behind it where `ahead` says that more is wanted.
    fn record(&mut self, place: Place, file: &File, ahead: u64) -> io::Result<&[u8]> {
        let (offset, len) = (u64::from(place.offset), u64::from(place.len));
        let is_here = self.segment == place.segment
            && self.start <= offset
            && offset + len <= self.start + self.bytes.len() as u64;
        if !is_here {
            let size = len.max(ahead.min(READ_BYTES));
            self.bytes.resize(usize::try_from(size).unwrap_or(usize::MAX), 0);
            let mut read = 0;
            while (read as u64) < size {
                match file.read_at(&mut self.bytes[read..], offset + read as u64)? {
                    0 => break,
                    more => read += more,
                }
            }
            self.bytes.truncate(read);
            (self.segment, self.start) = (place.segment, offset);
            if (read as u64) < len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let start = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(&self.bytes[start..start + place.len as usize])
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
