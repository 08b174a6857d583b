//! Loopback addresses for clusters: each cluster gets a network of its own out of 127/8, and a port there that nobody
//! listens on. Addresses are written down by imports long before a node listens on them.

use std::{
    net::TcpListener,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The hosts of one cluster.
#[derive(Debug, Clone)]
pub struct Network {
    prefix: String,
}

impl Network {
    /// One that this process has not used, and that other processes are unlikely to.
    pub fn new() -> Network {
        let n = process::id().wrapping_mul(251).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        // 127.0.x.y is what everybody else uses.
        Network { prefix: format!("127.{}.{}", 1 + n / 256 % 254, n % 256) }
    }

    /// Where member number `n`, below 100, is found.
    pub fn front(&self, n: usize) -> String {
        format!("{}.{}", self.prefix, 1 + n)
    }

    /// Where it listens when a proxy stands before it.
    pub fn back(&self, n: usize) -> String {
        format!("{}.{}", self.prefix, 101 + n)
    }
}

impl Default for Network {
    fn default() -> Self {
        Network::new()
    }
}

/// A port of `host` that nobody listened on a moment ago, and that no outgoing connection is given: those are numbered from
/// 32768 on.
pub fn free_port(host: &str) -> u16 {
    loop {
        let port = rand::random_range(10_000..32_000);
        if TcpListener::bind((host, port)).is_ok() {
            return port;
        }
    }
}
