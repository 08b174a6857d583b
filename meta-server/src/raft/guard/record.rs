//! What a guard has on record of the cluster and of its peers. A change is on disk before it is known, but for how far peers hold
//! what is committed: that is known at once, and written a moment later. Knows nothing of what is refused for it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    log::{LogDb, RaftState},
    raft::{
        start::Start,
        types::{LogId, log_id, record_log_id},
    },
};

/// As on disk.
#[derive(Clone)]
pub(super) struct Known {
    pub cluster_id: Option<String>,
    /// Incarnations.
    pub peers: BTreeMap<u64, u64>,
    /// Of the incarnations in `peers`.
    pub starts: BTreeMap<u64, Start>,
    /// This node was told that it has forgotten.
    pub forgetful: bool,
}

impl Known {
    fn of(state: RaftState) -> Self {
        let RaftState { cluster_id, peer_incarnations: peers, peer_starts: starts, reborn: forgetful, .. } = state;
        Self { cluster_id, peers, starts, forgetful }
    }

    /// What was known of another incarnation says nothing of this one.
    pub fn set_peer(&mut self, peer: u64, incarnation: u64) {
        if self.peers.insert(peer, incarnation) != Some(incarnation) {
            self.starts.remove(&peer);
        }
    }

    pub fn remove_peer(&mut self, peer: u64) {
        self.peers.remove(&peer);
        self.starts.remove(&peer);
    }

    /// Takes the later one.
    pub fn note_start(&mut self, peer: u64, start: Start) {
        if self.starts.get(&peer).is_none_or(|known| known.number < start.number) {
            self.starts.insert(peer, start);
        }
    }
}

/// That `peer`, in one of its lives, has every entry up to one that is committed. Nothing but an older copy lacks it later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub peer: u64,
    pub incarnation: u64,
    pub log_id: LogId,
}

pub(super) struct Record {
    log: LogDb,
    known: RwLock<Known>,
    /// Of the incarnations on record.
    holds: Mutex<BTreeMap<u64, LogId>>,
    /// One change of what is known at a time.
    changing: tokio::sync::Mutex<()>,
    /// Counts changes of what is on record of others.
    changes: AtomicU64,
    /// When a peer was put on record, since the start.
    since: Mutex<HashMap<u64, Instant>>,
}

impl Record {
    pub(super) fn of(log: LogDb) -> Self {
        let state = log.state();
        let holds = state.peer_holds.iter().map(|(peer, held)| (*peer, log_id(*held))).collect();
        Self {
            log,
            known: RwLock::new(Known::of(state)),
            holds: Mutex::new(holds),
            changing: tokio::sync::Mutex::default(),
            changes: AtomicU64::new(0),
            since: Mutex::default(),
        }
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Known) -> T) -> T {
        read(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes whenever what is on record of others does.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Who is no member, except who came on record within the last `spared`: it may be about to be one.
    pub(super) fn strangers(&self, members: &BTreeSet<u64>, spared: Duration) -> Vec<u64> {
        let since = lock(&self.since);
        let young = |id: &u64| since.get(id).is_some_and(|since| since.elapsed() < spared);
        self.read(|known| known.peers.keys().filter(|id| !members.contains(id) && !young(id)).copied().collect())
    }

    /// How far `peer` is known to hold what is committed.
    pub(super) fn held_by(&self, peer: u64) -> Option<LogId> {
        lock(&self.holds).get(&peer).copied()
    }

    pub(super) fn held(&self) -> BTreeMap<u64, LogId> {
        lock(&self.holds).clone()
    }

    pub(super) fn note_held(&self, news: impl IntoIterator<Item = Held>) {
        let mut holds = lock(&self.holds);
        self.read(|known| {
            for Held { peer, incarnation, log_id } in news {
                let of_this_life = known.peers.get(&peer) == Some(&incarnation);
                if of_this_life && holds.get(&peer).is_none_or(|known| *known < log_id) {
                    holds.insert(peer, log_id);
                }
            }
        });
    }

    /// Writes down what [`Record::note_held`] has noted.
    pub(super) async fn write_held(&self) -> io::Result<()> {
        let _turn = self.changing.lock().await;
        let holds = self.holds_to_write();
        if self.log.state().peer_holds == holds {
            return Ok(());
        }
        self.log.update_state(move |state| state.peer_holds = holds).await
    }

    fn holds_to_write(&self) -> BTreeMap<u64, backup_plugin::record::LogId> {
        self.held().into_iter().map(|(peer, held)| (peer, record_log_id(held))).collect()
    }

    /// Changes what is known, on disk first. Begins with what is on its way there: the caller of an earlier change may have gone
    /// before that was known, and the disk must not go back.
    pub(super) async fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> io::Result<T> {
        let _turn = self.changing.lock().await;
        let old = self.read(Known::clone);
        let mut known = Known::of(self.log.state());
        let result = change(&mut known);
        let Known { cluster_id, peers, starts, forgetful } = known.clone();
        let unchanged: BTreeSet<u64> =
            peers.iter().filter(|(id, life)| old.peers.get(id) == Some(*life)).map(|(id, _)| *id).collect();
        let mut holds = self.holds_to_write();
        holds.retain(|peer, _| unchanged.contains(peer));
        self.log
            .update_state(move |state| {
                state.cluster_id = cluster_id;
                state.peer_incarnations = peers;
                state.peer_starts = starts;
                state.peer_holds = holds;
                state.reborn = forgetful;
            })
            .await?;
        if known.peers != old.peers {
            let mut since = lock(&self.since);
            since.retain(|id, _| known.peers.contains_key(id));
            let news = known.peers.keys().filter(|id| !unchanged.contains(id));
            since.extend(news.map(|id| (*id, Instant::now())));
        }
        let others_changed = known.peers != old.peers || known.starts != old.starts;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        // Also what was noted meanwhile: it is of the life before.
        lock(&self.holds).retain(|peer, _| unchanged.contains(peer));
        if others_changed {
            self.changes.fetch_add(1, Ordering::Release);
        }
        Ok(result)
    }

    /// What is on disk.
    pub(super) fn log(&self) -> &LogDb {
        &self.log
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
