//! A leader's snapshot: let in, received beside the live state, and installed by Raft. Until then nothing has changed.

use std::time::Duration;

use meta_proto::raft::{self as pb, snapshot_chunk::Part};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::{
    node::MetaNode,
    raft::{snapshot, wire},
};

/// Receives a snapshot; `idle`: how long the leader may send nothing. Returns this node's vote.
pub async fn install(
    node: &MetaNode,
    mut chunks: Streaming<pb::SnapshotChunk>,
    idle: Duration,
) -> Result<pb::SnapshotReply, Status> {
    let first = timeout(idle, chunks.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("the snapshot did not begin"))??;
    let Some(pb::SnapshotChunk { part: Some(Part::Header(header)) }) = first else {
        return Err(Status::invalid_argument("a snapshot begins with its header"));
    };
    node.guard().admit(header.caller.as_ref()).await?;
    let vote = wire::vote(header.vote)?;
    node.check_committed(vote, wire::optional_log_id(header.last_log_id, "last_log_id")?).await?;
    tracing::info!(leader = %vote, "receiving a snapshot");
    let snapshot = snapshot::receive(header, chunks, node.state_machine(), idle).await.inspect_err(|error| {
        tracing::warn!(%error, leader = %vote, "a snapshot was not received, the state stays as it was");
    })?;
    let last = snapshot.meta.last_log_id;
    // Raft takes this for granted, and would stop the node.
    if last.is_some_and(|last| last.leader_id > vote.leader_id) {
        return Err(Status::invalid_argument(format!("a snapshot of a later term than its sender leads in, {vote}")));
    }
    let installed = node.raft().install_full_snapshot(vote, snapshot).await;
    let response = installed.map_err(|fatal| Status::unavailable(format!("the node has stopped: {fatal}")))?;
    if let Some(last) = last {
        tracing::info!(leader = %vote, %last, "received a snapshot");
    }
    Ok(pb::SnapshotReply { responder: Some(node.guard().responder()), vote: Some(wire::vote_to_pb(&response.vote)) })
}
