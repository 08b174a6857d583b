//! Clients that write as fast as they are answered, to a bounded number of keys, and take nothing down but how many writes
//! were acknowledged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{client::Client, wait};

/// No write takes longer while there is a leader.
const LIMIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);
/// Each client's own.
const KEYS: u64 = 4;

/// Writes under way.
pub struct Flood {
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Flood {
    /// Sets so many clients to write values of `value_len` bytes, each to one of the members until that fails.
    pub fn start(members: &[String], clients: usize, value_len: usize) -> Flood {
        let (acknowledged, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let tasks = (0..clients).map(|id| {
            let (members, acknowledged, stop) = (members.to_vec(), acknowledged.clone(), stop.clone());
            tokio::spawn(async move {
                let value = vec![b'v'; value_len];
                let (mut member, mut n, mut client) = (id, 0, None);
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    let key = format!("flood/{id}/{}", n % KEYS);
                    if write(&mut client, &members[member % members.len()], &key, &value).await.is_some() {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    } else {
                        client = None;
                        member += 1;
                        sleep(PAUSE).await;
                    }
                }
            })
        });
        let tasks = tasks.collect();
        Flood { acknowledged, stop, tasks }
    }

    /// How many writes were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more are.
    pub async fn writes(&self, more: u64) {
        let goal = self.acknowledged() + more;
        wait::until_true("more acknowledged writes", || self.acknowledged() >= goal).await;
    }

    /// Ends it, and gives how many writes were acknowledged.
    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.acknowledged.load(Ordering::Relaxed)
    }
}

/// `None`: not acknowledged.
async fn write(client: &mut Option<Client>, member: &str, key: &str, value: &[u8]) -> Option<()> {
    let written = async {
        let client = match client {
            Some(client) => client,
            None => client.insert(Client::log_in(member).await.ok()?),
        };
        client.put(key, value).await.ok().map(drop)
    };
    timeout(LIMIT, written).await.ok().flatten()
}
