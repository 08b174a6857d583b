//! Concurrent clients of one node that is killed again and again: all that they are told can be explained by operations
//! that were done one at a time.

use integration_tests::{
    cluster::{Cluster, Layout},
    load::Load,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_history_over_kills_and_restarts_is_linearizable() {
    let mut cluster = Cluster::formed(Layout::voters(1)).await;
    let load = Load::default().start(cluster.grpc_addresses());
    for _ in 0..3 {
        load.writes(150).await;
        cluster.kill(1).await;
        cluster.start(1).await;
    }
    load.writes(150).await;
    cluster.stop(1).await;
    cluster.start(1).await;
    load.writes(50).await;
    load.check().await;
}
