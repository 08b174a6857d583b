//! One backup, imported into several nodes with one list: they are a cluster as soon as they run.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    time::{Duration, SystemTime},
};

use integration_tests::{
    binaries,
    cluster::{Cluster, Layout},
    export::Export,
    fixtures, generate,
    scenario::{
        backups::Backups,
        restore::{Case, restore},
    },
    tool::{self, metactl},
    wait,
};
use serde_json::Value;
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread")]
async fn the_voter_with_the_smallest_id_leads_and_every_member_holds_every_key() {
    let original = Export::parse(fixtures::text("v004.ndjson").lines());
    let layout = Layout::with_ids([7, 3, 9]).learner(2).heartbeat_ms(2000);
    let cluster = Cluster::restored(layout, &fixtures::path("v004.ndjson")).await;
    assert_eq!(cluster.leader().await, Some(3));
    let status = cluster.status(9).await.unwrap();
    assert_eq!((status.voters.len(), status.non_voters.len()), (3, 1));

    let seq = cluster.client(3).await.put("after/the/import", b"new").await.unwrap();
    assert_eq!(seq, original.sequence + 1);
    cluster.assert_same_state().await;
    let learner = cluster.export(2).await;
    assert_eq!((learner.sequence, learner.nodes.len()), (seq, 4));
    // What had expired was cleaned away by the write.
    let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let mut expected = original.present_at(now_ms);
    expected.insert("after/the/import".to_owned(), (seq, b"new".to_vec()));
    assert_eq!(learner.all(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_from_anywhere_becomes_a_cluster_of_any_size_and_list() {
    let backups = Backups::take().await;
    for case in Case::pairs() {
        let took = restore(case, &backups).await;
        eprintln!("{case}: {took}");
    }
}

/// Where a node belongs, as its export says.
async fn cluster_id(cluster: &Cluster, id: u64) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (address, file) = (cluster.member(id).grpc_address(), folder.path().join("export"));
    let line = [
        &"export" as &(dyn AsRef<OsStr> + Sync),
        &"--json",
        &"--consistency",
        &"local",
        &"--grpc-api-address",
        &address,
        &"--db",
        &file,
    ];
    let told: Value = serde_json::from_str(&metactl(line).await.expect(0).stdout).unwrap();
    told["provenance"]["cluster_id"].as_str().expect("a cluster id").to_owned()
}

/// How many lines of a node's log say both.
fn lines_with(cluster: &Cluster, id: u64, words: [&str; 2]) -> usize {
    cluster.log(id).lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_were_given_another_file_or_list_are_refused_by_the_names_of_both_clusters() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (folder.path().join("ours"), folder.path().join("other"));
    generate::write(&ours, 20, 16);
    generate::write(&other, 21, 16);
    for (file, list_differs) in [(&other, false), (&ours, true)] {
        let mut cluster = Cluster::prepare(Layout::voters(3)).await;
        cluster.import(&ours).await;
        let mut line = cluster.import_line(3, file);
        line.extend(list_differs.then(|| "9=127.0.0.1:28009,learner".into()));
        tool::run(&binaries::tool(), &line).await.expect(0);
        cluster.start_all().await;
        let leader = cluster.wait_for_leader().await;
        let (first, third) = (cluster_id(&cluster, leader).await, cluster_id(&cluster, 3).await);
        assert_ne!(first, third);
        let both = [first.as_str(), third.as_str()];
        for id in [leader, 3] {
            let said = || lines_with(&cluster, id, both) > 0;
            wait::until_true(&format!("node {id} to name both clusters"), said).await;
        }
        let mut client = cluster.client(leader).await;
        // Long enough for many a heartbeat to be refused.
        for n in 0..20 {
            client.put(&format!("k{n}"), b"1").await.unwrap();
            sleep(Duration::from_millis(50)).await;
        }
        for (id, peer, other) in [(leader, 3, &third), (3, leader, &first)] {
            let refused = format!("refused to talk to a node: node {peer} belongs to cluster {other}");
            let own = cluster.log(id).lines().filter(|line| line.contains(&refused)).count();
            assert!(own <= 1, "node {id} has said {own} times that it refuses node {peer}");
        }
        cluster.client(3).await.get("k19").await.expect_err("the third one stays alone");
        assert_eq!(client.get("k19").await.unwrap().map(|record| record.data), Some(b"1".to_vec()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_are_each_restored_from_their_own_export_are_the_old_cluster_again() {
    let folder = tempfile::tempdir().unwrap();
    let seed = folder.path().join("seed");
    generate::write(&seed, 50, 16);
    let mut cluster = Cluster::restored(Layout::voters(3).learner(4), &seed).await;
    let leader = cluster.wait_for_leader().await;
    cluster.client(leader).await.put("old", b"1").await.unwrap();
    // The last writes of the cluster itself: a member with more than a majority has would show that writes were lost.
    let registered = |id: &u64| cluster.log(*id).contains("registered the addresses of this node");
    wait::until_true("all members to register", || cluster.ids().iter().all(registered)).await;
    cluster.wait_applied_everywhere().await;
    let before = cluster_id(&cluster, leader).await;
    let file = |id: u64| folder.path().join(id.to_string());
    for id in cluster.ids() {
        metactl([&"export", &"--grpc-api-address", &cluster.member(id).grpc_address(), &"--db", &file(id)])
            .await
            .expect(0);
    }
    let keys = cluster.export(leader).await.all();
    for id in cluster.ids() {
        cluster.stop(id).await;
        fs::remove_dir_all(cluster.member(id).raft_dir()).unwrap();
        tool::import(cluster.member(id).raft_dir(), &file(id)).await;
    }

    cluster.start_all().await;
    let first = cluster_is_one(&cluster).await;
    assert_ne!(first, before, "files know no cluster id");
    assert_eq!(cluster.export(2).await.all(), keys);
    let status = cluster.status(2).await.unwrap();
    assert_eq!((status.voters.len(), status.non_voters.len()), (3, 1));
    for id in cluster.ids() {
        cluster.stop(id).await;
    }
    cluster.start_all().await;
    assert_eq!(cluster_is_one(&cluster).await, first, "the id is kept");
    cluster.client(2).await.put("new", b"2").await.unwrap();
    cluster.assert_same_state().await;
}

/// Waits until all members follow one leader; returns the id that all of them have.
async fn cluster_is_one(cluster: &Cluster) -> String {
    cluster.wait_for_leader().await;
    cluster.wait_applied_everywhere().await;
    let mut ids = BTreeSet::new();
    for id in cluster.ids() {
        ids.insert(cluster_id(cluster, id).await);
    }
    assert_eq!(ids.len(), 1, "{ids:?}");
    ids.into_iter().next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_survivor_of_the_old_cluster_on_an_address_of_the_new_one_disturbs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (seed, backup) = (folder.path().join("seed"), folder.path().join("backup"));
    generate::write(&seed, 50, 16);
    // The new node at its address has its id, or another one.
    for at_its_address in [2, 5] {
        let mut old = Cluster::restored(Layout::voters(3), &seed).await;
        let address = old.member(1).grpc_address();
        metactl([&"export", &"--grpc-api-address", &address, &"--db", &backup]).await.expect(0);
        old.client(3).await.put("old/late", b"1").await.unwrap();
        old.wait_applied_everywhere().await;
        old.kill(1).await;
        old.kill(3).await;

        let mut new = Cluster::prepare(Layout::with_ids([1, 3, at_its_address]).heartbeat_ms(500)).await;
        for (id, was) in [(1, 1), (3, 3), (at_its_address, 2)] {
            let (host, port) = {
                let settings = &old.member(was).settings;
                (settings.raft_advertise_host.clone(), settings.raft_port)
            };
            let settings = &mut new.member_mut(id).settings;
            (settings.raft_advertise_host, settings.raft_port) = (host, port);
        }
        new.import(&backup).await;
        new.start(1).await;
        new.start(3).await;
        let leader = new.wait_for_leader().await;
        let mut client = new.client(leader).await;
        client.put("new", b"1").await.unwrap();
        let terms = async || [new.status(leader).await, old.status(2).await].map(|status| status.unwrap().current_term);
        let before = terms().await;
        let both =
            |log: String| log.contains("refused to talk to a node") || log.contains("refuses to talk to this one");
        wait::until_true("both sides to refuse each other", || both(new.log(leader)) && both(old.log(2))).await;
        // So long that elections without an end would be seen.
        for n in 0..40 {
            client.put(&format!("new/{n}"), b"1").await.unwrap();
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(client.get("old/late").await.unwrap(), None);
        let (after, most) = (terms().await, before.map(|term| term + 1));
        assert!(after[0] <= most[0] && after[1] <= most[1], "terms run away: {before:?}, {after:?}");
        old.client(2).await.put("old/later", b"1").await.expect_err("the survivor serves nobody");

        old.kill(2).await;
        new.start(at_its_address).await;
        new.assert_same_state().await;
    }
}
