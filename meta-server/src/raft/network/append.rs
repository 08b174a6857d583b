//! Replication: requests go out on one stream as openraft makes them, answers come back in order. A stream on which an answer
//! is overdue is given up, so that it is tried on a new connection.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use meta_proto::raft as pb;
use openraft::{
    base::BoxStream,
    errors::{RPCError, Timeout},
    network::{RPCOption, RPCTypes},
    raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult},
};
use tonic::Streaming;

use super::{
    Lane, Peer,
    acknowledged::{Acknowledged, Last},
    reach::Reach,
    unreachable,
};
use crate::raft::{
    guard::{Guard, Held},
    types::{LogId, TypeConfig, Vote},
    wire,
};

type RpcError = RPCError<TypeConfig>;
type Answer = Result<StreamAppendResult<TypeConfig>, RpcError>;

/// How long an answer may be overdue: the disk of a follower may be slow, and its process may hang.
const OVERDUE: Duration = Duration::from_secs(5);
/// How long a stream of entries may take to be opened, where the heartbeat does not allow for more: a busy follower, or one that is far
/// away, would never get any.
const OPENING: Duration = Duration::from_secs(1);

/// What the two directions of one stream share.
#[derive(Default)]
struct Progress {
    sent: AtomicU64,
    /// For each request that is not answered yet.
    known: Mutex<VecDeque<Known>>,
    /// Of the leader that sends.
    vote: OnceLock<Vote>,
    /// Why no more is sent.
    failed: Mutex<Option<std::io::Error>>,
}

/// What a member was known to have when a request was sent to it. What it acknowledged since, on another stream, says nothing of
/// the answer: that may have been given before.
#[derive(Clone, Copy)]
struct Known {
    /// To this leader.
    acknowledged: Option<Last>,
    /// To whoever led, of what is committed.
    held: Option<LogId>,
}

impl Peer {
    /// Sends requests for as long as there are any, and gives the answers.
    pub(super) async fn append_stream<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> Result<BoxStream<'s, Answer>, RpcError>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let progress = Arc::new(Progress::default());
        let opened = async {
            // Only a leader sends entries, and a leader's cluster has an id.
            self.guard.mint_cluster().await.map_err(|error| unreachable(&error))?;
            let tells = self.lane == Lane::Heartbeat;
            let acknowledged = self.acknowledged.clone();
            let requests = requests(input, self.guard.clone(), self.target, progress.clone(), acknowledged, tells);
            let mut client = self.client(self.lane)?;
            let replies = client.append(requests).await;
            let replies = self.guard.hear(self.target, replies).await.map_err(|status| unreachable(&status))?;
            Ok(replies.into_inner())
        };
        // A heartbeat that is late is of no use. Entries are: a member that is slow is not to be begun with again and again.
        let patience = if self.lane == Lane::Replication { OPENING } else { Duration::ZERO };
        let replies = self.within(RPCTypes::AppendEntries, option.soft_ttl().max(patience), opened).await;
        let replies = replies.inspect_err(|error| self.reach.failed(self.target, error))?;
        let reach = self.reach.clone();
        let start = Answers {
            replies,
            guard: self.guard.clone(),
            target: self.target,
            progress,
            reach,
            acknowledged: self.acknowledged.clone(),
            answered: 0,
        };
        Ok(Box::pin(stream::unfold(Some(start), |answers| async {
            let mut answers = answers?;
            let answer = answers.next().await?;
            match &answer {
                Ok(_) => answers.reach.answered(answers.target),
                Err(error) => answers.reach.failed(answers.target, error),
            }
            let goes_on = matches!(answer, Ok(Ok(_)));
            Some((answer, goes_on.then_some(answers)))
        })))
    }

    /// One request and its answer.
    pub(super) async fn append_once(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        let mut answers = self.append_stream(stream::iter([request]), option).await?;
        let answer = answers.next().await.unwrap_or_else(|| Err(ended()))?;
        Ok(match answer {
            Ok(matched) if matched == last => AppendEntriesResponse::Success,
            Ok(matched) => AppendEntriesResponse::PartialSuccess(matched),
            Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
            Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
        })
    }
}

fn ended() -> RpcError {
    RPCError::Unreachable(openraft::errors::Unreachable::from_string("the member ended the stream without an answer"))
}

/// What goes out. The first request tells what the leader has on record of the other members, and so does the next one when that
/// has changed: no follower may go on refusing a member that has joined anew. Where it `tells`, as of heartbeats, each says what
/// members are known to hold.
fn requests(
    input: impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    guard: Guard,
    target: u64,
    progress: Arc<Progress>,
    acknowledged: Acknowledged,
    tells: bool,
) -> impl Stream<Item = pb::AppendRequest> + Send + 'static {
    input.scan(None, move |told, request| {
        let changes = guard.changes();
        let is_news = told.replace(changes) != Some(changes);
        let (incarnations, starts) = if is_news { guard.on_record() } else { Default::default() };
        progress.vote.get_or_init(|| request.vote);
        let encoded = wire::append_to_pb(&request, guard.caller(target));
        let message = match encoded {
            Ok(message) => Some(pb::AppendRequest {
                incarnations,
                starts: starts.into_iter().map(|(id, start)| (id, start.into())).collect(),
                held: held(&request, &guard, tells.then_some(&acknowledged)),
                ..message
            }),
            Err(error) => {
                *progress.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                None
            }
        };
        let known = Known { acknowledged: acknowledged.by(target), held: guard.held_by(target) };
        progress.known.lock().unwrap_or_else(PoisonError::into_inner).push_back(known);
        progress.sent.fetch_add(1, Ordering::Release);
        std::future::ready(message)
    })
}

/// What a leader knows of what members hold, and notes itself for the time when it does not lead any more.
fn held(
    request: &AppendEntriesRequest<TypeConfig>,
    guard: &Guard,
    acknowledged: Option<&Acknowledged>,
) -> Vec<pb::Held> {
    let (Some(acknowledged), Some(committed)) = (acknowledged, request.leader_commit) else { return Vec::new() };
    let held: Vec<Held> = acknowledged.held(request.vote, committed);
    guard.note_held(held.iter().copied());
    held.into_iter().chain(guard.own_held(request.vote, committed)).map(wire::held_to_pb).collect()
}

/// What comes back.
struct Answers {
    replies: Streaming<pb::AppendReply>,
    guard: Guard,
    target: u64,
    progress: Arc<Progress>,
    reach: Reach,
    acknowledged: Acknowledged,
    answered: u64,
}

impl Answers {
    async fn next(&mut self) -> Option<Answer> {
        loop {
            let waited_for = self.progress.sent.load(Ordering::Acquire);
            let heard = async { self.guard.hear(self.target, self.replies.message().await).await };
            match tokio::time::timeout(OVERDUE, heard).await {
                Ok(Ok(Some(reply))) => {
                    self.answered += 1;
                    return Some(self.read(reply).await);
                }
                Ok(Ok(None)) => return self.encoding_error().map(Err),
                Ok(Err(status)) => return Some(Err(RPCError::Unreachable(unreachable(&status)))),
                // Nothing was asked for so long: nothing is overdue.
                Err(_) if self.answered >= waited_for => {}
                Err(_) => {
                    return Some(Err(RPCError::Timeout(Timeout {
                        action: RPCTypes::AppendEntries,
                        id: self.guard.node_id(),
                        target: self.target,
                        timeout: OVERDUE,
                    })));
                }
            }
        }
    }

    async fn read(&self, reply: pb::AppendReply) -> Answer {
        let accepted = self.guard.accept(self.target, reply.responder.as_ref()).await;
        accepted.map_err(|error| RPCError::Unreachable(unreachable(&error)))?;
        let result = wire::append_result(reply.result).map_err(|error| RPCError::Unreachable(unreachable(&error)))?;
        let incarnation = reply.responder.map(|responder| responder.incarnation);
        let known = self.progress.known.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        self.remember(incarnation.unwrap_or_default(), &result, known).await?;
        Ok(result)
    }

    /// A member that lacks what it acknowledged is not to be counted on any more.
    async fn remember(
        &self,
        incarnation: u64,
        result: &StreamAppendResult<TypeConfig>,
        known: Option<Known>,
    ) -> Result<(), RpcError> {
        let Some(vote) = self.progress.vote.get().copied() else { return Ok(()) };
        match result {
            Ok(Some(matched)) => self.acknowledged.note(self.target, incarnation, vote, *matched),
            Err(StreamAppendError::Conflict(missing)) => {
                let acknowledged = known.and_then(|known| known.acknowledged?.lost(incarnation, vote, *missing));
                // Also what it acknowledged to others: a leader's log is that of the cluster there.
                let held = known.and_then(|known| known.held).filter(|held| missing.index <= held.index);
                if let Some(had) = acknowledged.or(held) {
                    let distrusted = self.guard.distrust(self.target, had, *missing).await;
                    return Err(RPCError::Unreachable(unreachable(&distrusted)));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn encoding_error(&self) -> Option<RpcError> {
        let failed = self.progress.failed.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(RPCError::Unreachable(unreachable(&failed)))
    }
}
