//! What a running node does for itself, in the background: it registers its addresses once it leads, compacts when the
//! overlay has grown, and purges the log behind the base. Knows nothing of requests.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use backup_plugin::record::Node;
use tokio::time::{MissedTickBehavior, interval};

use super::{MetaNode, start::random_cluster_id};
use crate::{command::Command, store::Identity};

/// How often the node looks after itself. Short, since between two looks the overlay grows as fast as clients write.
const PERIOD: Duration = Duration::from_millis(250);

/// The background work of one node.
pub(super) struct Upkeep {
    node: Weak<MetaNode>,
    /// How clients and members reach this node; `None` once that is in the store.
    unregistered: Option<Node>,
    /// Entries that stay in the log although the base includes them.
    log_to_keep: u64,
}

impl Upkeep {
    /// Runs until the node stops.
    pub(super) fn start(node: &Arc<MetaNode>, own: Node, log_to_keep: u64) {
        let upkeep = Self { node: Arc::downgrade(node), unregistered: Some(own), log_to_keep };
        let stopping = node.stopping.clone();
        node.tasks.spawn(stopping.run_until_cancelled_owned(upkeep.run()));
    }

    async fn run(mut self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(node) = self.node.upgrade() else { return };
            if node.leadership().state.is_leader() {
                self.register(&node).await;
                settle_identity(&node).await;
            }
            if node.store.state.compaction_due() {
                trigger(node.raft.trigger().snapshot().await);
            }
            if let Some(upto) = self.purgeable(&node) {
                trigger(node.raft.trigger().purge_log(upto).await);
            }
        }
    }

    /// Writes the addresses of this node, which leads, where the store has others.
    async fn register(&mut self, node: &MetaNode) {
        let Some(own) = self.unregistered.take() else { return };
        // Only a view as of this term shows what is really there.
        let stored = match node.linearizable_view().await {
            Ok(view) => view.nodes().get(&node.id).cloned(),
            Err(_) => {
                self.unregistered = Some(own);
                return;
            }
        };
        if stored.as_ref() == Some(&own) {
            return;
        }
        let command = Command::AddNode { node_id: node.id, node: own.clone(), overriding: true };
        match node.write(command).await {
            Ok(_) => tracing::info!(node = ?own, "registered the addresses of this node"),
            // Writing them twice does no harm.
            Err(error) => {
                tracing::warn!(%error, "cannot register the addresses of this node yet");
                self.unregistered = Some(own);
            }
        }
    }

    /// The last index of the log that nobody needs any more, if it is still there and exports permit.
    fn purgeable(&self, node: &MetaNode) -> Option<u64> {
        let base = node.view().base().last_applied()?.index;
        let purged = node.store.log.purged().map(|id| id.index);
        let upto = behind_base(base, self.log_to_keep, purged)?;
        match node.store.log.log_id_at(upto) {
            Ok(log_id) => {
                node.store.pins().permit_purge(log_id?).map(|id| id.index).filter(|upto| Some(*upto) > purged)
            }
            Err(error) => {
                tracing::error!(%error, index = upto, "cannot read the log to purge it");
                None
            }
        }
    }
}

/// What a leader settles once: a store that was imported as a new cluster elects like any other from now on, and one
/// that came without a cluster id gets one.
async fn settle_identity(node: &MetaNode) {
    let Identity { cluster_id, elect_on_open, .. } = node.store.identity();
    if cluster_id.is_some() && !elect_on_open {
        return;
    }
    let settled = node.store.log.update_state(|state| {
        state.elect_on_open = false;
        state.cluster_id.get_or_insert_with(random_cluster_id);
    });
    if let Err(error) = settled.await {
        tracing::error!(%error, "cannot write who this node is to its log");
    }
}

/// The last index to purge: `keep` entries behind the base, unless that is purged already.
fn behind_base(base: u64, keep: u64, purged: Option<u64>) -> Option<u64> {
    base.checked_sub(keep).filter(|upto| Some(*upto) > purged)
}

/// A Raft that has stopped is reported where the node is waited for; here there is nothing left to do.
fn trigger<E: std::fmt::Display>(triggered: Result<(), E>) {
    if let Err(error) = triggered {
        tracing::debug!(%error, "Raft has stopped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_purged_behind_the_base() {
        for (base, keep, purged, expected) in [
            (1000, 100, None, Some(900)),
            (1000, 100, Some(899), Some(900)),
            (1000, 100, Some(900), None),
            (1000, 100, Some(950), None),
            (1000, 0, Some(999), Some(1000)),
            (100, 1000, None, None),
        ] {
            assert_eq!(behind_base(base, keep, purged), expected, "base {base}, keep {keep}, purged {purged:?}");
        }
    }
}
