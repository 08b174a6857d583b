//! Takes the messages of a snapshot into a base, on a thread that may block, and waits only so long for each. Whatever goes wrong,
//! and also when nobody waits for it any more, nothing stays of it.

use std::{io, pin::pin, time::Duration};

use backup_plugin::cluster::ContentDigest;
use futures::{Stream, StreamExt};
use meta_proto::raft::{self as pb, snapshot_chunk::Part};
use tokio::{sync::mpsc, task::spawn_blocking, time::timeout};
use tonic::Status;

use super::wire;
use crate::{
    base::BaseMeta,
    grpc::convert::record_from_pb,
    raft::{
        state_machine::{SnapshotOf, snapshot},
        wire::Malformed,
    },
    state::{self, StateMachine, View},
};

/// Messages that wait for the disk; one more is being taken.
const AHEAD: usize = 2;

/// Why a snapshot is not taken. The state is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    State(#[from] state::ReceiveError),
    #[error("the snapshot broke off: {0}")]
    Broken(Status),
    #[error("the snapshot ended before its end")]
    Ended,
    #[error("the snapshot did not go on for {} ms", .0.as_millis())]
    Stalled(Duration),
}

impl From<io::Error> for ReceiveError {
    fn from(err: io::Error) -> Self {
        ReceiveError::State(err.into())
    }
}

impl From<ReceiveError> for Status {
    fn from(err: ReceiveError) -> Self {
        let text = err.to_string();
        match err {
            ReceiveError::Malformed(_) => Status::invalid_argument(text),
            ReceiveError::State(state::ReceiveError::Store(_)) => Status::internal(text),
            ReceiveError::State(_) => Status::data_loss(text),
            ReceiveError::Broken(_) | ReceiveError::Ended => Status::cancelled(text),
            ReceiveError::Stalled(_) => Status::deadline_exceeded(text),
        }
    }
}

/// Receives what follows `header`, whose caller and vote were checked, with no more than `idle` between two messages. What is
/// returned is to be installed; until then, and unless it is, the state is as it was.
pub async fn receive(
    header: pb::SnapshotHeader,
    chunks: impl Stream<Item = Result<pb::SnapshotChunk, Status>> + Send,
    machine: &StateMachine,
    idle: Duration,
) -> Result<SnapshotOf, ReceiveError> {
    let meta = wire::header_from_pb(header)?;
    let machine = machine.clone();
    let (parts, arrived) = mpsc::channel(AHEAD);
    let built = spawn_blocking(move || Ok(snapshot(build(&machine, meta, arrived)?)?));
    let forwarded = forward(chunks, parts, idle).await;
    // Only then is everything gone that was not taken.
    let built = built.await.map_err(io::Error::other)?;
    forwarded.and(built)
}

/// Ends without an error where the thread that takes the parts has one.
async fn forward(
    chunks: impl Stream<Item = Result<pb::SnapshotChunk, Status>> + Send,
    parts: mpsc::Sender<Part>,
    idle: Duration,
) -> Result<(), ReceiveError> {
    let mut chunks = pin!(chunks);
    loop {
        let chunk = match timeout(idle, chunks.next()).await {
            Ok(Some(chunk)) => chunk.map_err(ReceiveError::Broken)?,
            Ok(None) => return Err(ReceiveError::Ended),
            Err(_) => return Err(ReceiveError::Stalled(idle)),
        };
        let part = chunk.part.ok_or_else(|| Malformed::missing("part"))?;
        let is_end = matches!(part, Part::End(_));
        if parts.send(part).await.is_err() || is_end {
            return Ok(());
        }
    }
}

fn build(machine: &StateMachine, meta: BaseMeta, mut parts: mpsc::Receiver<Part>) -> Result<View, ReceiveError> {
    let mut receiving = machine.receive(meta)?;
    while let Some(part) = parts.blocking_recv() {
        match part {
            // Messages of nothing could go on for ever.
            Part::Records(records) if records.records.is_empty() => {
                return Err(Malformed::missing("records.records").into());
            }
            Part::Records(records) => {
                for record in records.records {
                    let value = record.value.ok_or_else(|| Malformed::missing("records.value"))?;
                    receiving.push(record.key, record_from_pb(value))?;
                }
            }
            Part::End(pb::SnapshotEnd { records, digest }) => {
                let digest = digest.try_into().map_err(|digest: Vec<u8>| {
                    Malformed::invalid("end.digest", &format!("it has {} bytes, not 32", digest.len()))
                })?;
                return Ok(receiving.finish(records, ContentDigest(digest))?);
            }
            Part::Header(_) => return Err(Malformed::invalid("header", &"it is there twice").into()),
        }
    }
    Err(ReceiveError::Ended)
}
