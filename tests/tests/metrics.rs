//! The metrics, as a scraper reads them from a server that works: what is counted, and under which names; and the configuration in
//! force beside them.

use std::collections::BTreeMap;

use integration_tests::{
    admin,
    client::rest,
    server::{Server, Settings},
    wait,
    watcher::Watcher,
};
use meta_proto::pb::{self, txn_op::Request as Op};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Each sample by its name with its labels, as one takes the text apart who knows the format and nothing else.
async fn samples(server: &Server) -> BTreeMap<String, f64> {
    let text = admin::text(server.admin_address(), "/v1/metrics").await;
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(samples.insert(name.to_owned(), value).is_none(), "{name} is there twice");
    }
    samples
}

#[tokio::test]
async fn what_a_server_does_is_counted() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start_leading(Settings::single(&temp.path().join("meta"))).await;
    let before = samples(&server).await;
    let mut client = server.client().await;
    client.put("a/1", b"v").await.unwrap();
    let mut watcher = Watcher::start(&client, "a/", "a0").await;
    client.put("a/2", b"v").await.unwrap();
    watcher.next().await.unwrap();
    client.get("a/1").await.unwrap();
    client.put(&"k".repeat(65_001), b"").await.unwrap_err();
    // More than a connection takes of what nobody reads: an export that is left has not been sent whole.
    let large =
        |key: &str| Op::Put(pb::TxnPutRequest { key: key.to_owned(), value: vec![200; 300_000], ..Default::default() });
    client.transact(vec![large("b/1"), large("b/2"), large("b/3")]).await.unwrap();
    let exported = rest(client.export(Some(1)).await.unwrap()).await.unwrap();
    let mut left = client.export(Some(1)).await.unwrap();
    left.message().await.unwrap();
    drop(left);
    server.admin("/v1/ctrl/trigger_snapshot").await;

    let after = wait::until("the export that was left to be counted", async || {
        let after = samples(&server).await;
        (after["backup_export_failures_total{kind=\"abandoned\"}"] == 1.0).then_some(after)
    })
    .await;
    let grown = |name: &str| after[name] - before[name];
    for (name, expected) in [
        ("metasrv_server_is_leader", 1.0),
        ("metasrv_server_node_is_health", 1.0),
        ("metasrv_server_current_leader_id", 1.0),
        ("metasrv_server_leader_changes_total", 1.0),
        ("metasrv_server_watchers", 1.0),
        ("metasrv_server_last_seq", 5.0),
        ("metasrv_server_proposals_pending", 0.0),
        ("metasrv_server_proposals_failed_total", 0.0),
        ("metasrv_server_read_failed_total", 0.0),
        ("metasrv_server_snapshot_key_count", 5.0),
        ("metasrv_server_snapshot_primary_index_count", 5.0),
        ("metasrv_server_snapshot_expire_index_count", 0.0),
        ("metasrv_server_applying_snapshot", 0.0),
        ("metasrv_server_version{component=\"metasrv\",semver=\"260304.0.0\"}", 1.0),
        ("metasrv_meta_network_req_inflights", 0.0),
        ("metasrv_meta_network_watch_initialization_total", 1.0),
        ("metasrv_meta_network_watch_change_total", 1.0),
        ("metasrv_raft_storage_snapshot_building", 0.0),
        ("metasrv_raft_storage_snapshot_written_entries_total", 5.0),
        ("backup_exports_in_flight", 0.0),
        ("backup_export_seconds_count", 1.0),
        ("backup_export_failures_total{kind=\"refused\"}", 0.0),
        ("metasrv_meta_network_rpc_delay_write_ms_count", 4.0),
        ("metasrv_meta_network_rpc_delay_read_ms_count", 1.0),
        // A refused write, and the export that was left.
        ("metasrv_meta_network_req_failed_total", 2.0),
    ] {
        assert_eq!(after.get(name), Some(&expected), "{name}");
    }
    let status = server.admin("/v1/cluster/status").await;
    let applied = status["last_applied"]["index"].as_f64().unwrap();
    for name in ["metasrv_server_proposals_applied", "metasrv_server_last_log_index", "backup_last_success_log_index"] {
        assert_eq!(after[name], applied, "{name}");
    }
    // Two puts, a transaction, a read, the handshake and the export that was taken whole.
    assert_eq!(grown("metasrv_meta_network_req_success_total"), 6.0);
    for name in [
        "metasrv_server_raft_log_size",
        "metasrv_server_snapshot_data_size",
        "metasrv_meta_network_recv_bytes_total",
        "metasrv_meta_network_sent_bytes_total",
        "backup_last_success_timestamp_seconds",
    ] {
        assert!(after[name] > 0.0, "{name} is {}", after[name]);
    }
    let lines: usize = exported.iter().map(|chunk| chunk.data.len()).sum();
    let bytes: usize = exported.iter().map(|chunk| chunk.data.text().len()).sum();
    assert!(after["backup_export_records_total"] > lines as f64 && after["backup_export_bytes_total"] > bytes as f64);
    // Plain counters and gauges have no labels.
    for name in after.keys().filter(|name| name.starts_with("metasrv_") && name.contains('{')) {
        let labelled = ["_bucket{le=", "metasrv_server_version{", "metasrv_raft_refused_total{"];
        assert!(labelled.iter().any(|label| name.contains(label)), "{name}");
    }
}

#[tokio::test]
async fn the_configuration_in_force_is_shown() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    let settings = Settings::single(&raft_dir);
    let port = settings.raft_port;
    let server = Server::start_leading(settings).await;
    let shown: Value = server.admin("/v1/config").await;
    for (key, expected) in [
        ("/raft_config/id", json!(1)),
        ("/raft_config/single", json!(true)),
        ("/raft_config/raft_dir", json!(raft_dir)),
        ("/raft_config/raft_api_port", json!(port)),
        ("/raft_config/raft_advertise_host", json!("127.0.0.1")),
        ("/raft_config/heartbeat_interval", json!(500)),
        ("/log/stderr/on", json!(true)),
        ("/log/file/on", json!(false)),
        ("/grpc_api_address", json!("127.0.0.1:0")),
    ] {
        assert_eq!(shown.pointer(key), Some(&expected), "{key} of {shown}");
    }
    assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
}
