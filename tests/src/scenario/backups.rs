//! Backups of one cluster of three, taken where operators take them: on the leader, on a follower, on a follower that is
//! behind, from the folder of a node that died. The cluster is gone afterwards.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    cluster::{Cluster, Layout},
    generate,
    tool::{args, metactl},
};

/// Every key, with seq and data.
pub type Keys = BTreeMap<String, (u64, Vec<u8>)>;

/// Where a backup was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Leader,
    Follower,
    /// A follower that lacks the last writes.
    Lagging,
    /// The folder of a leader that was killed.
    DeadFolder,
}

impl Source {
    pub const ALL: [Source; 4] = [Source::Leader, Source::Follower, Source::Lagging, Source::DeadFolder];
}

/// A file, and what must be in a cluster that is made of it.
#[derive(Debug, Clone)]
pub struct Backup {
    pub file: PathBuf,
    pub keys: Keys,
    /// The latest term that the file knows.
    pub term: u64,
}

/// A member of the cluster that the backups are of.
#[derive(Debug, Clone)]
pub struct OldMember {
    pub id: u64,
    pub raft: (String, u16),
    pub grpc: String,
}

pub struct Backups {
    pub of: BTreeMap<Source, Backup>,
    pub old: Vec<OldMember>,
    _folder: TempDir,
}

/// Keys before the cluster was written to.
const KEYS: u64 = 200;
/// Writes before the last follower stops to listen, and after.
const WRITES: (u64, u64) = (20, 10);

impl Backups {
    pub async fn take() -> Backups {
        let folder = tempfile::tempdir().unwrap();
        let seed = folder.path().join("seed.ndjson");
        generate::write(&seed, KEYS, 32);
        let mut keys: Keys = (0..KEYS).map(|n| (generate::key(n), (n + 1, generate::value(n, 32)))).collect();
        let mut cluster = Cluster::restored(Layout::voters(3), &seed).await;
        let old = cluster.ids().into_iter().map(|id| old_member(&cluster, id)).collect();

        let leader = cluster.wait_for_leader().await;
        let followers: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
        let [follower, lagging] = followers[..] else { panic!("three nodes, of which {leader} leads") };
        write(&cluster, leader, "before", WRITES.0, &mut keys).await;
        cluster.wait_applied_everywhere().await;

        let mut of = BTreeMap::new();
        let mut keep = |source, file: PathBuf, keys: &Keys| {
            let term = term(&file);
            of.insert(source, Backup { file, keys: keys.clone(), term });
        };
        let path = |name: &str| folder.path().join(name);
        keep(Source::Leader, export(&cluster, leader, path("leader")).await, &keys);
        keep(Source::Follower, export(&cluster, follower, path("follower")).await, &keys);
        cluster.freeze(lagging);
        let before = keys.clone();
        write(&cluster, leader, "after", WRITES.1, &mut keys).await;
        cluster.kill(leader).await;
        cluster.kill(follower).await;
        cluster.thaw(lagging);
        keep(Source::Lagging, export(&cluster, lagging, path("lagging")).await, &before);
        cluster.kill(lagging).await;
        let file = path("dead");
        metactl([&"export", &"--raft-dir", &cluster.member(leader).raft_dir(), &"--db", &file]).await.expect(0);
        keep(Source::DeadFolder, file, &keys);
        Backups { of, old, _folder: folder }
    }
}

fn old_member(cluster: &Cluster, id: u64) -> OldMember {
    let settings = &cluster.member(id).settings;
    OldMember {
        id,
        raft: (settings.raft_advertise_host.clone(), settings.raft_port),
        grpc: settings.grpc_address.clone(),
    }
}

async fn write(cluster: &Cluster, leader: u64, prefix: &str, count: u64, keys: &mut Keys) {
    let mut client = cluster.client(leader).await;
    for n in 0..count {
        let (key, data) = (format!("{prefix}/{n:03}"), generate::value(n, 16));
        let seq = client.put(&key, &data).await.unwrap();
        keys.insert(key, (seq, data));
    }
}

/// What the node has applied: a leader is not needed.
async fn export(cluster: &Cluster, id: u64, file: PathBuf) -> PathBuf {
    let address = cluster.member(id).grpc_address();
    let line = args([&"export", &"--consistency", &"local", &"--grpc-api-address", &address, &"--db", &file]);
    crate::tool::run(&crate::binaries::tool(), &line).await.expect(0);
    file
}

/// Of the vote and of every log id in the file.
fn term(file: &Path) -> u64 {
    let text = fs::read_to_string(file).unwrap();
    let terms = text.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let record = &line[1];
        let log_id = [&record["Vote"], &record["LogEntry"]["log_id"], &record["StateMachineMeta"]["value"]["LogId"]];
        log_id.into_iter().find_map(|id| id["leader_id"]["term"].as_u64())
    });
    terms.max().expect("a term in the file")
}
