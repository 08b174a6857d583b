//! A leader that lacks what this node knows to be committed: the cluster has lost acknowledged writes, which only members that
//! forgot can bring about. Raft takes for granted that it can not be, and would give up what this node still has; so this node
//! stops before it listens to such a leader. Knows nothing of how members are made out that forgot.

use std::io;

use openraft::async_runtime::WatchReceiver;
use tokio::task::spawn_blocking;
use tonic::Status;

use super::MetaNode;
use crate::raft::types::{LogId, Vote};

/// Why this node and the leader can not be members of one cluster any more.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "node {leader} leads the cluster, and its log has {theirs} where this node, {own}, has entries that were committed, up to \
     {committed}: the cluster has lost acknowledged writes, most likely since the raft_dir of another member was put back to an \
     older copy. This node has stopped, and still has what was lost in {raft_dir}. Keep that folder: export it before anything else \
     (databend-metactl export --raft-dir {raft_dir} <FILE>) and the cluster too, and decide by what is in the two; then either \
     restore a new cluster from the one you keep, or empty {raft_dir} and start this node with --join and the same --id and address"
)]
pub struct Fork {
    own: u64,
    leader: u64,
    theirs: LogId,
    committed: LogId,
    raft_dir: String,
}

impl MetaNode {
    /// Refuses a leader, and stops this node, where `theirs`, ids of the leader's log in order, contradicts what is committed here.
    pub(crate) async fn check_committed<I>(&self, vote: Vote, theirs: I) -> Result<(), Status>
    where
        I: IntoIterator<Item = LogId>,
    {
        let (seen, committed) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.vote, metrics.local_committed)
        };
        let Some(committed) = committed else { return Ok(()) };
        // Of a leader of the past nothing is expected: what it has may be given up, and Raft does not listen to it. An entry may
        // have been committed in a later term than its own, so the entry alone does not tell who is one.
        if vote < seen || vote.leader_id < committed.leader_id {
            return Ok(());
        }
        // Logs that are the same at one index are the same before it.
        let Some(theirs) = theirs.into_iter().filter(|id| id.index <= committed.index).last() else { return Ok(()) };
        if theirs == committed {
            return Ok(());
        }
        let log = self.store.log.clone();
        let own = spawn_blocking(move || log.log_id_at(theirs.index)).await.map_err(io::Error::other).flatten();
        let own = own.map_err(|error| Status::internal(format!("cannot read the log at {theirs}: {error}")))?;
        if !contradicts(theirs, own, committed) {
            return Ok(());
        }
        let raft_dir = self.store.raft_dir().display().to_string();
        let fork = Fork { own: self.id, leader: vote.leader_id.node_id, theirs, committed, raft_dir };
        let status = Status::failed_precondition(fork.to_string());
        self.fork.send_if_modified(|known| {
            let is_news = known.is_none();
            known.get_or_insert(fork);
            is_news
        });
        Err(status)
    }

    /// Waits until a leader has contradicted what is committed here.
    pub async fn forked(&self) -> Fork {
        let mut fork = self.fork.subscribe();
        let forked = fork.wait_for(Option::is_some).await.ok().and_then(|fork| fork.clone());
        match forked {
            Some(fork) => fork,
            None => std::future::pending().await,
        }
    }
}

/// `own`: what is at the index of `theirs` here; `None` if it was purged.
fn contradicts(theirs: LogId, own: Option<LogId>, committed: LogId) -> bool {
    // Without it, the order of leaders in a log says something still.
    own.map_or(theirs.leader_id > committed.leader_id, |own| own != theirs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::id;

    #[test]
    fn another_entry_at_a_committed_index_is_a_contradiction() {
        for (theirs, own, expected) in [
            (id(2, 5), Some(id(2, 5)), false),
            (id(3, 5), Some(id(2, 5)), true),
            (id(1, 5), Some(id(2, 5)), true),
            (id(2, 5), None, false),
            (id(4, 5), None, true),
        ] {
            assert_eq!(contradicts(theirs, own, id(3, 9)), expected, "{theirs}, here {own:?}");
        }
    }
}
