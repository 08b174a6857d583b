//! A running node: one store, one Raft, and what keeps the two in shape. Everything that serves, the gRPC API, the
//! admin API, exports, goes through [`MetaNode`]. Knows nothing of sockets.

mod error;
mod leadership;
mod start;
mod status;
mod upkeep;

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use backup_plugin::record::Node;
use openraft::{ReadPolicy, async_runtime::WatchReceiver, errors::Fatal};
use tokio::{sync::Mutex, task::spawn_blocking, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    error::{NodeError, StartError},
    leadership::Leadership,
    status::{DisplayNode, NodeStatus, RaftLogStatus},
};
use crate::{
    apply::Applied,
    backup::source::NodeSource,
    command::{Command, Limits, LogCommand},
    raft::types::{Raft, TypeConfig},
    state::{StateMachine, View},
    store::Store,
};

/// No read or write keeps its caller waiting for longer than this: without a majority none of them ever ends.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A running node.
pub struct MetaNode {
    id: u64,
    /// The address of its Raft service, as other members are told.
    endpoint: String,
    raft: Raft<StateMachine>,
    store: Store,
    limits: Limits,
    /// How long one export may hold back the purge of the log.
    export_pin_limit: Duration,
    /// Held by the one compaction that runs.
    compaction: Arc<Mutex<()>>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl MetaNode {
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Proposes a command and returns its result once it is committed and applied.
    pub async fn write(&self, cmd: Command) -> Result<Applied, NodeError> {
        self.limits.check(&cmd)?;
        let command = LogCommand { time_ms: Some(now_ms()), cmd };
        match timeout(ANSWER_LIMIT, self.raft.client_write(command)).await {
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

    /// A view that includes every write that was acknowledged before this was called.
    pub async fn linearizable_view(&self) -> Result<View, NodeError> {
        let read = async {
            let linearizer = self
                .raft
                .get_read_linearizer(ReadPolicy::ReadIndex)
                .await
                .map_err(|error| NodeError::of_read(error, self.leadership()))?;
            linearizer.await_ready(&self.raft).await.map_err(NodeError::Stopped)
        };
        match timeout(ANSWER_LIMIT, read).await {
            Ok(ready) => ready.map(|_| self.view()),
            Err(_) => Err(NodeError::NotLeader(self.leadership())),
        }
    }

    /// What this node has applied so far.
    pub fn view(&self) -> View {
        self.store.state.view()
    }

    /// The members and their addresses, by id.
    pub fn nodes(&self) -> BTreeMap<u64, Node> {
        self.view().nodes().clone()
    }

    /// Who leads, as far as this node knows.
    pub fn leadership(&self) -> Leadership {
        Leadership::of(&self.raft.metrics().borrow_watched())
    }

    /// This node as the backup plugin reads it.
    pub fn backup_source(&self) -> NodeSource {
        let Store { log, state, .. } = &self.store;
        NodeSource::new(log.clone(), state.clone(), self.store.pins().clone(), self.export_pin_limit)
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

    /// Waits until Raft stops by itself, which it does when the disk fails, and returns why.
    pub async fn failed(&self) -> Fatal<TypeConfig> {
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

/// Milliseconds since 1970, by this host's clock.
pub fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
