//! The seam to write through: what a host lets the plugin seed. Knows nothing of how the host keeps it.
//!
//! The one promise that everything else rests on: nothing of the live data changes before [`RestoreGeneration::commit`], and
//! `commit` is one atomic step. A generation that is dropped, killed or out of disk leaves the old data live.

use std::{collections::BTreeMap, io};

use serde::{Deserialize, Serialize};

use crate::{
    cluster::{ContentDigest, Lineage},
    record::{HardState, LogEntry, LogId, Node, StateRecord},
};

/// A store that can be seeded while it is stopped.
pub trait RestoreTarget {
    type Generation: RestoreGeneration;

    /// Locks the store and begins a new, empty generation beside the live one.
    fn begin(&self) -> Result<Self::Generation, RestoreError>;
}

/// A generation that is being filled. Every call blocks on disk.
pub trait RestoreGeneration: Sized {
    /// Takes the next entry of the log; indexes come without a gap. Decodes the command, and refuses one that could not be applied.
    fn log_entry(&mut self, line: u64, entry: LogEntry) -> Result<(), RestoreError>;

    /// Takes a record of the state machine, in any order. A key that was there before is refused, here or in
    /// [`RestoreGeneration::finish_state`]. `Expire` and `Ignored` records never come: the index is rebuilt.
    fn state_record(&mut self, line: u64, record: StateRecord) -> Result<(), RestoreError>;

    /// Ends the feeding. With `replay`, applies every log entry above the state's LastApplied to it.
    fn finish_state(&mut self, replay: bool) -> Result<RestoredState, RestoreError>;

    /// Makes the generation durable and live, in one step and together with its `source`, then removes the one it replaces, unless
    /// the host was told to keep that.
    fn commit(self, seed: Seed, source: Source) -> Result<(), RestoreError>;
}

/// What the state of a new generation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredState {
    pub last_applied: Option<LogId>,
    /// The last sequence number given out.
    pub sequence: u64,
    /// Key-value records.
    pub keys: u64,
    /// Over the key-value records, in key order.
    pub digest: ContentDigest,
}

/// Who the generation is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seed {
    /// The same node of the same cluster, faithfully: log and hard state as they were fed.
    SameNode(HardState),
    /// A node of a new cluster: nodes, membership, log, vote and the last sequence number given out are replaced.
    NewLineage { node_id: u64, lineage: Lineage, nodes: BTreeMap<u64, Node>, sequence: u64 },
}

/// Where a generation comes from. A host keeps it with the generation, and tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub origin: Origin,
    /// What the input was called: its path, or "standard input".
    pub input: String,
    /// SHA-256 of the bytes that were read, 64 lower-case hex digits.
    pub sha256: String,
    /// The content digest of the state that was made, 64 lower-case hex digits; with the cluster id, the fingerprint of a restore.
    pub content: String,
    /// The id of the new cluster, when a list was given.
    pub cluster_id: Option<String>,
}

/// What an import was given: the bytes of the file, the node id and the list, as one number. A host keeps it with the
/// generation, so that the same import is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin(pub [u8; 32]);

/// Why a target does not take what it was given.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The input is at fault.
    #[error("{reason}")]
    Input { line: Option<u64>, reason: String },
    /// The folder is at fault, or who holds it.
    #[error("{0}")]
    Folder(String),
    #[error("{tried}")]
    Io { tried: String, source: io::Error },
}
