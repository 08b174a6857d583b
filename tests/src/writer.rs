//! One client that writes in a known order, one log entry a write: after any number of them, what the store must hold
//! follows from the order alone.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use meta_proto::pb::{self, txn_op::Request as Op};
use tokio::task::JoinHandle;

use crate::{client::Client, server::Server, wait};

/// Each key with its seq and its data.
pub type State = BTreeMap<String, (u64, Vec<u8>)>;

/// Keys are used again and again, so that most writes replace or remove something.
const KEYS: u64 = 200;

/// What write number `n` does, counted from 1.
enum Write {
    Put(String, Vec<u8>),
    Delete(String),
    /// In one transaction.
    PutBoth([(String, Vec<u8>); 2]),
}

fn write(n: u64, value_len: usize) -> Write {
    // A step that shares no factor with the number of keys visits them all.
    let key = |n: u64| format!("k{:05}", n * 37 % KEYS);
    let value = |n: u64| format!("{n}:").into_bytes().into_iter().cycle().take(value_len).collect();
    match n % 10 {
        0 => Write::Delete(key(n)),
        5 => Write::PutBoth([(key(n), value(n)), (format!("also/{}", key(n)), value(n + 1))]),
        _ => Write::Put(key(n), value(n)),
    }
}

/// What the store holds after `count` writes, and the last seq given out.
pub fn state_after(count: u64, value_len: usize) -> (State, u64) {
    let (mut state, mut seq) = (State::new(), 0);
    for n in 1..=count {
        match write(n, value_len) {
            Write::Put(key, value) => {
                seq += 1;
                state.insert(key, (seq, value));
            }
            Write::Delete(key) => {
                state.remove(&key);
            }
            Write::PutBoth(records) => {
                for (key, value) in records {
                    seq += 1;
                    state.insert(key, (seq, value));
                }
            }
        }
    }
    (state, seq)
}

/// A writer that runs until it is stopped.
pub struct Writer {
    /// The index of the last log entry before the first write.
    before: u64,
    value_len: usize,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Starts to write to a server that is new, and that nobody else writes to.
    pub async fn start(server: &Server, value_len: usize) -> Writer {
        let before = server.admin("/v1/cluster/status").await["last_log_index"].as_u64().unwrap();
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let task = {
            let (stop, acknowledged, mut client) = (stop.clone(), acknowledged.clone(), server.client().await);
            tokio::spawn(async move {
                for n in 1.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    send(&mut client, write(n, value_len)).await;
                    acknowledged.store(n, Ordering::Relaxed);
                }
            })
        };
        Writer { before, value_len, stop, acknowledged, task }
    }

    /// How many writes were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until `more` writes than now are acknowledged.
    pub async fn writes(&self, more: u64) {
        let goal = self.acknowledged() + more;
        wait::until_true("more writes", || self.acknowledged() >= goal || self.task.is_finished()).await;
    }

    /// What the store holds at the log index `applied`, and the last seq given out.
    pub fn state_at(&self, applied: u64) -> (State, u64) {
        state_after(applied.checked_sub(self.before).expect("an index from after the start"), self.value_len)
    }

    /// The indexes of the log that an export whose LastApplied is one of them may have.
    pub fn indexes(&self) -> RangeInclusive<u64> {
        self.before..=self.before + self.acknowledged() + 1
    }

    /// Stops, and gives the number of writes.
    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.acknowledged.load(Ordering::Relaxed)
    }
}

async fn send(client: &mut Client, write: Write) {
    let put = |(key, value)| Op::Put(pb::TxnPutRequest { key, value, ..pb::TxnPutRequest::default() });
    match write {
        Write::Put(key, value) => client.put(&key, &value).await.map(|_| ()),
        Write::Delete(key) => client.delete(&key).await,
        Write::PutBoth(records) => client.transact(records.map(put).into()).await.map(|_| ()),
    }
    .unwrap_or_else(|status| panic!("a write was not acknowledged: {status}"));
}
