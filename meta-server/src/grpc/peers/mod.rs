//! `raft.RaftService`: what other members ask of this node. Each call is let in by the guard before anything else, but
//! for joins and leaves, whose callers may be no members; what it means is Raft's, or the node's.

mod answers;
mod append;
pub mod ask;
mod calls;
mod membership;
mod snapshot;

use std::sync::Arc;

use meta_proto::raft::{self as pb, raft_service_server::RaftService};
use openraft::{errors::Fatal, raft::TransferLeaderRequest};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::streams::{ReplyStream, until_stopping};
use crate::{
    node::MetaNode,
    raft::{types::TypeConfig, wire},
};

/// The Raft service of one node.
pub struct PeerApi {
    node: Arc<MetaNode>,
    /// Streams end here when the server stops: a leader tries again elsewhere, or later.
    stopping: CancellationToken,
}

impl PeerApi {
    pub fn new(node: Arc<MetaNode>, stopping: CancellationToken) -> Self {
        Self { node, stopping }
    }

    async fn admit(&self, caller: Option<&pb::Caller>) -> Result<(), Status> {
        Ok(self.node.guard().admit(caller).await?)
    }

    /// `last_log_id`: the last entry that the caller, which was let in, had when it asked.
    fn check_log(&self, caller: Option<&pb::Caller>, last_log_id: Option<&pb::LogId>) -> Result<(), Status> {
        let Some(caller) = caller else { return Ok(()) };
        let last = wire::optional_log_id(last_log_id.copied(), "last_log_id")?;
        Ok(self.node.guard().check_log(caller.node_id, last)?)
    }

    fn responder(&self) -> Option<pb::Responder> {
        Some(self.node.guard().responder())
    }
}

/// A Raft that has stopped answers nobody any more.
fn stopped(fatal: &Fatal<TypeConfig>) -> Status {
    Status::unavailable(format!("the node has stopped: {fatal}"))
}

#[tonic::async_trait]
impl RaftService for PeerApi {
    type AppendStream = ReplyStream<pb::AppendReply>;
    type ReadStream = ReplyStream<pb::ReadReply>;

    async fn append(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let replies = append::serve(self.node.raft(), self.node.clone(), request.into_inner());
        Ok(Response::new(until_stopping(replies, self.stopping.clone())))
    }

    async fn vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteReply>, Status> {
        let request = request.into_inner();
        self.admit(request.caller.as_ref()).await?;
        self.check_log(request.caller.as_ref(), request.last_log_id.as_ref())?;
        let pre_vote = request.pre_vote;
        let request = wire::vote_request(request)?;
        let raft = self.node.raft();
        let answer = if pre_vote { raft.pre_vote(request).await } else { raft.vote(request).await };
        let response = answer.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(wire::vote_reply_to_pb(&response, self.node.guard().responder())))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotChunk>>,
    ) -> Result<Response<pb::SnapshotReply>, Status> {
        let idle = self.node.raft().config().install_snapshot_timeout();
        let received = snapshot::install(&self.node, request.into_inner(), idle);
        let reply = self.stopping.run_until_cancelled(received).await;
        Ok(Response::new(reply.ok_or_else(|| Status::unavailable("the server is stopping"))??))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderReply>, Status> {
        let request = request.into_inner();
        self.admit(request.caller.as_ref()).await?;
        let last_log_id = wire::optional_log_id(request.last_log_id, "last_log_id")?;
        let request = TransferLeaderRequest::new(wire::vote(request.vote)?, request.to, last_log_id);
        let answer = self.node.raft().handle_transfer_leader(request).await.map_err(|fatal| stopped(&fatal))?;
        let refused = answer.err().map(|refused| refused.to_string());
        Ok(Response::new(pb::TransferLeaderReply { responder: self.responder(), refused }))
    }

    async fn introduce(&self, request: Request<pb::IntroduceRequest>) -> Result<Response<pb::IntroduceReply>, Status> {
        let request = request.into_inner();
        self.admit(request.caller.as_ref()).await?;
        self.check_log(request.caller.as_ref(), request.last_log_id.as_ref())?;
        let leader = self.node.leadership().leader;
        Ok(Response::new(pb::IntroduceReply { responder: self.responder(), leader }))
    }

    async fn read_index(&self, request: Request<pb::ReadIndexRequest>) -> Result<Response<pb::ReadIndexReply>, Status> {
        self.admit(request.get_ref().caller.as_ref()).await?;
        Ok(Response::new(calls::read_index(&self.node).await?))
    }

    async fn write(&self, request: Request<pb::WriteRequest>) -> Result<Response<pb::WriteReply>, Status> {
        self.admit(request.get_ref().caller.as_ref()).await?;
        Ok(Response::new(calls::write(&self.node, &request.get_ref().command).await?))
    }

    async fn read(&self, request: Request<pb::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let request = request.into_inner();
        self.admit(request.caller.as_ref()).await?;
        let replies = calls::read(&self.node, request.what).await?;
        Ok(Response::new(until_stopping(replies, self.stopping.clone())))
    }

    async fn join(&self, request: Request<pb::JoinRequest>) -> Result<Response<pb::JoinReply>, Status> {
        membership::join(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn leave(&self, request: Request<pb::LeaveRequest>) -> Result<Response<pb::LeaveReply>, Status> {
        membership::leave(&self.node, request.into_inner()).await.map(Response::new)
    }
}
