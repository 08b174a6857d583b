//! Exports, as the plugin tells of them.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use backup_plugin::{
    clock::now_ms,
    observe::{ExportFailure, ExportObserver},
    record::LogId,
};
use prometheus_client::metrics::histogram::Histogram;

use super::{Count, Metrics};

/// Upper bounds in seconds, up to the longest that an export may hold back the log by default.
const BUCKETS_SECONDS: [f64; 9] = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1800.0];

pub struct BackupMetrics {
    pub in_flight: Count,
    /// Lines that were handed to clients.
    pub records: Count,
    pub bytes: Count,
    pub(super) seconds: Histogram,
    failed: [Count; ExportFailure::ALL.len()],
    last_success: Mutex<Option<Success>>,
}

/// An export that its client has got whole.
#[derive(Debug, Clone, Copy)]
pub struct Success {
    pub at_ms: u64,
    /// Of the state that it holds.
    pub log_id: Option<LogId>,
}

impl Default for BackupMetrics {
    fn default() -> Self {
        BackupMetrics {
            in_flight: Count::default(),
            records: Count::default(),
            bytes: Count::default(),
            seconds: Histogram::new(BUCKETS_SECONDS),
            failed: Default::default(),
            last_success: Mutex::default(),
        }
    }
}

impl BackupMetrics {
    /// How many exports have not become whole, by the reason.
    pub fn failures(&self) -> impl Iterator<Item = (ExportFailure, u64)> {
        ExportFailure::ALL.into_iter().zip(self.failed.iter().map(Count::get))
    }

    pub fn last_success(&self) -> Option<Success> {
        *self.last_success.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ExportObserver for Metrics {
    fn began(&self) {
        self.backup.in_flight.add(1);
    }

    fn sent(&self, lines: u64, bytes: u64) {
        self.backup.records.add(lines);
        self.backup.bytes.add(bytes);
    }

    fn succeeded(&self, log_id: Option<LogId>, took: Duration) {
        let backup = &self.backup;
        backup.in_flight.take_back();
        backup.seconds.observe(took.as_secs_f64());
        *backup.last_success.lock().unwrap_or_else(PoisonError::into_inner) = Some(Success { at_ms: now_ms(), log_id });
    }

    fn failed(&self, why: ExportFailure) {
        self.backup.in_flight.take_back();
        for (failure, count) in ExportFailure::ALL.iter().zip(&self.backup.failed) {
            if *failure == why {
                count.add(1);
            }
        }
    }
}
