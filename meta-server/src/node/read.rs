//! Reads that miss nothing that was acknowledged before they were asked for, on any node. The leader proves with a quorum that it
//! still leads, which says how far a state must be applied; one such round serves every read that was there before it began.

use std::sync::{Arc, Mutex, PoisonError};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use openraft::{
    ReadPolicy,
    errors::{Fatal, LinearizableReadError, RaftError},
};
use tokio::time::Instant;

use super::{
    ANSWER_LIMIT, MetaNode, NodeError,
    forward::{Answer, Ask, Attempt},
};
use crate::{
    grpc::{
        kv::ReadRequest,
        peers::ask::{self, Failure, Items},
    },
    raft::{
        network::Lane,
        types::{LogId, TypeConfig},
    },
    state::View,
};

/// What is read, and where.
pub enum Reading {
    /// In this view of this node.
    Here(View),
    /// By the leader, which sends it.
    There(Items),
}

/// Why a round came to nothing.
#[derive(Clone)]
enum RoundError {
    Failed(Failure),
    Stopped(Fatal<TypeConfig>),
}

/// How far a state must be applied, as of some moment after the round began.
type Round = Shared<BoxFuture<'static, Result<LogId, RoundError>>>;

/// The rounds of one node: at most one is under way, and at most one waits for it to end.
#[derive(Default)]
pub(super) struct ReadRounds {
    /// Of which leader, and the round that has not begun.
    next: Arc<Mutex<Option<(u64, Round)>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl ReadRounds {
    /// The round that begins next, which is `round` unless one waits already.
    fn join(&self, leader: u64, round: impl Future<Output = Result<LogId, RoundError>> + Send + 'static) -> Round {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, waiting)) = &*next
            && *asked == leader
        {
            return waiting.clone();
        }
        let (slot, turn) = (self.next.clone(), self.turn.clone());
        let in_turn = async move {
            let _turn = turn.lock_owned().await;
            // Who comes from here on comes too late for this one.
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = None;
            round.await
        };
        let in_turn = in_turn.boxed().shared();
        *next = Some((leader, in_turn.clone()));
        in_turn
    }
}

impl MetaNode {
    /// A view of this node that includes every write that was acknowledged before this was called. On a node that does not lead it
    /// asks the leader, and waits until this node is as far.
    pub async fn linearizable_view(&self) -> Result<View, NodeError> {
        let view = self.by_leader(&ViewHere).await.map(|answer| answer.value);
        self.note_failed_read(&view);
        view
    }

    /// Has the leader read.
    pub(crate) async fn read_told(&self, what: ReadRequest) -> Result<Answer<Reading>, NodeError> {
        let reading = self.by_leader(&ReadThere(what)).await;
        self.note_failed_read(&reading);
        reading
    }

    /// The same as [`MetaNode::linearizable_view`], for a node that leads. Asks no other node.
    pub(crate) async fn leader_view(&self) -> Result<View, NodeError> {
        let deadline = Instant::now() + ANSWER_LIMIT;
        let view = async { self.applied(self.read_index_at(self.id).await?).await };
        self.while_leads(self.id, deadline, view).await.map_err(|attempt| self.of_own_read(attempt))
    }

    /// How far a state must be applied to include all that was acknowledged before, as this node knows when it leads.
    pub(crate) async fn read_index(&self) -> Result<LogId, NodeError> {
        let deadline = Instant::now() + ANSWER_LIMIT;
        let index = self.while_leads(self.id, deadline, self.read_index_at(self.id)).await;
        index.map_err(|attempt| self.of_own_read(attempt))
    }

    fn note_failed_read<T>(&self, read: &Result<T, NodeError>) {
        if read.is_err() {
            self.metrics.reads_failed.add(1);
        }
    }

    fn of_own_read(&self, attempt: Attempt) -> NodeError {
        match attempt {
            Attempt::Again { .. } => NodeError::NotLeader(self.leadership()),
            Attempt::Final(error) => error,
        }
    }

    async fn read_index_at(&self, leader: u64) -> Result<LogId, Attempt> {
        let round = if leader == self.id {
            let raft = self.raft.clone();
            self.rounds.join(leader, async move {
                let linearizer = raft.get_read_linearizer(ReadPolicy::ReadIndex).await.map_err(RoundError::of_own)?;
                Ok(*linearizer.read_log_id().log_id())
            })
        } else {
            let (client, guard) = (self.client(leader, Lane::Call)?, self.guard.clone());
            self.rounds
                .join(leader, async move { ask::read_index(client, &guard, leader).await.map_err(RoundError::Failed) })
        };
        round.await.map_err(|error| match error {
            RoundError::Failed(failure) => of_read(leader, failure),
            RoundError::Stopped(fatal) => Attempt::Final(NodeError::Stopped(fatal)),
        })
    }

    /// The view of this node once it has applied as much. The entry that it has applied at this index may be another than the
    /// leader meant, of a later leader; what was acknowledged before is in front of either.
    async fn applied(&self, upto: LogId) -> Result<View, Attempt> {
        let view = self.view();
        if view.last_applied().is_some_and(|applied| applied.index >= upto.index) {
            return Ok(view);
        }
        let wait = self.raft.wait(Some(ANSWER_LIMIT));
        match wait.applied_index_at_least(Some(upto.index), "to read").await {
            Ok(_) => Ok(self.view()),
            Err(error) => Err(Attempt::Again { hint: None, reason: format!("this node lags behind: {error}") }),
        }
    }
}

struct ViewHere;

impl Ask for ViewHere {
    type Value = View;

    async fn at(&self, node: &MetaNode, leader: u64, deadline: Instant) -> Result<Answer<View>, Attempt> {
        let view = async { node.applied(node.read_index_at(leader).await?).await };
        Ok(Answer { value: node.while_leads(leader, deadline, view).await?, leader_grpc_address: None })
    }
}

struct ReadThere(ReadRequest);

impl Ask for ReadThere {
    type Value = Reading;

    async fn at(&self, node: &MetaNode, leader: u64, deadline: Instant) -> Result<Answer<Reading>, Attempt> {
        if leader == node.id {
            let answer = ViewHere.at(node, leader, deadline).await?;
            return Ok(Answer { value: Reading::Here(answer.value), leader_grpc_address: None });
        }
        let begun = ask::read(node.client(leader, Lane::Read)?, &node.guard, leader, &self.0);
        let begun = async { begun.await.map_err(|failure| of_read(leader, failure)) };
        let done = node.while_leads(leader, deadline, begun).await?;
        Ok(Answer { value: Reading::There(done.value), leader_grpc_address: done.grpc_address })
    }
}

/// What a failure to read at another node means: reading again does no harm.
fn of_read(leader: u64, failure: Failure) -> Attempt {
    match failure {
        Failure::NotLeader { leader, reason } => Attempt::Again { hint: leader, reason },
        Failure::Unreached(reason) | Failure::Unknown(reason) => Attempt::Again { hint: None, reason },
        Failure::Refused(reason) => Attempt::Final(NodeError::RefusedByLeader(reason)),
        Failure::ReplyTooLarge => Attempt::Final(NodeError::RefusedByLeader("the answer is too large".into())),
        Failure::Unwelcome(reason) => Attempt::Final(NodeError::Unwelcome { leader, reason }),
    }
}

impl RoundError {
    fn of_own(error: RaftError<TypeConfig, LinearizableReadError<TypeConfig>>) -> Self {
        match error {
            RaftError::APIError(
                error @ (LinearizableReadError::ForwardToLeader(_) | LinearizableReadError::QuorumNotEnough(_)),
            ) => Self::Failed(Failure::NotLeader { leader: None, reason: error.to_string() }),
            RaftError::Fatal(fatal) => Self::Stopped(fatal),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::oneshot;

    use super::*;
    use crate::log::testing::id;

    /// A round that counts its beginning, and ends when it is told to.
    fn round(begun: &Arc<AtomicU64>) -> (oneshot::Sender<()>, BoxFuture<'static, Result<LogId, RoundError>>) {
        let (end, ended) = oneshot::channel();
        let begun = begun.clone();
        let round = async move {
            let n = begun.fetch_add(1, Ordering::SeqCst) + 1;
            ended.await.unwrap();
            Ok(id(1, n))
        };
        (end, round.boxed())
    }

    fn index(result: Result<LogId, RoundError>) -> u64 {
        result.ok().unwrap().index
    }

    #[tokio::test]
    async fn a_read_never_joins_a_round_that_has_begun() {
        let (rounds, begun) = (ReadRounds::default(), Arc::new(AtomicU64::new(0)));
        let ((end_first, first), (end_second, second)) = (round(&begun), round(&begun));
        let mut first = rounds.join(1, first);
        assert!(futures::poll!(&mut first).is_pending());
        assert_eq!(begun.load(Ordering::SeqCst), 1);

        let second = rounds.join(1, second);
        let third = rounds.join(1, round(&begun).1);
        end_first.send(()).unwrap();
        end_second.send(()).unwrap();
        assert_eq!(index(first.await), 1);
        assert_eq!(index(second.await), 2);
        assert_eq!(index(third.await), 2, "it waited together with the second");
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn readers_that_leave_hold_up_nobody() {
        let (rounds, begun) = (ReadRounds::default(), Arc::new(AtomicU64::new(0)));
        let (_never, stuck) = round(&begun);
        let mut stuck = rounds.join(1, stuck);
        assert!(futures::poll!(&mut stuck).is_pending());
        let (_never, waiting) = round(&begun);
        let mut waiting = rounds.join(1, waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop((stuck, waiting));

        let (end, round) = round(&begun);
        let of_another_leader = rounds.join(2, round);
        end.send(()).unwrap();
        assert_eq!(index(of_another_leader.await), 2, "the round that nobody waited for never began");
    }
}
