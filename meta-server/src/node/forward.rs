//! Requests that only a leader can carry out, from whichever node they reach: finds out who leads, has it done there, and waits for
//! the next leader where there is none. A request is asked again only where it is certain that nothing was done.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use openraft::async_runtime::WatchReceiver;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{ANSWER_LIMIT, MetaNode, NodeError, error::OUTCOME_UNKNOWN};
use crate::{
    apply::Applied,
    command::Command,
    grpc::peers::ask::{self, Done, Failure},
    raft::network::{Lane, PeerClient},
};

/// How long a node that did not lead is left alone, unless another one leads before.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What was answered, and by whom.
#[derive(Debug)]
pub struct Answer<T> {
    pub value: T,
    /// Where clients reach the leader, when another node than this one gave the answer and its address is known.
    pub leader_grpc_address: Option<String>,
}

/// Why one try came to nothing.
pub(super) enum Attempt {
    /// Nothing was done: another node, or the same a little later, may do it.
    Again { hint: Option<u64>, reason: String },
    /// Asking again would help nothing, or might do it twice.
    Final(NodeError),
}

/// Something that only a leader can do.
pub(super) trait Ask: Sync {
    type Value: Send;

    /// Asks one node, which may be `node` itself.
    fn at(
        &self,
        node: &MetaNode,
        leader: u64,
        deadline: Instant,
    ) -> impl Future<Output = Result<Answer<Self::Value>, Attempt>> + Send;
}

struct Write(Command);

impl Ask for Write {
    type Value = Applied;

    async fn at(&self, node: &MetaNode, leader: u64, deadline: Instant) -> Result<Answer<Applied>, Attempt> {
        let Self(command) = self;
        if leader == node.id {
            return match node.propose_until(command.clone(), deadline).await {
                Ok(value) => Ok(Answer { value, leader_grpc_address: None }),
                Err(NodeError::NotLeader(leadership)) => {
                    Err(Attempt::Again { hint: None, reason: leadership.to_string() })
                }
                Err(error) => Err(Attempt::Final(error)),
            };
        }
        let command = ask::encode(command).map_err(|failure| of_write(leader, failure))?;
        let written = ask::write(node.client(leader, Lane::Call)?, &node.guard, leader, command);
        match timeout_at(deadline, written).await {
            Ok(Ok(done)) => Ok(done.into()),
            Ok(Err(failure)) => Err(of_write(leader, failure)),
            Err(_) => Err(Attempt::Final(NodeError::OutcomeUnknown(format!(
                "node {leader}, which was asked to write, did not answer within {} s",
                ANSWER_LIMIT.as_secs()
            )))),
        }
    }
}

impl MetaNode {
    /// Has the leader propose a command, wherever it is, and returns its result once it is committed and applied there. While
    /// nobody can be found who leads this waits for an election, as `Patience` says; what was sent and not answered is not sent
    /// again.
    pub async fn write(&self, command: Command) -> Result<Applied, NodeError> {
        Ok(self.write_told(command).await?.value)
    }

    /// The same, and says who did it.
    pub async fn write_told(&self, command: Command) -> Result<Answer<Applied>, NodeError> {
        self.limits.check(&command)?;
        self.by_leader(&Write(command)).await
    }

    /// Tries until a leader has done it, at most until [`ANSWER_LIMIT`].
    pub(super) async fn by_leader<A: Ask>(&self, ask: &A) -> Result<Answer<A::Value>, NodeError> {
        self.try_by_leader(ask).await.map_err(|error| match error {
            // No leader is to blame.
            NodeError::NotLeader(_) | NodeError::LeaderNotReached { .. } | NodeError::Unwelcome { .. }
                if self.is_removed() =>
            {
                NodeError::Removed(self.id)
            }
            error => error,
        })
    }

    async fn try_by_leader<A: Ask>(&self, ask: &A) -> Result<Answer<A::Value>, NodeError> {
        let deadline = Instant::now() + ANSWER_LIMIT;
        let mut hint: Option<u64> = None;
        let mut failed = None;
        loop {
            let (led_by, hinted) = (self.leader(), hint.take());
            let next = hinted.or(led_by);
            if let Some(next) = next {
                match ask.at(self, next, deadline).await {
                    Ok(answer) => {
                        self.patience.found();
                        return Ok(answer);
                    }
                    Err(Attempt::Final(error)) => return Err(error),
                    Err(Attempt::Again { hint: told, reason }) => {
                        failed = Some(format!("node {next}: {reason}"));
                        // One step at a time: two nodes that point at each other are not asked for ever.
                        hint = told.filter(|told| hinted.is_none() && *told != next);
                    }
                }
            }
            if hint.is_some() && Instant::now() < deadline {
                continue;
            }
            let until = Instant::now() + ASK_AGAIN_AFTER;
            if self.patience.is_over(Instant::now()) || until >= deadline {
                return Err(self.no_leader(next, failed));
            }
            self.led_by_another_than(led_by, until).await;
        }
    }

    pub(super) fn client(&self, target: u64, lane: Lane) -> Result<PeerClient, Attempt> {
        let client = self.channels.client(target, lane);
        client.map_err(|error| Attempt::Again { hint: None, reason: error.to_string() })
    }

    /// What `leader` answers, if it does so before another one leads. Not for writes: what was given up may have been done.
    pub(super) async fn while_leads<T>(
        &self,
        leader: u64,
        deadline: Instant,
        answer: impl Future<Output = Result<T, Attempt>>,
    ) -> Result<T, Attempt> {
        let another = self.led_by_another_than(self.leader(), deadline);
        tokio::select! {
            answer = answer => answer,
            () = another => Err(Attempt::Again { hint: None, reason: format!("node {leader} did not answer") }),
        }
    }

    fn leader(&self) -> Option<u64> {
        self.raft.server_metrics().borrow_watched().current_leader
    }

    /// Returns as soon as this node knows another leader than `before`, and at `until` in any case.
    async fn led_by_another_than(&self, before: Option<u64>, until: Instant) {
        // These change with the leader, not with every write.
        let mut metrics = self.raft.server_metrics();
        let led = async {
            loop {
                let leader = metrics.borrow_and_update().current_leader;
                if leader.is_some() && leader != before {
                    return;
                }
                if metrics.changed().await.is_err() {
                    return sleep_until(until).await;
                }
            }
        };
        // Late is as good as led: whoever leads then is asked.
        let _ = timeout_at(until, led).await;
    }

    fn no_leader(&self, asked: Option<u64>, failed: Option<String>) -> NodeError {
        let leadership = self.leadership();
        match failed {
            Some(reason) if asked != Some(self.id) => NodeError::LeaderNotReached { leadership, reason },
            _ => NodeError::NotLeader(leadership),
        }
    }
}

impl<T> From<Done<T>> for Answer<T> {
    fn from(done: Done<T>) -> Self {
        Answer { value: done.value, leader_grpc_address: done.grpc_address }
    }
}

/// What a failure to write at another node means for the write.
fn of_write(leader: u64, failure: Failure) -> Attempt {
    match failure {
        Failure::NotLeader { leader, reason } => Attempt::Again { hint: leader, reason },
        Failure::Unreached(reason) => Attempt::Again { hint: None, reason },
        Failure::Refused(reason) => Attempt::Final(NodeError::RefusedByLeader(reason)),
        Failure::Unwelcome(reason) => Attempt::Final(NodeError::Unwelcome { leader, reason }),
        Failure::ReplyTooLarge => Attempt::Final(NodeError::ReplyTooLarge),
        Failure::Unknown(reason) => {
            let reason = reason.strip_prefix(OUTCOME_UNKNOWN).unwrap_or(&reason);
            Attempt::Final(NodeError::OutcomeUnknown(format!("node {leader} was asked to write: {reason}")))
        }
    }
}

/// How long requests wait for somebody to lead. While nobody was found for longer than that, each request tries once and fails:
/// during an election clients wait, and a node that is cut off says so at once.
pub(super) struct Patience {
    limit: Duration,
    missing: Mutex<Option<Missing>>,
}

/// Since when nobody is found, and when that was last noticed.
struct Missing {
    since: Instant,
    noticed: Instant,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit: limit.min(ANSWER_LIMIT), missing: Mutex::default() }
    }

    /// A leader has answered.
    fn found(&self) {
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Nobody was found: whether that has gone on for too long. What was not noticed for a while is forgotten, for there may have
    /// been a leader since.
    fn is_over(&self, now: Instant) -> bool {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match &*missing {
            Some(before) if now.duration_since(before.noticed) < self.limit => before.since,
            _ => now,
        };
        *missing = Some(Missing { since, noticed: now });
        now.duration_since(since) >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(1000);

    #[test]
    fn patience_ends_once_for_all_requests() {
        let patience = Patience::new(LIMIT);
        let mut now = Instant::now();
        for _ in 0..10 {
            assert!(!patience.is_over(now));
            now += LIMIT / 10;
        }
        assert!(patience.is_over(now));
        assert!(patience.is_over(now + LIMIT / 2), "the next request does not wait anew");
    }

    #[test]
    fn patience_begins_anew_after_an_answer_and_after_a_while() {
        let patience = Patience::new(LIMIT);
        let now = Instant::now();
        assert!(!patience.is_over(now));
        patience.found();
        assert!(!patience.is_over(now + LIMIT * 3 / 2));
        assert!(!patience.is_over(now + LIMIT * 3));
    }
}
