//! A member whose folder was put back to an older copy: it is the same node, and has forgotten what it acknowledged.

use std::{fs, path::PathBuf};

use integration_tests::{
    cluster::{Cluster, Layout},
    fixtures, folder,
    load::Load,
    server::{Server, Settings, free_port},
    tool::metactl,
    wait,
};
use tonic::Code;

/// Three members, with the leader first and the one whose folder is put back next.
async fn three() -> (Cluster, [u64; 3]) {
    let cluster = Cluster::restored(Layout::voters(3), &fixtures::path("v004.ndjson")).await;
    let leader = cluster.wait_for_leader().await;
    let others: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
    (cluster, [leader, others[0], others[1]])
}

fn copy_of(cluster: &Cluster, id: u64) -> PathBuf {
    let raft_dir = cluster.member(id).raft_dir();
    let copy = raft_dir.with_extension("copy");
    folder::copy(raft_dir, &copy);
    copy
}

fn put_back(cluster: &Cluster, id: u64, copy: PathBuf) {
    let raft_dir = cluster.member(id).raft_dir();
    fs::remove_dir_all(raft_dir).unwrap();
    fs::rename(copy, raft_dir).unwrap();
}

async fn write(cluster: &Cluster, via: u64, name: &str) {
    let mut client = cluster.client(via).await;
    for n in 0..20 {
        client.put(&format!("{name}/{n}"), b"1").await.unwrap();
    }
}

async fn wait_for_log(cluster: &Cluster, id: u64, text: &str) {
    wait::until_true(&format!("member {id} to log {text:?}"), || cluster.log(id).contains(text)).await;
}

/// The leader that knew is down; the third one has heard of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_put_back_does_not_elect_a_leader_with_one_that_knows_better() {
    for (running, says) in [(true, "acknowledged log entries up to"), (false, "knows another start")] {
        let (mut cluster, [leader, victim, third]) = three().await;
        write(&cluster, leader, "before").await;
        cluster.wait_applied_everywhere().await;
        // A copy that is made while it runs is of this start; one that is made between two starts is of the one before.
        let copy = if running {
            cluster.freeze(victim);
            let copy = copy_of(&cluster, victim);
            cluster.thaw(victim);
            copy
        } else {
            cluster.kill(victim).await;
            let copy = copy_of(&cluster, victim);
            cluster.start(victim).await;
            copy
        };
        write(&cluster, leader, "after").await;
        cluster.wait_applied_everywhere().await;
        let written = cluster.status(leader).await.unwrap().last_log_index;
        let held = format!("metasrv_raft_member_held{{member=\"{victim}\"}}");
        wait::until("the third one to hear what the victim holds", async || {
            cluster.server(third).metric(&held).await.filter(|held| *held >= written as f64)
        })
        .await;
        cluster.kill(leader).await;
        cluster.kill(victim).await;
        put_back(&cluster, victim, copy);
        cluster.start(victim).await;
        wait_for_log(&cluster, third, &format!("node {victim} ")).await;
        wait_for_log(&cluster, third, says).await;
        wait_for_log(&cluster, victim, "a node refuses to talk to this one").await;

        // With the one that remembers the cluster goes on, and nothing is lost.
        cluster.start(leader).await;
        for key in ["before/19", "after/19"] {
            wait::until(key, async || cluster.client(third).await.get(key).await.ok().flatten()).await;
        }
        let refused = cluster.client(victim).await.get("after/19").await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    }
}

/// Nobody who is up has heard of what was acknowledged: that can not be noticed, until the one that knows is back.
#[tokio::test(flavor = "multi_thread")]
async fn the_one_that_has_what_the_cluster_lost_stops_and_keeps_it() {
    let (mut cluster, [leader, victim, third]) = three().await;
    cluster.kill(third).await;
    cluster.freeze(victim);
    let copy = copy_of(&cluster, victim);
    cluster.thaw(victim);
    write(&cluster, leader, "lost").await;
    cluster.kill(leader).await;
    cluster.kill(victim).await;
    put_back(&cluster, victim, copy);
    cluster.start(third).await;
    cluster.start(victim).await;
    cluster.wait_for_leader_other_than(leader).await;
    write(&cluster, third, "instead").await;

    let raft_dir = cluster.member(leader).raft_dir().to_owned();
    cluster.start(leader).await;
    assert_eq!(cluster.ended(leader).await, Some(1), "{}", cluster.log(leader));
    let said = cluster.log(leader);
    for words in ["the cluster has lost acknowledged writes", "put back to an older copy", "metactl export --raft-dir"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    // The others go on with what they have, and nothing of the rest is gone.
    write(&cluster, victim, "later").await;
    let kept = metactl([&"export", &"--raft-dir", &raft_dir]).await.expect(0).stdout;
    for n in 0..20 {
        assert!(kept.contains(&format!("lost/{n}")), "lost/{n}");
    }
}

/// Both are the same member by id and incarnation.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_on_copies_of_one_folder_the_second_is_refused() {
    let (mut cluster, [leader, member, third]) = three().await;
    let load = Load::default().start([leader, third].map(|id| cluster.member(id).grpc_address().to_owned()).into());
    load.writes(20).await;
    cluster.stop(member).await;
    let copy = copy_of(&cluster, member);
    cluster.start(member).await;
    cluster.wait_applied_everywhere().await;

    let host = &cluster.member(member).settings.raft_advertise_host;
    let twin = Settings {
        raft_port: free_port(),
        raft_advertise_host: host.clone(),
        grpc_address: "127.0.0.1:0".into(),
        stderr: None,
        ..cluster.member(member).settings.clone()
    };
    let twin = Server::start(Settings { raft_dir: copy, ..twin }).await;
    wait::until_true("the copy to hear that it is one", || twin.stderr().contains("knows another start")).await;
    load.writes(20).await;
    // The member itself has a vote still.
    cluster.kill(third).await;
    load.writes(20).await;
    assert!(!cluster.log(member).contains("another start"), "{}", cluster.log(member));
    twin.client().await.get("load/0").await.unwrap_err();
    cluster.start(third).await;
    load.check().await;
}

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
    // While it runs, so that its starts say nothing.
    cluster.freeze(follower);
    folder::copy(&raft_dir, &copy);
    cluster.thaw(follower);
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
