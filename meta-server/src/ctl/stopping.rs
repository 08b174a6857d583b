//! The end of work that blocks, by a signal: its input ends. Of an import, whichever of the signal and the last step comes first
//! prevents the other, so that what is said of the folder is true. Knows nothing of what is imported.

use std::{
    io::{self, Read},
    sync::{Arc, OnceLock},
};

use backup_plugin::{
    record::{LogEntry, StateRecord},
    target::{RestoreError, RestoreGeneration, RestoreTarget, RestoredState, Seed, Source},
};
use tokio::task::spawn_blocking;

use super::{CtlError, block_on, note, signals::interruption};
use crate::backup::offline::PrivateCopy;

/// What a work and who ends it have agreed on.
#[derive(Debug, Clone, Default)]
pub(super) struct Stopping(Arc<OnceLock<First>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Stop,
    LastStep,
}

impl Stopping {
    /// Ends the work; `false`: its last step has begun, and will be done.
    pub(super) fn stop(&self) -> bool {
        self.first(First::Stop)
    }

    /// Begins the last step, unless the work was ended before.
    pub(super) fn begin_last_step(&self) -> Result<(), CtlError> {
        if self.first(First::LastStep) { Ok(()) } else { Err(CtlError::Interrupted) }
    }

    fn first(&self, what: First) -> bool {
        *self.0.get_or_init(|| what) == what
    }

    fn is_stopped(&self) -> bool {
        self.0.get() == Some(&First::Stop)
    }

    /// For work that reads no input.
    pub(super) fn go_on(&self) -> Result<(), CtlError> {
        if self.is_stopped() { Err(CtlError::Interrupted) } else { Ok(()) }
    }

    /// The same input, which ends with an error once the work is to stop.
    pub(super) fn reader<R: Read>(&self, input: R) -> Stoppable<R> {
        Stoppable { input, stopping: self.clone() }
    }

    /// The same target, in which nothing becomes live once the work is to stop.
    pub(super) fn target<T: RestoreTarget>(&self, target: T) -> StoppableTarget<T> {
        StoppableTarget { target, stopping: self.clone() }
    }
}

/// Does `work`, which may block, on a thread of its own, until it is done or until a signal ends it before its last step. What it has
/// in TMPDIR goes then, and it has a moment to take the rest along. Not to be called on a runtime.
pub(super) fn until_interrupted<T: Send + 'static>(
    work: impl FnOnce(&Stopping) -> Result<T, CtlError> + Send + 'static,
) -> Result<T, CtlError> {
    let stopping = Stopping::default();
    let ended = block_on(async {
        let interrupted = interruption()?;
        let of_thread = stopping.clone();
        let mut work = spawn_blocking(move || work(&of_thread));
        tokio::select! {
            result = &mut work => return result.map_err(|error| CtlError::Runtime(error.into()))?,
            error = interrupted => {
                if stopping.stop() {
                    return Err(error);
                }
            }
        }
        note("a signal came during the last step, which goes on to its end");
        work.await.map_err(|error| CtlError::Runtime(error.into()))?
    });
    if stopping.is_stopped() {
        PrivateCopy::remove_all();
    }
    ended
}

/// An input that ends when its work is to stop.
pub(super) struct Stoppable<R> {
    input: R,
    stopping: Stopping,
}

impl<R: Read> Read for Stoppable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stopping.is_stopped() {
            // Not `Interrupted`, which would be tried again.
            return Err(io::Error::other("a signal has ended it"));
        }
        self.input.read(buffer)
    }
}

/// A target whose generations become live only if their work has not been stopped.
pub(super) struct StoppableTarget<T> {
    target: T,
    stopping: Stopping,
}

pub(super) struct StoppableGeneration<G> {
    generation: G,
    stopping: Stopping,
}

impl<T: RestoreTarget> RestoreTarget for StoppableTarget<T> {
    type Generation = StoppableGeneration<T::Generation>;

    fn begin(&self) -> Result<Self::Generation, RestoreError> {
        Ok(StoppableGeneration { generation: self.target.begin()?, stopping: self.stopping.clone() })
    }
}

impl<G: RestoreGeneration> RestoreGeneration for StoppableGeneration<G> {
    fn log_entry(&mut self, line: u64, entry: LogEntry) -> Result<(), RestoreError> {
        self.generation.log_entry(line, entry)
    }

    fn state_record(&mut self, line: u64, record: StateRecord) -> Result<(), RestoreError> {
        self.generation.state_record(line, record)
    }

    fn finish_state(&mut self, replay: bool) -> Result<RestoredState, RestoreError> {
        self.generation.finish_state(replay)
    }

    fn commit(self, seed: Seed, source: Source) -> Result<(), RestoreError> {
        self.stopping.begin_last_step().map_err(|error| RestoreError::Folder(error.to_string()))?;
        self.generation.commit(seed, source)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Cursor};

    use backup_plugin::import::{self, ImportOptions};

    use super::*;
    use crate::{backup::target::StoreTarget, command::fixtures, store::RaftDir};

    #[test]
    fn an_input_ends_when_it_is_to_stop() {
        let stopping = Stopping::default();
        let mut reader = stopping.reader(io::repeat(7));
        let mut buffer = [0; 4];
        assert_eq!((reader.read(&mut buffer).unwrap(), buffer), (4, [7; 4]));
        assert!(stopping.stop());
        assert!(reader.read_to_end(&mut Vec::new()).is_err());
    }

    /// An input after whose last byte a signal comes.
    struct ThenStopped(Cursor<String>, Stopping);

    impl Read for ThenStopped {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(buffer)?;
            if read == 0 {
                assert!(self.1.stop());
            }
            Ok(read)
        }
    }

    #[test]
    fn whichever_comes_first_of_a_signal_and_the_last_step_prevents_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let raft_dir = folder.path().join("meta");
        let options = ImportOptions::new(None, None).unwrap();
        let text = || Cursor::new(fixtures::text("v004.ndjson"));
        let (before, after) = (Stopping::default(), Stopping::default());
        let target = || StoreTarget::new(raft_dir.clone());
        let input = ThenStopped(text(), before.clone());
        import::run(input, "b", &before.target(target()), &options, &mut |_| ()).unwrap_err();
        assert!(!raft_dir.exists());
        import::run(text(), "b", &after.target(target()), &options, &mut |_| ()).unwrap();
        assert!(!after.stop());
        assert_eq!(RaftDir::peek(&raft_dir).unwrap().len(), 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
