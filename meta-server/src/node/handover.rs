//! Handing over the lead before a leader stops or leaves: the cluster is writable again in milliseconds instead of after an
//! election time-out.

use std::{collections::BTreeMap, time::Duration};

use openraft::async_runtime::WatchReceiver;

use super::MetaNode;
use crate::raft::types::LogId;

/// How long the successor may take to lead. A leader that stops anyway does not wait for longer.
const WITHIN: Duration = Duration::from_secs(1);

impl MetaNode {
    /// Lets the voter lead that has the most of the log. Returns who leads in the end: nobody else where this node does not
    /// lead, is the only voter, or the successor does not take over in time.
    pub(super) async fn hand_over(&self) -> Option<u64> {
        let metrics = self.raft.metrics().borrow_watched().clone();
        if !metrics.state.is_leader() {
            return metrics.current_leader.filter(|leader| *leader != self.id);
        }
        let successor = successor(self.id, metrics.membership_config.voter_ids(), &metrics.replication?)?;
        tracing::info!(successor, "handing over the lead");
        self.raft.trigger().transfer_leader(successor).await.ok()?;
        let another = |leader: Option<u64>| leader.is_some_and(|leader| leader != self.id);
        let wait = self.raft.wait(Some(WITHIN));
        match wait.metrics(|metrics| another(metrics.current_leader), "another node leads").await {
            Ok(metrics) => metrics.current_leader,
            Err(error) => {
                tracing::info!(%error, successor, "the lead was not taken over");
                None
            }
        }
    }
}

/// The other voter that has the most of the log.
fn successor(
    own: u64,
    voters: impl Iterator<Item = u64>,
    replication: &BTreeMap<u64, Option<LogId>>,
) -> Option<u64> {
    voters.filter(|voter| *voter != own).max_by_key(|voter| replication.get(voter).copied().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::id;

    #[test]
    fn the_voter_with_the_most_of_the_log_succeeds() {
        let replication = [(1, Some(id(2, 9))), (2, Some(id(2, 7))), (3, Some(id(2, 8))), (4, Some(id(2, 9))), (5, None)];
        let replication = replication.into();
        for (voters, expected) in [(&[1, 2, 3][..], Some(3)), (&[1, 2], Some(2)), (&[1, 5], Some(5)), (&[1], None)] {
            assert_eq!(successor(1, voters.iter().copied(), &replication), expected, "{voters:?}");
        }
    }
}
