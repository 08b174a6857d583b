//! Watching: the records that there are, and then every change exactly once, on any node and under load; and how a watch ends.

use std::time::Duration;

use integration_tests::{
    client::Client,
    cluster::{Cluster, Layout},
    server::{Server, Settings},
    tool::{Ran, ended, metactl, start_metactl},
    wait::DEADLINE,
    watcher::{Watcher, brief, request, watch},
};
use meta_proto::pb::{self, txn_op::Request as Op, watch_request::FilterType};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::{Code, Streaming};

async fn server(temp: &tempfile::TempDir) -> Server {
    Server::start_leading(Settings::single(&temp.path().join("meta"))).await
}

/// Writes a record that expires `ttl_ms` after it is written.
async fn put_for(client: &mut Client, key: &str, ttl_ms: u64) {
    let meta = json!({"expire_at": null, "ttl": {"millis": ttl_ms}});
    let upsert = json!({"key": key, "seq": {"GE": 0}, "value": {"Update": [1]}, "value_meta": meta});
    client.kv_api(&json!({ "UpsertKV": upsert })).await.unwrap();
}

fn put(key: &str) -> Op {
    Op::Put(pb::TxnPutRequest { key: key.to_owned(), value: b"t".into(), ..Default::default() })
}

fn delete_by_prefix(prefix: &str) -> Op {
    Op::DeleteByPrefix(pb::TxnDeleteByPrefixRequest { prefix: prefix.to_owned() })
}

/// The next `count` changes in brief.
async fn changes(stream: &mut Streaming<pb::WatchResponse>, count: usize) -> Vec<(String, u64, u64)> {
    let mut found = Vec::new();
    while found.len() < count {
        let next = timeout(DEADLINE, stream.message()).await.unwrap_or_else(|_| panic!("no more than {found:?}"));
        let response = next.unwrap().expect("a watch has no end");
        assert!(!response.is_initialization);
        found.push(brief(&response.event.expect("a change")));
    }
    found
}

#[tokio::test]
async fn every_kind_of_change_is_told_to_those_whom_it_concerns() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let mut client = server.client().await;
    client.put("a/0", b"old").await.unwrap();
    let filtered =
        |filter: FilterType| pb::WatchRequest { filter_type: filter.into(), ..request("a/", Some("a0"), false) };
    let mut all = watch(&client, request("a/", Some("a0"), false)).await.unwrap();
    let mut updates = watch(&client, filtered(FilterType::Update)).await.unwrap();
    let mut deletes = watch(&client, filtered(FilterType::Delete)).await.unwrap();
    let mut one = watch(&client, request("a/1", None, false)).await.unwrap();

    client.put("a/1", b"v").await.unwrap();
    client.put("a", b"outside").await.unwrap();
    client.put("a0", b"outside").await.unwrap();
    client.put("a/1", b"w").await.unwrap();
    client.delete("a/none").await.unwrap();
    // One transaction may change a key more than once; what it changes is told in its order.
    client.transact(vec![put("a/2"), put("a/2"), put("b/1"), put("a/3")]).await.unwrap();
    client.transact(vec![delete_by_prefix("a/2"), delete_by_prefix("b/")]).await.unwrap();
    put_for(&mut client, "a/4", 1).await;
    sleep(Duration::from_millis(10)).await;
    // Any entry removes what has expired.
    client.put("z", b"").await.unwrap();
    // Born expired: what it replaces is gone.
    let meta = json!({"expire_at": 1, "ttl": null});
    let upsert = json!({"key": "a/1", "seq": {"GE": 0}, "value": {"Update": [1]}, "value_meta": meta});
    client.kv_api(&json!({ "UpsertKV": upsert })).await.unwrap();
    client.delete("a/0").await.unwrap();
    client.put("a/1", b"end").await.unwrap();

    let expected = [
        ("a/1", 0, 2),
        ("a/1", 2, 5),
        ("a/2", 0, 6),
        ("a/2", 6, 7),
        ("a/3", 0, 9),
        ("a/2", 7, 0),
        ("a/4", 0, 10),
        ("a/4", 10, 0),
        ("a/1", 5, 0),
        ("a/0", 1, 0),
        ("a/1", 0, 13),
    ]
    .map(|(key, prev, current)| (key.to_owned(), prev, current));
    let those =
        |wanted: fn(&(String, u64, u64)) -> bool| expected.clone().into_iter().filter(wanted).collect::<Vec<_>>();
    for (stream, expected) in [
        (&mut all, those(|_| true)),
        (&mut updates, those(|(_, _, current)| *current > 0)),
        (&mut deletes, those(|(_, _, current)| *current == 0)),
        (&mut one, those(|(key, ..)| key == "a/1")),
    ] {
        assert_eq!(changes(stream, expected.len()).await, expected);
    }
}

#[tokio::test]
async fn records_that_are_there_come_first_and_the_mark_ends_them() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let mut client = server.client().await;
    for n in 0..100 {
        client.put(&format!("a/{n:03}"), b"v").await.unwrap();
        if n == 60 {
            // Some on disk, some in memory.
            server.admin("/v1/ctrl/trigger_snapshot").await;
        }
    }
    for (key, key_end, expected) in [
        ("a/", Some("a0"), 100),
        ("a/010", Some("a/020"), 10),
        ("a/010", None, 1),
        ("a/100", None, 0),
        ("", Some("\u{10ffff}"), 100),
        ("b", Some("c"), 0),
    ] {
        for filter in [FilterType::All, FilterType::Delete] {
            let wanted = pb::WatchRequest { filter_type: filter.into(), ..request(key, key_end, true) };
            let mut stream = watch(&client, wanted).await.unwrap();
            let mut found = 0;
            while let Some(event) = stream.message().await.unwrap().unwrap().event {
                assert!(event.key.as_str() >= key && event.current.is_some() && event.prev.is_none());
                found += 1;
            }
            assert_eq!(found, expected, "{key:?} {key_end:?}");
        }
    }
    for bad in [
        request("b", Some("b"), true),
        request("b", Some("a"), true),
        request(&"k".repeat(65_001), None, true),
        pb::WatchRequest { filter_type: 3, ..request("b", None, true) },
    ] {
        assert_eq!(watch(&client, bad).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

/// How many keys the writers share.
const KEYS: u32 = 40;
/// Writes of each writer.
const WRITES: u32 = 100;

async fn write_at_random(mut client: Client, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..WRITES {
        let key = format!("w/{:03}", random.random_range(0..KEYS));
        match random.random_range(0..10) {
            0 => client.delete(&key).await.unwrap(),
            1 => {
                let steps = vec![delete_by_prefix("w/00"), put(&key), put("w/000"), put(&key)];
                client.transact(steps).await.unwrap();
            }
            2 => put_for(&mut client, &key, random.random_range(0..20)).await,
            _ => {
                client.put(&key, &[7; 100]).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_that_come_at_any_moment_to_any_node_miss_nothing_and_see_nothing_twice() {
    let cluster = Cluster::formed(Layout::voters(3)).await;
    let mut writers = JoinSet::new();
    for seed in 0..6 {
        writers.spawn(write_at_random(cluster.client(1 + seed % 3).await, seed));
    }
    let mut watchers = JoinSet::new();
    let mut random = StdRng::seed_from_u64(99);
    for n in 0..15 {
        let id = 1 + n % 3;
        let (client, pause) = (cluster.client(id).await, Duration::from_millis(random.random_range(0..120)));
        sleep(pause).await;
        if n == 7 {
            cluster.server(id).admin("/v1/ctrl/trigger_snapshot").await;
        }
        watchers.spawn(async move {
            let mut watcher = Watcher::start(&client, "w/", "w0").await;
            watcher.until("w/end").await;
            (id, watcher)
        });
    }
    writers.join_all().await;
    // Late enough that nothing is left to expire.
    sleep(Duration::from_millis(50)).await;
    cluster.client(2).await.put("w/end", b"").await.unwrap();
    let watchers = timeout(DEADLINE, watchers.join_all()).await.expect("every watcher is told of the last write");
    cluster.wait_applied_everywhere().await;
    assert!(watchers.iter().any(|(_, watcher)| watcher.changes > 100), "all came when nothing was written any more");
    for (id, watcher) in watchers {
        let exported = cluster.export(id).await.keys.into_iter().filter(|(key, _)| key.starts_with("w/"));
        let exported: Vec<(String, Value)> = exported.map(|(key, record)| (key, record["seq"].clone())).collect();
        let watched = watcher.records.into_iter().map(|(key, record)| (key, json!(record.seq)));
        assert_eq!(watched.collect::<Vec<_>>(), exported, "a watcher of node {id}, after {} changes", watcher.changes);
    }
}

#[tokio::test]
async fn who_does_not_read_is_cut_off_and_told_and_holds_up_nobody() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let mut client = server.client().await;
    let mut slow = Watcher::start(&client, "k", "l").await;
    let mut other = Watcher::start(&server.client().await, "k", "l").await;
    for n in 0..40 {
        let value = vec![n; 1_000_000];
        let put = pb::TxnPutRequest { key: format!("k{n}"), value, ..Default::default() };
        client.transact(vec![Op::Put(put)]).await.unwrap();
        other.next().await.unwrap();
    }
    let ended = loop {
        if let Err(status) = slow.next().await {
            break status;
        }
    };
    assert_eq!(ended.code(), Code::ResourceExhausted, "{ended}");
    assert!(ended.message().contains("too slow"), "{ended}");
    assert!((20..40).contains(&slow.changes), "{} changes were kept", slow.changes);
    assert_eq!(other.changes, 40);
}

#[tokio::test]
async fn a_watch_ends_with_the_server_and_does_not_hold_it() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let client = server.client().await;
    let mut watcher = Watcher::start(&client, "k", "l").await;
    let mut line = start_tool(&server, "k").await;
    let (code, took) = server.stop(Signal::TERM).await;
    assert_eq!(code, Some(0));
    // Exports and reads are given two seconds to end by themselves; a watch never would.
    assert!(took < Duration::from_secs(2), "stopping took {took:?}");
    let ended = watcher.next().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable, "{ended}");
    let ran = line.end().await.expect(1);
    assert!(ran.stderr.starts_with("error: Watch at 127.0.0.1:"), "{}", ran.stderr);
}

/// A `metactl watch` whose lines are read.
struct ToolWatch {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// Starts the tool, and takes the mark that ends what there is.
async fn start_tool(server: &Server, prefix: &str) -> ToolWatch {
    let mut child = start_metactl([&"watch", &"--prefix", &prefix, &"--grpc-api-address", &server.grpc_address()]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while next_line(&mut lines).await != "received-watch-event: CHANGE:None" {}
    ToolWatch { child, lines }
}

async fn next_line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    timeout(DEADLINE, lines.next_line()).await.expect("a line in time").unwrap().expect("a line")
}

impl ToolWatch {
    async fn end(&mut self) -> Ran {
        let child = std::mem::replace(&mut self.child, start_metactl([&"--version"]));
        ended(child).await
    }
}

#[tokio::test]
async fn the_tool_prints_events_as_the_real_one_does_until_it_is_interrupted() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let mut client = server.client().await;
    client.put("a/b", b"world").await.unwrap();
    let address = server.grpc_address();
    let mut child = start_metactl([&"watch", &"--prefix", &"a/", &"--timeout", &"5", &"--grpc-api-address", &address]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = next_line(&mut lines).await;
    let proposed = first
        .strip_prefix("received-watch-event: INIT:(a/b: None -> (seq=1 [proposed=")
        .and_then(|rest| rest.strip_suffix("] 'world'))"))
        .unwrap_or_else(|| panic!("{first}"));
    assert!(proposed.len() == "2026-11-22T12:08:45.325".len() && proposed.starts_with("20"), "{first}");
    assert_eq!(next_line(&mut lines).await, "received-watch-event: CHANGE:None");
    client.put("b", b"elsewhere").await.unwrap();
    client.delete("a/b").await.unwrap();
    assert_eq!(
        next_line(&mut lines).await,
        format!("received-watch-event: CHANGE:(a/b: (seq=1 [proposed={proposed}] 'world') -> None)")
    );
    put_for(&mut client, "a/c", 60_000).await;
    let expiring = next_line(&mut lines).await;
    assert!(expiring.starts_with("received-watch-event: CHANGE:(a/c: None -> (seq=3 [expire=20"), "{expiring}");
    assert!(expiring.contains(", proposed=20"), "{expiring}");

    let id = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), Signal::INT).unwrap();
    let ran = ended(child).await.expect(0);
    assert_eq!(ran.stderr, "");
}

#[tokio::test]
async fn the_tool_says_that_its_server_is_gone() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let mut watch = start_tool(&server, "").await;
    let address = server.grpc_address().to_owned();
    server.kill().await;
    let ran = watch.end().await.expect(1);
    let told = format!("error: {address} is gone: the connection broke in the middle of Watch");
    assert!(ran.stderr.starts_with(&told), "{}", ran.stderr);
    assert_eq!(watch.lines.next_line().await.unwrap(), None);
    let ran = metactl([&"watch", &"--prefix", &"", &"--grpc-api-address", &address]).await.expect(1);
    assert!(ran.stderr.contains(&format!("cannot connect to {address}")), "{}", ran.stderr);
}
