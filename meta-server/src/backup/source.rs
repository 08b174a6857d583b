//! Pins the store of a node that serves: what it has applied, while writes go on. One that has applied nothing, because
//! it was restored from a log alone and has no leader yet, gives its whole log. Knows nothing of other nodes.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use backup_plugin::{
    provenance::{Origin, Role},
    record::HardState,
    source::Extent,
};

use super::{
    pins::PinRegistry,
    view::{Hold, StoreView},
};
use crate::{
    log::LogDb,
    raft::{convert, types},
    state::{State, StateMachine},
};

/// The store of a running node.
#[derive(Clone)]
pub struct StoreSource {
    log: LogDb,
    state: StateMachine,
    pins: PinRegistry,
    limit: Duration,
}

impl StoreSource {
    /// `limit`: how long one export may hold the log.
    pub fn new(log: LogDb, state: StateMachine, pins: PinRegistry, limit: Duration) -> Self {
        StoreSource { log, state, pins, limit }
    }

    /// Pins what is applied at this moment. `role` is what the node is to its cluster.
    ///
    /// # Errors
    ///
    /// A base that can not be read, which only a history is asked for.
    pub fn pin(&self, role: Option<Role>, extent: Extent) -> io::Result<StoreView> {
        // The pin comes first: from here on nothing above `purged` can go.
        let pin = self.pins.pin();
        let state = self.state.view();
        let raft = self.log.state();
        let applied = state.last_applied();
        let mut purged = raft.purged.max(pin.purging()).map(types::record_log_id);
        let last_log = self.log.last_log_id().map(types::record_log_id);
        if last_log.map(|id| id.index) < applied.map(|id| id.index) {
            // A snapshot was installed, and the log that it overtakes is about to be purged.
            purged = applied;
        }
        // With nothing applied the log tells the whole of the node. What of it is committed may not be known, so all of
        // it travels.
        let last = applied.or(last_log);
        let committed = applied.or(raft.committed.map(types::record_log_id));
        let mut last_index = last.map(|id| id.index);
        let mut written = state.clone();
        match extent {
            Extent::Moment => {}
            Extent::StateOnly => {
                purged = applied;
                last_index = applied.map(|id| id.index);
            }
            Extent::WholeLog => last_index = last.into_iter().chain(last_log).map(|id| id.index).max(),
            Extent::History => {
                // The base that this very view stands on: what is compacted from now on has another one.
                written = Arc::new(State::of_base(state.base().clone())?);
                purged = written.last_applied();
            }
        }
        let origin = Origin {
            cluster_id: raft.cluster_id,
            node_id: raft.node_id,
            role,
            last_applied: written.last_applied(),
            committed,
            tail: last_index.map_or(0, |last| (last + 1).saturating_sub(committed.map_or(0, |id| id.index + 1))),
        };
        Ok(StoreView {
            hard_state: HardState {
                node_id: raft.node_id,
                vote: raft.vote.map(convert::record_vote),
                committed,
                purged,
            },
            origin,
            last_index,
            state: written,
            log: self.log.clone(),
            hold: Some(Hold {
                _pin: pin,
                until: Instant::now() + self.limit,
                limit_text: format!("{} s", self.limit.as_secs()),
            }),
        })
    }
}
