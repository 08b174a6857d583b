//! Counts how often a node sees another leader.

use openraft::async_runtime::WatchReceiver;

use super::MetaNode;

impl MetaNode {
    /// Runs until Raft stops. A leader that is lost and found again is no other one.
    pub(super) fn count_leaders(&self) {
        let (mut seen, metrics) = (self.raft.server_metrics(), self.metrics.clone());
        let count = async move {
            let mut last = None;
            loop {
                let leader = seen.borrow_and_update().current_leader;
                if leader.is_some() && leader != last {
                    last = leader;
                    metrics.leader_changes.add(1);
                }
                if seen.changed().await.is_err() {
                    return;
                }
            }
        };
        self.tasks.spawn(self.stopping.clone().run_until_cancelled_owned(count));
    }
}
