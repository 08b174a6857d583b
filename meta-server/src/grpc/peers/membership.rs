//! Joins and leaves as messages. What is done about them is the node's.

use std::sync::Arc;

use meta_proto::raft as pb;
use openraft::async_runtime::WatchReceiver;
use tonic::{Code, Status};

use super::calls;
use crate::{
    log::Role,
    node::{Applicant, Joined, Left, MembershipError, MembershipRefusal, MetaNode, NOT_A_MEMBER},
    raft::wire,
};

pub async fn join(node: &Arc<MetaNode>, request: pb::JoinRequest) -> Result<pb::JoinReply, Status> {
    use pb::join_reply::Result::{ClusterId, Done, Joining, NotLeader};
    let caller = wire::required(request.caller, "caller")?;
    let (id, address) = wire::node(wire::required(request.node, "node")?)?;
    if id != caller.node_id {
        return Err(Status::invalid_argument(format!("node {} asks for node {id} to join", caller.node_id)));
    }
    let result = if caller.cluster_id.is_empty() && !request.addresses_only {
        match cluster_id(node).await? {
            Some(cluster_id) => ClusterId(cluster_id),
            None => NotLeader(not_leader(node)),
        }
    } else {
        node.guard().check_applicant(&caller)?;
        let role = if request.learner { Role::Learner } else { Role::Voter };
        let applicant = Applicant {
            id,
            incarnation: caller.incarnation,
            node: address,
            role,
            fresh: request.fresh,
            was_member: request.was_member,
        };
        let joined = if request.addresses_only {
            node.relocate(applicant).await.map(|()| Joined::Done)
        } else {
            node.take_in(applicant).await
        };
        match joined {
            Ok(Joined::Done) => Done(pb::Blank {}),
            Ok(Joined::Behind(behind)) => Joining(pb::Joining { behind }),
            Err(error) => NotLeader(answer(node, error)?),
        }
    };
    Ok(pb::JoinReply { responder: Some(node.guard().responder()), result: Some(result) })
}

pub async fn leave(node: &Arc<MetaNode>, request: pb::LeaveRequest) -> Result<pb::LeaveReply, Status> {
    use pb::leave_reply::Result::{Done, NotLeader, Unknown};
    if !request.cluster_id.is_empty() {
        node.guard().check_same_cluster(request.node_id, &request.cluster_id)?;
    }
    let result = match node.expel(request.node_id).await {
        Ok(Left::Removed) => Done(pb::Blank {}),
        Ok(Left::Unknown) => Unknown(pb::Blank {}),
        Err(error) => NotLeader(answer(node, error)?),
    };
    Ok(pb::LeaveReply { responder: Some(node.guard().responder()), result: Some(result) })
}

/// The id of this node's cluster, which a leader gives it where it has none.
async fn cluster_id(node: &MetaNode) -> Result<Option<String>, Status> {
    if node.leadership().state.is_leader() {
        let minted = node.guard().mint_cluster().await;
        minted.map_err(|error| Status::internal(format!("cannot write the cluster's id: {error}")))?;
    }
    Ok(node.guard().cluster_id())
}

fn answer(node: &MetaNode, error: MembershipError) -> Result<pb::NotLeader, Status> {
    let message = crate::error_chain::chain(&error);
    match error {
        MembershipError::NotLeader => Ok(not_leader(node)),
        MembershipError::Refused(MembershipRefusal::NotMember(_)) => {
            Err(Status::with_details(Code::FailedPrecondition, message, NOT_A_MEMBER.into()))
        }
        MembershipError::Refused(_) => Err(Status::failed_precondition(message)),
        MembershipError::NotNow(_) => Err(Status::unavailable(message)),
        MembershipError::Record(_) => Err(Status::internal(message)),
    }
}

fn not_leader(node: &MetaNode) -> pb::NotLeader {
    let told = calls::not_leader(node, &node.leadership());
    let metrics = node.raft().metrics().borrow_watched().clone();
    if metrics.membership_config.membership().nodes().next().is_some() {
        return told;
    }
    pb::NotLeader { reason: format!("node {} is no member of a cluster itself yet", node.id()), ..told }
}
