//! A member whose folder was put back to an older copy: it is the same node, and has forgotten what it acknowledged.

use integration_tests::{
    cluster::{Cluster, Layout},
    fixtures, folder, wait,
};
use tonic::Code;

#[tokio::test]
async fn a_member_that_lost_what_it_acknowledged_is_refused_and_can_join_anew() {
    let mut cluster = Cluster::restored(Layout::voters(3), &fixtures::path("v004.ndjson")).await;
    let leader = cluster.wait_for_leader().await;
    let follower = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    let mut client = cluster.client(leader).await;
    client.put("before/the/copy", b"1").await.unwrap();
    cluster.wait_applied_everywhere().await;
    let raft_dir = cluster.member(follower).raft_dir().to_owned();
    let copy = raft_dir.with_extension("copy");
    cluster.kill(follower).await;
    folder::copy(&raft_dir, &copy);
    cluster.start(follower).await;
    for n in 0..20 {
        client.put(&format!("after/the/copy/{n}"), b"2").await.unwrap();
    }
    cluster.wait_applied_everywhere().await;

    cluster.kill(follower).await;
    std::fs::remove_dir_all(&raft_dir).unwrap();
    std::fs::rename(&copy, &raft_dir).unwrap();
    cluster.start(follower).await;
    wait::until_true("the leader to say that the member lost entries", || {
        cluster.log(leader).contains(&format!("node {follower} acknowledged log entries up to"))
    })
    .await;
    // The others go on.
    client.put("without/it", b"3").await.unwrap();
    assert_eq!(cluster.client(follower).await.put("through/it", b"4").await.unwrap_err().code(), Code::Unavailable);

    cluster.kill(follower).await;
    std::fs::remove_dir_all(&raft_dir).unwrap();
    let via = cluster.member(leader).raft_address();
    cluster.start_with(follower, vec!["--join".into(), via.into()]).await;
    wait::until("the member to vote again", async || {
        let status = cluster.status(leader).await.ok()?;
        (status.voters.len() == 3).then_some(())
    })
    .await;
    cluster.wait_applied_everywhere().await;
    cluster.assert_same_state().await;
}
