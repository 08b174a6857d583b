//! Opening the log: walk its segments, learn its bounds and its values, start the writer. Changes nothing before it is known
//! that nothing is missing.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    ops::Range,
    path::Path,
    sync::{Arc, Mutex, RwLock, mpsc},
    thread,
    time::Duration,
};

use rand::RngExt as _;
use tokio::sync::watch;

use super::{
    Inner, LogDb, Requests, Shared,
    error::{RECOURSE, corrupt, failed},
    files::{self, Files, Folder},
    frame::{Record, Salt},
    index::{Index, Place},
    lock,
    read::{Disk, SegmentFile},
    segment::{self, Found, Header, Rest, Scan, Segment, damaged},
    state::RaftState,
    view::View,
    writer::Writer,
};

/// How long what was synced may be missing from the mark.
pub(super) const MARK_AFTER: Duration = Duration::from_millis(100);

/// Opens the log in the folder, or creates an empty one.
pub(super) fn open(folder: Folder, segment_bytes: u64, mark_after: Duration) -> io::Result<LogDb> {
    let numbers = files::segments(folder.path())?;
    let opened =
        if numbers.is_empty() { create(folder, segment_bytes)? } else { recover(folder, &numbers, segment_bytes)? };
    let Opened { files, disk, state } = opened;
    let last = match disk.index().is_empty() {
        true => state.purged,
        false => Some(disk.plan(disk.index().end() - 1..disk.index().end(), 0).read()?.0[0].log_id),
    };
    let view = View { first: disk.index().first(), last, state: state.clone(), ..View::default() };

    let end = disk.index().end();
    let disk = Arc::new(RwLock::new(Some(disk)));
    let (sender, received) = mpsc::channel();
    let shared = Arc::new(Shared {
        view: Mutex::new(view),
        requests: Mutex::new(None),
        disk: Arc::clone(&disk),
        failure: watch::Sender::new(None),
    });
    let writer = Writer::new(files, disk, state, end, Box::new(Arc::clone(&shared)), mark_after);
    let writer = thread::Builder::new()
        .name("raft-log".to_owned())
        .spawn(move || writer.run(&received))
        .map_err(failed("start the log's thread"))?;
    *lock(&shared.requests) = Some(Requests { sender, writer: writer.thread().clone() });
    Ok(LogDb { inner: Arc::new(Inner { shared, writer: Mutex::new(Some(writer)) }) })
}

struct Opened {
    files: Files,
    disk: Disk,
    state: RaftState,
}

fn create(folder: Folder, segment_bytes: u64) -> io::Result<Opened> {
    let salt = rand::rng().random();
    let state = RaftState::default();
    let header = Header { segment: 1, salt, first_frame: 1, first: 0, end: 0, state: state.clone() };
    let files = Files::create(folder, &header, segment_bytes)?;
    let (number, file) = files.current();
    let segments = BTreeMap::from([(number, SegmentFile { file, bytes: files.current_len() })]);
    Ok(Opened { files, disk: Disk::new(Salt(salt), segments, Index::default()), state })
}

fn recover(folder: Folder, numbers: &[u32], segment_bytes: u64) -> io::Result<Opened> {
    let dir = folder.path().to_owned();
    let (before_gap, numbers) = after_gap(numbers);
    let mut replay = Replay::default();
    let mut segments = BTreeMap::new();
    let mut last: Option<(Found, Scan)> = None;
    let mut sealed = None;
    let mut begun = None;
    for number in numbers {
        let path = segment::path(&dir, *number);
        let unsealed = last.as_ref().is_some_and(|(_, scan)| !scan.sealed);
        let Some(found) = Found::read(&path)? else {
            // Made ahead. What is damaged stands behind a seal, or before others.
            if !unsealed || Some(number) != numbers.last() {
                let is_first = last.is_none() && *number > 1;
                return Err(if is_first { missing_before(&dir, *number) } else { segment::no_header(&path) });
            }
            begun = Some(path);
            break;
        };
        replay.begin(&found, *number, last.as_ref())?;
        let scan = found.scan(|place, record| replay.take(*number, place, record))?;
        if let Some((before, ended)) = last.as_ref().filter(|_| unsealed) {
            // A crash came between the new segment and the seal of the one before it: then nothing was written to it.
            if scan.next_frame > found.header.first_frame || scan.rest == Rest::Torn || Some(number) != numbers.last() {
                return Err(damaged(
                    &before.path,
                    ended.end,
                    "its end is missing, and the log goes on in the next one",
                ));
            }
            begun = Some(found.path);
            break;
        }
        segments.insert(*number, open_segment(&found)?);
        sealed = last.replace((found, scan));
    }
    let Some((found, scan)) = last else { return Err(corrupt("the log has no segment")) };
    let number = found.header.segment;
    if scan.sealed {
        let missing = segment::path(&dir, number + 1);
        return Err(corrupt(format!("the log's file {} is missing; {RECOURSE}", missing.display())));
    }
    if let Some(lost) = replay.index.lost() {
        let first = numbers[0];
        return Err(if before_gap.is_empty() { lost_before(&dir, first, lost) } else { missing_before(&dir, first) });
    }

    if let Some(begun) = begun {
        fs::remove_file(&begun).map_err(failed(format!("delete {}", begun.display())))?;
    }
    if let Some((found, scan)) = sealed {
        // Its seal may be no further than the kernel's memory, like the last frame; and from here on it must be there.
        Segment::resume(found.path, &scan, &found.bytes, files::room(segment_bytes))?.sync()?;
    }
    let salt = found.header.salt;
    let segment = Segment::resume(found.path.clone(), &scan, &found.bytes, files::room(segment_bytes))?;
    let older = before_gap.iter().chain(numbers).copied().filter(|older| *older < number).collect();
    let files = Files::resume(folder, salt, segment_bytes, (older, number), segment, scan.next_frame)?;
    let (_, file) = files.current();
    segments.insert(number, SegmentFile { file, bytes: files.current_len() });
    Ok(Opened { files, disk: Disk::new(Salt(salt), segments, replay.index), state: replay.state })
}

/// The numbers before the last one that is missing, and those behind it. Nobody waited until deleted segments were gone from the disk, so
/// that a crash may have left any of them; what is needed is behind them, or else known to be lost by the first that is.
fn after_gap(numbers: &[u32]) -> (&[u32], &[u32]) {
    let gap = numbers.windows(2).rposition(|pair| pair[0] + 1 != pair[1]);
    numbers.split_at(gap.map_or(0, |gap| gap + 1))
}

fn missing_before(dir: &Path, number: u32) -> io::Error {
    let [missing, next] = [number.saturating_sub(1), number].map(|number| segment::path(dir, number));
    corrupt(format!("the log's file {} is missing, and {} follows it; {RECOURSE}", missing.display(), next.display()))
}

fn lost_before(dir: &Path, number: u32, entry: u64) -> io::Error {
    let missing = segment::path(dir, number.saturating_sub(1));
    corrupt(format!("log entry {entry} is missing, and so is the log's file {}; {RECOURSE}", missing.display()))
}

fn open_segment(found: &Found) -> io::Result<SegmentFile> {
    let file = File::open(&found.path).map_err(failed(format!("open {}", found.path.display())))?;
    Ok(SegmentFile { file: Arc::new(file), bytes: found.bytes.len() as u64 })
}

/// What the records come to.
#[derive(Default)]
struct Replay {
    index: Index,
    state: RaftState,
}

impl Replay {
    /// Takes a segment's header, which must follow the segment before it.
    fn begin(&mut self, found: &Found, number: u32, before: Option<&(Found, Scan)>) -> io::Result<()> {
        let header = &found.header;
        let Some((last, scan)) = before else {
            self.index = Index::of_lost(header.first, header.end);
            self.state = header.state.clone();
            return if header.segment == number { Ok(()) } else { Err(misplaced(found)) };
        };
        // Without a seal, which takes a number too, the segment before it lacks its end.
        let first_frame = scan.next_frame + u64::from(!scan.sealed);
        let follows = header.segment == number && header.salt == last.header.salt && header.first_frame == first_frame;
        let agrees = (header.first, header.end) == (self.index.first(), self.index.end());
        match (follows, scan.sealed && !agrees) {
            (true, false) => Ok(()),
            (false, _) if !scan.sealed && header.segment == number && header.salt == last.header.salt => {
                Err(damaged(&last.path, scan.end, "its end is missing, and the log goes on in the next one"))
            }
            _ => Err(misplaced(found)),
        }
    }

    fn take(&mut self, segment: u32, place: Range<usize>, record: Record<'_>) -> io::Result<()> {
        match record {
            Record::Entry { index, .. } => {
                let begins = self.index.is_empty() && self.state.purged.is_none();
                if !begins && index != self.index.end() {
                    return Err(corrupt(format!("log entry {index} follows {} entries", self.index.end())));
                }
                let too_long = |_| corrupt(format!("log entry {index} lies at byte {} of its file", place.start));
                let offset = u32::try_from(place.start).map_err(too_long)?;
                let len = u32::try_from(place.len()).map_err(too_long)?;
                self.index.append(index, Place { segment, offset, len });
            }
            Record::Truncated { end } => self.index.truncate(end),
            Record::Purged(upto) => {
                self.index.purge(upto.index);
                self.state.purged = Some(upto);
            }
            Record::Committed(id) => self.state.committed = id,
            Record::State(state) => self.state = *state,
            Record::Sealed => {}
        }
        Ok(())
    }
}

fn misplaced(found: &Found) -> io::Error {
    damaged(&found.path, 0, "it is not the one that comes next in this log")
}
