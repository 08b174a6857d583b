//! The state that the import of a backup comes to, in a folder of its own, for who wants to look at it and starts no
//! node on it: a target whose generations are never made live.

use std::{cell::RefCell, io, path::PathBuf, rc::Rc};

use backup_plugin::{
    record::{LogEntry, StateRecord},
    target::{RestoreError, RestoreGeneration, RestoreTarget, RestoredState, Seed, Source},
};

use super::target::{StoreGeneration, StoreTarget};
use crate::state::State;

/// Takes one import.
pub struct Scratch {
    target: StoreTarget,
    imported: Rc<RefCell<Option<StoreGeneration>>>,
}

impl Scratch {
    /// In a folder that nobody else uses, and that does not exist yet.
    pub fn new(dir: PathBuf) -> Scratch {
        Scratch { target: StoreTarget::new(dir), imported: Rc::default() }
    }

    /// What was imported, before it became a node of a new cluster: nodes and membership are those of the backup.
    /// `None`: nothing was, or not to the end.
    pub fn into_state(self) -> io::Result<Option<ScratchState>> {
        let Some(generation) = self.imported.take() else { return Ok(None) };
        let Some(base) = generation.base().cloned() else { return Ok(None) };
        Ok(Some(ScratchState { state: State::of_base(base)?, _generation: generation }))
    }
}

/// The state that an import came to. Its files go with it.
pub struct ScratchState {
    pub state: State,
    _generation: StoreGeneration,
}

impl RestoreTarget for Scratch {
    type Generation = ScratchGeneration;

    fn begin(&self) -> Result<ScratchGeneration, RestoreError> {
        Ok(ScratchGeneration { generation: self.target.begin()?, imported: self.imported.clone() })
    }
}

/// One that is kept where another one becomes live.
pub struct ScratchGeneration {
    generation: StoreGeneration,
    imported: Rc<RefCell<Option<StoreGeneration>>>,
}

impl RestoreGeneration for ScratchGeneration {
    fn log_entry(&mut self, line: u64, entry: LogEntry) -> Result<(), RestoreError> {
        self.generation.log_entry(line, entry)
    }

    fn state_record(&mut self, line: u64, record: StateRecord) -> Result<(), RestoreError> {
        self.generation.state_record(line, record)
    }

    fn finish_state(&mut self, replay: bool) -> Result<RestoredState, RestoreError> {
        self.generation.finish_state(replay)
    }

    fn commit(self, _: Seed, _: Source) -> Result<(), RestoreError> {
        *self.imported.borrow_mut() = Some(self.generation);
        Ok(())
    }
}
