//! What a member that does not lead asks of the one that does. Nothing that arrives here is passed on to yet another member: one
//! that does not lead says so, and who does.

use futures::{Stream, StreamExt, TryStreamExt, stream};
use meta_proto::raft::{
    self as pb, read_index_reply::Result as IndexResult, read_reply::Part, write_reply::Result as PbResult,
};
use tonic::Status;

use super::answers;
use crate::{
    command::Command,
    grpc::kv::ReadRequest,
    node::{Leadership, MetaNode, NodeError},
    raft::wire,
};

/// Proposes a command for another member.
pub async fn write(node: &MetaNode, command: &[u8]) -> Result<pb::WriteReply, Status> {
    let command: Command = rmp_serde::from_slice(command)
        .map_err(|error| Status::invalid_argument(format!("cannot understand a forwarded command: {error}")))?;
    let result = match node.propose(command).await {
        Ok(applied) => answers::to_pb(applied)
            .ok_or_else(|| Status::unknown("the write was done, but its answer can not be told to another member"))?,
        Err(NodeError::NotLeader(leadership)) => PbResult::NotLeader(not_leader(node, &leadership)),
        Err(error) => return Err(error.into()),
    };
    Ok(pb::WriteReply {
        responder: Some(node.guard().responder()),
        result: Some(result),
        leader_grpc_address: Some(node.grpc_address().to_owned()),
    })
}

/// How far a state must be applied to include all that was acknowledged before.
pub async fn read_index(node: &MetaNode) -> Result<pb::ReadIndexReply, Status> {
    let result = match node.read_index().await {
        Ok(id) => IndexResult::LogId(wire::log_id_to_pb(id)),
        Err(NodeError::NotLeader(leadership)) => IndexResult::NotLeader(not_leader(node, &leadership)),
        Err(error) => return Err(error.into()),
    };
    Ok(pb::ReadIndexReply { responder: Some(node.guard().responder()), result: Some(result) })
}

/// Reads for another member.
pub async fn read(
    node: &MetaNode,
    what: Option<pb::read_request::What>,
) -> Result<impl Stream<Item = Result<pb::ReadReply, Status>> + Send + use<>, Status> {
    let what = what.ok_or_else(|| Status::invalid_argument("a forwarded read does not say what to read"))?;
    let (first, view) = match node.leader_view().await {
        Ok(view) => {
            let responder = Some(node.guard().responder());
            (Part::Reader(pb::Reader { responder, grpc_address: Some(node.grpc_address().to_owned()) }), Some(view))
        }
        Err(NodeError::NotLeader(leadership)) => (Part::NotLeader(not_leader(node, &leadership)), None),
        Err(error) => return Err(error.into()),
    };
    let items = view.map(|view| ReadRequest::from_pb(what).stream(view)).map_or_else(
        || stream::empty().right_stream(),
        |items| items.map_ok(|item| pb::ReadReply { part: Some(Part::Item(item)) }).left_stream(),
    );
    Ok(stream::iter([Ok(pb::ReadReply { part: Some(first) })]).chain(items))
}

/// Who leads instead, as far as this node knows.
pub(super) fn not_leader(node: &MetaNode, leadership: &Leadership) -> pb::NotLeader {
    let leader = leadership.leader.filter(|leader| *leader != node.id());
    let endpoint = leader.and_then(|leader| Some(node.view().nodes().get(&leader)?.endpoint.to_string()));
    pb::NotLeader { leader, endpoint, reason: leadership.to_string() }
}
