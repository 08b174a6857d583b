//! A node's store: the folder, the live generation in it, its log and its state machine. Opening checks the invariants that
//! everything else rests on. Knows nothing of clusters or of the network.

mod catch_up;
mod dir;
mod error;
mod generation;
mod kept;
mod lock;

use std::{
    fs,
    io::{self, ErrorKind},
    path::Path,
};

use rand::RngExt as _;

pub use dir::{Found, RaftDir, Replaced};
pub use error::StoreError;
pub use generation::{Ancestry, Generation, load_ancestry};
pub(crate) use generation::{check, log_folder, open_existing_log, open_log, purge_superseded, store_source};

use crate::{
    backup::pins::PinRegistry,
    log::LogDb,
    state::{StateMachine, StateOptions},
};

/// Who this store belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub node_id: Option<u64>,
    /// 64 lower-case hex digits; `None`: not known yet.
    pub cluster_id: Option<String>,
    /// Drawn anew by every import and every fresh store.
    pub incarnation: u64,
    /// The store was imported as a new cluster and has not been led since.
    pub elect_on_open: bool,
}

/// An open store. It holds the folder's lock.
pub struct Store {
    pub log: LogDb,
    pub state: StateMachine,
    pins: PinRegistry,
    ancestry: Option<Ancestry>,
    dir: RaftDir,
}

impl Store {
    /// Opens the store in `raft_dir`, or creates an empty one where there is none.
    pub fn open(raft_dir: &Path, options: StateOptions) -> Result<Store, StoreError> {
        let mut dir = RaftDir::lock(raft_dir)?;
        let generation = match dir.current() {
            Some(current) => current,
            None => {
                let built = dir.begin_generation()?;
                Generation::create(&built)?;
                dir.switch_to(&built, Replaced::Delete)?
            }
        };
        let ancestry = load_ancestry(&generation)?;
        let generation = Generation::open(&generation)?;
        dir.sweep();
        generation.sweep_bases();
        let (log, state) = generation.start(options)?;
        Ok(Store { log, state, pins: PinRegistry::default(), ancestry, dir })
    }

    pub fn raft_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Whether there is a node in this store: one that was started once, or imported.
    pub fn is_initialized(&self) -> bool {
        let state = self.log.state();
        let seeded =
            state.vote.is_some() || self.log.last_log_id().is_some() || self.state.view().last_applied().is_some();
        state.node_id.is_some() && seeded
    }

    pub fn identity(&self) -> Identity {
        let state = self.log.state();
        Identity {
            node_id: state.node_id,
            cluster_id: state.cluster_id,
            incarnation: state.incarnation.unwrap_or_default(),
            elect_on_open: state.elect_on_open,
        }
    }

    /// The content digest of the state that was imported, if one was.
    pub fn imported_content(&self) -> Option<&str> {
        self.ancestry.as_ref().map(|ancestry| ancestry.source.content.as_str())
    }

    /// What exports hold back from being purged.
    pub fn pins(&self) -> &PinRegistry {
        &self.pins
    }
}

/// Whether there is a folder of this name. What can not be looked at may be there.
fn is_folder(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.is_dir()),
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(err) => Err(err),
    }
}

/// A number that no other store has, for all that can be expected.
pub fn draw_incarnation() -> u64 {
    rand::rng().random()
}
