//! What clients write again and again takes room once: the log is purged behind the base, on disk and in memory.

use integration_tests::{
    cluster::{Cluster, Layout},
    flood::Flood,
    growth::Growth,
    tool::args,
};

/// Half a kilobyte each: far more log than memory.
const WRITES: u64 = 4000;
const VALUE: usize = 500;
const MIB: u64 = 1024 * 1024;

/// Keys that stay the same, so that nothing but the log grows.
async fn write(nodes: u64) -> Growth {
    let flags = args([&"--compact-above", &"300000", &"--max-applied-log-to-keep", &"50"]);
    let cluster = Cluster::seeded(Layout::voters(nodes).flags(flags), 1).await;
    let flood = Flood::start(&cluster.grpc_addresses(), 32, VALUE);
    for _ in 0..WRITES / 500 {
        flood.writes(500).await;
    }
    flood.stop().await;
    cluster.wait_applied_everywhere().await;
    Growth::settled(&cluster).await
}

fn assert_bounded(growth: &Growth) {
    assert!(growth.log_entries < WRITES / 2, "{growth:?}");
    assert!(growth.disk_bytes < 16 * MIB, "{growth:?}");
    assert!(growth.peak_memory < 100 * MIB, "{growth:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_keeps_no_more_than_the_last_writes() {
    assert_bounded(&write(1).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_keep_no_more_than_the_last_writes() {
    assert_bounded(&write(3).await);
}
