//! Who may talk to whom. Every message between members says which cluster and which incarnation of a node it comes from and is
//! meant for; the guard refuses what does not fit, says so once for each peer, and counts it.
//!
//! An *incarnation* is one life of a node's store. A node that was imported again, restored or wiped has forgotten what it
//! voted for and acknowledged; were it taken for the one it was, the cluster could fork without an error. So each node puts the
//! incarnation of a peer on record, durably, before it first answers it or counts on its answer, and takes no other until that
//! peer was removed from the cluster. A leader tells its followers what it has on record, and they go by that.
//!
//! A node that has not been led since its import, and is told by a member of its cluster that it has forgotten, believes it for
//! good and talks to nobody any more: else it could begin anew with another one that never was up before and knows nothing. What
//! can not be told apart is a member that starts for the first time and one of which no living member has ever heard.
//!
//! Knows nothing of what the messages ask for.

mod refusal;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use backup_plugin::hex::hex;
use meta_proto::raft as pb;
use openraft::{RaftMetrics, async_runtime::WatchReceiver, type_config::alias::WatchReceiverOf};
use tonic::Status;

pub use self::refusal::{GuardError, Refusal};
use self::refusal::{REFUSED, YOU_FORGOT};
use super::types::{LogId, TypeConfig};
use crate::log::{LogDb, RaftState};

/// How many refusals are remembered, so as not to be logged again. Whoever calls makes up the ids in them.
const TOLD: usize = 1024;

/// The guard of one node; clones share it.
#[derive(Clone)]
pub struct Guard {
    inner: Arc<Inner>,
}

struct Inner {
    node_id: u64,
    incarnation: u64,
    log: LogDb,
    known: RwLock<Known>,
    /// One change of what is known at a time: it is on disk before it is known.
    changing: tokio::sync::Mutex<()>,
    /// Counts changes of what is on record of others.
    changes: AtomicU64,
    /// When a peer was put on record, since the start.
    since: Mutex<HashMap<u64, Instant>>,
    metrics: OnceLock<WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>>,
    /// What was said before, of whom.
    told: Mutex<BTreeSet<(u64, String)>>,
    /// Whom this node has removed from the cluster, as a leader, with their incarnations.
    expelled: Mutex<BTreeSet<(u64, u64)>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

/// As on disk.
#[derive(Clone)]
struct Known {
    cluster_id: Option<String>,
    peers: BTreeMap<u64, u64>,
    reborn: bool,
}

impl Known {
    fn of(state: RaftState) -> Self {
        Self { cluster_id: state.cluster_id, peers: state.peer_incarnations, reborn: state.reborn }
    }
}

impl Guard {
    /// For the node that lives in a store, in which it goes by `incarnation`. What it knows is in `log`, and what it learns goes there.
    pub fn new(node_id: u64, incarnation: u64, log: LogDb) -> Self {
        let known = Known::of(log.state());
        let inner = Inner {
            node_id,
            incarnation,
            log,
            known: RwLock::new(known),
            changing: tokio::sync::Mutex::default(),
            changes: AtomicU64::new(0),
            since: Mutex::default(),
            metrics: OnceLock::new(),
            told: Mutex::default(),
            expelled: Mutex::default(),
            refused: Mutex::default(),
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
        self.known(|known| known.cluster_id.clone())
    }

    /// The incarnation on record.
    pub fn incarnation_of(&self, peer: u64) -> Option<u64> {
        self.known(|known| known.peers.get(&peer).copied())
    }

    /// How this node presents itself to `target`.
    pub fn caller(&self, target: u64) -> pb::Caller {
        self.known(|known| pb::Caller {
            cluster_id: known.cluster_id.clone().unwrap_or_default(),
            node_id: self.inner.node_id,
            incarnation: self.inner.incarnation,
            target,
            target_incarnation: known.peers.get(&target).copied(),
        })
    }

    /// How this node signs its answers.
    pub fn responder(&self) -> pb::Responder {
        pb::Responder {
            cluster_id: self.cluster_id().unwrap_or_default(),
            node_id: self.inner.node_id,
            incarnation: self.inner.incarnation,
        }
    }

    /// What this node has on record of others: for followers to go by.
    pub fn incarnations(&self) -> HashMap<u64, u64> {
        self.known(|known| known.peers.iter().map(|(id, incarnation)| (*id, *incarnation)).collect())
    }

    /// Lets a message in, or refuses it. Who sent it is on record when this returns.
    pub async fn admit(&self, caller: Option<&pb::Caller>) -> Result<(), GuardError> {
        let caller = caller.ok_or(GuardError::Anonymous)?;
        let peer = caller.node_id;
        self.check_memory().map_err(|refusal| self.refuse(peer, refusal))?;
        if let Err(refusal) = self.check_address(caller) {
            let ours = self.cluster_id().unwrap_or_default();
            if matches!(refusal, Refusal::Reborn { .. }) && self.kin(peer, &ours, &caller.cluster_id) {
                self.believe().await.map_err(GuardError::Record)?;
            }
            return Err(self.refuse(peer, refusal).into());
        }
        // First what says most: a member that was restored belongs to no cluster either.
        self.check_record(peer, caller.incarnation, &caller.cluster_id)
            .map_err(|refusal| self.refuse(peer, refusal))?;
        self.check_cluster(peer, &caller.cluster_id).map_err(|refusal| self.refuse(peer, refusal))?;
        self.put_on_record(peer, caller.incarnation, &caller.cluster_id).await
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
        self.put_on_record(target, responder.incarnation, &responder.cluster_id).await
    }

    /// Takes the cluster id of a leader that was followed, or of a member that voted for this node, where there is none yet.
    pub async fn adopt_cluster(&self, cluster_id: &str) -> io::Result<()> {
        if cluster_id.is_empty() || self.known(|known| known.cluster_id.is_some()) {
            return Ok(());
        }
        self.change(|known| known.cluster_id.get_or_insert_with(|| cluster_id.to_owned()).clone()).await?;
        tracing::info!(cluster_id, "this node belongs to a cluster now");
        Ok(())
    }

    /// Gives the cluster an id, where a leader has none yet.
    pub async fn mint_cluster(&self) -> io::Result<()> {
        if self.known(|known| known.cluster_id.is_some()) {
            return Ok(());
        }
        let cluster_id = self.change(|known| known.cluster_id.get_or_insert_with(random_cluster_id).clone()).await?;
        tracing::info!(cluster_id, "this cluster has an id now");
        Ok(())
    }

    /// Goes by what a leader, which was followed, has on record.
    pub async fn learn(&self, incarnations: &HashMap<u64, u64>) -> io::Result<()> {
        let own = self.inner.node_id;
        let news = |known: &Known| {
            let differs = |(id, incarnation): &(&u64, &u64)| **id != own && known.peers.get(id) != Some(*incarnation);
            incarnations.iter().filter(differs).map(|(id, incarnation)| (*id, *incarnation)).collect::<Vec<_>>()
        };
        if self.known(|known| news(known).is_empty()) {
            return Ok(());
        }
        self.change(|known| {
            let news = news(known);
            known.peers.extend(news);
        })
        .await
    }

    /// Puts `incarnation` on record for a node that is about to join, whatever there was before.
    pub async fn replace(&self, peer: u64, incarnation: u64) -> io::Result<()> {
        if self.incarnation_of(peer) == Some(incarnation) {
            return Ok(());
        }
        self.forget_told(peer);
        self.change(|known| {
            known.peers.insert(peer, incarnation);
        })
        .await
    }

    /// Refuses, from now on and for all that follow this leader, a member that has lost what it acknowledged, as if it had another
    /// incarnation.
    pub async fn distrust(&self, peer: u64, had: LogId, missing: LogId) -> GuardError {
        let refusal = self.refuse(peer, Refusal::PeerReverted { peer, had, missing });
        let on_record = self.change(|known| {
            known.peers.insert(peer, rand::random());
        });
        match on_record.await {
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
        self.forget_told(peer);
        if self.incarnation_of(peer).is_none() {
            return Ok(());
        }
        self.change(|known| {
            known.peers.remove(&peer);
        })
        .await
    }

    /// Forgets all that are no members, except who came on record within the last `spared`: it may be about to be one.
    pub async fn keep_only(&self, members: &BTreeSet<u64>, spared: Duration) -> io::Result<()> {
        let gone: Vec<u64> = {
            let since = self.inner.since.lock().unwrap_or_else(PoisonError::into_inner);
            let young = |id: &u64| since.get(id).is_some_and(|since| since.elapsed() < spared);
            self.known(|known| known.peers.keys().filter(|id| !members.contains(id) && !young(id)).copied().collect())
        };
        for peer in gone {
            self.forget(peer).await?;
        }
        Ok(())
    }

    /// Changes whenever what is on record of others does.
    pub fn changes(&self) -> u64 {
        self.inner.changes.load(Ordering::Acquire)
    }

    /// Lets in a node that wants to be a member, as far as its cluster goes.
    pub fn check_applicant(&self, peer: u64, cluster_id: &str) -> Result<(), Refusal> {
        self.check_cluster(peer, cluster_id).map_err(|refusal| self.refuse(peer, refusal))
    }

    /// Passes on the answer to a call. That `peer` refuses to listen is for the operator to know, and perhaps for this node.
    pub async fn hear<T>(&self, peer: u64, answer: Result<T, Status>) -> Result<T, Status> {
        if let Err(status) = &answer
            && status.code() == REFUSED
        {
            if self.is_news(peer, status.message().to_owned()) {
                tracing::error!(peer, "a node refuses to talk to this one: {}", status.message());
            }
            if status.details() == YOU_FORGOT
                && let Err(error) = self.believe().await
            {
                tracing::error!(%error, "cannot write to the log that this node has forgotten what it acknowledged");
            }
        }
        answer
    }

    /// Whether this node knows that nothing it says counts any more.
    pub fn is_forgetful(&self) -> bool {
        self.known(|known| known.reborn)
    }

    /// Messages refused so far, by kind.
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        self.inner.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn check_address(&self, caller: &pb::Caller) -> Result<(), Refusal> {
        let Inner { node_id: own, incarnation, .. } = *self.inner;
        if caller.target != own {
            return Err(Refusal::OtherNode { meant: caller.target, own });
        }
        if caller.target_incarnation.is_some_and(|known| known != incarnation) {
            return Err(Refusal::Reborn { own, peer: caller.node_id });
        }
        Ok(())
    }

    fn check_cluster(&self, peer: u64, theirs: &str) -> Result<(), Refusal> {
        let own = self.inner.node_id;
        self.known(|known| match &known.cluster_id {
            Some(ours) if ours == theirs => Ok(()),
            Some(ours) if theirs.is_empty() => Err(Refusal::NoCluster { peer, own, ours: ours.clone() }),
            Some(ours) => Err(Refusal::OtherCluster { peer, theirs: theirs.to_owned(), own, ours: ours.clone() }),
            // Restored without a cluster id: listens to the members it was restored with.
            None if self.is_member(peer) => Ok(()),
            None => Err(Refusal::Stranger { peer, own }),
        })
    }

    fn check_memory(&self) -> Result<(), Refusal> {
        if self.is_forgetful() { Err(Refusal::Forgetful { own: self.inner.node_id }) } else { Ok(()) }
    }

    fn check_record(&self, peer: u64, incarnation: u64, cluster_id: &str) -> Result<(), Refusal> {
        match self.incarnation_of(peer) {
            Some(on_record) if on_record != incarnation => Err(self.peer_reborn(peer, cluster_id)),
            _ => Ok(()),
        }
    }

    fn peer_reborn(&self, peer: u64, cluster_id: &str) -> Refusal {
        let ours = self.cluster_id().unwrap_or_default();
        Refusal::PeerReborn { peer, kin: self.kin(peer, cluster_id, &ours) }
    }

    /// Whether a node that has forgotten belongs to the same cluster as the one that remembers it. Where it has no cluster id
    /// yet, `peer`, the other one of the two than this node, must be a member.
    fn kin(&self, peer: u64, of_forgetful: &str, of_other: &str) -> bool {
        if of_forgetful.is_empty() { self.is_member(peer) } else { of_forgetful == of_other }
    }

    /// Takes it from another member that this node has forgotten what it acknowledged. Once it was led, it knows better: then it
    /// is one of a majority that has begun anew.
    async fn believe(&self) -> io::Result<()> {
        let was_led = self.cluster_id().is_some() && !self.inner.log.state().elect_on_open;
        if was_led || self.is_forgetful() {
            return Ok(());
        }
        self.change(|known| known.reborn = true).await
    }

    async fn put_on_record(&self, peer: u64, incarnation: u64, cluster_id: &str) -> Result<(), GuardError> {
        let on_record = match self.incarnation_of(peer) {
            Some(on_record) => on_record,
            None => self
                .change(|known| *known.peers.entry(peer).or_insert(incarnation))
                .await
                .map_err(GuardError::Record)?,
        };
        if on_record == incarnation {
            return Ok(());
        }
        Err(self.refuse(peer, self.peer_reborn(peer, cluster_id)).into())
    }

    fn is_member(&self, id: u64) -> bool {
        let metrics = self.inner.metrics.get();
        metrics.is_some_and(|metrics| metrics.borrow_watched().membership_config.membership().get_node(&id).is_some())
    }

    /// Counts it, and says it where it was not said before.
    fn refuse(&self, peer: u64, refusal: Refusal) -> Refusal {
        *self.inner.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(refusal.kind()).or_default() += 1;
        if self.is_news(peer, refusal.to_string()) {
            tracing::error!(peer, "refused to talk to a node: {refusal}");
        }
        refusal
    }

    fn is_news(&self, peer: u64, text: String) -> bool {
        let mut told = self.inner.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD {
            told.clear();
        }
        told.insert((peer, text))
    }

    /// What is refused of a node from here on is news.
    fn forget_told(&self, peer: u64) {
        self.inner.told.lock().unwrap_or_else(PoisonError::into_inner).retain(|(id, _)| *id != peer);
    }

    fn known<T>(&self, read: impl FnOnce(&Known) -> T) -> T {
        read(&self.inner.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what is known, on disk first. Begins with what is on its way there: the caller of an earlier change may have gone
    /// before that was known, and the disk must not go back.
    async fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> io::Result<T> {
        let _turn = self.inner.changing.lock().await;
        let old = self.known(Known::clone);
        let mut known = Known::of(self.inner.log.state());
        let result = change(&mut known);
        let Known { cluster_id, peers, reborn } = known.clone();
        self.inner
            .log
            .update_state(move |state| {
                state.cluster_id = cluster_id;
                state.peer_incarnations = peers;
                state.reborn = reborn;
            })
            .await?;
        if known.peers != old.peers {
            let mut since = self.inner.since.lock().unwrap_or_else(PoisonError::into_inner);
            since.retain(|id, _| known.peers.contains_key(id));
            let news = known.peers.iter().filter(|(id, incarnation)| old.peers.get(id) != Some(*incarnation));
            since.extend(news.map(|(id, _)| (*id, Instant::now())));
        }
        let others_changed = known.peers != old.peers;
        *self.inner.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        if others_changed {
            self.inner.changes.fetch_add(1, Ordering::Release);
        }
        Ok(result)
    }
}

/// 64 lower-case hex digits that no other cluster has.
pub fn random_cluster_id() -> String {
    hex(&rand::random::<[u8; 32]>())
}
