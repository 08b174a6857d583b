//! Members that are so far behind that they get a snapshot: it arrives while writes go on, and whoever dies or hangs in the
//! middle of it, the receiver holds its old state or the new one, and nothing else.

use std::time::Duration;

use integration_tests::{
    cluster::{Cluster, Layout},
    export::Export,
    flood::Flood,
    folder,
    proxy::Link,
    tool::{args, export_folder},
    wait,
};

const RECEIVING: &str = "receiving a snapshot";
const RECEIVED: &str = "received a snapshot";
/// Keys of 1000 bytes each, over a slow link.
const ABOUT_A_SECOND: u64 = 1000;
/// About 1 MiB a second.
const SLOW: Link = Link::Slow(Duration::from_millis(15));

/// Clusters that compact often and keep little of the log.
fn layout(voters: u64) -> Layout {
    let often = args([&"--compact-above", &"300000", &"--max-applied-log-to-keep", &"50"]);
    let hasty = args([&"--install-snapshot-timeout", &"1000"]);
    Layout::voters(voters).proxied().flags([often, hasty].concat())
}

fn count(cluster: &Cluster, id: u64, what: &str) -> usize {
    cluster.log(id).matches(what).count()
}

/// Waits until a snapshot is on its way to member `id`.
async fn half_way(cluster: &Cluster, id: u64) {
    let open = || count(cluster, id, RECEIVING) > count(cluster, id, RECEIVED);
    wait::until_true("a snapshot to be under way", open).await;
}

/// Waits until nothing lies in the folder of member `id` but what it needs.
async fn assert_no_litter(cluster: &Cluster, id: u64) {
    let raft_dir = cluster.member(id).raft_dir();
    let tidy = || {
        let generations = folder::names(raft_dir);
        let unused = generations.iter().filter(|name| name.starts_with("new-") || name.starts_with("gen-")).count() - 1;
        unused == 0 && folder::bases(raft_dir).len() == 1
    };
    wait::until_true(&format!("litter in {} to go", raft_dir.display()), tidy).await;
}

/// A cluster of one, whose log begins behind a base, and member 2, to which the link is slow, half way into joining it.
async fn joining() -> Cluster {
    let mut cluster = Cluster::seeded(layout(1), 3 * ABOUT_A_SECOND).await;
    cluster.add(2, false).await;
    cluster.proxy().set(1, 2, SLOW);
    cluster.start_joining(2, 1).await;
    half_way(&cluster, 2).await;
    cluster
}

async fn assert_joined(cluster: &Cluster) {
    cluster.proxy().heal();
    cluster.wait_until_complete().await;
    cluster.client(1).await.put("after", b"").await.unwrap();
    cluster.assert_same_state().await;
    for id in cluster.ids() {
        assert_no_litter(cluster, id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_killed_half_way_begins_anew() {
    let mut cluster = joining().await;
    for _ in 0..2 {
        cluster.kill(2).await;
        assert_eq!(count(&cluster, 2, RECEIVED), 0, "it was killed half way");
        cluster.start_joining(2, 1).await;
        half_way(&cluster, 2).await;
    }
    assert_joined(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_outlives_the_death_of_its_sender() {
    let mut cluster = joining().await;
    cluster.kill(1).await;
    wait::until_true("what arrived to go", || folder::bases(cluster.member(2).raft_dir()).len() == 1).await;
    assert_eq!(count(&cluster, 2, RECEIVED), 0, "the sender was killed half way");
    cluster.start(1).await;
    assert_joined(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_is_given_up_and_gets_another_snapshot() {
    let mut cluster = joining().await;
    cluster.freeze(2);
    wait::until_true("the sender to give up", || cluster.log(1).contains("giving up a snapshot")).await;
    cluster.thaw(2);
    assert_joined(&cluster).await;
    assert!(count(&cluster, 2, RECEIVING) > 1, "the first was given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_joins_meanwhile_does_not_break_a_snapshot() {
    let mut cluster = joining().await;
    cluster.add(3, true).await;
    cluster.start_joining(3, 1).await;
    let learners = async || Some(cluster.status(1).await.ok()?.non_voters.len()).filter(|learners| *learners == 2);
    wait::until("the other member to be added", learners).await;
    assert_eq!(count(&cluster, 2, RECEIVED), 0, "it is added half way");
    assert_joined(&cluster).await;
    assert_eq!(count(&cluster, 2, RECEIVED), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_away_gets_a_snapshot_and_follows_while_writes_go_on_at_full_rate() {
    let mut cluster = Cluster::seeded(layout(3), 2 * ABOUT_A_SECOND).await;
    let leader = cluster.wait_for_leader().await;
    let follower = if leader == 3 { 2 } else { 3 };
    cluster.kill(follower).await;
    let before = Export::parse(export_folder(cluster.member(follower).raft_dir()).await.lines());
    let flood = Flood::start(&cluster.grpc_addresses(), 8, 200);
    let had = cluster.status(leader).await.unwrap().last_log_index;
    flood.writes(200).await;
    // The log stays until the follower is taken for dead.
    cluster.server(leader).admin("/v1/ctrl/trigger_snapshot").await;
    wait::until("the log to be purged", async || {
        let purged = cluster.status(leader).await.ok()?.purged?;
        (purged.rsplit_once('.')?.1.parse::<u64>().ok()? > had).then_some(())
    })
    .await;

    cluster.proxy().isolate(follower, cluster.ids(), SLOW);
    cluster.start(follower).await;
    half_way(&cluster, follower).await;
    cluster.kill(follower).await;
    assert_eq!(count(&cluster, follower, RECEIVED), 0, "it was killed half way");
    let after = Export::parse(export_folder(cluster.member(follower).raft_dir()).await.lines());
    assert_eq!(after.all(), before.all(), "the old state");

    cluster.proxy().heal();
    cluster.start(follower).await;
    cluster.wait_applied_everywhere().await;
    let snapshots = count(&cluster, follower, RECEIVED);
    flood.writes(1000).await;
    cluster.wait_applied_everywhere().await;
    assert_eq!(count(&cluster, follower, RECEIVED), snapshots, "the rest comes from the log");
    assert!((1..=2).contains(&snapshots), "it took {snapshots} snapshots");
    flood.stop().await;
    cluster.assert_same_state().await;
    assert_no_litter(&cluster, follower).await;
}
