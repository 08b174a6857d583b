//! The export of one of three nodes, imported as a new cluster of one node with another id.

use std::{
    ffi::OsString,
    time::{Duration, Instant, SystemTime},
};

use integration_tests::{
    binaries,
    export::Export,
    fixtures,
    server::{Server, Settings, free_port},
    tool::{self, args, export_folder, metactl},
};
use meta_proto::pb;
use rustix::process::Signal;
use serde_json::Value;
use tonic::Code;

/// What only the old cluster has: its ports, and the names and ids of its other nodes.
const OLD: [&str; 8] = ["28103", "28203", "28303", "id=1", "id=2", "id=3", "\"name\":\"1\"", "localhost"];

#[track_caller]
fn assert_new(what: &str, text: &str) {
    for old in OLD {
        assert!(!text.contains(old), "{what} still has {old}: {text}");
    }
}

#[tokio::test]
async fn a_backup_becomes_a_new_cluster_that_leads_at_once_and_goes_on_writing() {
    let folder = tempfile::tempdir().unwrap();
    let raft_dir = folder.path().join("meta");
    let file = fixtures::path("v004.ndjson");
    let text = fixtures::text("v004.ndjson");
    let original = Export::parse(text.lines());
    let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let present = original.present_at(now_ms);
    assert_eq!((original.keys.len(), present.len()), (71, 68));

    let port = free_port();
    let member = format!("7=127.0.0.1:{port}");
    let told =
        metactl([&"import", &"--raft-dir", &raft_dir, &"--db", &file, &"--id", &"7", &"--initial-cluster", &member])
            .await
            .expect(0)
            .stderr;
    assert!(told.contains("as node 7"), "{told}");
    let seeded = export_folder(&raft_dir).await;
    // In the log, entries of the old cluster are gone too; keys and values are the users'.
    let ours = seeded.lines().filter(|line| !line.contains("GenericKV"));
    ours.for_each(|line| assert_new("the new store", line));

    let began = Instant::now();
    let server = Server::start(Settings { raft_port: port, ..Settings::of(&raft_dir) }).await;
    let mut client = server.client().await;
    assert_eq!(client.list("").await.unwrap(), present);
    assert!(began.elapsed() < Duration::from_secs(5), "the first read took {:?}", began.elapsed());

    let seq = client.put("after/the/import", b"new").await.unwrap();
    assert_eq!(seq, original.sequence + 1);
    assert_eq!(client.get("after/the/import").await.unwrap().unwrap().seq, seq);

    let server = {
        // The addresses of this run are registered by now or soon.
        drop(client);
        server.stop(Signal::TERM).await;
        Server::start_leading(Settings { raft_port: port, ..Settings::of(&raft_dir) }).await
    };
    let mut client = server.client().await;
    let status = metactl([&"status", &"--grpc-api-address", &server.grpc_address()]).await.expect(0).stdout;
    let grpc = server.grpc_address();
    for line in [
        &format!("Node: id=7 raft=127.0.0.1:{port}"),
        "State: Leader",
        &format!("Leader: id=7 raft=127.0.0.1:{port} grpc={grpc}"),
        &format!("LastSeq: {seq}"),
        &format!("  - id=7 raft=127.0.0.1:{port} grpc={grpc}"),
    ] {
        assert!(status.lines().any(|found| found == line), "{line:?} is not in {status}");
    }
    assert_new("the status", &status);
    let nodes = server.admin("/v1/cluster/nodes").await;
    assert_eq!(nodes.as_array().map(Vec::len), Some(1));
    assert_new("the list of nodes", &nodes.to_string());
    assert_new("the admin's status", &server.admin("/v1/cluster/status").await.to_string());
    let members = client.rpc.member_list(client.request(pb::MemberListRequest::default())).await.unwrap();
    assert_eq!(members.into_inner().data, [grpc]);

    let exported = metactl([&"export", &"--grpc-api-address", &grpc]).await.expect(0).stdout;
    let export = Export::parse(exported.lines());
    assert_eq!((export.node_id, export.sequence), (Some(7), seq));
    assert_eq!(export.nodes.keys().collect::<Vec<_>>(), [&7]);
    // The first write has cleaned away what had expired.
    assert_eq!(export.keys.len(), present.len() + 1);
    exported.lines().filter(|line| !line.contains("GenericKV")).for_each(|line| assert_new("a new export", line));
}

#[tokio::test]
async fn the_same_import_by_the_server_says_the_same_and_does_not_serve() {
    let folder = tempfile::tempdir().unwrap();
    let member = "7=127.0.0.1:28007";
    let file = fixtures::path("v004.ndjson");
    let by_tool = folder.path().join("tool");
    metactl([&"import", &"--raft-dir", &by_tool, &"--db", &file, &"--id", &"7", &"--initial-cluster", &member])
        .await
        .expect(0);
    let by_server = Settings {
        id: Some(7),
        more: args([&"--import", &"--db", &file, &"--initial-cluster", &member]),
        ..Settings::of(&folder.path().join("server"))
    };
    by_server.run().await.expect(0);
    assert_eq!(export_folder(&by_server.raft_dir).await, export_folder(&by_tool).await);
}

#[tokio::test]
async fn what_was_written_after_an_import_survives_the_same_import_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let raft_dir = folder.path().join("meta");
    let file = fixtures::path("v004.ndjson");
    let import = |force: bool| {
        let mut more = args([&"--import", &"--db", &file, &"--initial-cluster", &"7=127.0.0.1:28007"]);
        more.extend(force.then(|| "--force".into()));
        Settings { id: Some(7), more, ..Settings::of(&raft_dir) }
    };
    import(false).run().await.expect(0);
    let server = Server::start(Settings::of(&raft_dir)).await;
    server.client().await.put("written/since", b"1").await.unwrap();
    server.stop(Signal::TERM).await;

    let again = import(false).run().await.expect(0);
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    assert!(export_folder(&raft_dir).await.contains("written/since"));

    import(true).run().await.expect(0);
    assert!(!export_folder(&raft_dir).await.contains("written/since"));
}

#[tokio::test]
async fn nodes_share_a_cluster_exactly_when_they_were_given_the_same_backup_and_the_same_list() {
    let folder = tempfile::tempdir().unwrap();
    let list = ["1=db-1:28004", "2=db-2:28004", "3=db-3:28004,learner"];
    let (other, tail) = (["1=db-1:28004", "2=db-2:28004", "3=db-3:28004"], "v004-tail.ndjson");
    let cluster_id = async |id: &str, list: [&str; 3], fixture: &str| -> String {
        let raft_dir = tempfile::tempdir_in(folder.path()).unwrap();
        let mut line =
            args([&"import", &"--json", &"--raft-dir", &raft_dir.path(), &"--id", &id, &"--initial-cluster"]);
        line.extend(list.map(Into::into));
        line.extend(args([&"--db", &fixtures::path(fixture)]));
        let told = tool::run(&binaries::tool(), &line).await.expect(0).stdout;
        let told: Value = serde_json::from_str(&told).unwrap();
        told["cluster_id"].as_str().unwrap().to_owned()
    };
    let first = cluster_id("1", list, "v004.ndjson").await;
    assert_eq!(first.len(), 64);
    let [one, two, three] = list;
    for id in ["1", "2", "3"] {
        assert_eq!(cluster_id(id, [three, one, two], "v004.ndjson").await, first, "node {id}, in another order");
    }
    assert_ne!(cluster_id("1", other, "v004.ndjson").await, first);
    assert_ne!(cluster_id("1", list, tail).await, first);
}

#[tokio::test]
async fn a_member_of_a_larger_new_cluster_waits_for_the_others_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let raft_dir = folder.path().join("meta");
    let members = ["1=127.0.0.1:28301", "2=127.0.0.1:28302", "3=127.0.0.1:28303"].map(OsString::from);
    let mut line = args([&"import", &"--raft-dir", &raft_dir, &"--db", &fixtures::path("v004.ndjson"), &"--id", &"1"]);
    line.push("--initial-cluster".into());
    line.extend(members);
    tool::run(&binaries::tool(), &line).await.expect(0);
    let server = Server::start(Settings::of(&raft_dir)).await;
    let status = metactl([&"status", &"--grpc-api-address", &server.grpc_address()]).await.expect(0).stdout;
    assert!(!status.contains("Leader") && status.contains("  - id=3 raft=127.0.0.1:28303"), "{status}");
    let status = server.client().await.get("k").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("voters 1, 2, 3"), "{status}");
    assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
}
