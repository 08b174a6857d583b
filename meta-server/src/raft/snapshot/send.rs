//! The messages of a snapshot: header, records, end. They are read from the view no faster than the other side takes them, and a
//! call that makes no progress is noticed, however long the whole takes.

use std::{
    io, iter, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use backup_plugin::{cluster::ContentHasher, record::SeqV};
use futures::{Stream, StreamExt};
use meta_proto::raft::{self as pb, snapshot_chunk::Part};
use prost::Message;
use tokio::{sync::watch, time::timeout};
use tonic::Status;

use super::{MESSAGE_BYTES, wire};
use crate::{
    grpc::{
        convert::record_to_pb,
        streams::{ReplyStream, from_blocking},
    },
    state::{State, View},
};

/// The first message of a snapshot of `state`.
pub fn header(caller: pb::Caller, vote: pb::Ballot, state: &State) -> pb::SnapshotHeader {
    wire::header_to_pb(caller, vote, state)
}

/// The messages of a snapshot: `header`, then what is in `view`. The view is held until the last one was taken or the stream is
/// dropped. Where the view can not be read any further, the stream ends without its end, which no receiver takes for a whole
/// one; [`Sending::stalled`] says why.
pub fn chunks(header: pb::SnapshotHeader, view: View) -> Chunks {
    let header = iter::once(Ok(Part::Header(header)));
    let parts = header.chain(Batches::new(view.prefix("")));
    let messages = from_blocking(parts.map(|part| match part {
        Ok(part) => Ok(pb::SnapshotChunk { part: Some(part) }),
        Err(err) => Err(Status::internal(err.to_string())),
    }));
    Chunks { messages: Box::pin(messages), progress: watch::Sender::new(Progress::Taken(0)) }
}

/// See [`chunks`].
pub struct Chunks {
    messages: ReplyStream<pb::SnapshotChunk>,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Clone)]
enum Progress {
    /// So many messages.
    Taken(u64),
    /// The last message, too.
    Whole,
    Failed(String),
}

/// Looks after the sending of [`Chunks`].
pub struct Sending(watch::Receiver<Progress>);

/// Why a snapshot can not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("the snapshot can not be read: {0}")]
    Read(String),
    #[error("no part of the snapshot was taken for {} ms", .0.as_millis())]
    Stalled(Duration),
    #[error("the snapshot was sent, and not answered within {} ms", .0.as_millis())]
    NoAnswer(Duration),
}

impl Chunks {
    /// To be asked for before the stream is given away.
    pub fn sending(&self) -> Sending {
        Sending(self.progress.subscribe())
    }

    fn note(&self, message: Option<&Result<pb::SnapshotChunk, Status>>) {
        self.progress.send_modify(|progress| match (message, &progress) {
            (Some(Ok(pb::SnapshotChunk { part: Some(Part::End(_)) })), _) => *progress = Progress::Whole,
            (Some(Ok(_)), Progress::Taken(count)) => *progress = Progress::Taken(count + 1),
            (Some(Err(status)), _) => *progress = Progress::Failed(status.message().to_owned()),
            _ => {}
        });
    }
}

impl Stream for Chunks {
    type Item = pb::SnapshotChunk;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<pb::SnapshotChunk>> {
        let message = ready!(self.messages.poll_next_unpin(cx));
        self.note(message.as_ref());
        Poll::Ready(message.and_then(Result::ok))
    }
}

impl Sending {
    /// Resolves when there is no sense in waiting any longer for the answer of the call that took the messages: the view can not be
    /// read, no message was taken for `idle`, or all were and there was no answer for `settle`. What the receiver does after the last
    /// message, putting its base on disk, takes the longer the larger it is.
    pub async fn stalled(mut self, idle: Duration, settle: Duration) -> SendError {
        loop {
            let (limit, error) = match &*self.0.borrow_and_update() {
                Progress::Taken(_) => (idle, SendError::Stalled(idle)),
                Progress::Whole => (settle, SendError::NoAnswer(settle)),
                Progress::Failed(reason) => return SendError::Read(reason.clone()),
            };
            match timeout(limit, self.0.changed()).await {
                Ok(Ok(())) => {}
                // The call has dropped the stream: it is about to answer.
                Ok(Err(_)) => {
                    tokio::time::sleep(limit).await;
                    return error;
                }
                Err(_) => return error,
            }
        }
    }
}

/// Packs records into messages, and ends with what they came to.
struct Batches<I> {
    /// `None` once the end was made.
    records: Option<I>,
    /// The record that did not fit into the last message.
    held: Option<pb::SnapshotRecord>,
    hasher: ContentHasher,
    count: u64,
}

impl<I: Iterator<Item = io::Result<(Arc<str>, Arc<SeqV>)>>> Batches<I> {
    fn new(records: I) -> Self {
        Batches { records: Some(records), held: None, hasher: ContentHasher::new(), count: 0 }
    }

    fn next_record(&mut self) -> Option<io::Result<pb::SnapshotRecord>> {
        if let Some(held) = self.held.take() {
            return Some(Ok(held));
        }
        let read = self.records.as_mut()?.next()?;
        Some(read.map(|(key, value)| {
            self.hasher.push(&key, &value);
            self.count += 1;
            pb::SnapshotRecord { key: key.to_string(), value: Some(record_to_pb(Arc::unwrap_or_clone(value))) }
        }))
    }

    fn end(&mut self) -> Option<Part> {
        self.records.take()?;
        let digest = mem::take(&mut self.hasher).finish();
        Some(Part::End(pb::SnapshotEnd { records: self.count, digest: digest.0.to_vec() }))
    }
}

impl<I: Iterator<Item = io::Result<(Arc<str>, Arc<SeqV>)>>> Iterator for Batches<I> {
    type Item = io::Result<Part>;

    fn next(&mut self) -> Option<io::Result<Part>> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(record) = self.next_record() {
            let record = match record {
                Ok(record) => record,
                Err(err) => return Some(Err(err)),
            };
            bytes += record.encoded_len();
            if bytes > MESSAGE_BYTES && !batch.is_empty() {
                self.held = Some(record);
                break;
            }
            batch.push(record);
        }
        if batch.is_empty() {
            return self.end().map(Ok);
        }
        Some(Ok(Part::Records(pb::SnapshotRecords { records: batch })))
    }
}
