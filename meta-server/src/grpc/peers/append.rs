//! Entries and heartbeats of a leader: let in one by one, handed to Raft as a stream, answered in order. What the leader knows
//! of the cluster is taken over once Raft has followed it, and before that is answered.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{Stream, StreamExt, stream};
use meta_proto::raft as pb;
use openraft::raft::StreamAppendError;
use tonic::{Status, Streaming};

use crate::{
    node::MetaNode,
    raft::{
        guard::{Guard, Held},
        start::Start,
        types::Raft,
        wire::{self, AppendEntriesRequest, StreamAppendResult},
    },
    state::StateMachine,
};

/// What the two directions of a stream share.
#[derive(Default)]
struct Shared {
    /// What the leader says of the cluster.
    leader: Mutex<Option<Leader>>,
    /// Why the rest of what it sent was not taken.
    refused: Mutex<Option<Status>>,
}

struct Leader {
    cluster_id: String,
    incarnations: HashMap<u64, u64>,
    starts: HashMap<u64, Start>,
    held: Vec<Held>,
}

/// Answers the requests of a leader.
pub fn serve(
    raft: &Raft<StateMachine>,
    node: Arc<MetaNode>,
    requests: Streaming<pb::AppendRequest>,
) -> impl Stream<Item = Result<pb::AppendReply, Status>> + Send + 'static {
    let shared = Arc::new(Shared::default());
    let guard = node.guard().clone();
    let results = raft.stream_append(admitted(requests, node.clone(), shared.clone()));
    let refused = shared.clone();
    let last = stream::once(async move { lock(&refused.refused).take() }).filter_map(std::future::ready).map(Err);
    let replies = results.then(move |result| {
        let (guard, shared) = (guard.clone(), shared.clone());
        async move {
            let result = result.map_err(|fatal| Status::unavailable(format!("the node has stopped: {fatal}")))?;
            follow(&result, &guard, &shared).await?;
            let result = Some(wire::append_result_to_pb(result));
            Ok(pb::AppendReply { responder: Some(guard.responder()), result })
        }
    });
    replies.chain(last)
}

/// The requests that were let in, up to the first that was not.
fn admitted(
    requests: Streaming<pb::AppendRequest>,
    node: Arc<MetaNode>,
    shared: Arc<Shared>,
) -> impl Stream<Item = AppendEntriesRequest> + Send + 'static {
    stream::unfold((requests, node, shared), |(mut requests, node, shared)| async {
        let request = match next(&mut requests, &node, &shared).await {
            Ok(request) => request?,
            Err(status) => {
                *lock(&shared.refused) = Some(status);
                return None;
            }
        };
        Some((request, (requests, node, shared)))
    })
}

async fn next(
    requests: &mut Streaming<pb::AppendRequest>,
    node: &MetaNode,
    shared: &Shared,
) -> Result<Option<AppendEntriesRequest>, Status> {
    let guard = node.guard();
    let Some(mut request) = requests.message().await? else { return Ok(None) };
    guard.admit(request.caller.as_ref()).await?;
    let incarnations = std::mem::take(&mut request.incarnations);
    let starts = std::mem::take(&mut request.starts).into_iter().map(|(id, start)| (id, start.into())).collect();
    let held = std::mem::take(&mut request.held).into_iter().map(wire::held).collect::<Result<Vec<_>, _>>()?;
    if let Some(caller) = &request.caller
        && (!incarnations.is_empty() || !held.is_empty() || guard.cluster_id().is_none())
    {
        let news = Leader { cluster_id: caller.cluster_id.clone(), incarnations, starts, held };
        let mut leader = lock(&shared.leader);
        *leader = Some(match leader.take() {
            // What was said with the request before is not followed yet.
            Some(said) if news.incarnations.is_empty() => Leader { held: news.held, ..said },
            _ => news,
        });
    }
    let request = wire::append(request)?;
    let ids = request.prev_log_id.into_iter().chain(request.entries.iter().map(|entry| entry.log_id));
    node.check_committed(request.vote, ids).await?;
    Ok(Some(request))
}

/// Takes over what a leader says of the cluster, unless another one leads by now.
async fn follow(result: &StreamAppendResult, guard: &Guard, shared: &Shared) -> Result<(), Status> {
    if matches!(result, Err(StreamAppendError::HigherVote(_))) {
        return Ok(());
    }
    let Some(leader) = lock(&shared.leader).take() else { return Ok(()) };
    let taken_over = async {
        guard.adopt_cluster(&leader.cluster_id).await?;
        guard.learn(&leader.incarnations, &leader.starts).await?;
        guard.note_held(leader.held);
        io::Result::Ok(())
    };
    taken_over.await.map_err(|error| Status::internal(format!("cannot put on record what the leader says: {error}")))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
