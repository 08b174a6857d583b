//! Members come and go: what the leader does of a join and of a leave. Every step may be repeated, and may be the last one for a
//! while: what a leader leaves undone, the next call to the next leader does. Knows nothing of who asks, or how.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use backup_plugin::record::Node;
use openraft::{
    ChangeMembers, EmptyNode, Instant as _, RaftMetrics,
    async_runtime::WatchReceiver,
    errors::{ClientWriteError, Fatal, RaftError},
};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    MetaNode, NodeError,
    admission::{self, Applicant, MembershipRefusal, Verdict},
};
use crate::{command::Command, log::Role, raft::types::TypeConfig};

/// What one call does, it does within this.
const STEP: Duration = Duration::from_secs(5);

/// How far a join has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// A learner that lacks so many entries.
    Behind(u64),
    /// It is what it asked to be.
    Done,
}

/// What a leave has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Removed,
    /// It was not a member.
    Unknown,
}

/// Why the membership was not changed, or not all the way. Asking again is always safe.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    #[error("this node does not lead")]
    NotLeader,
    /// Asking again changes nothing.
    #[error(transparent)]
    Refused(#[from] MembershipRefusal),
    #[error("{0}")]
    NotNow(String),
    #[error("cannot put on record who joins")]
    Record(#[from] io::Error),
}

impl From<NodeError> for MembershipError {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::NotLeader(_) => Self::NotLeader,
            error => Self::NotNow(error.to_string()),
        }
    }
}

type ClientError = RaftError<TypeConfig, ClientWriteError<TypeConfig>>;

impl From<ClientError> for MembershipError {
    fn from(error: ClientError) -> Self {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => Self::NotLeader,
            RaftError::APIError(error) => Self::NotNow(error.to_string()),
            RaftError::Fatal(fatal) => fatal.into(),
        }
    }
}

impl From<Fatal<TypeConfig>> for MembershipError {
    fn from(fatal: Fatal<TypeConfig>) -> Self {
        Self::NotNow(format!("the node has stopped: {fatal}"))
    }
}

impl MetaNode {
    /// Does one step of a join, on the leader.
    pub async fn take_in(self: &Arc<Self>, applicant: Applicant) -> Result<Joined, MembershipError> {
        let end = Instant::now() + STEP;
        let node = self.clone();
        self.step(end, async move {
            let Applicant { id, incarnation, role, .. } = applicant;
            if node.add(applicant, end).await? == Role::Voter {
                return Ok(Joined::Done);
            }
            match (node.caught_up(id, role, end).await?, role) {
                (0, Role::Voter) => node.promote(id, incarnation, end).await.map(|()| Joined::Done),
                (0, Role::Learner) => Ok(Joined::Done),
                (behind, _) => Ok(Joined::Behind(behind)),
            }
        })
        .await
    }

    /// Removes a member, on the leader. One that leads itself lets another one lead, which is then to be asked.
    pub async fn expel(self: &Arc<Self>, id: u64) -> Result<Left, MembershipError> {
        let end = Instant::now() + STEP;
        let node = self.clone();
        self.step(end, async move {
            let _turn = node.turn(end).await?;
            node.settled().await?;
            let is_member = node.metrics().membership_config.membership().get_node(&id).is_some();
            let has_addresses = node.view().nodes().contains_key(&id);
            if !is_member && !has_addresses {
                return Ok(Left::Unknown);
            }
            if id == node.id {
                admission::may_leave(id, node.metrics().membership_config.voter_ids())?;
                tracing::info!("this node is to leave the cluster, and leads it: another one is to lead");
                node.hand_over().await;
                return Err(MembershipError::NotLeader);
            }
            node.remove(id).await?;
            if has_addresses {
                node.propose(Command::RemoveNode { node_id: id }).await?;
            }
            node.guard.expel(id).await?;
            tracing::info!(node = id, "removed a member");
            Ok(Left::Removed)
        })
        .await
    }

    /// Writes down where a member is now, on the leader.
    pub async fn relocate(self: &Arc<Self>, member: Applicant) -> Result<(), MembershipError> {
        let end = Instant::now() + STEP;
        let node = self.clone();
        self.step(end, async move {
            let _turn = node.turn(end).await?;
            node.settled().await?;
            let view = node.view();
            admission::may_move(&member, view.nodes(), &node.metrics(), node.guard.incarnation_of(member.id))?;
            node.write_addresses(member.id, member.node, view.nodes()).await
        })
        .await
    }

    /// Whatever becomes of the caller, a step goes on to its end: a change that is half done is in everybody's way.
    async fn step<T: Send + 'static>(
        &self,
        end: Instant,
        work: impl Future<Output = Result<T, MembershipError>> + Send + 'static,
    ) -> Result<T, MembershipError> {
        if !self.leadership().state.is_leader() {
            return Err(MembershipError::NotLeader);
        }
        let work = self.tasks.spawn(self.stopping.clone().run_until_cancelled_owned(work));
        match timeout_at(end + Duration::from_secs(1), work).await {
            Ok(Ok(Some(result))) => result,
            Ok(Ok(None) | Err(_)) => Err(MembershipError::NotNow("the node is stopping".to_owned())),
            Err(_) => Err(MembershipError::NotNow(format!(
                "the leader, node {}, cannot commit a change of the membership: is a majority of the voters up?",
                self.id
            ))),
        }
    }

    async fn turn(&self, end: Instant) -> Result<tokio::sync::MutexGuard<'_, ()>, MembershipError> {
        let busy = |_| MembershipError::NotNow("another change of the membership is under way".to_owned());
        timeout_at(end, self.membership_turn.lock()).await.map_err(busy)
    }

    /// Returns when this node leads, knows all that was committed before, and no change is half done.
    async fn settled(&self) -> Result<(), MembershipError> {
        if !self.leadership().state.is_leader() {
            return Err(MembershipError::NotLeader);
        }
        self.leader_view().await?;
        let wait = self.raft.wait(Some(STEP));
        let committed = wait.metrics(no_change_is_open, "the last change of the membership").await;
        committed.map_err(|error| MembershipError::NotNow(error.to_string()))?;
        self.flatten().await
    }

    /// Ends a change of voters that another leader began.
    async fn flatten(&self) -> Result<(), MembershipError> {
        if self.metrics().membership_config.membership().get_joint_config().len() > 1 {
            self.change(ChangeMembers::AddVoterIds([].into())).await?;
        }
        Ok(())
    }

    /// Ends it also where nobody asks for another one.
    pub(super) async fn end_half_done_change(&self) {
        let Ok(_turn) = self.membership_turn.try_lock() else { return };
        // Before it is committed, nothing can be done about it.
        if !no_change_is_open(&self.metrics()) {
            return;
        }
        // Where a majority is lost meanwhile, the rest of the upkeep must not wait for it. The change goes on all the same.
        if let Ok(Err(error)) = timeout(STEP, self.flatten()).await {
            tracing::info!(%error, "cannot end a half-done change of the membership yet");
        }
    }

    /// Makes the applicant a learner, where it is none, under its own addresses. Returns what it is.
    async fn add(&self, applicant: Applicant, end: Instant) -> Result<Role, MembershipError> {
        let _turn = self.turn(end).await?;
        self.settled().await?;
        let view = self.view();
        let Applicant { id, incarnation, .. } = applicant;
        let on_record = self.guard.incarnation_of(id);
        let removed = applicant.was_member || self.guard.has_expelled(id, incarnation);
        if removed && self.metrics().membership_config.membership().get_node(&id).is_none() {
            return Err(MembershipRefusal::NotMember(id).into());
        }
        if admission::judge(&applicant, self.id, view.nodes(), &self.metrics(), on_record)? == Verdict::RemoveFirst {
            tracing::warn!(node = id, "a member that was wiped joins anew: what it was is removed");
            self.remove(id).await?;
        }
        self.guard.replace(id, incarnation).await?;
        self.write_addresses(id, applicant.node, view.nodes()).await?;
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        if membership.voter_ids().any(|voter| voter == id) {
            return Ok(Role::Voter);
        }
        if membership.get_node(&id).is_none() {
            self.raft.add_learner(id, EmptyNode {}, false).await?;
            tracing::info!(node = id, "took in a learner");
        }
        Ok(Role::Learner)
    }

    /// Waits until a learner is close enough to be what it asked to be; returns the entries that it lacks when it is not.
    async fn caught_up(&self, id: u64, role: Role, end: Instant) -> Result<u64, MembershipError> {
        let longest_silence = Duration::from_millis(2 * self.raft.config().election_timeout_max);
        let mut receiver = self.raft.metrics();
        loop {
            let metrics = receiver.borrow_and_update().clone();
            if !metrics.state.is_leader() {
                return Err(MembershipError::NotLeader);
            }
            let behind = lag(&metrics, id, role, longest_silence);
            if behind == 0 {
                return Ok(0);
            }
            match timeout_at(end, receiver.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Fatal::Stopped.into()),
                Err(_) => return Ok(behind),
            }
        }
    }

    async fn promote(&self, id: u64, incarnation: u64, end: Instant) -> Result<(), MembershipError> {
        let _turn = self.turn(end).await?;
        if self.guard.incarnation_of(id) != Some(incarnation) {
            return Err(MembershipError::NotNow(format!("node {id} was removed meanwhile")));
        }
        self.settled().await?;
        self.change(ChangeMembers::AddVoterIds([id].into())).await?;
        tracing::info!(node = id, "a learner is a voter now");
        Ok(())
    }

    /// Takes a node out of the membership, where it is in it.
    async fn remove(&self, id: u64) -> Result<(), MembershipError> {
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        if membership.voter_ids().any(|voter| voter == id) {
            admission::may_leave(id, membership.voter_ids())?;
            self.change(ChangeMembers::RemoveVoters([id].into())).await
        } else if membership.get_node(&id).is_some() {
            self.change(ChangeMembers::RemoveNodes([id].into())).await
        } else {
            Ok(())
        }
    }

    async fn write_addresses(
        &self,
        id: u64,
        node: Node,
        on_record: &BTreeMap<u64, Node>,
    ) -> Result<(), MembershipError> {
        if on_record.get(&id) == Some(&node) {
            return Ok(());
        }
        self.propose(Command::AddNode { node_id: id, node, overriding: true }).await?;
        Ok(())
    }

    async fn change(&self, change: ChangeMembers<u64, EmptyNode>) -> Result<(), MembershipError> {
        self.raft.change_membership(change, false).await?;
        Ok(())
    }

    fn metrics(&self) -> RaftMetrics<TypeConfig> {
        self.raft.metrics().borrow_watched().clone()
    }
}

/// Whether the last change of the membership is committed.
fn no_change_is_open(metrics: &RaftMetrics<TypeConfig>) -> bool {
    metrics.membership_config.log_id() == metrics.committed_membership_config.log_id()
}

/// The entries that a learner lacks to be what it asked to be.
fn lag(metrics: &RaftMetrics<TypeConfig>, id: u64, role: Role, longest_silence: Duration) -> u64 {
    let matched = metrics.replication.as_ref().and_then(|replication| replication.get(&id).copied().flatten());
    let acked = metrics.heartbeat.as_ref().and_then(|heartbeat| heartbeat.get(&id).copied().flatten());
    let alive = acked.is_some_and(|acked| acked.elapsed() < longest_silence);
    admission::lag(role, metrics.last_log_index, matched.map(|id| id.index), alive)
}
