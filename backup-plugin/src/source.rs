//! The seam to read through: what a host lets the plugin see of its store. Knows nothing of how the store keeps it.

use std::{future::Future, io};

use crate::{
    provenance::Origin,
    record::{HardState, LogEntry, StateRecord},
};

/// A store that can be backed up while it serves.
pub trait BackupSource: Send + Sync + 'static {
    type View: BackupView;

    /// Waits until this node has applied every write that any node of its cluster acknowledged before this was called,
    /// and asks the leader which those are. A view that is pinned afterwards includes them all.
    ///
    /// # Errors
    ///
    /// Why no leader confirmed that within the host's own limit, in words for an operator. The store can be pinned all
    /// the same.
    fn confirm(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Waits for what this node is about to apply and needs no other node for: right after a start, that is what it
    /// acknowledged before. Never fails and never waits for another node.
    fn settle(&self) -> impl Future<Output = ()> + Send;

    /// Pins what this node has applied at this moment, at one log id, and returns a view of so much of it as `extent` says.
    /// Never asks another node.
    ///
    /// The view stays as it is while writes go on and never makes a writer wait. While it lives the host keeps what it
    /// needs (log entries, files); dropping it releases all of that at once.
    fn pin(&self, extent: Extent) -> impl Future<Output = io::Result<Self::View>> + Send;
}

/// What of a pinned moment an export writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Extent {
    /// The state, and the log up to it. Of a node that does not run, all of its log: what is not known to be committed may have
    /// been acknowledged.
    #[default]
    Moment,
    /// The state without a log: `purged` is its log id.
    StateOnly,
    /// The state, and all of the log, what is not known to be committed included.
    WholeLog,
    /// The oldest state that the store has, which `purged` is the log id of, and all of the log that leads from there to the
    /// moment: an import may stop anywhere in between.
    History,
}

/// One pinned moment of a store. Reading blocks, so it is done on a thread that may; only [`BackupView::origin`] does
/// not.
pub trait BackupView: Send + 'static {
    /// Where the view comes from, as of the moment it was pinned; its ids agree with what the other methods give.
    fn origin(&self) -> Origin;

    /// Identity, vote, and the ids that bound the log; `committed` is the log id the store is pinned at. With nothing applied it
    /// is what the store knows, if anything.
    fn hard_state(&self) -> io::Result<HardState>;

    /// The log, from the entry after `purged` up to where the [`Extent`] ends, without a gap; all of it with nothing applied.
    fn log_entries(&self) -> impl Iterator<Item = io::Result<LogEntry>> + Send;

    /// The state machine at the log id that the [`Extent`] says, in the order that [`StateRecord`] tells; none with nothing applied.
    fn state_records(&self) -> impl Iterator<Item = io::Result<StateRecord>> + Send;

    /// Fails once the pin has been held for longer than the host allows. Asked between chunks.
    fn check_limit(&self) -> io::Result<()>;
}
