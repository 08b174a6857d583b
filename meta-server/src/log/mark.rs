//! The mark: a note beside sled's files of what was on disk at some moment. sled's recovery takes the first damaged byte for
//! the end of what was written, so a log that is behind its mark was damaged, and is refused.
//!
//! Every sync ends with its number in sled; the mark has that number only once the sync is done, and so never claims too
//! much, whenever its own bytes reach the disk. Two slots with checksums are written in turn: a torn one leaves the other.

use std::{
    cmp::Ordering,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use backup_plugin::record;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{error::failed, state::RaftState};
use crate::raft::{
    convert,
    types::{LogId, record_log_id},
};

/// Bytes of a slot: what a disk writes whole.
const SLOT: usize = 512;
const SLOTS: u64 = 2;

/// What is on disk, at least.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    /// How many syncs there were.
    syncs: u64,
    /// Counts what was written to the file.
    number: u64,
    last: Option<record::LogId>,
    vote: Option<record::Vote>,
    purged: Option<record::LogId>,
}

impl Note {
    pub(super) fn new(syncs: u64, last: Option<LogId>, state: &RaftState) -> Self {
        Self {
            syncs,
            number: 0,
            last: last.map(record_log_id),
            vote: state.vote.map(convert::record_vote),
            purged: state.purged.map(record_log_id),
        }
    }

    /// Whether something that `marked` claims is missing here.
    pub(super) fn lacks(&self, marked: &Note) -> bool {
        let index = |id: Option<record::LogId>| id.map(|id| id.index);
        let vote = |note: &Note| note.vote.map(convert::vote);
        self.syncs < marked.syncs
            || self.last < marked.last
            || index(self.purged) < index(marked.purged)
            || vote(self).partial_cmp(&vote(marked)).is_none_or(Ordering::is_lt)
    }

    /// In words.
    pub(super) fn describe(&self) -> String {
        let last = self.last.map_or_else(|| "nothing".to_owned(), |last| last.to_string());
        let vote = self.vote.map_or_else(|| "none".to_owned(), |vote| convert::vote(vote).to_string());
        format!("{last} (vote {vote}, sync {})", self.syncs)
    }

    /// A line of its checksum and itself, as JSON, filled up to a slot.
    fn encode(&self) -> io::Result<Vec<u8>> {
        let json = serde_json::to_string(self).map_err(failed("encode the mark"))?;
        let mut line = format!("{} {json}\n", checksum(&json)).into_bytes();
        line.resize(SLOT, b' ');
        Ok(line)
    }

    /// `None` for what is torn, or was never written.
    fn decode(slot: &[u8]) -> Option<Self> {
        let (line, _) = std::str::from_utf8(slot).ok()?.split_once('\n')?;
        let (sum, json) = line.split_once(' ')?;
        (sum == checksum(json)).then(|| serde_json::from_str(json).ok())?
    }
}

fn checksum(json: &str) -> String {
    Sha256::digest(json).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The file. It is kept open: writing it takes no file descriptor.
pub(super) struct Mark {
    file: File,
    path: PathBuf,
    note: Option<Note>,
    next_slot: u64,
}

impl Mark {
    /// Opens the mark in `dir`, or creates one that claims nothing.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join("MARK");
        let tried = || failed(format!("open {}", path.display()));
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(tried())?;
        let bytes = fs::read(&path).map_err(tried())?;
        let notes = (0..SLOTS).zip(bytes.chunks(SLOT)).filter_map(|(slot, bytes)| Some((slot, Note::decode(bytes)?)));
        let newest = notes.max_by_key(|(_, note)| note.number);
        let next_slot = newest.map_or(0, |(slot, _)| (slot + 1) % SLOTS);
        Ok(Self { file, path, note: newest.map(|(_, note)| note), next_slot })
    }

    /// What was on disk, if it was ever said.
    pub(super) fn note(&self) -> Option<&Note> {
        self.note.as_ref()
    }

    /// Says what is on disk by now.
    pub(super) fn write(&mut self, mut note: Note) -> io::Result<()> {
        note.number = self.note.map_or(0, |note| note.number) + 1;
        let tried = || failed(format!("write {}", self.path.display()));
        self.file.write_all_at(&note.encode()?, self.next_slot * SLOT as u64).map_err(tried())?;
        self.next_slot = (self.next_slot + 1) % SLOTS;
        self.note = Some(note);
        Ok(())
    }

    /// Takes back, on disk, that the log reached beyond `last`. Both slots are written: none may outlive this in the other.
    pub(super) fn lower(&mut self, last: Option<LogId>) -> io::Result<()> {
        let last = last.map(record_log_id);
        let Some(note) = self.note.filter(|note| note.last > last) else { return Ok(()) };
        for _ in 0..SLOTS {
            self.write(Note { last, ..note })?;
        }
        self.sync()
    }

    /// Puts on disk what was said.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data().map_err(failed(format!("fdatasync {}", self.path.display())))
    }
}
