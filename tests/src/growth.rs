//! What the nodes of a cluster take of the disk and of memory.

use std::{fs, path::Path, time::Duration};

use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;

/// The most that any of the nodes takes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Growth {
    pub log_entries: u64,
    /// Of all files, as `du` counts.
    pub disk_bytes: u64,
    /// Resident, at any time.
    pub peak_memory: u64,
}

impl Growth {
    pub async fn now(cluster: &Cluster) -> Growth {
        let mut most = Growth::default();
        for id in cluster.running() {
            let status = cluster.status(id).await.unwrap();
            let purged = status.purged.as_deref().and_then(|purged| purged.rsplit_once('.')?.1.parse::<u64>().ok());
            most.log_entries = most.log_entries.max(status.last_log_index - purged.unwrap_or(0));
            most.disk_bytes = most.disk_bytes.max(disk_bytes(cluster.member(id).raft_dir()));
            most.peak_memory = most.peak_memory.max(cluster.server(id).peak_memory());
        }
        most
    }

    /// When no node has purged any more of its log for two seconds.
    pub async fn settled(cluster: &Cluster) -> Growth {
        let (mut last, mut since) = (Growth::now(cluster).await, Instant::now());
        while since.elapsed() < Duration::from_secs(2) {
            sleep(Duration::from_millis(100)).await;
            let now = Growth::now(cluster).await;
            if now.log_entries != last.log_entries {
                since = Instant::now();
            }
            last = now;
        }
        last
    }
}

/// Of all files in a folder. Those that go meanwhile count nothing.
pub fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let own = fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks() * 512);
    let below = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| disk_bytes(&entry.path()));
    own + below.sum::<u64>()
}
