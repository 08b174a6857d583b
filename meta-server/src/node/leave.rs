//! Having a member removed, as a program of its own: asks members for it and needs no store. Knows nothing of how a leader does it.

use std::{path::Path, time::Duration};

use backup_plugin::record::Endpoint;
use meta_proto::raft as pb;
use tokio::time::{Instant, sleep};

use super::{
    membership::Left,
    seek::{self, Answers, InVain, Said},
};
use crate::{
    backup::offline,
    store::{RaftDir, StoreError},
};

const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Why a member was not removed. Asking again is always safe.
#[derive(Debug, thiserror::Error)]
pub enum LeaveError {
    #[error("whom to remove is not known: there is no node in {raft_dir}; name one with --leave-id")]
    Whom { raft_dir: String },
    #[error("whom to remove is not known: cannot read the id of the node in raft_dir; name one with --leave-id")]
    Unreadable(#[source] Box<StoreError>),
    #[error("node {id} stays a member: {address} refuses to remove it: {reason}")]
    Refused { id: u64, address: String, reason: String },
    #[error(
        "cannot remove node {id}, and whether it was removed is not known: no member could confirm it within {} s ({answers}); \
         run this again",
        within.as_secs()
    )]
    NoAnswer { id: u64, within: Duration, answers: Answers },
}

/// Who is to leave which cluster.
#[derive(Debug, Clone)]
pub struct Leaver {
    pub id: u64,
    /// `None`: the one that is asked.
    pub cluster_id: Option<String>,
}

/// The node in a folder that nothing runs on. Changes nothing there.
pub fn stored(raft_dir: &Path) -> Result<Leaver, LeaveError> {
    let unreadable = |error| LeaveError::Unreadable(Box::new(error));
    let nobody = || LeaveError::Whom { raft_dir: raft_dir.display().to_string() };
    if RaftDir::peek(raft_dir).map_err(unreadable)?.is_empty() {
        return Err(nobody());
    }
    let (id, cluster_id) = offline::ids(raft_dir).map_err(unreadable)?.ok_or_else(nobody)?;
    Ok(Leaver { id, cluster_id })
}

/// Asks the members at `via` to remove a node, until one has, for as long as `within`.
pub async fn leave(via: &[Endpoint], leaver: &Leaver, within: Duration) -> Result<Left, LeaveError> {
    let id = leaver.id;
    let end = Instant::now() + within;
    loop {
        match seek::seek(via.iter().map(ToString::to_string), |address| ask(address, leaver.clone())).await {
            Ok((_, left)) => return Ok(left),
            Err(InVain::Refused { address, reason, .. }) => return Err(LeaveError::Refused { id, address, reason }),
            Err(InVain::Nobody(answers)) if Instant::now() >= end => {
                return Err(LeaveError::NoAnswer { id, within, answers });
            }
            Err(InVain::Nobody(_)) => sleep(ASK_AGAIN_AFTER).await,
        }
    }
}

async fn ask(address: String, leaver: Leaver) -> Said<Left> {
    use pb::leave_reply::Result::{Done, NotLeader, Unknown};
    let request = pb::LeaveRequest { cluster_id: leaver.cluster_id.unwrap_or_default(), node_id: leaver.id };
    match seek::call(&address, |mut client| async move { client.leave(request).await }).await {
        Err(said) => said,
        Ok(reply) => match reply.result {
            Some(Done(_)) => Said::Answer(Left::Removed),
            Some(Unknown(_)) => Said::Answer(Left::Unknown),
            Some(NotLeader(not_leader)) => Said::NotLeader(not_leader),
            None => seek::empty(),
        },
    }
}
