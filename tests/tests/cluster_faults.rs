//! Three nodes under load while one dies, freezes, restarts or is cut off: what concurrent clients are told can be
//! explained by operations that were done one at a time, so no acknowledged write is lost and no read goes back. And in
//! the end every node holds the same.

use std::time::Duration;

use integration_tests::{
    cluster::{Cluster, Layout},
    load::{Load, Running},
    proxy::Link,
};

const THREE: [u64; 3] = [1, 2, 3];

fn load(cluster: &Cluster) -> Running {
    Load::default().start(cluster.grpc_addresses())
}

/// Ends the load, and checks what the clients and the nodes say.
async fn check(cluster: &Cluster, load: Running) {
    cluster.wait_for_leader().await;
    load.writes(50).await;
    load.check().await;
    cluster.assert_same_state().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_under_load_and_comes_back_loses_nothing() {
    let mut cluster = Cluster::seeded(Layout::voters(3), 1).await;
    let load = load(&cluster);
    for _ in 0..2 {
        load.writes(150).await;
        let leader = cluster.wait_for_leader().await;
        cluster.kill(leader).await;
        cluster.wait_for_leader().await;
        load.writes(50).await;
        cluster.start(leader).await;
    }
    check(&cluster, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_killed_whole_comes_back_with_everything() {
    let mut cluster = Cluster::seeded(Layout::voters(3), 1).await;
    let load = load(&cluster);
    load.writes(150).await;
    for id in THREE {
        cluster.kill(id).await;
    }
    cluster.start_all().await;
    check(&cluster, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_frozen_until_another_leads_serves_nothing_old_when_it_wakes() {
    let mut cluster = Cluster::seeded(Layout::voters(3), 1).await;
    let load = load(&cluster);
    for _ in 0..2 {
        load.writes(100).await;
        let leader = cluster.wait_for_leader().await;
        cluster.freeze(leader);
        cluster.wait_for_leader_other_than(leader).await;
        load.writes(50).await;
        cluster.thaw(leader);
    }
    check(&cluster, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_restarts_lose_nothing() {
    let mut cluster = Cluster::seeded(Layout::voters(3), 1).await;
    let load = load(&cluster);
    for id in THREE {
        load.writes(50).await;
        cluster.stop(id).await;
        cluster.start(id).await;
        cluster.wait_applied_everywhere().await;
    }
    check(&cluster, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_acknowledges_nothing_that_is_lost_when_the_cut_heals() {
    // Each cut costs an election among the rest, which is to succeed on a busy machine too.
    let cluster = Cluster::seeded(Layout::voters(3).proxied().heartbeat_ms(300), 1).await;
    let load = load(&cluster);
    for cut in [Link::Refused, Link::Silent] {
        load.writes(100).await;
        let leader = cluster.wait_for_leader().await;
        cluster.proxy().isolate(leader, THREE, cut);
        cluster.wait_for_leader_other_than(leader).await;
        load.writes(50).await;
        cluster.proxy().heal();
    }
    check(&cluster, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_heard_and_does_not_hear_is_no_harm() {
    let cluster = Cluster::seeded(Layout::voters(3).proxied(), 1).await;
    let load = load(&cluster);
    load.writes(100).await;
    let leader = cluster.wait_for_leader().await;
    // What it asks of the others goes through; what they ask of it does not.
    THREE.into_iter().filter(|id| *id != leader).for_each(|id| cluster.proxy().set(id, leader, Link::Silent));
    load.writes(50).await;
    cluster.proxy().heal();
    check(&cluster, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_links_slow_writes_and_change_nothing_else() {
    let cluster = Cluster::seeded(Layout::voters(3).proxied(), 1).await;
    let leader = cluster.wait_for_leader().await;
    let slow = Link::Delayed(Duration::from_millis(20));
    cluster.proxy().isolate(leader, THREE, slow);
    let load = load(&cluster);
    load.writes(100).await;
    check(&cluster, load).await;
}
