//! Metrics as Prometheus reads them, under the names that dashboards of a Databend server have. Counters live here and are
//! told by whoever does what they count; what the node knows anyway is looked up when it is asked for. Knows nothing of HTTP.

mod backup;
mod calls;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};

pub use self::{
    backup::BackupMetrics,
    calls::{CallKind, CallMetrics, Calling},
    text::{Observed, text},
};

/// What a node counts.
#[derive(Default)]
pub struct Metrics {
    pub calls: CallMetrics,
    pub backup: BackupMetrics,
    /// Commands that are proposed and not applied yet.
    pub proposals_pending: Count,
    pub proposals_failed: Count,
    pub reads_failed: Count,
    pub leader_changes: Count,
    /// Records that watchers were shown because they were there.
    pub watch_initializations: Count,
    /// Changes that watchers were told of.
    pub watch_changes: Count,
}

/// A number that goes up, and down where it counts what is under way.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one until the guard is dropped.
    pub fn hold(&self) -> Held<'_> {
        self.add(1);
        Held(self)
    }

    fn take_back(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One that is under way.
pub struct Held<'a>(&'a Count);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.take_back();
    }
}
