//! Who may talk to whom. Every message between members says which cluster, which incarnation of a node and which of its starts it
//! comes from, and what it is meant for; the guard refuses what does not fit, says so once for each peer, and counts it.
//!
//! An *incarnation* is one life of a node's store. A node that was imported again, restored or wiped has forgotten what it
//! voted for and acknowledged; were it taken for the one it was, the cluster could fork without an error. So each node puts the
//! incarnation of a peer on record, durably, before it first answers it or counts on its answer, and takes no other until that
//! peer was removed from the cluster. A leader tells its followers what it has on record, and they go by that.
//!
//! A store that is *put back to an older copy* keeps its incarnation and has forgotten all the same. It gives itself away to who
//! knows of a later start of it, or of committed entries that it had and lacks.
//!
//! A node that is told by a member of its cluster that it has forgotten believes it for good and talks to nobody any more: else it
//! could begin anew with another one that knows nothing. One that was imported again believes it until it was led: then it is one
//! of a majority that has begun anew. What can not be told apart is a member that starts for the first time and one of which no
//! living member has ever heard.
//!
//! Knows nothing of what the messages ask for.

mod check;
mod record;
mod refusal;
#[cfg(test)]
mod tests;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use backup_plugin::hex::hex;
use meta_proto::raft as pb;
use openraft::{RaftMetrics, async_runtime::WatchReceiver, type_config::alias::WatchReceiverOf};
use tonic::Status;

pub use self::{
    record::Held,
    refusal::{GuardError, Refusal},
};
use self::{
    record::Record,
    refusal::{REFUSED, YOU_FORGOT, YOU_WENT_BACK, held_in},
    told::Told,
};
use super::{
    start::Start,
    types::{LogId, TypeConfig, Vote},
};
use crate::log::LogDb;

/// The guard of one node; clones share it.
#[derive(Clone)]
pub struct Guard {
    inner: Arc<Inner>,
}

struct Inner {
    node_id: u64,
    incarnation: u64,
    /// `None`: it does not count its starts.
    start: Option<Start>,
    record: Record,
    told: Told,
    metrics: OnceLock<WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>>,
    /// Whom this node has removed from the cluster, as a leader, with their incarnations.
    expelled: Mutex<BTreeSet<(u64, u64)>>,
}

impl Guard {
    /// For the node that lives in a store, in which it goes by `incarnation`. What it knows is in `log`, and what it learns goes there.
    pub fn new(node_id: u64, incarnation: u64, log: LogDb) -> Self {
        let inner = Inner {
            node_id,
            incarnation,
            start: log.state().start,
            record: Record::of(log),
            told: Told::default(),
            metrics: OnceLock::new(),
            expelled: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Where members are looked up, from the moment there is a Raft.
    pub fn watch(&self, metrics: WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>) {
        // Set once, by whoever starts the node.
        let _ = self.inner.metrics.set(metrics);
    }

    pub fn node_id(&self) -> u64 {
        self.inner.node_id
    }

    pub fn incarnation(&self) -> u64 {
        self.inner.incarnation
    }

    /// 64 lower-case hex digits; `None`: not known yet.
    pub fn cluster_id(&self) -> Option<String> {
        self.record().read(|known| known.cluster_id.clone())
    }

    /// The incarnation on record.
    pub fn incarnation_of(&self, peer: u64) -> Option<u64> {
        self.record().read(|known| known.peers.get(&peer).copied())
    }

    /// How this node presents itself to `target`.
    pub fn caller(&self, target: u64) -> pb::Caller {
        self.record().read(|known| pb::Caller {
            cluster_id: known.cluster_id.clone().unwrap_or_default(),
            node_id: self.inner.node_id,
            incarnation: self.inner.incarnation,
            target,
            target_incarnation: known.peers.get(&target).copied(),
            start: self.inner.start.map(pb::Start::from),
            target_start: known.starts.get(&target).copied().map(pb::Start::from),
        })
    }

    /// How this node signs its answers.
    pub fn responder(&self) -> pb::Responder {
        pb::Responder {
            cluster_id: self.cluster_id().unwrap_or_default(),
            node_id: self.inner.node_id,
            incarnation: self.inner.incarnation,
            start: self.inner.start.map(pb::Start::from),
        }
    }

    /// What this node has on record of others: for followers to go by.
    pub fn on_record(&self) -> (HashMap<u64, u64>, HashMap<u64, Start>) {
        self.record()
            .read(|known| (known.peers.clone().into_iter().collect(), known.starts.clone().into_iter().collect()))
    }

    /// Lets a message in, or refuses it. Who sent it is on record when this returns.
    pub async fn admit(&self, caller: Option<&pb::Caller>) -> Result<(), GuardError> {
        let caller = caller.ok_or(GuardError::Anonymous)?;
        let peer = caller.node_id;
        self.check_memory().map_err(|refusal| self.refuse(peer, refusal))?;
        if let Err(refusal) = self.check_address(caller) {
            let ours = self.cluster_id().unwrap_or_default();
            if matches!(refusal, Refusal::Reborn { .. }) && self.kin(peer, &ours, &caller.cluster_id) {
                self.believe_until_led().await.map_err(GuardError::Record)?;
            }
            return Err(self.refuse(peer, refusal).into());
        }
        // First what says most: a member that was restored belongs to no cluster either.
        self.check_record(peer, caller.incarnation, &caller.cluster_id)
            .map_err(|refusal| self.refuse(peer, refusal))?;
        self.check_cluster(peer, &caller.cluster_id).map_err(|refusal| self.refuse(peer, refusal))?;
        if let Err(refusal) = self.check_own_start(caller) {
            self.believe().await.map_err(GuardError::Record)?;
            return Err(self.refuse(peer, refusal).into());
        }
        self.put_on_record(peer, caller.incarnation, caller.start.map(Start::from), &caller.cluster_id).await
    }

    /// Lets the answer of `target` in, or refuses it. Who gave it is on record when this returns.
    pub async fn accept(&self, target: u64, responder: Option<&pb::Responder>) -> Result<(), GuardError> {
        let responder = responder.ok_or(GuardError::Anonymous)?;
        self.check_memory().map_err(|refusal| self.refuse(target, refusal))?;
        if responder.node_id != target {
            let refusal = Refusal::OtherNode { meant: target, own: responder.node_id };
            return Err(self.refuse(target, refusal).into());
        }
        // One that belongs to no cluster yet takes this one with the message that it answered.
        if !responder.cluster_id.is_empty() {
            self.check_cluster(target, &responder.cluster_id).map_err(|refusal| self.refuse(target, refusal))?;
        }
        let start = responder.start.map(Start::from);
        self.put_on_record(target, responder.incarnation, start, &responder.cluster_id).await
    }

    /// Lets in the message of a peer that was let in itself: `last` is the last entry that it had when it sent it. It may have got
    /// further meanwhile, and this node may have heard of that before the message came; so nothing but the message is refused, and
    /// the peer is told what it held. From one that lacks that, and so knows that it went back, nothing comes any more.
    pub fn check_log(&self, peer: u64, last: Option<LogId>) -> Result<(), Refusal> {
        match self.held_by(peer) {
            Some(had) if last < Some(had) => Err(self.refuse(peer, Refusal::PeerBehind { peer, had, last })),
            _ => Ok(()),
        }
    }

    /// Lets in the answer of a peer that was let in itself: `last` is the last entry that it has, `held` what it was known to hold
    /// when it was asked. From one that lacks that, nothing is taken any more.
    pub async fn check_answered_log(
        &self,
        peer: u64,
        held: Option<LogId>,
        last: Option<LogId>,
    ) -> Result<(), GuardError> {
        match held {
            Some(held) if last < Some(held) => Err(self.distrust(peer, held, held).await),
            _ => Ok(()),
        }
    }

    /// How far `peer` is known to hold what is committed.
    pub fn held_by(&self, peer: u64) -> Option<LogId> {
        self.record().held_by(peer)
    }

    /// The same of all, as indexes.
    pub fn held(&self) -> BTreeMap<u64, u64> {
        self.record().held().into_iter().map(|(peer, held)| (peer, held.index)).collect()
    }

    /// Takes the cluster id of a leader that was followed, or of a member that voted for this node, where there is none yet.
    pub async fn adopt_cluster(&self, cluster_id: &str) -> io::Result<()> {
        if cluster_id.is_empty() || self.cluster_id().is_some() {
            return Ok(());
        }
        let adopt = |known: &mut record::Known| known.cluster_id.get_or_insert_with(|| cluster_id.to_owned()).clone();
        let cluster_id = self.record().change(adopt).await?;
        tracing::info!(cluster_id, "this node belongs to a cluster now");
        Ok(())
    }

    /// Gives the cluster an id, where a leader has none yet.
    pub async fn mint_cluster(&self) -> io::Result<()> {
        if self.record().read(|known| known.cluster_id.is_some()) {
            return Ok(());
        }
        let mint = |known: &mut record::Known| known.cluster_id.get_or_insert_with(random_cluster_id).clone();
        let cluster_id = self.record().change(mint).await?;
        tracing::info!(cluster_id, "this cluster has an id now");
        Ok(())
    }

    /// Goes by what a leader, which was followed, has on record: it is right about incarnations and about which of two copies is the
    /// member. A start that is later than it knows has only not reached it yet.
    pub async fn learn(&self, incarnations: &HashMap<u64, u64>, starts: &HashMap<u64, Start>) -> io::Result<()> {
        let others = || incarnations.iter().filter(|(id, _)| **id != self.inner.node_id);
        let learned = |known: &record::Known| {
            let mut known = known.clone();
            for (id, incarnation) in others() {
                known.set_peer(*id, *incarnation);
                match (starts.get(id), known.starts.get(id)) {
                    (Some(theirs), Some(ours)) if theirs.number < ours.number => {}
                    (Some(theirs), _) => _ = known.starts.insert(*id, *theirs),
                    (None, _) => {}
                }
            }
            known
        };
        let nothing_new = |known: &record::Known| {
            let learned = learned(known);
            learned.peers == known.peers && learned.starts == known.starts
        };
        if self.record().read(nothing_new) {
            return Ok(());
        }
        self.record().change(|known| *known = learned(known)).await
    }

    /// Goes by what a leader, which was followed, knows of what members hold; also what this one knows as a leader.
    pub fn note_held(&self, held: impl IntoIterator<Item = Held>) {
        self.record().note_held(held);
    }

    /// Writes down what was noted since the last time.
    pub async fn write_held(&self) -> io::Result<()> {
        self.record().write_held().await
    }

    /// How far this node's own log is on disk and committed, as a leader that leads with this vote.
    pub fn own_held(&self, vote: Vote, committed: LogId) -> Option<Held> {
        let metrics = self.inner.metrics.get()?.borrow_watched();
        let flushed = metrics.replication.as_ref()?.get(&self.inner.node_id).copied().flatten()?;
        let held =
            Held { peer: self.inner.node_id, incarnation: self.inner.incarnation, log_id: flushed.min(committed) };
        (metrics.vote == vote).then_some(held)
    }

    /// Puts `incarnation` on record for a node that is about to join, whatever there was before.
    pub async fn replace(&self, peer: u64, incarnation: u64) -> io::Result<()> {
        if self.incarnation_of(peer) == Some(incarnation) {
            return Ok(());
        }
        self.inner.told.forget(peer);
        self.record().change(|known| known.set_peer(peer, incarnation)).await
    }

    /// Refuses, from now on and for all that follow this leader, a member that has lost what it acknowledged, as if it had another
    /// incarnation.
    pub async fn distrust(&self, peer: u64, had: LogId, missing: LogId) -> GuardError {
        let refusal = self.refuse(peer, Refusal::PeerReverted { peer, had, missing });
        match self.record().change(|known| known.set_peer(peer, rand::random())).await {
            Ok(()) => refusal.into(),
            Err(error) => GuardError::Record(error),
        }
    }

    /// Forgets one that this node, as a leader, has removed from the cluster; it does not come back in the same life.
    pub async fn expel(&self, peer: u64) -> io::Result<()> {
        if let Some(incarnation) = self.incarnation_of(peer) {
            self.expelled().insert((peer, incarnation));
        }
        self.forget(peer).await
    }

    /// Whether this node has removed that one, in this life of it, from the cluster.
    pub fn has_expelled(&self, peer: u64, incarnation: u64) -> bool {
        self.expelled().contains(&(peer, incarnation))
    }

    fn expelled(&self) -> MutexGuard<'_, BTreeSet<(u64, u64)>> {
        self.inner.expelled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets one that was removed from the cluster: what comes back under that id is another node.
    pub async fn forget(&self, peer: u64) -> io::Result<()> {
        self.inner.told.forget(peer);
        if self.incarnation_of(peer).is_none() {
            return Ok(());
        }
        self.record().change(|known| known.remove_peer(peer)).await
    }

    /// Forgets all that are no members, except who came on record within the last `spared`: it may be about to be one.
    pub async fn keep_only(&self, members: &BTreeSet<u64>, spared: Duration) -> io::Result<()> {
        for peer in self.record().strangers(members, spared) {
            self.forget(peer).await?;
        }
        Ok(())
    }

    /// Changes whenever what is on record of others does.
    pub fn changes(&self) -> u64 {
        self.record().changes()
    }

    /// Lets in a node that wants to be a member, or says where it is now, as far as its cluster and its copies go.
    pub fn check_applicant(&self, caller: &pb::Caller) -> Result<(), Refusal> {
        let peer = caller.node_id;
        let checked = self.check_cluster(peer, &caller.cluster_id).and_then(|()| {
            let same_life = self.incarnation_of(peer) == Some(caller.incarnation);
            if same_life { self.check_start(peer, caller.start.map(Start::from)) } else { Ok(()) }
        });
        checked.map_err(|refusal| self.refuse(peer, refusal))
    }

    /// Lets in a request about `peer` from somebody who says which cluster is meant.
    pub fn check_same_cluster(&self, peer: u64, cluster_id: &str) -> Result<(), Refusal> {
        self.check_cluster(peer, cluster_id).map_err(|refusal| self.refuse(peer, refusal))
    }

    /// Passes on the answer to a call. That `peer` refuses to listen is for the operator to know, and perhaps for this node.
    pub async fn hear<T>(&self, peer: u64, answer: Result<T, Status>) -> Result<T, Status> {
        if let Err(status) = &answer
            && status.code() == REFUSED
        {
            let held = held_in(status.details());
            if held.is_some_and(|held| !self.lacks(held)) {
                tracing::debug!(peer, "this node asked before it got as far as it is now: {}", status.message());
                return answer;
            }
            if self.inner.told.is_news(peer, status.message().to_owned()) {
                tracing::error!(peer, "a node refuses to talk to this one: {}", status.message());
            }
            let believed = match status.details() {
                YOU_FORGOT => self.believe_until_led().await,
                YOU_WENT_BACK => self.believe().await,
                _ if held.is_some() => self.believe().await,
                _ => Ok(()),
            };
            if let Err(error) = believed {
                tracing::error!(%error, "cannot write to the log that this node has forgotten what it acknowledged");
            }
        }
        answer
    }

    /// Whether this node ends before an entry that was committed, in its log and in its state.
    fn lacks(&self, committed: LogId) -> bool {
        let state = self.inner.metrics.get().and_then(|metrics| {
            let metrics = metrics.borrow_watched();
            metrics.last_applied.max(metrics.snapshot)
        });
        self.record().log().last_log_id().max(state) < Some(committed)
    }

    /// Whether this node knows that nothing it says counts any more.
    pub fn is_forgetful(&self) -> bool {
        self.record().read(|known| known.forgetful)
    }

    /// Messages refused so far, by kind.
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        self.inner.told.refused()
    }

    /// Takes it from another member that this node has forgotten what it acknowledged. Once it was led, it knows better: then it
    /// is one of a majority that has begun anew.
    async fn believe_until_led(&self) -> io::Result<()> {
        let was_led = self.cluster_id().is_some() && !self.record().log().state().elect_on_open;
        if was_led { Ok(()) } else { self.believe().await }
    }

    async fn believe(&self) -> io::Result<()> {
        if self.is_forgetful() {
            return Ok(());
        }
        self.record().change(|known| known.forgetful = true).await
    }

    async fn put_on_record(
        &self,
        peer: u64,
        incarnation: u64,
        start: Option<Start>,
        cluster_id: &str,
    ) -> Result<(), GuardError> {
        let same_life = self.incarnation_of(peer) == Some(incarnation);
        let known_start = self.record().read(|known| known.starts.get(&peer).copied());
        if !same_life || start.is_some() && known_start != start {
            let noted = |known: &mut record::Known| {
                if *known.peers.entry(peer).or_insert(incarnation) == incarnation {
                    start.into_iter().for_each(|start| known.note_start(peer, start));
                }
            };
            if self.check_record(peer, incarnation, cluster_id).is_ok() && self.check_start(peer, start).is_ok() {
                self.record().change(noted).await.map_err(GuardError::Record)?;
            }
        }
        // Somebody else may have been faster.
        let checked = self.check_record(peer, incarnation, cluster_id).and_then(|()| self.check_start(peer, start));
        checked.map_err(|refusal| self.refuse(peer, refusal).into())
    }

    fn refuse(&self, peer: u64, refusal: Refusal) -> Refusal {
        self.inner.told.refuse(peer, refusal)
    }

    fn record(&self) -> &Record {
        &self.inner.record
    }
}

/// 64 lower-case hex digits that no other cluster has.
pub fn random_cluster_id() -> String {
    hex(&rand::random::<[u8; 32]>())
}
