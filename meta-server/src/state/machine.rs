//! The running state machine: one writer, any number of readers, and the compaction that turns base + overlay into a new base
//! beside them. Knows that some durable place names the live base; knows nothing of what else is kept there.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use backup_plugin::record::{LogId, StoredMembership};

use super::{State, View, layer::Layer};
use crate::{
    apply::{self, Applied},
    base::Base,
    command::LogCommand,
};

/// When the overlay is compacted.
#[derive(Debug, Clone, Copy)]
pub struct StateOptions {
    /// Compact when the overlay takes more bytes than this, and more than a tenth of the base.
    pub compact_above: usize,
}

impl Default for StateOptions {
    fn default() -> Self {
        StateOptions { compact_above: 64 * 1024 * 1024 }
    }
}

/// Where the name of the live base is kept. `name` returns once the name is durable.
pub trait BaseNames: Send + Sync + 'static {
    fn name(&self, base: &str) -> io::Result<()>;
}

/// A handle of the running state machine; clones share it.
#[derive(Clone)]
pub struct StateMachine {
    shared: Arc<Shared>,
}

struct Shared {
    /// Held while entries are applied, and for the switch to a new base: data and applied id change together.
    state: Mutex<State>,
    /// The last complete moment, for readers.
    view: RwLock<View>,
    /// Held by the one build that runs; the number of the last base in `dir`.
    builds: Mutex<u64>,
    dir: PathBuf,
    names: Box<dyn BaseNames>,
    options: StateOptions,
}

impl fmt::Debug for StateMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateMachine").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

/// What an entry asks of the state machine.
pub enum Change<'a> {
    Nothing,
    Membership(StoredMembership),
    Command(&'a LogCommand),
}

impl StateMachine {
    /// Starts from a base that lies in `dir`, where later bases will lie too.
    pub fn new(base: Base, dir: &Path, names: impl BaseNames, options: StateOptions) -> io::Result<StateMachine> {
        let last_number = last_base_number(dir)?;
        let state = State::of_base(Arc::new(base))?;
        let shared = Shared {
            view: RwLock::new(Arc::new(state.clone())),
            state: Mutex::new(state),
            builds: Mutex::new(last_number),
            dir: dir.to_owned(),
            names: Box::new(names),
            options,
        };
        Ok(StateMachine { shared: Arc::new(shared) })
    }

    /// The state as of the last entry that was applied.
    pub fn view(&self) -> View {
        self.shared.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Applies entries in the order of the log. Readers see all of them at once. An error is a fault of the disk: nothing
    /// more may be applied after it.
    pub fn apply<'a>(&self, entries: impl Iterator<Item = (LogId, Change<'a>)>) -> io::Result<Vec<Applied>> {
        let mut state = self.lock();
        let applied = entries.map(|(log_id, change)| state.apply(log_id, change)).collect();
        match &applied {
            Ok(_) => self.publish(&state),
            // A part of an entry must never reach a base.
            Err(_) => *state = State::clone(&self.view()),
        }
        applied
    }

    /// Whether the overlay has grown enough to be worth a new base.
    pub fn compaction_due(&self) -> bool {
        let view = self.view();
        let base = usize::try_from(view.base().disk_bytes()).unwrap_or(usize::MAX);
        view.overlay_bytes() > self.shared.options.compact_above.max(base / 10)
    }

    /// Builds a base of the state as it is now, makes it the live one, and returns a view of just that. Writes and reads go on
    /// meanwhile. Blocks.
    pub fn compact(&self) -> io::Result<View> {
        let mut number = self.builds();
        let frozen = self.freeze();
        if frozen.last_applied == frozen.base.last_applied() {
            return Ok(Arc::new(State::of_base(frozen.base)?));
        }
        let base = self.build(&frozen, &mut number)?;
        let mut state = self.lock();
        let old = std::mem::replace(&mut state.base, base.clone());
        state.layers.drain(..frozen.layers.len());
        self.publish(&state);
        drop(state);
        old.retire();
        Ok(Arc::new(State::of_base(base)?))
    }

    /// Replaces the whole state by another one, such as a leader's. Blocks.
    pub fn install(&self, other: &State) -> io::Result<()> {
        let mut number = self.builds();
        let base = self.build(other, &mut number)?;
        let mut state = self.lock();
        let old = std::mem::replace(&mut *state, State::of_base(base)?);
        self.publish(&state);
        drop(state);
        old.base.retire();
        Ok(())
    }

    /// Closes the layer that takes the writes and opens a new one; returns the state without the new one.
    fn freeze(&self) -> State {
        let mut state = self.lock();
        let mut frozen = state.clone();
        if state.layers.last().is_some_and(|layer| !layer.is_empty()) {
            state.layers.push(Layer::default());
            self.publish(&state);
        } else {
            frozen.layers.pop();
        }
        frozen
    }

    fn build(&self, state: &State, number: &mut u64) -> io::Result<Arc<Base>> {
        *number += 1;
        let (base, _) = state.build_base(&self.shared.dir.join(base_name(*number)))?;
        // When naming fails, either name may be the one on disk: both bases stay, and the next open sweeps the other one.
        self.shared.names.name(&base.name())?;
        Ok(Arc::new(base))
    }

    fn publish(&self, state: &State) {
        *self.shared.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state.clone());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(|poisoned| {
            // A panic in the middle of an entry: go back to the last whole moment.
            let mut state = poisoned.into_inner();
            *state = State::clone(&self.view());
            self.shared.state.clear_poison();
            state
        })
    }

    fn builds(&self) -> MutexGuard<'_, u64> {
        self.shared.builds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Applies one entry of the log.
    pub fn apply(&mut self, log_id: LogId, change: Change<'_>) -> io::Result<Applied> {
        let applied = match change {
            Change::Nothing => Applied::None,
            Change::Membership(membership) => {
                self.set_last_membership(membership);
                Applied::None
            }
            Change::Command(command) => {
                let applied = apply::apply(self, command)?;
                if let Some(time_ms) = command.time_ms {
                    self.skip_expired(time_ms)?;
                }
                applied
            }
        };
        self.set_last_applied(log_id);
        Ok(applied)
    }
}

/// The name of the base with this number.
pub fn base_name(number: u64) -> String {
    format!("base-{number:06}")
}

/// The highest number that a base in `dir` has, garbage that could not be deleted included.
fn last_base_number(dir: &Path) -> io::Result<u64> {
    let mut last = 0;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("base-")?.parse().ok());
        last = last.max(number.unwrap_or(0));
    }
    Ok(last)
}
