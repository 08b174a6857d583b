//! Exports from every node all the while, of a cluster under load whose nodes die, freeze and restart: each is the state at
//! its own LastApplied, and a linearizable one has every write that was acknowledged before it was asked for.

use integration_tests::{
    cluster::{Cluster, Layout},
    exporters::Exporters,
    load::{Load, Running},
    tool::args,
};

/// Bases come and go meanwhile, and the log is purged.
fn layout() -> Layout {
    Layout::voters(3).flags(args([&"--compact-above", &"100000", &"--max-applied-log-to-keep", &"200"]))
}

async fn start(cluster: &Cluster) -> (Running, Exporters) {
    let load = Load::default().start(cluster.grpc_addresses());
    let exporters = Exporters::start(cluster.grpc_addresses(), &load).await;
    (load, exporters)
}

async fn check(cluster: &Cluster, load: Running, exporters: Exporters) {
    cluster.wait_for_leader().await;
    load.writes(50).await;
    let exports = exporters.check().await.unwrap_or_else(|wrong| panic!("{wrong}"));
    eprintln!("{exports} exports");
    load.check().await;
    cluster.assert_same_state().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_are_exact_while_leaders_are_killed_and_frozen() {
    let mut cluster = Cluster::seeded(layout(), 100).await;
    let (load, exporters) = start(&cluster).await;
    load.writes(100).await;
    let killed = cluster.wait_for_leader().await;
    cluster.kill(killed).await;
    let frozen = cluster.wait_for_leader_other_than(killed).await;
    load.writes(50).await;
    cluster.start(killed).await;
    cluster.wait_applied_everywhere().await;

    cluster.freeze(frozen);
    cluster.wait_for_leader_other_than(frozen).await;
    load.writes(50).await;
    cluster.thaw(frozen);
    check(&cluster, load, exporters).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_are_exact_while_a_follower_is_frozen_and_every_node_restarts() {
    let mut cluster = Cluster::seeded(layout(), 100).await;
    let (load, exporters) = start(&cluster).await;
    let leader = cluster.wait_for_leader().await;
    let follower = if leader == 3 { 2 } else { 3 };
    cluster.freeze(follower);
    load.writes(100).await;
    cluster.thaw(follower);
    for id in cluster.ids() {
        load.writes(30).await;
        cluster.stop(id).await;
        cluster.start(id).await;
        cluster.wait_applied_everywhere().await;
    }
    check(&cluster, load, exporters).await;
}
