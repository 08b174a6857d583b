//! The running state machine: one writer, any number of readers, and the compaction that turns base + overlay into a new base
//! beside them. Knows that some durable place names the live base; knows nothing of what else is kept there.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use backup_plugin::record::{LogId, StoredMembership};

use super::{
    State, View,
    counts::{Busy, Tally},
    layer::Layer,
};
use crate::{
    apply::{self, Applied},
    base::Base,
    command::LogCommand,
    watch::{Cut, Filter, KeyRange, Watchers, Watching},
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
    /// Held by the one compaction that runs.
    compaction: Mutex<()>,
    /// Held while a base is named and switched to, so that the one that is named is the one in use; how often a whole state
    /// was installed, which a compaction of the one before must notice.
    installs: Mutex<u64>,
    /// The number of the last base in `dir`: whoever builds one, at the same time as others, takes the next.
    last_number: AtomicU64,
    dir: PathBuf,
    names: Box<dyn BaseNames>,
    options: StateOptions,
    watchers: Watchers,
    tally: Tally,
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
            compaction: Mutex::new(()),
            installs: Mutex::new(0),
            last_number: AtomicU64::new(last_number),
            dir: dir.to_owned(),
            names: Box::new(names),
            options,
            watchers: Watchers::default(),
            tally: Tally::default(),
        };
        Ok(StateMachine { shared: Arc::new(shared) })
    }

    /// The state as of the last entry that was applied.
    pub fn view(&self) -> View {
        self.shared.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Applies entries in the order of the log, each with whether anybody waits for its answer. Readers see all of them at
    /// once. An error is a fault of the disk: nothing more may be applied after it.
    pub fn apply<'a>(&self, entries: impl Iterator<Item = (LogId, Change<'a>, bool)>) -> io::Result<Vec<Applied>> {
        let mut state = self.lock();
        state.keep_changes(self.shared.watchers.count() > 0);
        let apply = |(log_id, change, asked)| {
            let applied = state.apply(log_id, change)?;
            // The answers of a log that is applied again must not pile up in memory.
            Ok(if asked { applied } else { Applied::None })
        };
        let applied = entries.map(apply).collect();
        match &applied {
            Ok(_) => {
                let changes = state.take_changes();
                self.publish(&state);
                self.shared.watchers.tell(changes);
            }
            // A part of an entry must never reach a base.
            Err(_) => *state = State::clone(&self.view()),
        }
        applied
    }

    /// Lets a watcher in: a view, and every change of it from then on, none missed and none doubled. May have to wait for the
    /// entries that are being applied.
    pub fn watch(&self, range: KeyRange, filter: Filter) -> (View, Watching) {
        let _no_changes_meanwhile = self.lock();
        (self.view(), self.shared.watchers.add(range, filter))
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    pub fn watchers(&self) -> &Watchers {
        &self.shared.watchers
    }

    /// Whether the overlay, or the log since the base, has grown enough to be worth a new base.
    pub fn compaction_due(&self, log_bytes: u64) -> bool {
        let view = self.view();
        let base_bytes = view.base().disk_bytes();
        let (base, above) = (usize::try_from(base_bytes).unwrap_or(usize::MAX), self.shared.options.compact_above);
        let log_limit = base_bytes.max(2 * above as u64);
        view.overlay_bytes() > above.max(base / 10) || log_bytes > log_limit
    }

    /// Builds a base of the state as it is now, makes it the live one, and returns a view of just that. Writes and reads go on
    /// meanwhile; where another state is installed meanwhile, that one stays. Blocks.
    pub fn compact(&self) -> io::Result<View> {
        let _one_at_a_time = hold(&self.shared.compaction);
        let (frozen, installs) = {
            let installs = hold(&self.shared.installs);
            (self.freeze(), *installs)
        };
        if frozen.last_applied == frozen.base.last_applied() {
            return Ok(Arc::new(State::of_base(frozen.base)?));
        }
        let compacted = self.build(&frozen).and_then(|base| self.replace_frozen(&frozen, installs, base));
        if compacted.is_err() {
            self.thaw();
        }
        compacted
    }

    /// Replaces the whole state by another one, such as a leader's. A view of just a base that lies here, such as one that was
    /// received, is used as it is; any other state is built here first. Blocks.
    pub fn install(&self, other: &State) -> io::Result<()> {
        let is_here = other.last_applied == other.base.last_applied() && other.base.lies_in(&self.shared.dir);
        let base = if is_here { other.base.clone() } else { self.build(other)? };
        let installed = State::of_base(base.clone())?;
        let mut installs = hold(&self.shared.installs);
        self.name(&base)?;
        *installs += 1;
        let mut state = self.lock();
        let old = std::mem::replace(&mut *state, installed);
        self.publish(&state);
        self.shared.watchers.cut(Cut::Replaced);
        drop(state);
        if !Arc::ptr_eq(&old.base, &base) {
            old.base.retire_in_parts();
        }
        Ok(())
    }

    /// Where the next base is built, beside whatever else is.
    pub(super) fn next_base_dir(&self) -> PathBuf {
        let number = self.shared.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        self.shared.dir.join(base_name(number))
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

    /// Takes back a freeze whose build has failed, so that failures do not pile up layers.
    fn thaw(&self) {
        let mut state = self.lock();
        if state.layers.len() > 1
            && let Some(newer) = state.layers.pop()
            && let Some(layer) = state.layers.last_mut()
        {
            layer.absorb(&newer);
            self.publish(&state);
        }
    }

    /// Makes `base`, built of `frozen`, the live one, unless a whole state was installed since there were `installs` of them.
    fn replace_frozen(&self, frozen: &State, installs: u64, base: Arc<Base>) -> io::Result<View> {
        let installs_now = hold(&self.shared.installs);
        if *installs_now != installs {
            return Ok(Arc::new(State::of_base(self.view().base().clone())?));
        }
        let compacted = State::of_base(base.clone())?;
        self.name(&base)?;
        let mut state = self.lock();
        let old = std::mem::replace(&mut state.base, base);
        state.layers.drain(..frozen.layers.len());
        self.publish(&state);
        drop(state);
        old.retire_in_parts();
        Ok(Arc::new(compacted))
    }

    /// Builds a base of `state`, which goes with its last handle unless it is named.
    fn build(&self, state: &State) -> io::Result<Arc<Base>> {
        let _building = Busy::with(&self.tally().building);
        let base = state.build_base(&self.next_base_dir())?;
        base.retire();
        self.tally().wrote(base.meta().keys);
        Ok(Arc::new(base))
    }

    /// Names a base durably.
    fn name(&self, base: &Base) -> io::Result<()> {
        // When naming fails, either name may be the one on disk: both bases stay, and the next open sweeps the other one.
        base.keep();
        self.shared.names.name(&base.name())
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
}

/// Nothing that is kept under these locks can be half done, so a poisoned one is as good.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
