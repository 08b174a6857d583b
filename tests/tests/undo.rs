//! An import that keeps what it replaces, and the way back and forth: files, ids, members of a cluster that lives on, and kills.

use std::{fs, path::Path};

use integration_tests::{
    binaries,
    cluster::{Cluster, Layout},
    fixtures, folder, generate,
    server::{Server, Settings},
    tool::{self, args, export_folder, import, metactl},
};
use rustix::process::Signal;
use serde_json::Value;

async fn keeping_old(raft_dir: &Path, backup: &Path) {
    metactl([&"import", &"--keep-old", &"--raft-dir", &raft_dir, &backup]).await.expect(0);
}

async fn generations(raft_dir: &Path) -> Vec<Value> {
    let ran = metactl([&"generations", &"--json", &"--raft-dir", &raft_dir]).await.expect(0);
    let listed: Value = serde_json::from_str(&ran.stdout).unwrap();
    listed["generations"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_import_is_undone_and_done_again_and_what_is_kept_stays_until_it_is_pruned() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, first) = (temp.path().join("meta"), fixtures::path("v004.ndjson"));
    let (second, third) = (temp.path().join("second"), temp.path().join("third"));
    generate::write(&second, 300, 20);
    generate::write(&third, 30, 20);

    // Kept generations survive an open by a server, and imports that keep nothing.
    import(&raft_dir, &first).await;
    let old = export_folder(&raft_dir).await;
    keeping_old(&raft_dir, &second).await;
    let new = export_folder(&raft_dir).await;
    let server = Server::start(Settings::of(&raft_dir)).await;
    let refused = metactl([&"rollback", &"--raft-dir", &raft_dir]).await.expect(1);
    assert!(refused.stderr.contains("in use by process"), "{}", refused.stderr);
    assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
    let third_line = args([&"--import", &"--raft-dir", &raft_dir, &"--db", &third, &"--log-file-on", &"false"]);
    tool::run(&binaries::server(), &third_line).await.expect(0);

    let listed = generations(&raft_dir).await;
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert_eq!((&listed[0]["live"], &listed[0]["holds"]["keys"]), (&true.into(), &30.into()));
    assert_eq!((&listed[1]["live"], &listed[1]["name"]), (&false.into(), &"gen-000001".into()));
    assert_eq!(listed[1]["source"]["input"], first.to_str().unwrap());

    let told = metactl([&"rollback", &"--raft-dir", &raft_dir]).await.expect(0);
    assert!(told.stderr.contains("at gen-000001 again"), "{}", told.stderr);
    assert_eq!(export_folder(&raft_dir).await, old);
    // A unit file that still says --import does not undo that.
    let again = tool::run(&binaries::server(), &third_line).await.expect(0);
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    assert_eq!(export_folder(&raft_dir).await, old);
    metactl([&"rollback", &"--raft-dir", &raft_dir]).await.expect(0);
    assert_eq!(generations(&raft_dir).await[0]["holds"]["keys"], 30);
    keeping_old(&raft_dir, &second).await;
    assert_eq!(export_folder(&raft_dir).await, new);
    assert_eq!(generations(&raft_dir).await.len(), 3);

    metactl([&"rollback", &"--raft-dir", &raft_dir, &"--to", &"gen-9"]).await.expect(1);
    metactl([&"generations", &"--raft-dir", &raft_dir, &"--prune", &"gen-000001", &"gen-9"]).await.expect(1);
    assert_eq!(generations(&raft_dir).await.len(), 3);
    metactl([&"generations", &"--raft-dir", &raft_dir, &"--prune", &"gen-000001"]).await.expect(0);
    assert_eq!(generations(&raft_dir).await.len(), 2);
    metactl([&"generations", &"--raft-dir", &raft_dir, &"--prune"]).await.expect(0);
    assert_eq!(folder::names(&raft_dir).len(), 3, "{:?}", folder::names(&raft_dir));
    let nothing = metactl([&"rollback", &"--raft-dir", &raft_dir]).await.expect(1);
    assert!(nothing.stderr.contains("no generation is kept in"), "{}", nothing.stderr);
    assert_eq!(export_folder(&raft_dir).await, new);
}

#[tokio::test]
async fn nothing_is_made_of_a_folder_that_holds_no_store() {
    let temp = tempfile::tempdir().unwrap();
    let missing = temp.path().join("missing");
    for command in [&["rollback"][..], &["generations"], &["generations", "--prune"]] {
        let mut line: Vec<std::ffi::OsString> = command.iter().map(Into::into).collect();
        line.extend(args([&"--raft-dir", &missing]));
        let ran = tool::run(&binaries::tool(), &line).await.expect(1);
        assert!(ran.stderr.contains("does not exist"), "{}", ran.stderr);
        assert!(!missing.exists());
    }
}

/// The wrong file into one member of a cluster that lives on: refused as imported, and a member again after the rollback.
#[tokio::test]
async fn a_member_that_was_imported_over_by_mistake_is_a_member_again_after_the_rollback() {
    let mut cluster = Cluster::restored(Layout::voters(3), &fixtures::path("v004.ndjson")).await;
    let leader = cluster.wait_for_leader().await;
    let follower = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    let mut client = cluster.client(leader).await;
    client.put("before", b"1").await.unwrap();
    cluster.wait_applied_everywhere().await;
    cluster.kill(follower).await;
    let raft_dir = cluster.member(follower).raft_dir().to_owned();
    let id = follower.to_string();
    metactl([
        &"import",
        &"--keep-old",
        &"--raft-dir",
        &raft_dir,
        &fixtures::path("v004.ndjson"),
        &"--id",
        &id,
        &"--initial-cluster",
        &format!("{id}=127.0.0.1:1"),
    ])
    .await
    .expect(0);
    client.put("meanwhile", b"2").await.unwrap();
    let told = metactl([&"rollback", &"--raft-dir", &raft_dir]).await.expect(0);
    assert!(told.stderr.contains("is one of 3 voters"), "{}", told.stderr);
    cluster.start(follower).await;
    client.put("after", b"3").await.unwrap();
    cluster.wait_applied_everywhere().await;
    cluster.assert_same_state().await;
}

/// All members imported over, used as another cluster, and rolled back: the old cluster is there, and whoever stays behind is refused.
#[tokio::test]
async fn a_cluster_is_rolled_back_as_a_whole_and_the_one_that_stays_behind_is_refused() {
    let mut cluster = Cluster::restored(Layout::voters(3), &fixtures::path("v004.ndjson")).await;
    let leader = cluster.wait_for_leader().await;
    cluster.client(leader).await.put("old/life", b"1").await.unwrap();
    cluster.wait_applied_everywhere().await;
    let ids = cluster.ids();
    let list: Vec<String> = ids.iter().map(|id| format!("{id}={}", cluster.member(*id).raft_address())).collect();
    let backup = tempfile::NamedTempFile::new().unwrap();
    generate::write(backup.path(), 50, 20);
    for id in ids.clone() {
        cluster.stop(id).await;
        let raft_dir = cluster.member(id).raft_dir().to_owned();
        metactl([
            &"import",
            &"--keep-old",
            &"--raft-dir",
            &raft_dir,
            &backup.path(),
            &"--id",
            &id.to_string(),
            &"--initial-cluster",
            &list[0],
            &list[1],
            &list[2],
        ])
        .await
        .expect(0);
    }
    cluster.start_all().await;
    let leader = cluster.wait_for_leader().await;
    assert_eq!(cluster.client(leader).await.get("old/life").await.unwrap(), None);
    cluster.client(leader).await.put("new/life", b"2").await.unwrap();
    cluster.wait_applied_everywhere().await;

    let behind = ids[2];
    for id in ids.clone() {
        cluster.stop(id).await;
        if id != behind {
            let raft_dir = cluster.member(id).raft_dir().to_owned();
            metactl([&"rollback", &"--raft-dir", &raft_dir]).await.expect(0);
        }
    }
    cluster.start_all().await;
    integration_tests::wait::until("the old cluster to serve what it held", async || {
        for id in [ids[0], ids[1]] {
            if let Ok(Some(_)) = cluster.client(id).await.get("old/life").await {
                return Some(());
            }
        }
        None
    })
    .await;
    assert!(cluster.client(behind).await.put("fork", b"3").await.is_err(), "one of three must not lead");
    let log = [ids[0], ids[1]].map(|id| cluster.log(id)).concat();
    assert!(log.contains("cluster"), "{log}");

    cluster.stop(behind).await;
    let raft_dir = cluster.member(behind).raft_dir().to_owned();
    metactl([&"rollback", &"--raft-dir", &raft_dir]).await.expect(0);
    cluster.start(behind).await;
    cluster.wait_applied_everywhere().await;
    cluster.assert_same_state().await;
    assert!(fs::exists(raft_dir.join("CURRENT")).unwrap());
}
