//! The bytes of the log: records, and the frames that hold what is put on disk together. Every byte is under a checksum.
//!
//! ```text
//! frame   magic (4)  length (4)  number (8)  checksum (4)  records
//! record  checksum (4)  length (4)  kind (1)  body
//! ```
//!
//! Frames are numbered without a gap, and one is written only once the one before it is on disk. So whatever comes before the
//! last frame that was begun is no torn end but damage. Checksums include a number that was drawn for this log: no client can
//! write a value that looks like a frame. Integers are little-endian. Knows nothing of files.

use std::{io, ops::Range};

use backup_plugin::record;

use super::{
    error::{corrupt, failed},
    state::RaftState,
};
use crate::raft::types::{LogId, log_id, record_log_id};

/// Bytes before the records of a frame.
pub(super) const HEADER: usize = 20;
const MAGIC: [u8; 4] = *b"RLf1";

/// Bytes before the body of a record.
const RECORD_HEADER: usize = 9;

/// What the log is told, in the order it was told.
#[derive(Debug, PartialEq)]
pub(super) enum Record<'a> {
    /// An encoded entry. It follows the one before it.
    Entry {
        index: u64,
        bytes: &'a [u8],
    },
    /// The log ends before this index.
    Truncated {
        end: u64,
    },
    /// The log starts after this.
    Purged(LogId),
    Committed(Option<LogId>),
    /// All values beside the log.
    State(Box<RaftState>),
    /// The log goes on in the next segment.
    Sealed,
}

const ENTRY: u8 = 1;
const TRUNCATED: u8 = 2;
const PURGED: u8 = 3;
const COMMITTED: u8 = 4;
const STATE: u8 = 5;
const SEALED: u8 = 6;

impl Record<'_> {
    fn kind(&self) -> u8 {
        match self {
            Record::Entry { .. } => ENTRY,
            Record::Truncated { .. } => TRUNCATED,
            Record::Purged(_) => PURGED,
            Record::Committed(_) => COMMITTED,
            Record::State(_) => STATE,
            Record::Sealed => SEALED,
        }
    }

    fn write_body(&self, to: &mut Vec<u8>) -> io::Result<()> {
        let json = match self {
            Record::Entry { index, bytes } => {
                to.extend_from_slice(&index.to_le_bytes());
                to.extend_from_slice(bytes);
                return Ok(());
            }
            Record::Truncated { end } => {
                to.extend_from_slice(&end.to_le_bytes());
                return Ok(());
            }
            Record::Sealed => return Ok(()),
            Record::Purged(id) => serde_json::to_writer(to, &record_log_id(*id)),
            Record::Committed(id) => serde_json::to_writer(to, &id.map(record_log_id)),
            Record::State(state) => serde_json::to_writer(to, state),
        };
        json.map_err(failed("encode a record of the log"))
    }
}

/// The number that was drawn for a log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Salt(pub(super) u64);

impl Salt {
    fn checksum(self, bytes: &[u8]) -> [u8; 4] {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.0.to_le_bytes());
        hasher.update(bytes);
        hasher.finalize().to_le_bytes()
    }
}

/// A frame that is being filled.
pub(super) struct Frame {
    bytes: Vec<u8>,
    salt: Salt,
}

impl Frame {
    pub(super) fn new(salt: Salt) -> Self {
        Self { bytes: vec![0; HEADER], salt }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER
    }

    /// Its bytes so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a record; returns where it lies in the frame.
    pub(super) fn push(&mut self, record: &Record<'_>) -> io::Result<Range<usize>> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; RECORD_HEADER]);
        self.bytes[start + 8] = record.kind();
        record.write_body(&mut self.bytes)?;
        let length = length(self.bytes.len() - start - RECORD_HEADER)?;
        self.bytes[start + 4..start + 8].copy_from_slice(&length);
        let checksum = self.salt.checksum(&self.bytes[start + 4..]);
        self.bytes[start..start + 4].copy_from_slice(&checksum);
        Ok(start..self.bytes.len())
    }

    /// The whole frame, once everything is in.
    pub(super) fn finish(&mut self, number: u64) -> io::Result<&[u8]> {
        let length = length(self.bytes.len() - HEADER)?;
        self.bytes[..4].copy_from_slice(&MAGIC);
        self.bytes[4..8].copy_from_slice(&length);
        self.bytes[8..16].copy_from_slice(&number.to_le_bytes());
        let checksum = self.salt.checksum(&self.bytes[4..16]);
        self.bytes[16..HEADER].copy_from_slice(&checksum);
        Ok(&self.bytes)
    }

    pub(super) fn clear(&mut self) {
        self.bytes.truncate(HEADER);
        // What one large entry took is not kept.
        self.bytes.shrink_to(1 << 20);
    }
}

fn length(bytes: usize) -> io::Result<[u8; 4]> {
    let tried = || failed(format!("write {bytes} bytes to the log at once: they are more than 4 GiB"));
    Ok(u32::try_from(bytes).map_err(tried())?.to_le_bytes())
}

/// The number and the length of the frame at the start of `bytes`; `None`: there is no header of a frame.
fn parse_header(bytes: &[u8], salt: Salt) -> Option<(u64, usize)> {
    let header = bytes.get(..HEADER)?;
    let whole = header[..4] == MAGIC && header[16..] == salt.checksum(&header[4..16]);
    let length = u32::from_le_bytes(header[4..8].try_into().ok()?);
    let number = u64::from_le_bytes(header[8..16].try_into().ok()?);
    whole.then_some((number, usize::try_from(length).ok()?))
}

/// Kind, body and rest of the record at the start of `bytes`; `None`: it is not whole.
fn parse_record(bytes: &[u8], salt: Salt) -> Option<(u8, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?)).ok()?;
    let end = RECORD_HEADER.checked_add(length)?;
    let record = bytes.get(..end)?;
    (record[..4] == salt.checksum(&record[4..])).then(|| (record[8], &record[RECORD_HEADER..], &bytes[end..]))
}

/// A frame that is whole.
pub(super) struct Parsed<'a> {
    /// Each with where it lies in the frame.
    pub(super) records: Vec<(Range<usize>, RawRecord<'a>)>,
    pub(super) len: usize,
}

/// The frame with this number at the start of `bytes`; `None`: it is not whole, or another one.
pub(super) fn parse(bytes: &[u8], salt: Salt, number: u64) -> Option<Parsed<'_>> {
    let (found, length) = parse_header(bytes, salt)?;
    let len = HEADER + length;
    let (mut records, mut rest) = (Vec::new(), bytes.get(HEADER..len)?);
    while !rest.is_empty() {
        let (kind, body, after) = parse_record(rest, salt)?;
        records.push((len - rest.len()..len - after.len(), RawRecord { kind, body }));
        rest = after;
    }
    (found == number).then_some(Parsed { records, len })
}

/// The number of a frame that begins anywhere in `bytes` and is later than `number`.
pub(super) fn find_later(bytes: &[u8], salt: Salt, number: u64) -> Option<u64> {
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == MAGIC[0]).map(|(at, _)| at);
    let mut numbers = starts.filter_map(|at| parse_header(&bytes[at..], salt)).map(|(found, _)| found);
    numbers.find(|found| *found > number)
}

/// The encoded entry in a record; `None`: the record is not whole, or not this entry.
pub(super) fn entry(record: &[u8], salt: Salt, index: u64) -> Option<&[u8]> {
    let (kind, body, _) = parse_record(record, salt)?;
    let (found, bytes) = body.split_first_chunk()?;
    (kind == ENTRY && u64::from_le_bytes(*found) == index).then_some(bytes)
}

/// A record whose checksum is right.
pub(super) struct RawRecord<'a> {
    kind: u8,
    body: &'a [u8],
}

impl<'a> RawRecord<'a> {
    /// What it says. Fails where another version wrote it.
    pub(super) fn decode(&self) -> io::Result<Record<'a>> {
        let unreadable = |e| corrupt(format!("a record of kind {} cannot be read: {e}", self.kind));
        let log_id_of = |id: record::LogId| log_id(id);
        Ok(match self.kind {
            ENTRY => {
                let (index, bytes) = self.integer()?;
                Record::Entry { index, bytes }
            }
            TRUNCATED => Record::Truncated { end: self.integer()?.0 },
            PURGED => Record::Purged(serde_json::from_slice(self.body).map(log_id_of).map_err(unreadable)?),
            COMMITTED => {
                let id: Option<record::LogId> = serde_json::from_slice(self.body).map_err(unreadable)?;
                Record::Committed(id.map(log_id_of))
            }
            STATE => Record::State(serde_json::from_slice(self.body).map_err(unreadable)?),
            SEALED => Record::Sealed,
            kind => return Err(corrupt(format!("a record is of kind {kind}, which this version does not know"))),
        })
    }

    fn integer(&self) -> io::Result<(u64, &'a [u8])> {
        let (integer, rest) = self
            .body
            .split_first_chunk()
            .ok_or_else(|| corrupt(format!("a record of kind {} is {} bytes long", self.kind, self.body.len())))?;
        Ok((u64::from_le_bytes(*integer), rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::id;

    const SALT: Salt = Salt(0x0123_4567_89ab_cdef);

    fn records() -> Vec<Record<'static>> {
        let state = RaftState { node_id: Some(7), purged: Some(id(2, 5)), ..RaftState::default() };
        vec![
            Record::Entry { index: 9, bytes: b"an entry" },
            Record::Entry { index: 10, bytes: b"" },
            Record::Truncated { end: 10 },
            Record::Purged(id(2, 5)),
            Record::Committed(Some(id(2, 9))),
            Record::Committed(None),
            Record::State(Box::new(state)),
            Record::Sealed,
        ]
    }

    fn frame(number: u64) -> Vec<u8> {
        let mut frame = Frame::new(SALT);
        for record in records() {
            frame.push(&record).unwrap();
        }
        frame.finish(number).unwrap().to_vec()
    }

    #[test]
    fn every_record_comes_back_as_it_was() {
        let mut bytes = frame(3);
        let whole = bytes.len();
        bytes.extend_from_slice(b"what comes after it");
        let Parsed { records: found, len } = parse(&bytes, SALT, 3).unwrap();
        assert_eq!(len, whole);
        let decoded: Vec<_> = found.iter().map(|(_, record)| record.decode().unwrap()).collect();
        assert_eq!(decoded, records());
        assert_eq!(entry(&bytes[found[0].0.clone()], SALT, 9), Some(&b"an entry"[..]));
        assert_eq!(entry(&bytes[found[0].0.clone()], SALT, 8), None);
        assert_eq!(entry(&bytes[found[2].0.clone()], SALT, 10), None);
    }

    #[test]
    fn a_frame_with_any_bit_flipped_or_any_byte_missing_is_not_whole() {
        let whole = frame(3);
        for at in 0..whole.len() {
            assert!(parse(&whole[..at], SALT, 3).is_none(), "cut at {at}");
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                assert!(parse(&bytes, SALT, 3).is_none(), "bit {bit} of byte {at}");
            }
        }
        assert!(parse(&whole, SALT, 4).is_none());
        assert!(parse(&whole, Salt(1), 3).is_none());
    }

    #[test]
    fn a_later_frame_is_found_wherever_it_begins_and_one_of_another_log_is_not() {
        for at in [0, 1, 19, 300] {
            let bytes = [vec![MAGIC[0]; at], frame(5)].concat();
            assert_eq!(find_later(&bytes, SALT, 4), Some(5), "at {at}");
            assert_eq!(find_later(&bytes, SALT, 5), None, "at {at}");
            assert_eq!(find_later(&bytes, Salt(1), 4), None, "at {at}");
        }
    }

    #[test]
    fn a_record_of_another_version_is_an_error() {
        let unknown = RawRecord { kind: 99, body: b"" };
        let message = "a record is of kind 99, which this version does not know";
        assert_eq!(unknown.decode().unwrap_err().to_string(), message);
    }
}
