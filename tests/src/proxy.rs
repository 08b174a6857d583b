//! Stands before the Raft port of every node, and cuts, delays and heals what one node sends to another. Knows
//! processes and bytes, nothing of Raft.
//!
//! A rule is about the connections that `from` opens to `to`, requests and answers alike.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use crate::sockets;

/// How much of one direction is under way at a time.
const CHUNKS: usize = 64;
pub const CHUNK: usize = 16 * 1024;

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Link {
    #[default]
    Open,
    /// Every byte arrives this much later.
    Delayed(Duration),
    /// Every connection passes on one [`CHUNK`] in this time.
    Slow(Duration),
    /// Connections break, and new ones break at once.
    Refused,
    /// Nothing gets through and nothing breaks, as when packets are dropped; what was sent arrives after the cut.
    Silent,
}

type Rules = BTreeMap<(u64, u64), Link>;

/// Which process is which node, at present.
#[derive(Debug, Clone, Default)]
pub struct Processes(Arc<Mutex<BTreeMap<u64, u32>>>);

impl Processes {
    pub fn set(&self, node: u64, process: u32) {
        self.0.lock().expect("nobody panics in here").insert(node, process);
    }

    /// The node that opened a connection.
    async fn node_of(&self, peer: SocketAddr, local: SocketAddr) -> Option<u64> {
        // A process may be seen before it is known.
        for _ in 0..50 {
            let processes = self.0.lock().expect("nobody panics in here").clone();
            let inode = sockets::inode_of_peer(peer, local)?;
            if let Some((node, _)) = processes.into_iter().find(|(_, process)| sockets::holds(*process, inode)) {
                return Some(node);
            }
            sleep(Duration::from_millis(10)).await;
        }
        None
    }
}

/// Ends with all its connections on drop.
pub struct Proxy {
    rules: watch::Sender<Rules>,
    processes: Processes,
    accepting: Vec<JoinHandle<()>>,
}

impl Proxy {
    pub fn new(processes: Processes) -> Proxy {
        Proxy { rules: watch::Sender::default(), processes, accepting: Vec::new() }
    }

    /// Takes connections for node `to` at `front` and passes them on to `back`.
    pub async fn stand_before(&mut self, to: u64, front: (&str, u16), back: (&str, u16)) {
        let listener = TcpListener::bind(front).await.unwrap();
        let back = format!("{}:{}", back.0, back.1);
        let (rules, processes) = (self.rules.clone(), self.processes.clone());
        self.accepting.push(tokio::spawn(async move {
            loop {
                let Ok((caller, peer)) = listener.accept().await else { continue };
                let (rules, processes, back) = (rules.subscribe(), processes.clone(), back.clone());
                tokio::spawn(async move {
                    let Ok(local) = caller.local_addr() else { return };
                    if let Some(from) = processes.node_of(peer, local).await {
                        pass(caller, &back, (from, to), rules).await;
                    }
                });
            }
        }));
    }

    /// Sets the rule for what `from` asks of `to`.
    pub fn set(&self, from: u64, to: u64, link: Link) {
        self.rules.send_modify(|rules| {
            rules.insert((from, to), link);
        });
    }

    /// Sets the rule between `node` and each of `others`, both ways.
    pub fn isolate(&self, node: u64, others: impl IntoIterator<Item = u64>, link: Link) {
        for other in others.into_iter().filter(|other| *other != node) {
            self.set(node, other, link);
            self.set(other, node, link);
        }
    }

    /// Opens every link.
    pub fn heal(&self) {
        self.rules.send_replace(Rules::new());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.iter().for_each(JoinHandle::abort);
        // Those connections that are open end with their rules.
    }
}

fn link(rules: &Rules, between: (u64, u64)) -> Link {
    rules.get(&between).copied().unwrap_or_default()
}

/// Passes one connection on until an end closes it, the rule refuses it, or the proxy is gone.
async fn pass(caller: TcpStream, back: &str, between: (u64, u64), rules: watch::Receiver<Rules>) {
    let mut refused = rules.clone();
    let passing = async {
        let mut open = rules.clone();
        // A new connection gets no further than an old one.
        if open.wait_for(|rules| link(rules, between) != Link::Silent).await.is_err() {
            return;
        }
        let Ok(callee) = TcpStream::connect(back).await else { return };
        // A test does not depend on it.
        let _ = (caller.set_nodelay(true), callee.set_nodelay(true));
        let ((from_caller, to_caller), (from_callee, to_callee)) = (caller.into_split(), callee.into_split());
        tokio::join!(
            pump(from_caller, to_callee, between, rules.clone()),
            pump(from_callee, to_caller, between, rules.clone()),
        );
    };
    tokio::select! {
        () = passing => {}
        // Also when the proxy, and with it the sender of the rules, is gone.
        _ = refused.wait_for(|rules| link(rules, between) == Link::Refused) => {}
    }
}

/// Passes one direction on.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, between: (u64, u64), mut rules: watch::Receiver<Rules>) {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS);
    let at_read = rules.clone();
    let reading = async move {
        let mut buffer = vec![0; CHUNK];
        while let Ok(len @ 1..) = from.read(&mut buffer).await {
            let (delay, pace) = match link(&at_read.borrow(), between) {
                Link::Delayed(delay) => (delay, Duration::ZERO),
                Link::Slow(chunk) => (Duration::ZERO, chunk * len as u32 / CHUNK as u32),
                Link::Open | Link::Refused | Link::Silent => (Duration::ZERO, Duration::ZERO),
            };
            sleep(pace).await;
            if sender.send((Instant::now() + delay, buffer[..len].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((due, chunk)) = chunks.recv().await {
            sleep_until(due).await;
            let open = rules.wait_for(|rules| link(rules, between) != Link::Silent).await.is_ok();
            if !open || to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        // The reader is at its end: so is this direction.
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
