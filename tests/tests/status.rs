//! What a node tells of itself, in the shapes that operators' scripts read from Databend's own programs.

use std::collections::BTreeSet;

use integration_tests::{
    server::{Server, Settings},
    tool::metactl,
    wait,
};
use serde_json::{Value, json};

/// A node that has written three keys and built a snapshot.
async fn server(temp: &tempfile::TempDir) -> (Server, u16) {
    let settings = Settings::single(&temp.path().join("meta"));
    let port = settings.raft_port;
    let server = Server::start_leading(settings).await;
    let mut client = server.client().await;
    for key in ["a", "b", "c"] {
        client.put(key, b"v").await.unwrap();
    }
    server.admin("/v1/ctrl/trigger_snapshot").await;
    wait::until("the snapshot", async || {
        let status = server.admin("/v1/cluster/status").await;
        (!status["snapshot_last_log_id"].is_null()).then_some(())
    })
    .await;
    (server, port)
}

#[tokio::test]
async fn the_tool_prints_the_status_line_by_line_as_the_real_one_does() {
    let temp = tempfile::tempdir().unwrap();
    let (server, port) = server(&temp).await;
    let text = metactl([&"status", &"--grpc-api-address", &server.grpc_address()]).await.expect(0).stdout;
    let names: Vec<&str> = text.lines().map(|line| line.split_once(':').map_or(line, |(name, _)| name)).collect();
    assert_eq!(
        names,
        [
            "BinaryVersion",
            "DataVersion",
            "RaftLogSize",
            "RaftLog",
            "  - CacheItems",
            "  - CacheUsedSize",
            "  - WALTotalSize",
            "  - WALOpenChunkSize",
            "  - WALOffset",
            "  - WALClosedChunkCount",
            "  - WALClosedChunkTotalSize",
            "  - WALClosedChunkSizes",
            "SnapshotKeyCount",
            "Node",
            "State",
            "Leader",
            "CurrentTerm",
            "LastSeq",
            "LastLogIndex",
            "LastApplied",
            "SnapshotLastLogID",
            "Replication",
            "  - [1] T1-N1.5",
            "Voters",
            "  - id=1 raft=127.0.0.1",
        ],
        "{text}"
    );
    let node = format!("id=1 raft=127.0.0.1:{port} grpc={}", server.grpc_address());
    for line in [
        "DataVersion: V004",
        "SnapshotKeyCount: 3",
        "State: Leader",
        &format!("Leader: {node}"),
        &format!("  - {node}"),
        "CurrentTerm: 1",
        "LastSeq: 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in {text}");
    }
    let json = metactl([&"status", &"--json", &"--grpc-api-address", &server.grpc_address()]).await.expect(0).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["id"], &json["is_leader"], &json["last_seq"]), (&json!(1), &json!(true), &json!(3)));
}

#[tokio::test]
async fn the_admin_api_has_the_fields_of_the_real_one() {
    let temp = tempfile::tempdir().unwrap();
    let (server, port) = server(&temp).await;
    let status = server.admin("/v1/cluster/status").await;
    let fields: BTreeSet<&str> = status.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "binary_version",
        "current_term",
        "data_version",
        "endpoint",
        "id",
        "is_leader",
        "last_applied",
        "last_log_index",
        "last_seq",
        "leader",
        "non_voters",
        "purged",
        "raft_log",
        "replication",
        "snapshot_key_count",
        "snapshot_key_space_stat",
        "snapshot_last_log_id",
        "state",
        "voters",
    ];
    assert_eq!(fields, expected.into());
    let node = json!({
        "name": "1",
        "endpoint": {"addr": "127.0.0.1", "port": port},
        "grpc_api_advertise_address": server.grpc_address(),
    });
    let applied = json!({"leader_id": {"term": 1, "node_id": 1}, "index": status["last_log_index"]});
    for (field, value) in [
        ("leader", &node),
        ("voters", &json!([node])),
        ("non_voters", &json!([])),
        ("last_applied", &applied),
        ("replication", &json!({"1": applied})),
        ("last_seq", &json!(3)),
        ("snapshot_key_count", &json!(3)),
        ("state", &json!("Leader")),
    ] {
        assert_eq!(&status[field], value, "{field} of {status}");
    }
    assert_eq!(server.admin("/v1/cluster/nodes").await, json!([node]));
}

#[tokio::test]
async fn the_tool_says_which_port_it_was_given() {
    let temp = tempfile::tempdir().unwrap();
    let (server, raft_port) = server(&temp).await;
    for (address, found) in [
        (server.admin_address().to_owned(), "the admin API of a databend-meta server (its admin_api_address)"),
        (format!("127.0.0.1:{raft_port}"), "is it the port that members talk to each other on (raft_api_port)?"),
    ] {
        let said = metactl([&"status", &"--grpc-api-address", &address]).await.expect(1).stderr;
        assert!(said.contains(&format!("{address} is not the gRPC address")) && said.contains(found), "{said}");
        assert!(said.contains("grpc_api_address, port 9191 by default"), "{said}");
    }
}
