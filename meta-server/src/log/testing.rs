//! Small helpers that the tests of the log share.

use std::path::Path;

use openraft::vote::RaftLeaderId;

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

/// Copies a folder as it is now, folders in it included.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy_folder(&file.path(), &target);
        } else {
            std::fs::copy(file.path(), target).unwrap();
        }
    }
}
