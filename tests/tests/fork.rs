//! Members that have forgotten what they acknowledged and come back under their old id: they are refused, loudly, and no
//! acknowledged write is lost or done twice, whoever dies next.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use integration_tests::{
    binaries,
    cluster::{Cluster, Layout},
    generate,
    load::{Load, Running},
    tool::{self, args, metactl},
    wait,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// A few election time-outs, of which the longest is three heartbeats of 150 ms.
const FOR_A_WHILE: Duration = Duration::from_millis(1200);

/// How a member loses its memory.
#[derive(Debug, Clone, Copy)]
enum Loss {
    /// Imported again from the file and the list that the cluster was made of.
    SameImport,
    /// Emptied, and imported from another file with the same list.
    OtherImport,
    /// Emptied, and started as a new cluster of its own.
    Emptied,
    /// Restored from its own export of a while ago.
    OlderExport,
}

/// Two backups of different clusters.
struct Files {
    folder: TempDir,
    ours: PathBuf,
    other: PathBuf,
}

impl Files {
    fn new() -> Files {
        let folder = tempfile::tempdir().unwrap();
        let (ours, other) = (folder.path().join("ours"), folder.path().join("other"));
        generate::write(&ours, 50, 16);
        generate::write(&other, 60, 16);
        Files { folder, ours, other }
    }

    fn export(&self) -> PathBuf {
        self.folder.path().join("export")
    }
}

async fn import(cluster: &Cluster, id: u64, file: &Path) {
    tool::run(&binaries::tool(), &cluster.import_line(id, file)).await.expect(0);
}

/// Takes away what the stopped member `id` remembers; returns flags for its next start.
async fn forget(cluster: &Cluster, id: u64, loss: Loss, files: &Files) -> Vec<OsString> {
    let raft_dir = cluster.member(id).raft_dir();
    match loss {
        Loss::SameImport => import(cluster, id, &files.ours).await,
        Loss::OtherImport => {
            fs::remove_dir_all(raft_dir).unwrap();
            import(cluster, id, &files.other).await;
        }
        Loss::Emptied => {
            fs::remove_dir_all(raft_dir).unwrap();
            return args([&"--single"]);
        }
        Loss::OlderExport => {
            metactl([&"import", &"--raft-dir", &raft_dir, &"--db", &files.export()]).await.expect(0);
        }
    }
    Vec::new()
}

fn load(cluster: &Cluster, ids: &[u64]) -> Running {
    Load::default().start(ids.iter().map(|id| cluster.member(*id).grpc_address().to_owned()).collect())
}

/// Looks on for a while, in which nobody among `ids` may lead.
async fn assert_led_by_nobody(cluster: &Cluster, ids: &[u64]) {
    let end = Instant::now() + FOR_A_WHILE;
    while Instant::now() < end {
        for id in ids {
            let status = cluster.status(*id).await.unwrap();
            assert!(!status.is_leader, "node {id} leads in term {}", status.current_term);
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until both sides have said that `victim` is not the one it was.
async fn wait_until_told(cluster: &Cluster, victim: u64, other: u64) {
    let words = format!("node {victim} was imported again or wiped");
    for id in [victim, other] {
        wait::until_true(&format!("node {id} to say that {words}"), || cluster.log(id).contains(&words)).await;
    }
}

/// The two that remember go on; with one of them dead nobody leads, and when it is back nothing is lost.
async fn loses_nothing(loss: Loss, leader_forgets: bool) {
    let files = Files::new();
    let mut cluster = Cluster::restored(Layout::voters(3), &files.ours).await;
    let leader = cluster.wait_for_leader().await;
    let victim = if leader_forgets { leader } else { 3 };
    let rest: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != victim).collect();
    let address = cluster.member(victim).grpc_address();
    metactl([&"export", &"--grpc-api-address", &address, &"--db", &files.export()]).await.expect(0);

    let load = load(&cluster, &rest);
    load.writes(50).await;
    cluster.kill(victim).await;
    load.writes(20).await;
    let flags = forget(&cluster, victim, loss, &files).await;
    cluster.start_with(victim, flags).await;
    let leader = cluster.wait_for_leader_other_than(victim).await;
    wait_until_told(&cluster, victim, leader).await;
    load.writes(50).await;

    cluster.kill(leader).await;
    let mut leaderless = rest.clone();
    leaderless.retain(|id| *id != leader);
    if !matches!(loss, Loss::Emptied) {
        leaderless.push(victim);
        let mut client = cluster.client(victim).await;
        client.get("load/0").await.expect_err("one that forgot has nothing to say");
    }
    assert_led_by_nobody(&cluster, &leaderless).await;
    cluster.start(leader).await;
    load.writes(50).await;
    load.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_imported_again_is_refused() {
    loses_nothing(Loss::SameImport, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_imported_again_is_refused() {
    loses_nothing(Loss::SameImport, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_imported_from_another_file_is_refused() {
    loses_nothing(Loss::OtherImport, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_emptied_and_starts_a_cluster_of_its_own_is_refused() {
    loses_nothing(Loss::Emptied, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_restored_from_its_own_older_export_is_refused() {
    loses_nothing(Loss::OlderExport, true).await;
}

/// A third node that nobody has heard of yet would make a majority with the one that forgot. Heartbeats are long: the one that
/// knows better is not quick to stand for election.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_imported_again_does_not_begin_anew_with_one_that_starts_late() {
    for victim in [1, 2] {
        let files = Files::new();
        let mut cluster = Cluster::prepare(Layout::voters(3).heartbeat_ms(1000)).await;
        cluster.import(&files.ours).await;
        for id in [1, 2] {
            cluster.start(id).await;
        }
        cluster.wait_for_leader().await;
        let seq = put(&cluster, 1, "acknowledged").await;
        cluster.kill(victim).await;
        forget(&cluster, victim, Loss::SameImport, &files).await;
        cluster.start_all().await;

        let other = 3 - victim;
        wait_until_told(&cluster, victim, other).await;
        let leader = cluster.wait_for_leader().await;
        assert_eq!(leader, other, "the one that knows what was acknowledged");
        let record = cluster.client(leader).await.get("acknowledged").await.unwrap();
        assert_eq!(record.map(|record| record.seq), Some(seq));
        put(&cluster, leader, "acknowledged/later").await;
        // Also when it is asked again.
        cluster.stop(victim).await;
        cluster.kill(other).await;
        cluster.start(victim).await;
        assert_led_by_nobody(&cluster, &[victim, 3]).await;
    }
}

/// Where most of a cluster was imported again, what survives of the first time has the say for as long as it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_restored_twice_does_not_forget_what_a_survivor_of_the_first_time_knows() {
    for survivor in [1, 3] {
        let files = Files::new();
        let mut cluster = Cluster::restored(Layout::voters(3), &files.ours).await;
        put(&cluster, survivor, "acknowledged").await;
        let again: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != survivor).collect();
        for id in &again {
            cluster.kill(*id).await;
            forget(&cluster, *id, Loss::SameImport, &files).await;
        }
        cluster.start_all().await;
        for id in &again {
            wait_until_told(&cluster, *id, survivor).await;
        }
        for id in &again {
            cluster.client(*id).await.get("acknowledged").await.expect_err("nobody may say that it is not there");
        }
        assert_led_by_nobody(&cluster, &again).await;
    }
}

async fn put(cluster: &Cluster, id: u64, key: &str) -> u64 {
    cluster.client(id).await.put(key, b"1").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_forgotten_joins_anew_under_its_old_id_however_often_it_is_killed_meanwhile() {
    let files = Files::new();
    let mut cluster = Cluster::restored(Layout::voters(3), &files.ours).await;
    let load = load(&cluster, &[1, 2]);
    load.writes(50).await;
    cluster.kill(3).await;
    forget(&cluster, 3, Loss::SameImport, &files).await;
    cluster.start(3).await;
    let leader = cluster.wait_for_leader_other_than(3).await;
    wait_until_told(&cluster, 3, leader).await;
    cluster.kill(3).await;

    let (one, two) = (cluster.member(1).raft_address(), cluster.member(2).raft_address());
    let join = || args([&"--join", &one, &two]);
    let times = |cluster: &Cluster, ids: &[u64], words: &str| -> usize {
        ids.iter().map(|id| cluster.log(*id).matches(words).count()).sum()
    };
    // Killed as soon as one of the nodes says so, with what it has so far, or with nothing.
    for (emptied, ids, words) in [
        (true, &[3][..], "joining a cluster"),
        (true, &[3], "this node belongs to a cluster now"),
        (true, &[1, 2], "a member that was wiped joins anew"),
        (true, &[1, 2], "took in a learner"),
        (false, &[3], "joining a cluster"),
    ] {
        if emptied && cluster.member(3).raft_dir().exists() {
            fs::remove_dir_all(cluster.member(3).raft_dir()).unwrap();
        }
        let before = times(&cluster, ids, words);
        cluster.start_with(3, join()).await;
        wait::until_true(words, || times(&cluster, ids, words) > before).await;
        cluster.kill(3).await;
        load.writes(10).await;
    }
    // As its unit file has it: a node that heard of no address yet can not go on without.
    cluster.start_with(3, join()).await;
    let joined = "this node has joined the cluster";
    wait::until_true(joined, || times(&cluster, &[3], joined) > 0).await;

    // Its vote counts again.
    let leader = cluster.wait_for_leader().await;
    cluster.kill(leader).await;
    cluster.wait_for_leader_other_than(leader).await;
    load.writes(50).await;
    cluster.start(leader).await;
    load.check().await;
    cluster.assert_same_state().await;
}
