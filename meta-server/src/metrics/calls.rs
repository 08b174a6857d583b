//! Calls of clients: how many are under way, how they end, how long they take and how many bytes they are.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus_client::metrics::histogram::Histogram;

use super::{Count, Metrics};

/// Upper bounds in milliseconds: what a disk's sync takes lies in the middle.
const BUCKETS_MS: [f64; 15] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0, 30_000.0, 60_000.0];

/// What a call does to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    Read,
    Write,
    /// Neither: logging in, a status, an export, a watch.
    Other,
}

pub struct CallMetrics {
    pub received_bytes: Count,
    pub sent_bytes: Count,
    pub in_flight: Count,
    pub succeeded: Count,
    pub failed: Count,
    pub(super) delay_ms: Histogram,
    pub(super) read_delay_ms: Histogram,
    pub(super) write_delay_ms: Histogram,
}

impl Default for CallMetrics {
    fn default() -> Self {
        let delays = || Histogram::new(BUCKETS_MS);
        CallMetrics {
            received_bytes: Count::default(),
            sent_bytes: Count::default(),
            in_flight: Count::default(),
            succeeded: Count::default(),
            failed: Count::default(),
            delay_ms: delays(),
            read_delay_ms: delays(),
            write_delay_ms: delays(),
        }
    }
}

/// A call that is under way. One that is dropped before it was ended has failed: its client did not get all of the answer.
pub struct Calling {
    metrics: Arc<Metrics>,
    kind: CallKind,
    began: Instant,
    ended: bool,
}

impl Calling {
    pub fn begin(metrics: Arc<Metrics>, kind: CallKind) -> Calling {
        metrics.calls.in_flight.add(1);
        Calling { metrics, kind, began: Instant::now(), ended: false }
    }

    pub fn sent(&self, bytes: u64) {
        self.metrics.calls.sent_bytes.add(bytes);
    }

    /// The answer is complete.
    pub fn end(&mut self, succeeded: bool) {
        if !std::mem::replace(&mut self.ended, true) {
            let calls = &self.metrics.calls;
            calls.in_flight.take_back();
            if succeeded { &calls.succeeded } else { &calls.failed }.add(1);
            self.observe(self.began.elapsed());
        }
    }

    fn observe(&self, took: Duration) {
        let calls = &self.metrics.calls;
        let ms = took.as_secs_f64() * 1000.0;
        calls.delay_ms.observe(ms);
        match self.kind {
            CallKind::Read => calls.read_delay_ms.observe(ms),
            CallKind::Write => calls.write_delay_ms.observe(ms),
            CallKind::Other => {}
        }
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        self.end(false);
    }
}
