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
use tonic::Status;

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
struct Answers<S> {
    replies: S,
    guard: Guard,
    target: u64,
    progress: Arc<Progress>,
    reach: Reach,
    acknowledged: Acknowledged,
    answered: u64,
}

impl<S: Stream<Item = Result<pb::AppendReply, Status>> + Unpin> Answers<S> {
    async fn next(&mut self) -> Option<Answer> {
        loop {
            let waited_for = self.progress.sent.load(Ordering::Acquire);
            let heard = async { self.guard.hear(self.target, self.replies.next().await.transpose()).await };
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

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
    use meta_proto::raft::append_reply::Result as Reply;
    use tempfile::TempDir;

    use super::*;
    use crate::log::{LogDb, testing::id};

    const TARGET: u64 = 2;
    const INCARNATION: u64 = 7;

    /// One stream to the member, which does with a request and an answer what the test says, when it says so.
    struct Exchange {
        input: UnboundedSender<AppendEntriesRequest<TypeConfig>>,
        sent: Pin<Box<dyn Stream<Item = pb::AppendRequest> + Send>>,
        replies: UnboundedSender<Result<pb::AppendReply, Status>>,
        answers: Answers<UnboundedReceiver<Result<pb::AppendReply, Status>>>,
    }

    impl Exchange {
        fn open(guard: &Guard, acknowledged: &Acknowledged, tells: bool) -> Exchange {
            let (input, requested) = unbounded();
            let (replies, replied) = unbounded();
            let progress = Arc::new(Progress::default());
            let sent = requests(requested, guard.clone(), TARGET, progress.clone(), acknowledged.clone(), tells);
            let answers = Answers {
                replies: replied,
                guard: guard.clone(),
                target: TARGET,
                progress,
                reach: Reach::default(),
                acknowledged: acknowledged.clone(),
                answered: 0,
            };
            Exchange { input, sent: Box::pin(sent), replies, answers }
        }

        /// Sends a request after the entry 30, by the leader of term 3, which has committed entry 20.
        async fn ask(&mut self) {
            let vote = Vote { leader_id: id(3, 0).leader_id, committed: true };
            let (prev_log_id, leader_commit) = (Some(id(3, 30)), Some(id(3, 20)));
            let request = AppendEntriesRequest { vote, prev_log_id, entries: Vec::new(), leader_commit };
            self.input.unbounded_send(request).unwrap();
            self.sent.next().await.unwrap();
        }

        async fn answered(&mut self, reply: Reply) -> Answer {
            let responder =
                Some(pb::Responder { cluster_id: "aa".into(), node_id: TARGET, incarnation: INCARNATION, start: None });
            self.replies.unbounded_send(Ok(pb::AppendReply { responder, result: Some(reply) })).unwrap();
            self.answers.next().await.unwrap()
        }
    }

    fn matched(index: u64) -> Reply {
        Reply::Matched(pb::Matched { log_id: Some(wire::log_id_to_pb(id(3, index))) })
    }

    fn conflict(index: u64) -> Reply {
        Reply::Conflict(wire::log_id_to_pb(id(3, index)))
    }

    fn leader() -> (TempDir, Guard) {
        let dir = tempfile::tempdir().unwrap();
        let log = LogDb::open(dir.path()).unwrap();
        log.update_state_blocking(|state| state.cluster_id = Some("aa".into())).unwrap();
        (dir, Guard::new(1, 100, log))
    }

    /// An answer that was given before, and comes after, what the member acknowledged on another stream.
    #[tokio::test]
    async fn an_acknowledgement_that_overtakes_a_conflict_is_not_held_against_it() {
        for missing in [5, 20, 30] {
            let (_dir, guard) = leader();
            let acknowledged = Acknowledged::default();
            let mut entries = Exchange::open(&guard, &acknowledged, false);
            let mut heartbeats = Exchange::open(&guard, &acknowledged, true);
            entries.ask().await;
            heartbeats.ask().await;
            heartbeats.answered(matched(30)).await.unwrap().unwrap();
            // With this the leader notes what the member holds, for the time when it does not lead any more.
            heartbeats.ask().await;
            assert_eq!(guard.held_by(TARGET), Some(id(3, 20)));
            let late = entries.answered(conflict(missing)).await;
            assert!(matches!(late, Ok(Err(StreamAppendError::Conflict(_)))), "missing {missing}: {late:?}");
            assert_eq!(guard.incarnation_of(TARGET), Some(INCARNATION), "missing {missing}: it is who it was");
        }
    }

    /// The same answer to a request that was sent after the acknowledgement had come.
    #[tokio::test]
    async fn a_conflict_at_what_was_acknowledged_before_the_request_is_held_against_it() {
        // What this leader was told is missed up to its end, and what is on record only as far as it is committed.
        for (missing, of_this_leader, distrusted) in
            [(30, true, true), (31, true, false), (20, false, true), (21, false, false)]
        {
            let (_dir, guard) = leader();
            let acknowledged = Acknowledged::default();
            let mut exchange = Exchange::open(&guard, &acknowledged, true);
            exchange.ask().await;
            exchange.answered(matched(30)).await.unwrap().unwrap();
            exchange.ask().await;
            exchange.answered(matched(30)).await.unwrap().unwrap();
            // A new stream, as the next leader with the same record, or this one, opens it.
            let acknowledged = if of_this_leader { acknowledged } else { Acknowledged::default() };
            let mut exchange = Exchange::open(&guard, &acknowledged, true);
            exchange.ask().await;
            let answer = exchange.answered(conflict(missing)).await;
            let case = format!("missing {missing}, acknowledged to this leader: {of_this_leader}");
            assert_eq!(answer.is_err(), distrusted, "{case}");
            assert_eq!(guard.incarnation_of(TARGET) != Some(INCARNATION), distrusted, "{case}");
        }
    }
}
