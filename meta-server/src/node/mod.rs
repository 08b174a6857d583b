//! A running node: one store, one Raft, and what keeps the two in shape. Everything that serves, the gRPC API, the
//! admin API, exports, goes through [`MetaNode`]. Knows nothing of sockets.

mod admission;
mod election;
mod error;
mod fork;
mod forward;
mod handover;
mod identity;
mod join;
mod leaders;
mod leadership;
pub mod leave;
mod membership;
mod purge;
mod read;
mod register;
mod seek;
mod source;
mod start;
mod status;
mod upkeep;

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use backup_plugin::{clock::now_ms, record::Node};
use openraft::{async_runtime::WatchReceiver, errors::Fatal};
use tokio::{
    sync::{Mutex, watch},
    task::spawn_blocking,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::seek::NOT_A_MEMBER;
pub use self::{
    admission::{Applicant, MembershipRefusal},
    error::{JoinError, LEADER_METADATA, NodeError, NodeFailure, StartError},
    fork::Fork,
    forward::Answer,
    leadership::Leadership,
    membership::{Joined, Left, MembershipError},
    read::Reading,
    source::NodeSource,
    status::{DisplayNode, NodeStatus, RaftLogStatus},
};
use self::{forward::Patience, read::ReadRounds};
use crate::{
    apply::Applied,
    command::{Command, Limits, LogCommand},
    metrics::{self, Metrics, Observed},
    raft::{
        guard::Guard,
        network::Channels,
        types::{Raft, TypeConfig},
    },
    state::{StateMachine, View},
    store::Store,
    watch::{Filter, KeyRange, Watching},
};

/// No read or write keeps its caller waiting for longer than this: without a majority none of them ever ends.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A running node.
pub struct MetaNode {
    id: u64,
    /// The address of its Raft service, as other members are told.
    endpoint: String,
    /// The address of its gRPC API, as clients are told.
    grpc_address: String,
    raft: Raft<StateMachine>,
    guard: Guard,
    channels: Channels,
    store: Store,
    limits: Limits,
    patience: Patience,
    rounds: ReadRounds,
    /// How long one export may hold back the purge of the log.
    export_pin_limit: Duration,
    /// Held by the one compaction that runs.
    compaction: Arc<Mutex<()>>,
    /// Held by the one change of the membership that runs.
    membership_turn: Mutex<()>,
    /// Why joining a cluster has failed for good.
    join_failure: watch::Sender<Option<Arc<JoinError>>>,
    metrics: Arc<Metrics>,
    /// A member said that this node was removed.
    removed: AtomicBool,
    /// That the cluster has lost what is committed here.
    fork: watch::Sender<Option<Fork>>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl MetaNode {
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Proposes a command and returns its result once it is committed and applied; fails on a node that does not lead. Asks no
    /// other node.
    pub async fn propose(&self, cmd: Command) -> Result<Applied, NodeError> {
        self.limits.check(&cmd)?;
        self.propose_until(cmd, Instant::now() + ANSWER_LIMIT).await
    }

    async fn propose_until(&self, cmd: Command, deadline: Instant) -> Result<Applied, NodeError> {
        let _pending = self.metrics.proposals_pending.hold();
        let proposed = self.propose_uncounted(cmd, deadline).await;
        // Who proposes at a node that does not lead is sent to the one that does.
        if matches!(&proposed, Err(error) if !matches!(error, NodeError::NotLeader(_))) {
            self.metrics.proposals_failed.add(1);
        }
        proposed
    }

    async fn propose_uncounted(&self, cmd: Command, deadline: Instant) -> Result<Applied, NodeError> {
        let command = LogCommand { time_ms: Some(now_ms()), cmd };
        match timeout_at(deadline, self.raft.client_write(command)).await {
            Ok(Ok(response)) => match response.data {
                Applied::ReplyTooLarge => Err(NodeError::ReplyTooLarge),
                applied => Ok(applied),
            },
            Ok(Err(error)) => Err(NodeError::of_write(error, self.leadership())),
            Err(_) => Err(NodeError::OutcomeUnknown(format!(
                "it was not committed within {} s; {}",
                ANSWER_LIMIT.as_secs(),
                self.leadership()
            ))),
        }
    }

    /// What this node has applied so far.
    pub fn view(&self) -> View {
        self.store.state.view()
    }

    /// Lets a watcher in: what this node has applied, and every change that it applies from then on.
    pub(crate) async fn watch(&self, range: KeyRange, filter: Filter) -> io::Result<(View, Watching)> {
        let state = self.store.state.clone();
        spawn_blocking(move || state.watch(range, filter)).await.map_err(io::Error::other)
    }

    /// Where clients reach this node.
    pub(crate) fn grpc_address(&self) -> &str {
        &self.grpc_address
    }

    /// The members and their addresses, by id.
    pub fn nodes(&self) -> BTreeMap<u64, Node> {
        self.view().nodes().clone()
    }

    /// Who leads, as far as this node knows.
    pub fn leadership(&self) -> Leadership {
        let leadership = Leadership::of(&self.raft.metrics().borrow_watched());
        let view = self.view();
        let leader = leadership.leader.and_then(|leader| view.nodes().get(&leader));
        Leadership { grpc_address: leader.and_then(|node| node.grpc_api_advertise_address.clone()), ..leadership }
    }

    /// What this node counts.
    pub(crate) fn counters(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The metrics as text.
    pub async fn metrics_text(&self) -> io::Result<String> {
        let state = self.store.state.clone();
        let state = spawn_blocking(move || state.counts()).await.map_err(io::Error::other).flatten()?;
        let observed =
            Observed { status: self.status(), state, refused: self.guard.refused(), held: self.guard.held() };
        Ok(metrics::text(&self.metrics, &observed))
    }

    /// Whether this node is no member of its cluster any more, as far as it knows.
    pub fn is_removed(&self) -> bool {
        let unnamed = || {
            let membership = self.view().last_membership().membership.nodes.clone();
            !membership.is_empty() && !membership.contains_key(&self.id) && self.store.log.state().joining.is_none()
        };
        self.removed.load(Ordering::Acquire) || unnamed()
    }

    /// Raft itself: for what other members ask of it.
    pub(crate) fn raft(&self) -> &Raft<StateMachine> {
        &self.raft
    }

    pub(crate) fn state_machine(&self) -> &StateMachine {
        &self.store.state
    }

    /// Who may talk to this node.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Builds a new base of what is applied, one at a time, and returns once it is on disk. Raft is told of it in the
    /// background.
    pub async fn compact(&self) -> Result<(), NodeError> {
        // Whoever waits for a turn keeps no thread, and the turn ends with the build even where its caller is gone.
        let turn = self.compaction.clone().lock_owned().await;
        let state = self.store.state.clone();
        let compacted = spawn_blocking(move || {
            let _turn = turn;
            state.compact().map(drop)
        });
        compacted.await.map_err(io::Error::other).flatten().map_err(NodeError::Compact)
    }

    /// Waits until this node can not go on, mostly because its disk fails, and returns why. It is to be shut down then.
    pub async fn failed(&self) -> NodeFailure {
        tokio::select! {
            biased;
            fatal = self.raft_stopped() => NodeFailure::Raft(fatal),
            // What else is kept in the log may be the first that is not written; Raft would go on until it writes something itself.
            failure = self.store.log.failed() => NodeFailure::Log(failure),
        }
    }

    /// Waits until Raft stops by itself.
    async fn raft_stopped(&self) -> Fatal<TypeConfig> {
        // These change with the leader and the members, not with every write: whoever waits here is not woken for each.
        let mut server = self.raft.server_metrics();
        // Raft closes the channel as it ends, after it has said why.
        while server.changed().await.is_ok() {
            server.borrow_and_update();
        }
        match &self.raft.metrics().borrow_watched().running_state {
            Err(fatal) => fatal.clone(),
            Ok(()) => Fatal::Stopped,
        }
    }

    /// Lets another member lead, where there is one: before this node stops, while it still answers.
    pub async fn resign(&self) {
        self.hand_over().await;
    }

    /// Stops the background tasks and Raft, and puts the log on disk. The store's lock goes with the last handle of
    /// this node.
    pub async fn shutdown(self: Arc<Self>) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "Raft did not stop cleanly");
        }
        let log = self.store.log.clone();
        match spawn_blocking(move || log.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the log was not closed cleanly"),
            Err(error) => tracing::error!(%error, "closing the log panicked"),
        }
    }
}
