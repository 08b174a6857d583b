//! One file of the log: its mark, a header that says where the log stood when it was begun, then frames, then room.
//!
//! A segment is begun once its header is on disk; one that was made ahead has its name before. It is kept longer than what was
//! written to it, with zeros: a sync that also makes a file longer takes twice as long, and far longer beside others. Knows
//! nothing of what records mean.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    error::{RECOURSE, corrupt, failed},
    frame::{self, Parsed, Record, Salt},
    mark::{Mark, SLOT, SLOTS},
    state::RaftState,
};

/// Where the header lies. A magic number, its length, its checksum, and itself as JSON.
const HEADER_AT: usize = SLOT * SLOTS;
const HEADER_MAGIC: [u8; 4] = *b"RLs1";

/// Where the log stood when the segment was begun. Segments before it are needed only for entries that are still in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) segment: u32,
    /// Drawn for the log.
    pub(super) salt: u64,
    /// The number of the first frame.
    pub(super) first_frame: u64,
    /// The index of the first entry of the log, and the one after the last.
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) state: RaftState,
}

/// What a segment is called until it gets its name.
pub(super) const NEW: &str = "new.wal";

pub(super) fn path(dir: &Path, segment: u32) -> PathBuf {
    dir.join(format!("{segment:010}.wal"))
}

/// The number in a segment's file name.
pub(super) fn parse_name(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".wal")?;
    (digits.len() == 10).then(|| digits.parse().ok())?
}

/// A segment that is written to.
pub(super) struct Segment {
    file: Arc<File>,
    path: PathBuf,
    /// Where the next frame goes.
    end: u64,
    /// How long the file is: zeros from `end` on.
    len: u64,
    /// How much longer it is made at a time.
    room: u64,
    next_slot: u64,
}

impl Segment {
    /// Writes a new one to `path`. It is not synced, and has no name yet.
    pub(super) fn create(path: PathBuf, header: &Header, room: u64) -> io::Result<Self> {
        let open = || File::options().create(true).truncate(true).read(true).write(true).open(&path);
        let file = open().map_err(failed(format!("write {}", path.display())))?;
        let mut segment = Self::begin(file, path, header, 0, room)?;
        segment.make_room(0);
        Ok(segment)
    }

    /// Goes on with the one in `path`, which was found like this. What is torn at its end is cut off, and what was written last is
    /// written again: it was read from the kernel's memory, which keeps what a failed sync did not bring to the disk. The caller
    /// syncs it before anything else is written.
    pub(super) fn resume(path: PathBuf, found: &Scan, bytes: &[u8], room: u64) -> io::Result<Self> {
        let tried = || failed(format!("open {}", path.display()));
        let file = File::options().read(true).write(true).open(&path).map_err(tried())?;
        let mut len = bytes.len() as u64;
        if found.rest == Rest::Torn {
            file.set_len(found.end as u64).map_err(tried())?;
            len = found.end as u64;
        }
        let last = &bytes[found.last_frame.clone()];
        file.write_all_at(last, found.last_frame.start as u64).map_err(tried())?;
        Ok(Self { file: Arc::new(file), path, end: found.end as u64, len, room, next_slot: 0 })
    }

    /// The same of a file of `len` zeros, which lies in `path`.
    pub(super) fn begin(file: File, path: PathBuf, header: &Header, len: u64, room: u64) -> io::Result<Self> {
        let bytes = encode_header(header)?;
        file.write_all_at(&bytes, 0).map_err(failed(format!("write {}", path.display())))?;
        let end = bytes.len() as u64;
        Ok(Self { file: Arc::new(file), path, end, len: len.max(end), room, next_slot: 0 })
    }

    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// How much was written to it.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// How long the file is.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// It was given this name.
    pub(super) fn renamed(&mut self, path: PathBuf) {
        self.path = path;
    }

    /// Writes a frame behind the last one; returns where. Nothing is on disk before a sync.
    pub(super) fn append(&mut self, frame: &[u8]) -> io::Result<u64> {
        let (at, end) = (self.end, self.end + frame.len() as u64);
        if end > self.len {
            self.make_room(frame.len() as u64);
        }
        self.file.write_all_at(frame, at).map_err(failed(format!("write {}", self.path.display())))?;
        self.end = end;
        self.len = self.len.max(end);
        Ok(at)
    }

    /// Without room a sync only takes longer; what keeps the file from growing will be said when a frame needs it to.
    fn make_room(&mut self, frame: u64) {
        let len = (self.end + frame + 1).next_multiple_of(self.room);
        let zeros = vec![0; usize::try_from(len - self.len).unwrap_or_default()];
        if self.file.write_all_at(&zeros, self.len).is_ok() {
            self.len = len;
        }
    }

    pub(super) fn mark(&mut self, mark: Mark) -> io::Result<()> {
        let write = || self.file.write_all_at(&mark.encode()?, self.next_slot * SLOT as u64);
        write().map_err(failed(format!("write {}", self.path.display())))?;
        self.next_slot = (self.next_slot + 1) % SLOTS as u64;
        Ok(())
    }

    /// Puts what was written on disk. After an error nothing is known of what is there: never try again.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data().map_err(failed(format!("fdatasync {}", self.path.display())))
    }
}

/// A segment as it was found.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) header: Header,
    /// Where the frames begin.
    frames: usize,
}

/// What a walk over its frames came to.
pub(super) struct Scan {
    /// Where the whole frames end.
    pub(super) end: usize,
    pub(super) next_frame: u64,
    /// Where the last frame lies; empty where there is none.
    pub(super) last_frame: Range<usize>,
    pub(super) rest: Rest,
    /// The log goes on in the next segment.
    pub(super) sealed: bool,
}

/// What comes after the last whole frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rest {
    /// Nothing but zeros.
    Blank,
    /// What may be the start of a frame that was never on disk.
    Torn,
}

impl Found {
    /// `None`: it has neither a header nor a mark.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let bytes = std::fs::read(path).map_err(failed(format!("read {}", path.display())))?;
        let Some((header, frames)) = parse_header(&bytes) else {
            return if Mark::decode(&bytes).is_none() { Ok(None) } else { Err(no_header(path)) };
        };
        let header =
            serde_json::from_slice(header).map_err(failed(format!("read the header of {}", path.display())))?;
        Ok(Some(Self { path: path.to_owned(), bytes, header, frames }))
    }

    /// Hands over each record with where it lies. Fails where something is missing that was on disk.
    pub(super) fn scan(&self, mut take: impl FnMut(Range<usize>, Record<'_>) -> io::Result<()>) -> io::Result<Scan> {
        let salt = Salt(self.header.salt);
        let mut scan = Scan {
            end: self.frames,
            next_frame: self.header.first_frame,
            last_frame: 0..0,
            rest: Rest::Blank,
            sealed: false,
        };
        while let Some(Parsed { records, len }) = frame::parse(&self.bytes[scan.end..], salt, scan.next_frame) {
            for (place, record) in records {
                let place = scan.end + place.start..scan.end + place.end;
                let record = record.decode().map_err(|e| damaged(&self.path, place.start, &e.to_string()))?;
                scan.sealed = record == Record::Sealed;
                take(place, record)?;
            }
            scan.last_frame = scan.end..scan.end + len;
            scan.end += len;
            scan.next_frame += 1;
        }
        let rest = &self.bytes[scan.end..];
        if rest.iter().any(|byte| *byte != 0) {
            scan.rest = Rest::Torn;
            if let Some(later) = frame::find_later(rest, salt, scan.next_frame) {
                let what = format!("frame {} is not whole, and {later} follows", scan.next_frame);
                return Err(damaged(&self.path, scan.end, &what));
            }
        }
        match Mark::decode(&self.bytes) {
            Some(mark) if mark.frame >= scan.next_frame => {
                let what = format!(
                    "the log ends before frame {}, but frame {} and all log entries before {} were on disk",
                    scan.next_frame, mark.frame, mark.end
                );
                Err(damaged(&self.path, scan.end, &what))
            }
            _ if scan.sealed && scan.rest == Rest::Torn => {
                Err(damaged(&self.path, scan.end, "something follows the end of the segment"))
            }
            _ => Ok(scan),
        }
    }
}

fn encode_header(header: &Header) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(header)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    let mut bytes = vec![0; HEADER_AT];
    for part in [&HEADER_MAGIC[..], &length.to_le_bytes(), &crc32fast::hash(&json).to_le_bytes(), &json] {
        bytes.extend_from_slice(part);
    }
    Ok(bytes)
}

/// The header's JSON, and where it ends; `None`: it is not whole.
fn parse_header(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let header = bytes.get(HEADER_AT..)?;
    let (magic, header) = header.split_first_chunk::<4>()?;
    let (length, header) = header.split_first_chunk::<4>()?;
    let (checksum, header) = header.split_first_chunk::<4>()?;
    let json = header.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let whole = *magic == HEADER_MAGIC && *checksum == crc32fast::hash(json).to_le_bytes();
    whole.then_some((json, HEADER_AT + 12 + json.len()))
}

pub(super) fn no_header(path: &Path) -> io::Error {
    damaged(path, HEADER_AT, "no header")
}

pub(super) fn damaged(path: &Path, at: usize, what: &str) -> io::Error {
    corrupt(format!("the log's file {} is damaged at byte {at}: {what}; {RECOURSE}", path.display()))
}
