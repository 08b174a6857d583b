//! Elections that need not wait for a time-out: of a node that is alone, and of the member that a new lineage names as its first
//! leader. Knows nothing of how Raft elects.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use meta_proto::raft as pb;
use openraft::{ServerState, errors::Fatal};
use tokio::time::{sleep, timeout};

use super::MetaNode;
use crate::raft::{network::Lane, types::TypeConfig};

/// How long a node that needs no other vote may take to lead before it serves without.
const SOLE_VOTER_LEADS_WITHIN: Duration = Duration::from_secs(5);
/// How long the others may take to answer before they are asked again.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What the other voters say of who leads.
#[derive(Debug, PartialEq, Eq)]
enum Electorate {
    /// Too few are up for anybody to win.
    Short,
    /// Another one leads.
    Led,
    /// A majority is up, and nobody leads.
    Ready,
}

impl MetaNode {
    /// Stands for election without waiting for a time-out, where that disturbs nobody.
    pub(super) async fn stand_for_election(self: &Arc<Self>, initialized: bool) -> Result<(), Fatal<TypeConfig>> {
        // Asked of Raft itself: its metrics are empty until it has run for a moment.
        let voters: BTreeSet<u64> =
            self.raft.with_raft_state(|state| state.membership_state.effective().voter_ids().collect()).await?;
        if voters.iter().eq([&self.id]) {
            // Initialising a cluster called its first election already.
            if initialized {
                self.raft.trigger().elect(false).await?;
            }
            let led = self.raft.wait(Some(SOLE_VOTER_LEADS_WITHIN)).state(ServerState::Leader, "sole voter").await;
            if let Err(error) = led {
                tracing::warn!(%error, "this node is the only voter and does not lead yet");
            }
        } else if self.store.identity().elect_on_open && voters.first() == Some(&self.id) {
            let leading = lead_first(Arc::downgrade(self), voters);
            let stopping = self.stopping.clone();
            self.tasks.spawn(stopping.run_until_cancelled_owned(leading));
        }
        Ok(())
    }

    /// Makes this node and `peer` known to each other; returns who leads, as far as `peer` knows.
    async fn introduce_to(&self, peer: u64) -> Option<Option<u64>> {
        let mut client = self.channels.client(peer, Lane::Call).ok()?;
        let request = pb::IntroduceRequest { caller: Some(self.guard.caller(peer)) };
        let reply = timeout(ANSWER_WITHIN, client.introduce(request)).await.ok()?.ok()?.into_inner();
        self.guard.accept(peer, reply.responder.as_ref()).await.ok()?;
        Some(reply.leader)
    }
}

/// Waits until a majority is up, then stands for election, once.
async fn lead_first(node: Weak<MetaNode>, voters: BTreeSet<u64>) {
    loop {
        let Some(node) = node.upgrade() else { return };
        let mut asked: FuturesUnordered<_> =
            voters.iter().filter(|id| **id != node.id).map(|id| node.introduce_to(*id)).collect();
        let mut answers = vec![Some(node.leadership().leader)];
        while let Some(answer) = asked.next().await {
            answers.push(answer);
            match electorate(node.id, &answers, voters.len()) {
                Electorate::Short => {}
                Electorate::Led => return,
                Electorate::Ready => {
                    tracing::info!("a majority of the new cluster is up: this node stands for election");
                    if let Err(error) = node.raft.trigger().elect(false).await {
                        tracing::debug!(%error, "Raft has stopped");
                    }
                    return;
                }
            }
        }
        drop(asked);
        drop(node);
        sleep(ASK_AGAIN_AFTER).await;
    }
}

/// `answers`: of this node and of others, each with who leads as far as it knows; `None` from one that does not answer. An
/// import names its first leader, so that one being named means nothing yet.
fn electorate(own: u64, answers: &[Option<Option<u64>>], voters: usize) -> Electorate {
    let up = answers.iter().flatten();
    if up.clone().any(|leader| leader.is_some_and(|leader| leader != own)) {
        Electorate::Led
    } else if up.count() > voters / 2 {
        Electorate::Ready
    } else {
        Electorate::Short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_leader_stands_once_a_majority_is_up_and_nobody_leads() {
        for (answers, voters, expected) in [
            (&[Some(None)][..], 3, Electorate::Short),
            (&[Some(Some(1)), None, None], 3, Electorate::Short),
            (&[Some(Some(1)), None, Some(Some(1))], 3, Electorate::Ready),
            (&[Some(None), Some(None)], 3, Electorate::Ready),
            (&[Some(None), Some(Some(2))], 3, Electorate::Led),
            (&[Some(None), Some(None)], 4, Electorate::Short),
            (&[Some(None), Some(None), Some(None)], 4, Electorate::Ready),
        ] {
            assert_eq!(electorate(1, answers, voters), expected, "{answers:?} of {voters}");
        }
    }
}
