//! openraft's network over the Raft service of other members: entries and heartbeats as one stream each way, votes, snapshots.
//! Knows nothing of what the receiver does with them.

mod acknowledged;
mod append;
mod channels;
mod reach;
mod snapshot;

use std::{future::Future, time::Duration};

use futures::Stream;
use meta_proto::raft as pb;
use openraft::{
    AnyError, EmptyNode, RaftNetworkFactory, RaftNetworkV2,
    base::{BoxFuture, BoxStream},
    errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{RPCOption, RPCTypes},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderError,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
    storage::RaftStateMachine,
    type_config::alias::SnapshotOf,
};

pub use self::channels::{
    BadAddress, Channels, Lane, MAX_MESSAGE, MAX_STREAMS, NoAddress, NoClient, PeerClient, connect,
};
use self::{acknowledged::Acknowledged, reach::Reach};
use super::{
    guard::Guard,
    types::{TypeConfig, Vote},
    wire,
};
use crate::{backup::pins::PinRegistry, state::StateMachine};

type SnapshotData = <StateMachine as RaftStateMachine<TypeConfig>>::SnapshotData;

/// Reaches the other members.
#[derive(Clone)]
pub struct Network {
    guard: Guard,
    channels: Channels,
    pins: PinRegistry,
    reach: Reach,
    acknowledged: Acknowledged,
}

/// Reaches one other member, for one kind of traffic.
pub struct Peer {
    target: u64,
    lane: Lane,
    guard: Guard,
    channels: Channels,
    pins: PinRegistry,
    reach: Reach,
    acknowledged: Acknowledged,
}

impl Network {
    /// `pins`: what holds the log while a snapshot is on its way.
    pub fn new(guard: Guard, channels: Channels, pins: PinRegistry) -> Self {
        Self { guard, channels, pins, reach: Reach::default(), acknowledged: Acknowledged::default() }
    }

    fn peer(&self, target: u64, lane: Lane) -> Peer {
        let Self { guard, channels, pins, reach, acknowledged } = self.clone();
        Peer { target, lane, guard, channels, pins, reach, acknowledged }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Peer {
        self.peer(target, Lane::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: u64, _node: &EmptyNode) -> Peer {
        self.peer(target, Lane::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, _node: &EmptyNode) -> Peer {
        self.peer(target, Lane::Snapshot)
    }
}

impl Peer {
    fn client(&self, lane: Lane) -> Result<PeerClient, Unreachable<TypeConfig>> {
        self.channels.client(self.target, lane).map_err(|error| unreachable(&error))
    }

    /// Waits for an answer for as long as `timeout`; openraft itself would for its soft limit.
    async fn within<T>(
        &self,
        action: RPCTypes,
        timeout: Duration,
        answer: impl Future<Output = Result<T, Unreachable<TypeConfig>>>,
    ) -> Result<T, RPCError<TypeConfig>> {
        let late = Timeout { action, id: self.guard.node_id(), target: self.target, timeout };
        match tokio::time::timeout(timeout, answer).await {
            Ok(answer) => answer.map_err(RPCError::Unreachable),
            Err(_) => Err(RPCError::Timeout(late)),
        }
    }

    async fn ask_for_vote(
        &self,
        request: VoteRequest<TypeConfig>,
        pre_vote: bool,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let answer = async {
            let held = self.guard.held_by(self.target);
            let request = wire::vote_request_to_pb(&request, pre_vote, self.guard.caller(self.target));
            let reply = self.client(Lane::Call)?.vote(request).await;
            let reply = self.guard.hear(self.target, reply).await.map_err(|status| unreachable(&status))?.into_inner();
            self.guard.accept(self.target, reply.responder.as_ref()).await.map_err(|error| unreachable(&error))?;
            let last = wire::optional_log_id(reply.last_log_id, "last_log_id");
            let last = last.map_err(|error| unreachable(&error))?;
            let checked = self.guard.check_answered_log(self.target, held, last).await;
            checked.map_err(|error| unreachable(&error))?;
            let granted_in = reply.responder.clone().filter(|_| reply.granted && !pre_vote);
            let response = wire::vote_reply(reply).map_err(|error| unreachable(&error))?;
            if let Some(responder) = granted_in {
                // Who votes for a node without a cluster makes it a leader of its own.
                self.guard.adopt_cluster(&responder.cluster_id).await.map_err(|error| unreachable(&error))?;
            }
            Ok(response)
        };
        self.within(RPCTypes::Vote, option.soft_ttl(), answer).await
    }
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.append_once(rpc, option).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>, RPCError<TypeConfig>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        Box::pin(self.append_stream(input, option))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_for_vote(rpc, false, option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_for_vote(rpc, true, option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        self.send_snapshot(vote, snapshot, cancel, option.hard_ttl()).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let answer = async {
            let message = pb::TransferLeaderRequest {
                caller: Some(self.guard.caller(self.target)),
                vote: Some(wire::vote_to_pb(request.from_leader())),
                to: *request.to_node_id(),
                last_log_id: request.last_log_id().copied().map(wire::log_id_to_pb),
            };
            let mut client = self.client(Lane::Call)?;
            let reply = client.transfer_leader(message).await;
            let reply = self.guard.hear(self.target, reply).await.map_err(|status| unreachable(&status))?.into_inner();
            self.guard.accept(self.target, reply.responder.as_ref()).await.map_err(|error| unreachable(&error))?;
            Ok(reply.refused)
        };
        let refused = self.within(RPCTypes::TransferLeader, option.soft_ttl(), answer).await?;
        Ok(match refused {
            None => Ok(()),
            Some(reason) => {
                tracing::info!(to = self.target, reason, "a member can not take the lead yet");
                Err(TransferLeaderError::LogNotFlushed { expected: request.last_log_id().copied(), actual: None })
            }
        })
    }
}

/// Openraft waits a while before it tries such a member again.
fn unreachable(error: &(impl std::error::Error + 'static)) -> Unreachable<TypeConfig> {
    Unreachable::new(&AnyError::new(error))
}
