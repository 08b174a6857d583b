//! Small helpers that the tests of the log share.

use std::{io, path::Path};

use openraft::vote::RaftLeaderId;

use super::{LogDb, segment::NEW, wait};
use crate::{
    command::{Command, LogCommand},
    raft::types::{Entry, EntryPayload, LeaderId, LogId},
};

pub(crate) fn id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId::new(term, 1), index)
}

/// An entry whose size is about `size` bytes.
pub(crate) fn entry(term: u64, index: u64, size: usize) -> Entry {
    let cmd = Command::SetFeature { feature: "x".repeat(size), enable: index.is_multiple_of(2) };
    Entry { log_id: id(term, index), payload: EntryPayload::Normal(LogCommand { time_ms: Some(index), cmd }) }
}

/// Every entry that the log has.
pub(crate) fn all_entries(log: &LogDb) -> Vec<Entry> {
    log.iter(log.first_index().unwrap_or(u64::MAX)..u64::MAX).map(Result::unwrap).collect()
}

/// [`LogDb::truncate_after`] for a thread that may block.
pub(crate) fn truncate_after(log: &LogDb, last: Option<LogId>) -> io::Result<()> {
    wait(|done| log.submit_truncate(last, done))
}

/// Copies a folder as it is now, folders in it included.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    // Of a log that is being written, the oldest segment first: what a later one has must not be missing before it.
    let mut files: Vec<_> = std::fs::read_dir(from).unwrap().map(Result::unwrap).collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    for file in files {
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy_folder(&file.path(), &target);
        } else if let Err(error) = std::fs::copy(file.path(), target) {
            // What is made ahead gets its name meanwhile.
            assert!(file.file_name() == NEW && error.kind() == io::ErrorKind::NotFound, "{:?}: {error}", file.path());
        }
    }
}
