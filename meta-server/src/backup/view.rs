//! What an export reads: a state, and the log beside it, in the types of the plugin. Serves a running node and a stopped one.

use std::{io, time::Instant};

use backup_plugin::{
    provenance::Origin,
    record::{HardState, LogEntry, StateRecord},
    source::BackupView,
};

use super::pins::Pin;
use crate::{log::LogDb, raft::convert, state::View};

pub struct StoreView {
    pub(super) origin: Origin,
    pub(super) hard_state: HardState,
    pub(super) state: View,
    pub(super) log: LogDb,
    /// The last log index that is written.
    pub(super) last_index: Option<u64>,
    pub(super) hold: Option<Hold>,
}

/// A running node's promise to the export, which ends some time.
pub(super) struct Hold {
    pub(super) _pin: Pin,
    pub(super) until: Instant,
    pub(super) limit_text: String,
}

impl BackupView for StoreView {
    fn origin(&self) -> Origin {
        self.origin.clone()
    }

    fn hard_state(&self) -> io::Result<HardState> {
        Ok(self.hard_state.clone())
    }

    fn log_entries(&self) -> impl Iterator<Item = io::Result<LogEntry>> + Send {
        let first = self.hard_state.purged.map_or(0, |purged| purged.index + 1);
        let end = self.last_index.map_or(first, |last| last + 1);
        self.log.iter(first..end).map(|entry| convert::record_entry(&entry?))
    }

    fn state_records(&self) -> impl Iterator<Item = io::Result<StateRecord>> + Send {
        // With nothing applied there is no state: records that lack its log id would be refused when they come back.
        self.state.last_applied().map(|_| self.state.records()).into_iter().flatten()
    }

    fn check_limit(&self) -> io::Result<()> {
        match &self.hold {
            Some(hold) if Instant::now() > hold.until => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the export took longer than {}, the longest time the log is held for it", hold.limit_text),
            )),
            _ => Ok(()),
        }
    }
}
