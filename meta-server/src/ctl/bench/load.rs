//! Clients that call as fast as they are answered, and what came of it. Knows nothing of how that is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use backup_plugin::clock;
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::ctl::client::{Client, ClientError};

/// Values that differ.
const VALUES: usize = 16;
/// How long a client rests after an error, so that a server that refuses everything is not asked in a frenzy.
const REST: Duration = Duration::from_millis(50);

/// What a client that removes keys takes.
const MOST_FAILURES: u32 = 3;

/// The keys of a run.
pub(super) struct Keys {
    prefix: String,
    count: u64,
    ttl: Option<u32>,
    /// As JSON has them.
    values: Vec<String>,
    /// Writes that were begun; those above the number of keys go round again.
    writes: AtomicU64,
    removals: AtomicU64,
    removed: AtomicU64,
    /// Keys that a write failed for: they may be there or not.
    unknown: Mutex<BTreeSet<u64>>,
    /// How many keys there were when removing began.
    to_remove: AtomicU64,
}

impl Keys {
    /// `ttl` in seconds.
    pub(super) fn new(prefix: &str, count: u64, value_bytes: usize, ttl: Option<u32>) -> Self {
        let value = |_| {
            let bytes: Vec<u8> = (0..value_bytes).map(|_| rand::random()).collect();
            json!(bytes).to_string()
        };
        let [writes, removals, removed, to_remove] = [0, 0, 0, 0].map(AtomicU64::new);
        let values = (0..VALUES).map(value).collect();
        let unknown = Mutex::default();
        Keys { prefix: prefix.to_owned(), count, ttl, values, writes, removals, removed, unknown, to_remove }
    }

    fn unknown(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, n: u64) -> String {
        format!("{}{:010}", self.prefix, n % self.count)
    }

    /// Keys that were written, or may have been.
    pub(super) fn written(&self) -> u64 {
        self.writes.load(Ordering::Relaxed).min(self.count)
    }

    /// Of them, those that were not removed, or may not have been.
    pub(super) fn left(&self) -> u64 {
        self.written() - self.removed.load(Ordering::Relaxed)
    }

    pub(super) fn start_removing(&self) {
        self.to_remove.store(self.written(), Ordering::Relaxed);
    }

    /// The request that writes a key. An expiry in seconds is what servers of every age understand.
    fn upsert(&self, n: u64) -> String {
        let key = json!(self.key(n));
        let value = &self.values[n as usize % VALUES];
        let meta = self.ttl.map(|ttl| json!({"expire_at": clock::now_ms() / 1000 + u64::from(ttl)}));
        let meta = json!(meta);
        format!(r#"{{"UpsertKV":{{"key":{key},"seq":{{"GE":0}},"value":{{"Update":{value}}},"value_meta":{meta}}}}}"#)
    }

    fn delete(&self, n: u64) -> String {
        let key = json!(self.key(n));
        format!(r#"{{"UpsertKV":{{"key":{key},"seq":{{"GE":0}},"value":"Delete","value_meta":null}}}}"#)
    }
}

/// What a client does in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Write,
    Read,
    Both,
}

/// Errors of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) count: u64,
    /// The first one.
    pub(super) example: String,
}

/// What some calls took. Latencies are in microseconds, to three digits.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// `None`: no call was answered.
    pub(super) writes: Option<Histogram<u64>>,
    pub(super) reads: Option<Histogram<u64>>,
    pub(super) errors: BTreeMap<String, Failed>,
}

impl Taken {
    pub(super) fn add(&mut self, other: Taken) {
        for (latencies, more) in [(&mut self.writes, other.writes), (&mut self.reads, other.reads)] {
            match (latencies.as_mut(), more) {
                // Of the same precision, and it grows as it must.
                (Some(latencies), Some(more)) => latencies.add(more).unwrap_or_default(),
                (None, more) => *latencies = more,
                (Some(_), None) => {}
            }
        }
        for (kind, failed) in other.errors {
            let known = self.errors.entry(kind).or_insert(Failed { count: 0, example: failed.example });
            known.count += failed.count;
        }
    }

    /// Calls that were answered.
    pub(super) fn calls(&self) -> u64 {
        [&self.writes, &self.reads].into_iter().flatten().map(Histogram::len).sum()
    }

    pub(super) fn first_error(&self) -> Option<&str> {
        self.errors.values().next().map(|failed| failed.example.as_str())
    }

    fn fail(&mut self, kind: String, example: String) {
        self.errors.entry(kind).or_insert(Failed { count: 0, example }).count += 1;
    }

    fn fail_with(&mut self, error: &ClientError) {
        self.fail(error.kind(), crate::error_chain::chain(error));
    }
}

fn record(latencies: &mut Option<Histogram<u64>>, took: Duration) {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if latencies.is_none() {
        // Three digits is within what it can do.
        *latencies = Histogram::new(3).ok();
    }
    if let Some(latencies) = latencies {
        // It grows; without a bound nothing is out of bounds.
        let _ = latencies.record(micros);
    }
}

/// Calls again and again, until `end` or until stopped.
pub(super) async fn call_until(
    end: Instant,
    work: Work,
    client: Arc<Client>,
    keys: Arc<Keys>,
    stopped: CancellationToken,
) -> Taken {
    let mut taken = Taken::default();
    let mut writes = work != Work::Read;
    while Instant::now() < end && !stopped.is_cancelled() {
        let began = Instant::now();
        let answered =
            if writes { write(&client, &keys, &mut taken).await } else { read(&client, &keys, &mut taken).await };
        if answered {
            record(if writes { &mut taken.writes } else { &mut taken.reads }, began.elapsed());
        } else {
            sleep(REST).await;
        }
        writes ^= work == Work::Both;
    }
    taken
}

async fn write(client: &Client, keys: &Keys, taken: &mut Taken) -> bool {
    let n = keys.writes.fetch_add(1, Ordering::Relaxed);
    match client.kv_api(keys.upsert(n)).await {
        Ok(_) => true,
        Err(error) => {
            keys.unknown().insert(n % keys.count);
            taken.fail_with(&error);
            false
        }
    }
}

async fn read(client: &Client, keys: &Keys, taken: &mut Taken) -> bool {
    let n = rand::random_range(0..keys.written().max(1));
    let key = keys.key(n);
    match client.get(&key).await {
        Ok(None) if keys.ttl.is_none() && !keys.unknown().contains(&n) => {
            taken.fail("a written key is not there".to_owned(), format!("{key} was written, and is not there"));
            false
        }
        Ok(_) => true,
        Err(error) => {
            taken.fail_with(&error);
            false
        }
    }
}

/// Writes every key once, before they are read.
pub(super) async fn fill(client: Arc<Client>, keys: Arc<Keys>, stopped: CancellationToken) -> Taken {
    let mut taken = Taken::default();
    while keys.writes.load(Ordering::Relaxed) < keys.count && !stopped.is_cancelled() {
        let began = Instant::now();
        if write(&client, &keys, &mut taken).await {
            record(&mut taken.writes, began.elapsed());
        } else {
            sleep(REST).await;
        }
    }
    taken
}

/// Removes the keys that were written, until too much fails: of a server that is gone, keys stay.
pub(super) async fn remove(client: Arc<Client>, keys: Arc<Keys>) -> Taken {
    let mut taken = Taken::default();
    let mut failures = 0;
    while failures < MOST_FAILURES {
        let n = keys.removals.fetch_add(1, Ordering::Relaxed);
        if n >= keys.to_remove.load(Ordering::Relaxed) {
            break;
        }
        match client.kv_api(keys.delete(n)).await {
            Ok(_) => _ = keys.removed.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                failures += 1;
                taken.fail_with(&error);
                sleep(REST).await;
            }
        }
    }
    taken
}
