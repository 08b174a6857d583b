//! `KvGetMany`: keys come as a stream, and so do their records. Every key is read after it has come, by the leader: what was
//! acknowledged before it was asked for is seen. Knows nothing of how a node proves that it leads.

use std::sync::Arc;

use futures::{Stream, StreamExt, future::Either, stream};
use meta_proto::pb;
use tonic::Status;

use super::{kv::ReadRequest, streams::until_first_error};
use crate::node::MetaNode;

/// Keys that are read at one moment, at the most: those that have come together share the proof that this node leads.
const BATCH: usize = 64;

/// An item for each key, in order, until the first error.
pub fn get_many(
    node: Arc<MetaNode>,
    keys: impl Stream<Item = Result<pb::KvGetManyRequest, Status>> + Send + 'static,
) -> impl Stream<Item = Result<pb::StreamItem, Status>> + Send + 'static {
    let batches = keys.ready_chunks(BATCH).then(move |asked| read(node.clone(), asked));
    until_first_error(batches.flatten())
}

/// The records of keys that have come together; behind them, why no more will come if that is so.
async fn read(
    node: Arc<MetaNode>,
    asked: Vec<Result<pb::KvGetManyRequest, Status>>,
) -> impl Stream<Item = Result<pb::StreamItem, Status>> + Send + 'static {
    let mut keys = Vec::with_capacity(asked.len());
    let mut broken = None;
    for request in asked {
        match request {
            Ok(request) => keys.push(request.key),
            Err(status) => {
                broken = Some(Err(status));
                break;
            }
        }
    }
    let items = match node.leader_view().await {
        Ok(view) => Either::Left(ReadRequest::MGetKV { keys }.stream(view)),
        Err(error) => Either::Right(stream::iter([Err(Status::from(error))])),
    };
    items.chain(stream::iter(broken))
}
