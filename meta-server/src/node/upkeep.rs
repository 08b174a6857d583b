//! What a running node does for itself, in the background: it registers its addresses once it leads, compacts when the
//! overlay has grown, tells Raft of the new base, and purges the log behind the base. Knows nothing of requests.

use std::{
    io,
    sync::{Arc, Weak},
    time::Duration,
};

use backup_plugin::record::Node;
use openraft::async_runtime::WatchReceiver;
use tokio::{
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval},
};

use super::MetaNode;
use crate::{
    command::Command,
    raft::types::{LogId, record_log_id},
};

/// How often the node looks after itself. Short, since between two looks the overlay grows as fast as clients write.
const PERIOD: Duration = Duration::from_millis(250);

/// How long a compaction that failed is left alone: longer each time, from the first to the second of these.
const COMPACT_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The background work of one node.
pub(super) struct Upkeep {
    node: Weak<MetaNode>,
    /// How clients and members reach this node; `None` once that is in the store.
    unregistered: Option<Node>,
    /// Entries that stay in the log although the base includes them.
    log_to_keep: u64,
    /// The last entry that was looked up to purge up to it: while exports refuse that, it is not read again.
    purge_target: Option<LogId>,
    compactions: Backoff,
}

impl Upkeep {
    /// Runs until the node stops.
    pub(super) fn start(node: &Arc<MetaNode>, own: Node, log_to_keep: u64) {
        let upkeep = Self {
            node: Arc::downgrade(node),
            unregistered: Some(own),
            log_to_keep,
            purge_target: None,
            compactions: Backoff::default(),
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
            if node.leadership().state.is_leader() {
                self.register(&node).await;
                mint_cluster(&node).await;
            }
            forget_first_election(&node).await;
            if node.store.state.compaction_due() && self.compactions.due(Instant::now()) {
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

    /// Writes the addresses of this node, which leads, where the store has others.
    async fn register(&mut self, node: &MetaNode) {
        let Some(own) = self.unregistered.take() else { return };
        // Only a view as of this term shows what is really there.
        let stored = match node.linearizable_view().await {
            Ok(view) => view.nodes().get(&node.id).cloned(),
            Err(_) => {
                self.unregistered = Some(own);
                return;
            }
        };
        if stored.as_ref() == Some(&own) {
            return;
        }
        let command = Command::AddNode { node_id: node.id, node: own.clone(), overriding: true };
        match node.write(command).await {
            Ok(_) => tracing::info!(node = ?own, "registered the addresses of this node"),
            // Writing them twice does no harm.
            Err(error) => {
                tracing::warn!(%error, "cannot register the addresses of this node yet");
                self.unregistered = Some(own);
            }
        }
    }

    /// Not left to Raft, which stops the node when a build fails: a full disk costs nothing but memory here.
    async fn compact(&mut self, node: &MetaNode) {
        match node.compact().await {
            Ok(()) => self.compactions = Backoff::default(),
            Err(error) => {
                let wait = self.compactions.failed(Instant::now());
                let (raft_dir, again_in_s) = (node.store.raft_dir().display(), wait.as_secs());
                tracing::error!(%error, %raft_dir, again_in_s, "make room in raft_dir: memory and log grow until then");
            }
        }
    }

    /// The last index of the log that nobody needs any more, if it is still there and exports permit.
    async fn purgeable(&mut self, node: &MetaNode) -> Option<u64> {
        let base = node.view().base().last_applied()?.index;
        let purged = node.store.log.purged().map(|id| id.index);
        let upto = behind_base(base, self.log_to_keep, purged)?;
        if self.purge_target.is_none_or(|target| target.index != upto) {
            self.purge_target = log_id_at(node, upto).await;
        }
        let permitted = node.store.pins().permit_purge(self.purge_target?)?.index;
        Some(permitted).filter(|permitted| Some(*permitted) > purged)
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
    let leadership = node.leadership();
    let led = leadership.state.is_leader() || leadership.leader.is_some_and(|leader| leader != node.id);
    if !led || !node.store.identity().elect_on_open {
        return;
    }
    if let Err(error) = node.store.log.update_state(|state| state.elect_on_open = false).await {
        tracing::error!(%error, "cannot write to the log that the new cluster was led");
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

/// The last index to purge: `keep` entries behind the base, unless that is purged already.
fn behind_base(base: u64, keep: u64, purged: Option<u64>) -> Option<u64> {
    base.checked_sub(keep).filter(|upto| Some(*upto) > purged)
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

    #[test]
    fn the_log_is_purged_behind_the_base() {
        for (base, keep, purged, expected) in [
            (1000, 100, None, Some(900)),
            (1000, 100, Some(899), Some(900)),
            (1000, 100, Some(900), None),
            (1000, 100, Some(950), None),
            (1000, 0, Some(999), Some(1000)),
            (100, 1000, None, None),
        ] {
            assert_eq!(behind_base(base, keep, purged), expected, "base {base}, keep {keep}, purged {purged:?}");
        }
    }
}
