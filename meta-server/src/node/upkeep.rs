//! What a running node does for itself, in the background: it has its addresses registered, forgets who has left, ends what a
//! leader left half done, compacts when the overlay has grown, tells Raft of the new base, and purges the log behind the base.
//! Knows nothing of requests.

use std::{
    io,
    sync::{Arc, Weak},
    time::Duration,
};

use backup_plugin::record::{self, Node};
use openraft::{Instant as _, async_runtime::WatchReceiver};
use tokio::{
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    MetaNode,
    purge::{Follower, LogMeter, behind_base, kept_bytes, short_of_followers},
    register::{Registration, forget_removed},
};
use crate::raft::types::{LogId, record_log_id};

/// How often the node looks after itself. Short, since between two looks the overlay grows as fast as clients write.
const PERIOD: Duration = Duration::from_millis(250);

/// How late it may be on disk what members are known to hold.
const WRITE_HELD_AFTER: Duration = Duration::from_secs(1);

/// How long a compaction that failed is left alone: longer each time, from the first to the second of these.
const COMPACT_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The background work of one node.
pub(super) struct Upkeep {
    node: Weak<MetaNode>,
    registration: Registration,
    /// Entries that stay in the log although the base includes them.
    log_to_keep: u64,
    /// The last entry that was looked up to purge up to it: while exports refuse that, it is not read again.
    purge_target: Option<LogId>,
    log_growth: LogMeter,
    since_base: SinceBase,
    /// Since when this node leads.
    leads_since: Option<Instant>,
    compactions: Backoff,
    held_written: Instant,
}

impl Upkeep {
    /// Runs until the node stops.
    pub(super) fn start(node: &Arc<MetaNode>, own: Node, log_to_keep: u64) {
        let upkeep = Self {
            node: Arc::downgrade(node),
            registration: Registration::new(own),
            log_to_keep,
            purge_target: None,
            log_growth: LogMeter::default(),
            since_base: SinceBase::at_start(node),
            leads_since: None,
            compactions: Backoff::default(),
            held_written: Instant::now(),
        };
        let stopping = node.stopping.clone();
        node.tasks.spawn(stopping.run_until_cancelled_owned(upkeep.run()));
    }

    async fn run(mut self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(node) = self.node.upgrade() else { return };
            let leads = node.leadership().state.is_leader();
            self.leads_since = leads.then(|| self.leads_since.unwrap_or_else(Instant::now));
            if leads {
                mint_cluster(&node).await;
                node.end_half_done_change().await;
            }
            self.registration.keep(&node).await;
            forget_removed(&node).await;
            forget_first_election(&node).await;
            self.write_held(&node).await;
            let log_bytes = self.since_base.log_bytes(&node);
            if node.store.state.compaction_due(log_bytes) && self.compactions.due(Instant::now()) {
                self.compact(&node).await;
            }
            if raft_knows_an_older_base(&node) {
                trigger(node.raft.trigger().snapshot().await);
            }
            if let Some(upto) = self.purgeable(&node).await {
                trigger(node.raft.trigger().purge_log(upto).await);
            }
        }
    }

    /// What members hold is told with every heartbeat; that it is on disk a moment late costs little, and a write each time would.
    async fn write_held(&mut self, node: &MetaNode) {
        if self.held_written.elapsed() < WRITE_HELD_AFTER {
            return;
        }
        self.held_written = Instant::now();
        if let Err(error) = node.guard.write_held().await {
            tracing::error!(%error, "cannot write to the log what members hold");
        }
    }

    /// Not left to Raft, which stops the node when a build fails: a full disk costs nothing but memory here.
    async fn compact(&mut self, node: &MetaNode) {
        match node.compact().await {
            Ok(()) => {
                self.compactions = Backoff::default();
                self.since_base = SinceBase::now(node);
            }
            Err(error) => {
                let wait = self.compactions.failed(Instant::now());
                let (raft_dir, again_in_s) = (node.store.raft_dir().display(), wait.as_secs());
                tracing::error!(%error, %raft_dir, again_in_s, "make room in raft_dir: memory and log grow until then");
            }
        }
    }

    /// The last index of the log that nobody needs any more, if it is still there and exports permit.
    async fn purgeable(&mut self, node: &MetaNode) -> Option<u64> {
        let (end, appended) = node.store.log.growth();
        self.log_growth.note(end, appended);
        let base = node.view().base().clone();
        let purged = node.store.log.purged().map(|id| id.index);
        let upto = behind_base(base.last_applied()?.index, self.log_to_keep, purged)?;
        let kept_from = self.log_growth.within(kept_bytes(base.disk_bytes()), appended);
        let first = purged.map_or(0, |purged| purged + 1);
        let upto = short_of_followers(upto, self.followers(node).into_iter(), first, kept_from)?;
        if Some(upto) <= purged {
            return None;
        }
        if self.purge_target.is_none_or(|target| target.index != upto) {
            self.purge_target = log_id_at(node, upto).await;
        }
        let permitted = node.store.pins().permit_purge(self.purge_target?)?.index;
        Some(permitted).filter(|permitted| Some(*permitted) > purged)
    }

    /// Every other member, where this node leads.
    fn followers(&self, node: &MetaNode) -> Vec<Follower> {
        let metrics = node.raft.metrics();
        let metrics = metrics.borrow_watched();
        let (Some(since), Some(replication)) = (self.leads_since, &metrics.replication) else { return Vec::new() };
        let heard = |id: u64| metrics.heartbeat.as_ref().and_then(|heard| heard.get(&id).copied().flatten());
        let follower = |(id, matched): (&u64, &Option<LogId>)| Follower {
            matched: matched.map(|id| id.index),
            silent: heard(*id).map_or_else(|| since.elapsed(), |heard| heard.elapsed()),
        };
        replication.iter().filter(|(id, _)| **id != node.id).map(follower).collect()
    }
}

async fn log_id_at(node: &MetaNode, index: u64) -> Option<LogId> {
    let log = node.store.log.clone();
    match spawn_blocking(move || log.log_id_at(index)).await.map_err(io::Error::other).flatten() {
        Ok(log_id) => log_id,
        Err(error) => {
            tracing::error!(%error, index, "cannot read the log to purge it");
            None
        }
    }
}

/// Raft purges behind the base that it knows of, and may have been busy with the last one when it was told of this one.
fn raft_knows_an_older_base(node: &MetaNode) -> bool {
    let known = node.raft.metrics().borrow_watched().snapshot.map(record_log_id);
    known < node.view().base().last_applied()
}

/// A cluster that came without an id gets one from its leader.
async fn mint_cluster(node: &MetaNode) {
    if let Err(error) = node.guard.mint_cluster().await {
        tracing::error!(%error, "cannot write the cluster's id to the log");
    }
}

/// A store that was imported as a new cluster elects like any other once it was led.
async fn forget_first_election(node: &MetaNode) {
    if !node.store.identity().elect_on_open || !node.was_led_since_import() {
        return;
    }
    if let Err(error) = node.store.log.update_state(|state| state.elect_on_open = false).await {
        tracing::error!(%error, "cannot write to the log that the new cluster was led");
    }
}

/// How much the log grew since its base was made. Who writes the same keys again and again makes the log grow, and nothing else.
struct SinceBase {
    base: Option<record::LogId>,
    /// The bytes that were appended until then, and those that were there before any were.
    appended: u64,
    before: u64,
}

impl SinceBase {
    /// All that lies in the log's files when the node starts is counted: it may have come after the base.
    fn at_start(node: &MetaNode) -> Self {
        let before = node.store.log.stats().map_or(0, |stats| stats.disk_bytes);
        Self { before, ..Self::now(node) }
    }

    fn now(node: &MetaNode) -> Self {
        let (_, appended) = node.store.log.growth();
        Self { base: node.view().base().last_applied(), appended, before: 0 }
    }

    fn log_bytes(&mut self, node: &MetaNode) -> u64 {
        let now = Self::now(node);
        let bytes = self.before + now.appended - self.appended;
        if now.base != self.base {
            // Made by somebody else's order, or received.
            *self = now;
            return 0;
        }
        bytes
    }
}

/// When to try again what has failed.
#[derive(Default)]
struct Backoff {
    /// When, and after how long a wait; `None` unless it has failed.
    next: Option<(Instant, Duration)>,
}

impl Backoff {
    fn due(&self, now: Instant) -> bool {
        self.next.is_none_or(|(next, _)| next <= now)
    }

    /// Returns how long it is left alone now.
    fn failed(&mut self, now: Instant) -> Duration {
        let (first, longest) = COMPACT_AGAIN;
        let wait = self.next.map_or(first, |(_, wait)| longest.min(wait * 2));
        self.next = Some((now + wait, wait));
        wait
    }
}

/// A Raft that has stopped is reported where the node is waited for; here there is nothing left to do.
fn trigger<E: std::fmt::Display>(triggered: Result<(), E>) {
    if let Err(error) = triggered {
        tracing::debug!(%error, "Raft has stopped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_again_less_and_less_often() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        assert!(backoff.due(now));
        let waits = [1, 2, 4, 8, 16, 32, 60, 60].map(Duration::from_secs);
        assert_eq!(waits, waits.map(|_| backoff.failed(now)));
        assert!(!backoff.due(now + Duration::from_secs(59)));
        assert!(backoff.due(now + Duration::from_secs(60)));
    }
}
