//! Nodes that join a cluster, move, come back without their memory, and leave: each step repeated and interrupted.

use std::{ffi::OsString, fs, path::Path, time::Duration};

use integration_tests::{
    binaries,
    cluster::{Cluster, Layout},
    proxy::Link,
    server::{Server, Settings},
    tool::{self, Ran, args, metactl},
    wait,
};
use meta_proto::pb::ClusterStatus;
use rustix::process::Signal;

/// The ids of nodes as text.
fn ids(nodes: &[String]) -> Vec<u64> {
    let id = |node: &String| node.strip_prefix("id=")?.split(' ').next()?.parse().ok();
    nodes.iter().map(|node| id(node).unwrap_or_else(|| panic!("a node as text: {node}"))).collect()
}

async fn leader_status(cluster: &Cluster) -> Option<ClusterStatus> {
    cluster.status(cluster.leader().await?).await.ok()
}

async fn wait_for(cluster: &Cluster, voters: &[u64], learners: &[u64]) {
    wait::until(&format!("voters {voters:?} and learners {learners:?}"), async || {
        let status = leader_status(cluster).await?;
        (ids(&status.voters) == voters && ids(&status.non_voters) == learners).then_some(())
    })
    .await;
}

async fn wait_for_log(cluster: &Cluster, id: u64, text: &str) {
    wait::until_true(&format!("member {id} to log {text:?}"), || cluster.log(id).contains(text)).await;
}

/// A cluster of its first member alone; the others have folders and addresses.
async fn begun(layout: Layout) -> Cluster {
    let mut cluster = Cluster::prepare(layout).await;
    let first = cluster.ids()[0];
    cluster.start_with(first, args([&"--single"])).await;
    wait_for(&cluster, &[first], &[]).await;
    cluster
}

fn join(cluster: &Cluster, via: &[u64]) -> Vec<OsString> {
    via.iter().flat_map(|id| args([&"--join", &cluster.member(*id).raft_address()])).collect()
}

/// Joins with settings of its own, and is refused.
async fn refused(settings: Settings, cluster: &Cluster, more: Vec<OsString>) -> String {
    let mut settings = Settings { stderr: None, ..settings };
    settings.more.extend(join(cluster, &[1]));
    settings.more.extend(more);
    settings.run().await.expect(1).stderr
}

async fn leave(cluster: &Cluster, via: u64, more: Vec<OsString>) -> Ran {
    let mut line = args([&"--log-file-on", &"false", &"--wait-leader-timeout", &"20000"]);
    // A proxy lets no others in than the members.
    let Settings { raft_listen_host, raft_advertise_host, raft_port, .. } = &cluster.member(via).settings;
    let host = raft_listen_host.as_ref().unwrap_or(raft_advertise_host);
    line.extend(args([&"--leave-via", &format!("{host}:{raft_port}")]));
    line.extend(more);
    tool::run(&binaries::server(), &line).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_join_at_the_same_time_all_become_voters() {
    let mut cluster = begun(Layout::voters(3)).await;
    cluster.client(1).await.put("k", b"before").await.unwrap();
    for (id, via) in [(2, 1), (3, 2)] {
        let flags = join(&cluster, &[via]);
        cluster.start_with(id, flags).await;
    }
    wait_for(&cluster, &[1, 2, 3], &[]).await;
    for id in [2, 3] {
        wait_for_log(&cluster, id, "this node has joined the cluster").await;
    }
    // Their votes count.
    cluster.kill(1).await;
    cluster.wait_for_leader_other_than(1).await;
    cluster.client(2).await.put("k", b"after").await.unwrap();
    // What made it a cluster means nothing to it any more.
    cluster.start_with(1, args([&"--single"])).await;
    cluster.assert_same_state().await;
    let leader = cluster.wait_for_leader().await;
    assert_eq!(cluster.client(leader).await.get("k").await.unwrap().unwrap().data, b"after");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_gets_every_write_and_stays_a_learner() {
    let mut cluster = Cluster::formed(Layout::voters(1).learner(2)).await;
    cluster.client(1).await.put("k", b"1").await.unwrap();
    cluster.wait_applied_everywhere().await;
    assert_eq!(cluster.status(2).await.unwrap().state, "Learner");
    wait_for_log(&cluster, 2, "this node has joined the cluster").await;
    cluster.stop(2).await;
    // The voter is enough.
    cluster.client(1).await.put("k", b"2").await.unwrap();
    let flags = join(&cluster, &[1]);
    cluster.start_with(2, flags).await;
    cluster.assert_same_state().await;
    wait_for(&cluster, &[1], &[2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_leave_down_to_the_last_voter() {
    let mut cluster = Cluster::formed(Layout::voters(3).learner(4)).await;
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("meta");

    let said = leave(&cluster, 1, args([&"--raft-dir", &nowhere])).await.expect(1).stderr;
    assert!(said.contains("whom to remove is not known") && said.contains("--leave-id"), "{said}");
    let id_4 = || args([&"--leave-id", &"4", &"--raft-dir", &nowhere]);
    let said = leave(&cluster, 3, id_4()).await.expect(0).stdout;
    assert!(said.contains("removed node 4"), "{said}");
    let said = leave(&cluster, 2, id_4()).await.expect(0).stdout;
    assert!(said.contains("node 4 is not a member"), "{said}");
    assert!(!nowhere.exists());
    wait_for(&cluster, &[1, 2, 3], &[]).await;
    wait_for_log(&cluster, 4, "it was removed").await;
    let (kind, removed) = ("linearizable", cluster.member(4).grpc_address());
    let said = metactl([&"export", &"--consistency", &kind, &"--grpc-api-address", &removed]).await.expect(1).stderr;
    assert!(said.contains("node 4 was removed from the cluster") && said.contains("--consistency local"), "{said}");
    let nodes = cluster.server(1).admin("/v1/cluster/nodes").await;
    assert_eq!(nodes.as_array().map(Vec::len), Some(3), "{nodes}");

    // The leader itself, by the id in its folder.
    let leader = cluster.wait_for_leader().await;
    let other = if leader == 1 { 2 } else { 1 };
    let said = leave(&cluster, other, args([&"--leave-id", &leader.to_string()])).await.expect(0).stdout;
    assert!(said.contains(&format!("removed node {leader}")), "{said}");
    wait_for_log(&cluster, leader, "it was removed").await;
    cluster.stop(leader).await;
    let by_folder = args([&"--raft-dir", &cluster.member(leader).raft_dir()]);
    let said = leave(&cluster, other, by_folder).await.expect(0).stdout;
    assert!(said.contains(&format!("node {leader} is not a member")), "{said}");

    let last = cluster.wait_for_leader().await;
    let other = [1, 2, 3].into_iter().find(|id| ![leader, last].contains(id)).unwrap();
    leave(&cluster, last, args([&"--leave-id", &other.to_string()])).await.expect(0);
    let said = leave(&cluster, last, args([&"--leave-id", &last.to_string()])).await.expect(1).stderr;
    assert!(said.contains("is the last voter"), "{said}");
    cluster.client(last).await.put("k", b"1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_its_memory_is_refused_until_it_joins_anew() {
    let mut cluster = Cluster::formed(Layout::voters(3)).await;
    cluster.client(1).await.put("k", b"1").await.unwrap();
    cluster.wait_applied_everywhere().await;
    let backup = tempfile::tempdir().unwrap();
    let backup = backup.path().join("3.db");
    metactl([&"export", &"--grpc-api-address", &cluster.member(3).grpc_address(), &"--db", &backup]).await.expect(0);
    cluster.stop(3).await;

    metactl([&"import", &"--raft-dir", &cluster.member(3).raft_dir(), &"--db", &backup, &"--id", &"3"]).await.expect(0);
    cluster.start(3).await;
    let leader = cluster.wait_for_leader().await;
    wait_for_log(&cluster, leader, "imported again or wiped").await;
    let refused = cluster.server(leader).metric("metasrv_raft_refused_total{reason=\"other_incarnation\"}").await;
    assert!(refused.is_some_and(|refused| refused > 0.0), "{refused:?}");
    assert_eq!(cluster.server(leader).metric("metasrv_server_is_leader").await, Some(1.0));
    cluster.client(1).await.put("k", b"2").await.unwrap();
    cluster.kill(3).await;

    // Joined anew under the old id, twice: the second time, those that refused it know it from the first.
    for value in [b"3", b"4"] {
        fs::remove_dir_all(cluster.member(3).raft_dir()).unwrap();
        let joined = |cluster: &Cluster| cluster.log(3).matches("this node has joined the cluster").count();
        let before = joined(&cluster);
        let flags = join(&cluster, &[1, 2]);
        cluster.start_with(3, flags).await;
        wait::until_true("node 3 to join once more", || joined(&cluster) > before).await;
        wait_for(&cluster, &[1, 2, 3], &[]).await;
        cluster.client(3).await.put("k", value).await.unwrap();
        // Only with its vote is there a leader.
        cluster.kill(1).await;
        cluster.wait_for_leader_other_than(1).await;
        cluster.client(3).await.put("k", value).await.unwrap();
        cluster.start(1).await;
        cluster.assert_same_state().await;
        cluster.kill(3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_and_addresses_of_others_and_other_clusters_are_refused() {
    let cluster = Cluster::formed(Layout::voters(2)).await;
    let folder = tempfile::tempdir().unwrap();
    let fresh = |name: &str, id| Settings { id: Some(id), ..Settings::of(&folder.path().join(name)) };

    for id in [1, 2] {
        let said = refused(fresh(&format!("id{id}"), id), &cluster, Vec::new()).await;
        assert!(said.contains(&format!("node {id} is known at {}", cluster.member(id).raft_address())), "{said}");
        assert!(said.contains("start this one with another --id"), "{said}");
    }
    let member = &cluster.member(2).settings;
    let same_address = Settings {
        raft_listen_host: Some("127.0.0.1".into()),
        raft_advertise_host: member.raft_advertise_host.clone(),
        raft_port: member.raft_port,
        ..fresh("address", 3)
    };
    let said = refused(same_address, &cluster, Vec::new()).await;
    assert!(said.contains(&format!("{} is the address of node 2", cluster.member(2).raft_address())), "{said}");

    let other = "ab".repeat(32);
    let said = refused(fresh("cluster", 4), &cluster, args([&"--cluster-id", &other])).await;
    assert!(said.contains(&other) && said.contains("belongs to cluster"), "{said}");
    wait_for(&cluster, &[1, 2], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_nobody_answers_ends_and_says_who_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    let raft_dir = folder.path().join("meta");
    let more = args([&"--join", &"127.0.0.1:1", &"--join", &"127.0.0.1:2", &"--wait-leader-timeout", &"1000"]);
    let said = Settings { id: Some(2), more, ..Settings::of(&raft_dir) }.run().await.expect(1).stderr;
    assert!(said.contains("127.0.0.1:1: ") && said.contains("127.0.0.1:2: "), "{said}");
    // Nobody knows of it: the folder may be anything yet, under any id.
    let said = Settings { id: Some(2), ..Settings::of(&raft_dir) }.run().await.expect(1).stderr;
    assert!(said.contains("there is no node in"), "{said}");
    let server = Server::start_leading(Settings::single(&raft_dir)).await;
    assert_eq!(server.admin("/v1/cluster/status").await["id"], 1);
    assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_leaves_its_own_cluster_by_its_folder_and_no_other_one() {
    let cluster = Cluster::formed(Layout::voters(2)).await;
    let mut other = begun(Layout::with_ids([2])).await;
    other.stop(2).await;
    let folder_of_another = || args([&"--raft-dir", &other.member(2).raft_dir()]);
    for _ in 0..2 {
        let said = leave(&cluster, 1, folder_of_another()).await.expect(1).stderr;
        assert!(said.contains("node 2 stays a member") && said.contains("belongs to cluster"), "{said}");
    }
    wait_for(&cluster, &[1, 2], &[]).await;
    let mut cluster = cluster;
    cluster.stop(2).await;
    cluster.start(2).await;
    cluster.wait_until_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_does_not_come_back_by_a_join_that_was_left_unfinished() {
    // Of three, so that two can remove the last one, whatever it has become.
    let mut cluster = half_joined(3).await;
    let leader = cluster.wait_for_leader().await;
    let said = leave(&cluster, leader, args([&"--leave-id", &"3"])).await.expect(0).stdout;
    assert!(said.contains("removed node 3"), "{said}");
    wait_for(&cluster, &[1, 2], &[]).await;
    for (n, flags) in [join(&cluster, &[1, 2]), Vec::new()].into_iter().enumerate() {
        cluster.start_with(3, flags).await;
        assert_eq!(cluster.ended(3).await, Some(1), "{}", cluster.log(3));
        assert!(cluster.log(3).matches("error: cannot join the cluster").count() > n, "{}", cluster.log(3));
        assert!(cluster.log(3).matches("it was removed").count() > n, "{}", cluster.log(3));
    }
    wait_for(&cluster, &[1, 2], &[]).await;
    // Emptied, it is another node.
    fs::remove_dir_all(cluster.member(3).raft_dir()).unwrap();
    let flags = join(&cluster, &[1]);
    cluster.start_with(3, flags).await;
    wait_for(&cluster, &[1, 2, 3], &[]).await;
}

/// A node, the last one, that has entries of the cluster and was not told that it is a member, killed.
async fn half_joined(nodes: u64) -> Cluster {
    let mut cluster = begun(Layout::voters(nodes).proxied().heartbeat_ms(500)).await;
    for id in 2..nodes {
        let flags = join(&cluster, &[1]);
        cluster.start_with(id, flags).await;
    }
    wait_for(&cluster, &(1..nodes).collect::<Vec<_>>(), &[]).await;
    (1..nodes).for_each(|id| cluster.proxy().set(nodes, id, Link::Delayed(Duration::from_millis(700))));
    let flags = join(&cluster, &[1]);
    cluster.start_with(nodes, flags).await;
    wait::until("the last node to have entries", async || {
        cluster.status(nodes).await.ok().filter(|status| status.last_log_index > 0)
    })
    .await;
    cluster.kill(nodes).await;
    let said = cluster.log(nodes);
    assert!(!said.contains("this node has joined"), "it was to be killed before:\n{said}");
    cluster.proxy().heal();
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_was_killed_goes_on_after_a_restart_with_the_flag_and_without() {
    for flag in [true, false] {
        let mut cluster = half_joined(2).await;
        let flags = if flag { join(&cluster, &[1]) } else { Vec::new() };
        cluster.start_with(2, flags).await;
        wait_for_log(&cluster, 2, "this node has joined the cluster").await;
        wait_for(&cluster, &[1, 2], &[]).await;
        cluster.client(2).await.put("k", b"1").await.unwrap();
        cluster.assert_same_state().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_a_cluster_knows_becomes_nothing_else() {
    let mut cluster = begun(Layout::voters(2).proxied()).await;
    // It hears which cluster it comes to, and no more.
    cluster.proxy().set(2, 1, Link::Delayed(Duration::from_millis(700)));
    cluster.proxy().set(1, 2, Link::Refused);
    let flags = join(&cluster, &[1]);
    cluster.start_with(2, flags).await;
    wait_for_log(&cluster, 2, "this node belongs to a cluster now").await;
    cluster.kill(2).await;
    cluster.proxy().heal();
    for more in [args([&"--single"]), Vec::new()] {
        let settings = cluster.member(2).settings.clone();
        let more = [settings.more.clone(), more].concat();
        let said = Settings { more, stderr: None, ..settings }.run().await.expect(1).stderr;
        assert!(said.contains("was joining a cluster"), "{said}");
    }
    let mut flags = join(&cluster, &[1]);
    flags.extend(args([&"--learner"]));
    cluster.start_with(2, flags).await;
    wait_for(&cluster, &[1], &[2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_survives_the_leader() {
    let mut cluster = begun(Layout::voters(4)).await;
    for id in [2, 3] {
        let flags = join(&cluster, &[1]);
        cluster.start_with(id, flags).await;
    }
    wait_for(&cluster, &[1, 2, 3], &[]).await;
    let flags = join(&cluster, &[1, 2, 3]);
    cluster.start_with(4, flags).await;
    wait::until("the join to begin", async || {
        let status = leader_status(&cluster).await?;
        (status.voters.len() + status.non_voters.len() > 3).then_some(())
    })
    .await;
    cluster.kill(1).await;
    cluster.wait_for_leader_other_than(1).await;
    wait_for(&cluster, &[1, 2, 3, 4], &[]).await;
    wait_for_log(&cluster, 4, "this node has joined the cluster").await;
    cluster.start(1).await;
    cluster.client(4).await.put("k", b"1").await.unwrap();
    cluster.assert_same_state().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_address_changed_while_it_was_down_is_found_again() {
    let mut cluster = Cluster::formed(Layout::voters(3)).await;
    let leader = cluster.wait_for_leader().await;
    let follower = if leader == 2 { 3 } else { 2 };
    for id in [follower, leader] {
        cluster.stop(id).await;
        let mut settings = cluster.member(id).settings.clone();
        settings.raft_port = integration_tests::loopback::free_port(&settings.raft_advertise_host);
        let moved = Server::start(settings.clone()).await;
        let address = format!("raft={}:{}", settings.raft_advertise_host, settings.raft_port);
        wait::until(&format!("the others to know {address}"), async || {
            let status = leader_status(&cluster).await?;
            let known = status.voters.iter().any(|node| node.contains(&address));
            let led = moved.admin("/v1/cluster/status").await["leader"].is_object();
            (known && led).then_some(())
        })
        .await;
        moved.client().await.put("k", b"1").await.unwrap();
        assert_eq!(moved.stop(Signal::TERM).await.0, Some(0));
        cluster.start(id).await;
        cluster.wait_applied_everywhere().await;
    }
}

#[tokio::test]
async fn a_cluster_id_by_hand_is_taken_once_and_never_changed() {
    let folder = tempfile::tempdir().unwrap();
    let start = |id: &str, raft_dir: &Path| Settings {
        more: args([&"--cluster-id", &id]),
        ..Settings::single(&raft_dir.join("meta"))
    };
    let (ours, theirs) = ("0a".repeat(32), "0b".repeat(32));
    for _ in 0..2 {
        let server = Server::start_leading(start(&ours, folder.path())).await;
        assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
    }
    let said = start(&theirs, folder.path()).run().await.expect(1).stderr;
    assert!(said.contains(&ours) && said.contains(&theirs), "{said}");
}
