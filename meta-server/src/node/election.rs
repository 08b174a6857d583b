//! Elections that need not wait for a time-out: of a node that is alone, and of the member that a new lineage names as its first
//! leader. Knows nothing of how Raft elects.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use meta_proto::raft as pb;
use openraft::{ServerState, errors::Fatal};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::MetaNode;
use crate::raft::{network::Lane, types::TypeConfig, wire};

/// How long a node that needs no other vote may take to lead before it serves without.
const SOLE_VOTER_LEADS_WITHIN: Duration = Duration::from_secs(5);
/// How long the others may take to answer before they are asked again.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// The same where nothing waits for it.
const SAY_HELLO_AFTER: Duration = Duration::from_millis(500);

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
        } else if voters.contains(&self.id) {
            let stopping = self.stopping.clone();
            let node = Arc::downgrade(self);
            if self.was_led_since_import() {
                self.tasks.spawn(stopping.run_until_cancelled_owned(greet(node, voters)));
            } else {
                self.tasks.spawn(stopping.run_until_cancelled_owned(begin(node, voters)));
            }
        }
        Ok(())
    }

    /// Whether somebody was elected since this store was imported. A new cluster's import names a leader that nobody has
    /// elected, in the term that its log begins with; the members of an old one belong to no cluster until they are led.
    pub(super) fn was_led_since_import(&self) -> bool {
        if !self.store.identity().elect_on_open {
            return self.guard.cluster_id().is_some();
        }
        let leadership = self.leadership();
        let begun_in = self.store.log.purged().map_or(0, |purged| purged.leader_id.term);
        leadership.leader.is_some() && leadership.term > begun_in
    }

    /// What this node and the others say of who leads; `None` from one that does not answer. Of a majority, the rest is not waited
    /// for much longer.
    async fn ask_all(&self, voters: &BTreeSet<u64>) -> Vec<Option<Option<u64>>> {
        let mut answers = vec![Some(self.leadership().leader)];
        let mut asked: FuturesUnordered<_> =
            voters.iter().filter(|id| **id != self.id).map(|id| self.introduce_to(*id)).collect();
        let mut end = Instant::now() + ANSWER_WITHIN;
        while let Ok(Some(answer)) = timeout_at(end, asked.next()).await {
            answers.push(answer);
            if electorate(self.id, &answers, voters.len()) == Electorate::Ready {
                end = end.min(Instant::now() + self.grace());
            }
        }
        answers
    }

    /// How long the last ones may take to answer: shorter than any other voter waits before it stands for election itself.
    fn grace(&self) -> Duration {
        Duration::from_millis(self.raft.config().heartbeat_interval / 2)
    }

    /// Makes this node and `peer` known to each other; returns who leads, as far as `peer` knows.
    async fn introduce_to(&self, peer: u64) -> Option<Option<u64>> {
        let mut client = self.channels.client(peer, Lane::Call).ok()?;
        let last_log_id = self.store.log.last_log_id().map(wire::log_id_to_pb);
        let request = pb::IntroduceRequest { caller: Some(self.guard.caller(peer)), last_log_id };
        let reply = timeout(ANSWER_WITHIN, client.introduce(request)).await.ok()?;
        let reply = self.guard.hear(peer, reply).await.ok()?.into_inner();
        self.guard.accept(peer, reply.responder.as_ref()).await.ok()?;
        Some(reply.leader)
    }
}

/// Gets to know the others, until somebody was elected. The first voter waits until a majority is up, then stands for election,
/// once. It hears everybody first: one that knows this node from before may be among them.
async fn begin(node: Weak<MetaNode>, voters: BTreeSet<u64>) {
    loop {
        let Some(node) = node.upgrade() else { return };
        let first = node.store.identity().elect_on_open && voters.first() == Some(&node.id);
        let answers = node.ask_all(&voters).await;
        if node.guard.is_forgetful() || node.was_led_since_import() {
            return;
        }
        if first {
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
        drop(node);
        sleep(if first { ASK_AGAIN_AFTER } else { SAY_HELLO_AFTER }).await;
    }
}

/// Shows itself to the others, until each of them or a leader has seen it: one that was put back to an older copy is to hear so
/// before its vote counts.
async fn greet(node: Weak<MetaNode>, mut voters: BTreeSet<u64>) {
    loop {
        let Some(node) = node.upgrade() else { return };
        voters.remove(&node.id);
        let greetings = voters.iter().map(|id| async { (*id, node.introduce_to(*id).await.is_some()) });
        for (id, seen) in join_all(greetings).await {
            if seen {
                voters.remove(&id);
            }
        }
        let led = node.leadership().leader.is_some_and(|leader| leader != node.id);
        if voters.is_empty() || led || node.guard.is_forgetful() {
            return;
        }
        drop(node);
        sleep(SAY_HELLO_AFTER).await;
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
