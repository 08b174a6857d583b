//! Telling the cluster where this node is, when its configuration has changed: written by the node itself where it leads, asked of
//! the leader where another one does, and of every member that is known where none is, since a leader that has old addresses can
//! not reach this node. Knows nothing of what the addresses are for.

use std::{sync::atomic::Ordering, time::Duration};

use backup_plugin::record::Node;
use meta_proto::raft as pb;
use openraft::{Instant as _, async_runtime::WatchReceiver};
use tokio::time::{Instant, timeout};

use super::{
    MetaNode,
    seek::{self, InVain, Said},
};
use crate::{command::Command, raft::wire};

/// Between two attempts: others have more to do than to hear it.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// A node that is led by nobody for so long may be one that nobody reaches any more.
const ALONE_FOR: Duration = Duration::from_secs(5);
/// Between being put on record and being a member.
const ABOUT_TO_JOIN: Duration = Duration::from_secs(60);
/// How long one attempt may hold up what else the node does for itself.
const ATTEMPT: Duration = Duration::from_secs(3);

/// How clients and members reach this node, and whether the cluster knows.
pub(super) struct Registration {
    own: Node,
    known: bool,
    led: Instant,
    next: Instant,
    /// It was told why not.
    refused: bool,
}

impl Registration {
    pub(super) fn new(own: Node) -> Self {
        let now = Instant::now();
        Self { own, known: false, led: now, next: now, refused: false }
    }

    /// Looks whether the cluster knows, and tells it otherwise.
    pub(super) async fn keep(&mut self, node: &MetaNode) {
        let leadership = node.leadership();
        let now = Instant::now();
        if leadership.state.is_leader() || leadership.leader.is_some() && heard_of_leader(node).await {
            self.led = now;
        }
        if node.store.log.state().joining.is_some() {
            return;
        }
        if leadership.state.is_leader() {
            if !self.known {
                self.write(node).await;
            }
            return;
        }
        let alone = self.led.elapsed() > ALONE_FOR;
        if !alone && leadership.leader.is_some() && node.view().nodes().get(&node.id) == Some(&self.own) {
            self.known = true;
        }
        let untold = !self.known && leadership.leader.is_some();
        if (untold || alone) && now >= self.next {
            self.next = now + AGAIN_AFTER;
            // What is given up here is asked again.
            let _ = timeout(ATTEMPT, self.announce(node)).await;
        }
    }

    /// Of a node that leads.
    async fn write(&mut self, node: &MetaNode) {
        // Only a view as of this term shows what is really there.
        let Ok(view) = node.leader_view().await else { return };
        if view.nodes().get(&node.id) == Some(&self.own) {
            self.known = true;
            return;
        }
        let command = Command::AddNode { node_id: node.id, node: self.own.clone(), overriding: true };
        match node.propose(command).await {
            Ok(_) => {
                self.known = true;
                tracing::info!(node = ?self.own, "registered the addresses of this node");
            }
            // Writing them twice does no harm.
            Err(error) => tracing::warn!(%error, "cannot register the addresses of this node yet"),
        }
    }

    /// Of one that does not.
    async fn announce(&mut self, node: &MetaNode) {
        let leader = node.leadership().leader;
        let mut addresses = node.addresses_of_others();
        if let Some(leader) = leader.and_then(|leader| node.view().nodes().get(&leader).map(|n| n.endpoint.to_string()))
        {
            addresses.retain(|address| *address != leader);
            addresses.insert(0, leader);
        }
        let request = pb::JoinRequest {
            caller: Some(node.guard.caller(node.id)),
            node: Some(wire::node_to_pb(node.id, &self.own)),
            learner: false,
            fresh: false,
            addresses_only: true,
            was_member: true,
        };
        match seek::seek(addresses, |address| tell(address, request.clone())).await {
            Ok((member, ())) => tracing::info!(member, node = ?self.own, "registered the addresses of this node"),
            Err(InVain::Refused { reason, removed, .. }) if !self.refused => {
                self.refused = true;
                node.removed.store(removed, Ordering::Release);
                tracing::error!("the cluster does not know this node: {reason}");
            }
            Err(InVain::Refused { .. }) => {}
            Err(InVain::Nobody(answers)) => tracing::debug!(%answers, "cannot register the addresses of this node yet"),
        }
    }
}

/// A learner takes a leader for one for ever: it never stands for election.
async fn heard_of_leader(node: &MetaNode) -> bool {
    let silence = node.raft.with_raft_state(|state| state.vote_last_modified().map(|heard| heard.elapsed())).await;
    silence.is_ok_and(|silence| silence.is_some_and(|silence| silence < ALONE_FOR))
}

async fn tell(address: String, request: pb::JoinRequest) -> Said<()> {
    use pb::join_reply::Result::{Done, NotLeader};
    match seek::call(&address, |mut client| async move { client.join(request).await }).await {
        Err(said) => said,
        Ok(reply) => match reply.result {
            Some(Done(_)) => Said::Answer(()),
            Some(NotLeader(not_leader)) => Said::NotLeader(not_leader),
            _ => seek::empty(),
        },
    }
}

/// Forgets who has left the cluster, so that what comes back under that id is taken for another node.
pub(super) async fn forget_removed(node: &MetaNode) {
    let metrics = node.raft.metrics().borrow_watched().clone();
    let (effective, committed) = (&metrics.membership_config, &metrics.committed_membership_config);
    // One that joins knows the past first, and members of it alone.
    if committed.membership().nodes().next().is_none() || node.store.log.state().joining.is_some() {
        return;
    }
    let members = [effective, committed].into_iter().flat_map(|config| config.membership().nodes()).map(|(id, _)| *id);
    if let Err(error) = node.guard.keep_only(&members.collect(), ABOUT_TO_JOIN).await {
        tracing::error!(%error, "cannot write to the log who has left the cluster");
    }
}
