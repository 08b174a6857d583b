//! For tests of what a crash or a bad disk does: the files of a log at one moment, and what was answered by then.

use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc, time::Duration};

use rand::{RngExt, rngs::StdRng};
use tempfile::TempDir;

use super::{
    LogDb,
    files::{Folder, Hooks},
    mark::{SLOT, SLOTS},
    open,
    segment::{Found, NEW},
    testing::{all_entries, entry, truncate_after},
};
use crate::raft::types::{Entry, LogId, Vote};

/// Where a segment's header is.
pub(super) const MARKS: usize = SLOT * SLOTS;

pub(super) fn open(dir: &Path, segment: u64, hooks: Hooks) -> io::Result<LogDb> {
    open::open(Folder::hooked(dir, hooks)?, segment, Duration::ZERO)
}

/// The files of a log at one moment.
#[derive(Clone, Default)]
pub(super) struct Image(pub(super) BTreeMap<String, Arc<Vec<u8>>>);

impl Image {
    /// A file may get its name, or go, meanwhile.
    pub(super) fn take(dir: &Path) -> Self {
        let files = fs::read_dir(dir).unwrap().map(Result::unwrap);
        let read =
            |file: fs::DirEntry| Some((file.file_name().into_string().unwrap(), Arc::new(fs::read(file.path()).ok()?)));
        Self(files.filter_map(read).collect())
    }

    /// The last segment that is more than made ahead.
    pub(super) fn last_begun(&self) -> Option<String> {
        let begun = |bytes: &[u8]| bytes.get(..MARKS + 4).is_some_and(|bytes| bytes[MARKS..] != [0; 4]);
        self.0.iter().rfind(|(name, bytes)| *name != NEW && begun(bytes)).map(|(name, _)| name.clone())
    }

    /// Whether something was written behind the header of a segment.
    pub(super) fn has_frames(&self, name: &str) -> bool {
        let found = Found::read(&self.unpack().path().join(name)).unwrap().unwrap();
        found.scan(|_, _| Ok(())).unwrap().next_frame > found.header.first_frame
    }

    /// Without what was made ahead.
    pub(super) fn only_begun(mut self) -> Image {
        let last = self.last_begun().unwrap();
        self.0.retain(|name, _| *name <= last);
        self
    }

    pub(super) fn unpack(&self) -> TempDir {
        let dir = TempDir::new().unwrap();
        for (name, bytes) in &self.0 {
            fs::write(dir.path().join(name), &**bytes).unwrap();
        }
        dir
    }

    pub(super) fn open(&self, segment: u64) -> io::Result<(TempDir, LogDb)> {
        let dir = self.unpack();
        open(dir.path(), segment, Hooks::default()).map(|log| (dir, log))
    }

    /// This image with one file changed.
    pub(super) fn damaged(&self, name: &str, damage: impl FnOnce(&mut Vec<u8>)) -> Image {
        let mut image = self.clone();
        let mut bytes = image.0[name].to_vec();
        damage(&mut bytes);
        image.0.insert(name.to_owned(), Arc::new(bytes));
        image
    }
}

/// What was answered.
#[derive(Clone, Default)]
pub(super) struct Answered {
    pub(super) entries: BTreeMap<u64, Entry>,
    pub(super) purged: Option<LogId>,
    pub(super) vote: Option<Vote>,
}

impl Answered {
    pub(super) fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, entry)| entry.log_id).or(self.purged)
    }

    /// One random request, waited for.
    pub(super) fn step(&mut self, log: &LogDb, term: u64, random: &mut StdRng) {
        match random.random_range(0..10) {
            0 => {
                self.vote = Some(Vote::new(term, 1));
                log.update_state_blocking(|state| state.vote = self.vote).unwrap();
            }
            1 => {
                for _ in 0..random.random_range(0..40) {
                    self.entries.pop_last();
                }
                truncate_after(log, self.last()).unwrap();
            }
            2 if !self.entries.is_empty() => {
                let purged = self.entries.values().nth(random.random_range(0..self.entries.len())).unwrap().log_id;
                self.entries = self.entries.split_off(&(purged.index + 1));
                self.purged = Some(purged);
                log.purge_blocking(purged).unwrap();
            }
            _ => {
                let start = self.last().map_or(0, |last| last.index + 1);
                // Now and then far more than one sync may cover.
                let most = if random.random_bool(0.1) { 800 } else { 60 };
                let count = random.random_range(1..most);
                let entries: Vec<_> =
                    (start..start + count).map(|index| entry(term, index, random.random_range(0..400))).collect();
                self.entries.extend(entries.iter().map(|entry| (entry.log_id.index, entry.clone())));
                log.append_blocking(entries).unwrap();
            }
        }
    }

    pub(super) fn check_equal(&self, log: &LogDb) {
        assert!(all_entries(log).iter().eq(self.entries.values()));
        assert_eq!((log.last_log_id(), log.purged(), log.state().vote), (self.last(), self.purged, self.vote));
    }
}
