//! The calls of a soak: keys of a bounded number that are written, removed and read, and new ones that expire. What is written
//! follows from a call's number alone. Knows nothing of when calls are made.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use integration_tests::{
    client::Client,
    generate::{mix, value},
    measure::percentile,
};
use meta_proto::pb::{self, txn_op::Request as Op};
use tokio::time::timeout;
use tonic::Status;

/// To each node, as several programs have them.
const CONNECTIONS: usize = 4;
/// A call that is not answered by then has failed.
const LIMIT: Duration = Duration::from_secs(10);
/// Puts in a transaction that fills the store.
const BULK: u64 = 100;

pub struct Load {
    clients: Vec<Client>,
    keys: u64,
    ttl: Duration,
}

impl Load {
    /// Logs in at every node, and writes every key once: from then on there are not many more.
    ///
    /// # Panics
    ///
    /// When a node does not answer.
    pub async fn prepare(members: &[String], keys: u64, ttl: u64) -> Load {
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            for member in members {
                clients.push(Client::log_in(member).await.expect("every node runs"));
            }
        }
        for first in (0..keys).step_by(usize::try_from(BULK).expect("a hundred")) {
            let puts = (first..keys.min(first + BULK)).map(|n| put(key(n), n, None)).collect();
            clients[0].transact(puts).await.expect("the cluster has a leader");
        }
        Load { clients, keys, ttl: Duration::from_secs(ttl) }
    }

    /// Of six calls in turn, four are writes.
    pub async fn call(self: Arc<Self>, n: u64, due: Instant, calls: Arc<Calls>) {
        let drawn = mix(n);
        let mut client = self.clients[drawn as usize % self.clients.len()].clone();
        let known = key((drawn >> 8) % self.keys);
        let reads = n % 3 == 2;
        let call = async {
            if reads {
                return client.get(&known).await.map(drop);
            }
            match (drawn >> 40) % 10 {
                0..5 => client.put(&known, &some(drawn)).await.map(drop),
                5..8 => client.transact(vec![put(format!("soak/once/{n}"), drawn, Some(self.ttl))]).await.map(drop),
                _ => client.delete(&known).await,
            }
        };
        let answer = timeout(LIMIT, call).await;
        let failed = match answer {
            Ok(Ok(())) => None,
            Ok(Err(status)) => Some(status),
            Err(_) => Some(Status::deadline_exceeded(format!("not answered in {} s", LIMIT.as_secs()))),
        };
        calls.add(reads, due.elapsed(), failed);
    }
}

fn key(n: u64) -> String {
    format!("soak/again/{n}")
}

/// A value of 100 to 499 bytes.
fn some(drawn: u64) -> Vec<u8> {
    value(drawn, 100 + (drawn >> 20) as usize % 400)
}

fn put(key: String, drawn: u64, ttl: Option<Duration>) -> Op {
    let ttl_ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).expect("not as long as that"));
    Op::Put(pb::TxnPutRequest { key, value: some(drawn), ttl_ms, ..pb::TxnPutRequest::default() })
}

/// What came of the calls since somebody last asked.
#[derive(Default)]
pub struct Calls(Mutex<Made>);

#[derive(Default)]
pub struct Made {
    writes: Vec<Duration>,
    reads: Vec<Duration>,
    failed: Vec<Status>,
}

impl Calls {
    fn add(&self, reads: bool, took: Duration, failed: Option<Status>) {
        let mut made = self.0.lock().expect("nobody panics in here");
        match failed {
            Some(status) => made.failed.push(status),
            None if reads => made.reads.push(took),
            None => made.writes.push(took),
        }
    }

    pub fn take(&self) -> Made {
        std::mem::take(&mut *self.0.lock().expect("nobody panics in here"))
    }
}

impl Made {
    /// How many, answered as they are to be.
    pub fn writes(&self) -> usize {
        self.writes.len()
    }

    pub fn reads(&self) -> usize {
        self.reads.len()
    }

    pub fn answered(&self) -> u64 {
        (self.writes.len() + self.reads.len()) as u64
    }

    pub fn failed(&self) -> u64 {
        self.failed.len() as u64
    }

    pub fn first_failure(&self) -> Option<&Status> {
        self.failed.first()
    }

    pub fn longest(&self) -> Duration {
        self.writes.iter().chain(&self.reads).max().copied().unwrap_or_default()
    }

    /// Of writes, from when they were due: so many hundredths took no longer.
    pub fn write_latency(&self, hundredths: usize) -> Duration {
        let mut writes = self.writes.clone();
        writes.sort_unstable();
        percentile(&writes, hundredths)
    }
}
