//! Exports from a node that serves: pins what it has applied, while writes go on. One that has applied nothing, because it
//! was restored from a log alone and has no leader yet, gives its whole log.

use std::{
    io,
    time::{Duration, Instant},
};

use backup_plugin::{record::HardState, source::BackupSource};

use super::{
    pins::PinRegistry,
    view::{Hold, StoreView},
};
use crate::{
    log::LogDb,
    raft::{convert, types},
    state::StateMachine,
};

/// The store of a running node.
#[derive(Clone)]
pub struct NodeSource {
    log: LogDb,
    state: StateMachine,
    pins: PinRegistry,
    limit: Duration,
}

impl NodeSource {
    /// `limit`: how long one export may hold the log.
    pub fn new(log: LogDb, state: StateMachine, pins: PinRegistry, limit: Duration) -> Self {
        NodeSource { log, state, pins, limit }
    }
}

impl BackupSource for NodeSource {
    type View = StoreView;

    async fn pin(&self) -> io::Result<StoreView> {
        // The pin comes first: from here on nothing above `purged` can go.
        let pin = self.pins.pin();
        let state = self.state.view();
        let raft = self.log.state();
        let purged = raft.purged.max(pin.purging()).map(types::record_log_id);
        let applied = state.last_applied();
        // With nothing applied the log tells the whole of the node. Nothing in it is known to be committed, so all of it travels.
        let last = applied.or_else(|| self.log.last_log_id().map(types::record_log_id));
        Ok(StoreView {
            hard_state: HardState {
                node_id: raft.node_id,
                vote: raft.vote.map(convert::record_vote),
                committed: applied.or(raft.committed.map(types::record_log_id)),
                purged,
            },
            last_index: last.map(|id| id.index),
            state,
            log: self.log.clone(),
            hold: Some(Hold {
                _pin: pin,
                until: Instant::now() + self.limit,
                limit_text: format!("{} s", self.limit.as_secs()),
            }),
        })
    }
}
