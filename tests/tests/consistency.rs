//! How much an export includes: what an operator asks for is what there is, or is told in words that can not be missed.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use integration_tests::{
    client::{lines, rest},
    export::Export,
    fixtures,
    server::{Server, Settings},
    tool::{import, metactl},
};
use meta_proto::pb;
use serde_json::{Value, json};

/// How long a server gives a leader to answer, with room for a slow machine.
const WITHIN_LIMIT: Duration = Duration::from_secs(10);
/// Less than a server waits for a leader.
const AT_ONCE: Duration = Duration::from_secs(4);

/// One of three voters, started alone, with what it was restored from.
async fn one_of_three(temp: &Path) -> (Server, Export) {
    let raft_dir = temp.join("meta");
    import(&raft_dir, &fixtures::path("v004.ndjson")).await;
    let original = fixtures::text("v004.ndjson");
    (Server::start(Settings::of(&raft_dir)).await, Export::parse(original.lines()))
}

#[tokio::test]
async fn a_node_that_leads_gives_all_that_was_acknowledged_and_says_so() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("backup.ndjson");
    let server = Server::start_leading(Settings::single(&temp.path().join("meta"))).await;
    server.client().await.put("k", b"v").await.unwrap();
    let status = server.admin("/v1/cluster/status").await;
    for asked in ["auto", "linearizable"] {
        let ran = metactl([
            &"export",
            &"--json",
            &"--consistency",
            &asked,
            &"--grpc-api-address",
            &server.grpc_address(),
            &"--db",
            &file,
        ])
        .await
        .expect(0);
        assert_eq!(ran.stderr, "", "{asked}");
        let told: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!((&told["consistency"], &told["warning"]), (&json!("linearizable"), &Value::Null), "{asked}: {told}");
        let provenance = &told["provenance"];
        assert_eq!((&provenance["node_id"], &provenance["role"]), (&json!(1), &json!("Leader")), "{asked}: {told}");
        assert_eq!(provenance["cluster_id"].as_str().map(str::len), Some(64), "{asked}: {told}");
        assert_eq!(provenance["tail"], 0, "{asked}: {told}");
        for id in ["last_applied", "committed"] {
            assert_eq!(provenance[id], status["last_applied"], "{asked}: {told}");
        }
        assert!(Export::parse(fs::read_to_string(&file).unwrap().lines()).keys.contains_key("k"), "{asked}");
    }
}

#[tokio::test]
async fn without_a_leader_a_backup_that_has_to_be_linearizable_is_refused_with_the_way_out() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("backup.ndjson");
    fs::write(&file, "the older backup").unwrap();
    let (server, _) = one_of_three(temp.path()).await;
    let address = server.grpc_address();
    let began = Instant::now();
    let ran = metactl([&"export", &"--consistency", &"linearizable", &"--grpc-api-address", &address, &"--db", &file])
        .await
        .expect(1);
    let took = began.elapsed();
    assert!(took < WITHIN_LIMIT, "{took:?}");
    let words =
        ["no linearizable export", "no leader", "voters 1, 2, 3", "--consistency local", "T1-N0.83", "acknowledged"];
    for words in words {
        assert!(ran.stderr.contains(words), "{words:?} is not in {}", ran.stderr);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "the older backup");

    let printed =
        metactl([&"export", &"--consistency", &"linearizable", &"--grpc-api-address", &address]).await.expect(1);
    assert_eq!(printed.stdout, "");
}

#[tokio::test]
async fn without_a_leader_what_there_is_comes_with_a_warning_before_and_after() {
    let temp = tempfile::tempdir().unwrap();
    let (server, original) = one_of_three(temp.path()).await;
    let address = server.grpc_address();
    let began = Instant::now();
    let ran = metactl([&"export", &"--grpc-api-address", &address]).await.expect(0);
    let took = began.elapsed();
    assert!(took < WITHIN_LIMIT, "{took:?}");
    assert_eq!(Export::parse(ran.stdout.lines()).all(), original.all());
    let said: Vec<&str> = ran.stderr.lines().collect();
    for line in [said.first(), said.last()] {
        let line = line.expect("something is said");
        assert!(line.starts_with("WARNING: this backup is local, not linearizable"), "{}", ran.stderr);
        for words in ["node 1", "T1-N0.83", "may miss acknowledged writes", "no leader"] {
            assert!(line.contains(words), "{words:?} is not in {line}");
        }
    }
    assert!(said.len() > 2, "{}", ran.stderr);

    let ran = metactl([&"export", &"--json", &"--grpc-api-address", &address]).await.expect(0);
    assert_eq!(Export::parse(ran.stdout.lines()).all(), original.all());
    let (warning, told) = ran.stderr.split_once('\n').unwrap();
    let told: Value = serde_json::from_str(told).unwrap();
    assert_eq!(told["consistency"], "local");
    assert_eq!(warning.strip_prefix("WARNING: "), told["warning"].as_str());
}

#[tokio::test]
async fn what_a_node_has_is_given_at_once_to_who_asks_for_it_and_to_old_clients() {
    let temp = tempfile::tempdir().unwrap();
    let (server, original) = one_of_three(temp.path()).await;
    let began = Instant::now();
    let ran =
        metactl([&"export", &"--consistency", &"local", &"--grpc-api-address", &server.grpc_address()]).await.expect(0);
    assert_eq!(Export::parse(ran.stdout.lines()).all(), original.all());
    assert!(ran.stderr.contains("consistency: local") && !ran.stderr.contains("WARNING"), "{}", ran.stderr);

    let mut client = server.client().await;
    for chunk_size in [None, Some(100)] {
        let chunks = rest(client.export(chunk_size).await.unwrap()).await.unwrap();
        assert_eq!(Export::parse(lines(&chunks)).all(), original.all());
        let provenance = chunks[0].provenance.as_ref().unwrap();
        assert_eq!((provenance.consistency(), provenance.fallback.as_str()), (pb::Consistency::Local, ""));
        assert!(chunks[1..].iter().all(|chunk| chunk.provenance.is_none()));
    }
    let took = began.elapsed();
    assert!(took < AT_ONCE, "{took:?}");

    let history = client.request(pb::ExportRequest { with_history: true, ..pb::ExportRequest::default() });
    // Nothing was applied since the import, so the way that leads to this state is the log that came with it.
    let chunks = rest(client.rpc.export_v1(history).await.unwrap().into_inner()).await.unwrap();
    assert_eq!(Export::parse(lines(&chunks)).all(), original.all());
}

/// A log alone, of which the node does not know that it is committed: what a crash leaves, and what a moment after the
/// start is not applied yet.
#[tokio::test]
async fn the_only_voter_gives_what_it_acknowledged_before_its_start_however_early_it_is_asked() {
    const ENTRIES: u64 = 5000;
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, file) = (temp.path().join("meta"), temp.path().join("log.ndjson"));
    let leader = json!({"term": 1, "node_id": 1});
    let entry = |index: u64, payload: Value| {
        let log_id = json!({"leader_id": leader, "index": index});
        json!(["raft_log", {"LogEntry": {"log_id": log_id, "payload": payload}}])
    };
    let mut log = vec![
        json!(["header", {"DataHeader": {"key": "header", "value": {"version": "V004"}}}]),
        json!(["raft_log", {"NodeId": 1}]),
        json!(["raft_log", {"Vote": {"leader_id": leader, "committed": true}}]),
        json!(["raft_log", {"Committed": null}]),
        json!(["raft_log", {"Purged": null}]),
        entry(0, json!({"Membership": {"configs": [[1]], "nodes": {"1": {}}}})),
    ];
    log.extend((1..=ENTRIES).map(|n| {
        let upsert = json!({"key": format!("k{n}"), "seq": {"GE": 0}, "value": {"Update": [1]}, "value_meta": null});
        entry(n, json!({"Normal": {"time_ms": 1_700_000_000_000_u64, "cmd": {"UpsertKV": upsert}}}))
    }));
    fs::write(&file, log.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    import(&raft_dir, &file).await;
    let server = Server::start(Settings::of(&raft_dir)).await;
    let chunks = rest(server.client().await.export(None).await.unwrap()).await.unwrap();
    let export = Export::parse(lines(&chunks));
    assert!(export.applied.is_some_and(|applied| applied >= ENTRIES), "{:?}", export.applied);
    assert_eq!(export.keys.len() as u64, ENTRIES);
}
