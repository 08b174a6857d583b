//! The node as the backup plugin reads it: asks the leader how far an export has to go, then pins the store. What is in
//! an export is `backup`'s.

use std::{io, sync::Arc, time::Duration};

use backup_plugin::{
    provenance::Role,
    source::{BackupSource, Extent},
};
use openraft::{ServerState, async_runtime::WatchReceiver};
use tokio::time::{Instant, sleep, timeout_at};

use super::{ANSWER_LIMIT, MetaNode, NodeError};
use crate::backup::{source::StoreSource, view::StoreView};

/// How long an export waits for a leader to confirm that it includes everything: an election that is under way ends in
/// time.
const CONFIRM_LIMIT: Duration = Duration::from_secs(5);
/// Between two questions to a leader that did not answer, or is not there yet.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A running node that can be backed up.
pub struct NodeSource {
    node: Arc<MetaNode>,
    store: StoreSource,
}

impl NodeSource {
    pub fn new(node: Arc<MetaNode>) -> NodeSource {
        let (log, state, pins) = (node.store.log.clone(), node.store.state.clone(), node.store.pins().clone());
        let store = StoreSource::new(log, state, pins, node.export_pin_limit);
        NodeSource { node, store }
    }

    /// What is wrong where a leader is known and nothing came back.
    fn silence(&self) -> io::Error {
        let text = format!("no leader answered within {} s; {}", CONFIRM_LIMIT.as_secs(), self.node.leadership());
        io::Error::new(io::ErrorKind::TimedOut, text)
    }
}

impl BackupSource for NodeSource {
    type View = StoreView;

    async fn confirm(&self) -> io::Result<()> {
        let end = Instant::now() + CONFIRM_LIMIT;
        // A read waits for a leader by itself, but gives up at once where others have waited in vain before it: an export does not.
        let mut why_not = None;
        while Instant::now() < end {
            match timeout_at(end, self.node.linearizable_view()).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error @ (NodeError::Stopped(_) | NodeError::Removed(_)))) => {
                    return Err(io::Error::other(error));
                }
                Ok(Err(error)) => why_not = Some(error),
                Err(_) => break,
            }
            sleep(ASK_AGAIN).await;
        }
        if self.node.is_removed() {
            return Err(io::Error::other(NodeError::Removed(self.node.id)));
        }
        Err(why_not.map_or_else(|| self.silence(), io::Error::other))
    }

    async fn settle(&self) {
        let metrics = self.node.raft.metrics().borrow_watched().clone();
        let id = self.node.id;
        if metrics.membership_config.voter_ids().eq([id]) {
            // Its own vote is all that this takes.
            if let Err(error) = self.node.linearizable_view().await {
                tracing::warn!(%error, "exporting before the only voter has applied all that it acknowledged");
            }
        } else if let (true, Some(committed)) = (metrics.state.is_leader(), metrics.local_committed) {
            let wait = self.node.raft.wait(Some(ANSWER_LIMIT));
            if let Err(error) = wait.applied_index_at_least(Some(committed.index), "to export").await {
                tracing::warn!(%error, "exporting before this node has applied all that it knows to be committed");
            }
        }
    }

    async fn pin(&self, extent: Extent) -> io::Result<StoreView> {
        let role = match self.node.leadership().state {
            ServerState::Leader => Some(Role::Leader),
            ServerState::Follower => Some(Role::Follower),
            ServerState::Candidate => Some(Role::Candidate),
            ServerState::Learner => Some(Role::Learner),
            ServerState::Shutdown => None,
        };
        self.store.pin(role, extent)
    }
}
