//! Joining a cluster, on the side of the node that joins: it asks members again and again, until one says that it is what it asked
//! to be. It serves meanwhile. What it is on the way to is on disk, so that it goes on after a restart. Knows nothing of what
//! the leader does about it.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use backup_plugin::record::Node;
use meta_proto::raft as pb;
use openraft::async_runtime::WatchReceiver;
use tokio::time::{Instant, sleep};

use super::{
    JoinError, MetaNode,
    seek::{self, InVain, Said},
};
use crate::{config::RaftConfig, log::Role, raft::wire};

/// Between two calls to a leader that goes on with it.
const GO_ON_AFTER: Duration = Duration::from_millis(200);
/// Between two rounds in which nobody could do anything.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How often it is logged how far it is.
const TELL_AFTER: Duration = Duration::from_secs(5);

/// A join that is under way.
pub(super) struct Joining {
    node: Weak<MetaNode>,
    own: Node,
    role: Role,
    /// As configured.
    members: Vec<String>,
    wait: Duration,
    /// Who did something last.
    last: Option<String>,
    heard: Instant,
    told: Option<Instant>,
}

/// What one step has come to.
enum Step {
    Cluster(String),
    Behind(u64),
    Done,
}

impl Joining {
    /// Joins in the background.
    pub(super) fn start(node: &Arc<MetaNode>, own: Node, role: Role, config: &RaftConfig) {
        let joining = Self {
            node: Arc::downgrade(node),
            role,
            members: config.join.iter().map(ToString::to_string).filter(|member| *member != node.endpoint).collect(),
            wait: config.wait_leader_timeout,
            own,
            last: None,
            heard: Instant::now(),
            told: None,
        };
        let failure = node.join_failure.clone();
        let work = async move {
            if let Err(error) = joining.run().await {
                failure.send_replace(Some(Arc::new(error)));
            }
        };
        node.tasks.spawn(node.stopping.clone().run_until_cancelled_owned(work));
    }

    async fn run(mut self) -> Result<(), JoinError> {
        tracing::info!(role = %self.role, members = ?self.members, "joining a cluster");
        loop {
            let Some(node) = self.node.upgrade() else { return Ok(()) };
            if node.leadership().state.is_leader() {
                // It became a voter, and then the leader that made it one was gone.
                return self.finish(&node).await;
            }
            let round = seek::seek(self.addresses(&node), |address| self.ask(node.clone(), address)).await;
            match round {
                Ok((_, Step::Done)) => return self.finish(&node).await,
                Ok((address, step)) => {
                    self.heard = Instant::now();
                    self.last = Some(address);
                    match step {
                        Step::Cluster(id) => node.guard.adopt_cluster(&id).await.map_err(JoinError::Write)?,
                        Step::Behind(behind) => self.tell(&node, behind),
                        Step::Done => {}
                    }
                    drop(node);
                    sleep(GO_ON_AFTER).await;
                }
                Err(InVain::Refused { address, reason, .. }) => return Err(JoinError::Refused { address, reason }),
                Err(InVain::Nobody(answers)) => {
                    self.last = None;
                    // A member serves on: the others may need its vote to have a leader at all.
                    if self.heard.elapsed() > self.wait && !is_member(&node) {
                        return Err(JoinError::NoAnswer { within: self.wait, answers });
                    }
                    tracing::debug!(%answers, "no member can do anything about the join yet");
                    drop(node);
                    sleep(ASK_AGAIN_AFTER).await;
                }
            }
        }
    }

    /// Who did something last, those that were configured, and those that this node knows.
    fn addresses(&self, node: &MetaNode) -> Vec<String> {
        let mut addresses: Vec<String> = self.last.iter().chain(&self.members).cloned().collect();
        for known in node.addresses_of_others() {
            if !addresses.contains(&known) {
                addresses.push(known);
            }
        }
        addresses
    }

    fn ask(&self, node: Arc<MetaNode>, address: String) -> impl Future<Output = Said<Step>> + Send + use<> {
        let log = &node.store.log;
        let request = pb::JoinRequest {
            caller: Some(node.guard.caller(node.id)),
            node: Some(wire::node_to_pb(node.id, &self.own)),
            learner: self.role == Role::Learner,
            fresh: log.last_log_id().is_none() && node.view().last_applied().is_none(),
            addresses_only: false,
            was_member: node.view().last_membership().membership.nodes.contains_key(&node.id),
        };
        let is_own = address == node.endpoint;
        async move {
            if is_own {
                return Said::Failed("this node itself is said to lead".to_owned());
            }
            join(&address, request).await
        }
    }

    fn tell(&mut self, node: &MetaNode, behind: u64) {
        if self.told.is_some_and(|told| told.elapsed() < TELL_AFTER) {
            return;
        }
        self.told = Some(Instant::now());
        if node.leadership().leader.is_some() {
            tracing::info!(behind, "joining: taking what the cluster has");
        } else {
            tracing::warn!(
                endpoint = node.endpoint,
                "joining: the leader has not reached this node yet; is this the address that members reach it at \
                 (raft_advertise_host, raft_api_port), and does it listen there (raft_listen_host)?"
            );
        }
    }

    async fn finish(&self, node: &MetaNode) -> Result<(), JoinError> {
        node.store.log.update_state(|state| state.joining = None).await.map_err(JoinError::Write)?;
        tracing::info!(node = node.id, role = %self.role, "this node has joined the cluster");
        Ok(())
    }
}

async fn join(address: &str, request: pb::JoinRequest) -> Said<Step> {
    use pb::join_reply::Result::{ClusterId, Done, Joining, NotLeader};
    match seek::call(address, |mut client| async move { client.join(request).await }).await {
        Err(said) => said,
        Ok(reply) => match reply.result {
            Some(ClusterId(id)) => Said::Answer(Step::Cluster(id)),
            Some(Joining(joining)) => Said::Answer(Step::Behind(joining.behind)),
            Some(Done(_)) => Said::Answer(Step::Done),
            Some(NotLeader(not_leader)) => Said::NotLeader(not_leader),
            None => seek::empty(),
        },
    }
}

fn is_member(node: &MetaNode) -> bool {
    let metrics = node.raft.metrics().borrow_watched().clone();
    metrics.committed_membership_config.membership().get_node(&node.id).is_some()
}

impl MetaNode {
    /// The Raft addresses of the nodes that this one knows of.
    pub(super) fn addresses_of_others(&self) -> Vec<String> {
        let view = self.view();
        let others = view.nodes().iter().filter(|(id, _)| **id != self.id);
        others.map(|(_, node)| node.endpoint.to_string()).filter(|address| *address != self.endpoint).collect()
    }

    /// Waits until joining has failed for good, and returns why.
    pub async fn join_failed(&self) -> Arc<JoinError> {
        let mut failure = self.join_failure.subscribe();
        let failed = failure.wait_for(Option::is_some).await.ok().and_then(|failed| failed.clone());
        match failed {
            Some(error) => error,
            None => std::future::pending().await,
        }
    }
}
