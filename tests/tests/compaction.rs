//! Compaction while a client writes and others export: nothing is lost, what an export has begun with stays as it is,
//! and the old base goes when nobody reads it any more.

use integration_tests::{
    client::{lines, rest},
    folder,
    server::{Server, Settings},
    tool::args,
    wait,
    writer::{Writer, state_after},
};
use meta_proto::pb::{self, txn_op::Request as Op};
use rustix::process::Signal;
use tonic::Code;

use crate::export_while_writing::assert_exact;

/// So that a state of 200 keys is more than a server and a client hold between them of an export that is not read.
const VALUE: usize = 2000;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_no_view_changes_while_bases_come_and_go() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    // The log is purged right behind the base, unless an export needs it.
    let more = args([&"--max-applied-log-to-keep", &"0"]);
    let server = Server::start_leading(Settings { more, ..Settings::single(&raft_dir) }).await;
    let writer = Writer::start(&server, VALUE).await;
    writer.writes(300).await;
    let mut client = server.client().await;
    let mut held = Vec::new();
    let mut snapshots = Vec::new();
    for _ in 0..4 {
        // A chunk a line, so that the server cannot send it all before it is read.
        let mut slow = client.export(Some(1)).await.unwrap();
        let first = slow.message().await.unwrap().unwrap();
        held.push((first, slow));
        let before = server.admin("/v1/cluster/status").await["snapshot_last_log_id"]["index"].as_u64();
        assert!(server.admin("/v1/ctrl/trigger_snapshot").await.is_null());
        let made = wait::until("a newer snapshot", async || {
            let status = server.admin("/v1/cluster/status").await;
            status["snapshot_last_log_id"]["index"].as_u64().filter(|made| Some(*made) > before)
        })
        .await;
        snapshots.push(made);
        writer.writes(100).await;
        let chunks = rest(client.export(None).await.unwrap()).await.unwrap();
        assert_exact(&writer, lines(&chunks));
    }
    assert!(folder::bases(&raft_dir).len() > 1, "the views that are held need older bases");

    for (at, (first, slow)) in held.into_iter().enumerate() {
        let chunks: Vec<_> = std::iter::once(first).chain(rest(slow).await.unwrap()).collect();
        let applied = assert_exact(&writer, lines(&chunks));
        assert!(applied <= snapshots[at], "export {at} is of {applied}, before snapshot {}", snapshots[at]);
    }
    wait::until_true("the old bases to go", || folder::bases(&raft_dir).len() == 1).await;
    wait::until("the log to be purged", async || {
        let status = server.admin("/v1/cluster/status").await;
        (status["purged"]["index"].as_u64() >= snapshots.last().copied()).then_some(())
    })
    .await;

    let (state, sequence) = state_after(writer.stop().await, VALUE);
    assert_eq!(client.list("").await.unwrap(), state);
    server.kill().await;
    let server = Server::start_leading(Settings::single(&raft_dir)).await;
    let mut client = server.client().await;
    assert_eq!(client.list("").await.unwrap(), state);
    assert_eq!(client.put("next", b"").await.unwrap(), sequence + 1);
    assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
    assert_eq!(folder::bases(&raft_dir).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_dropped_lets_go_of_its_base() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    let server = Server::start_leading(Settings::single(&raft_dir)).await;
    let mut client = server.client().await;
    for n in 0..400 {
        client.put(&format!("k{n}"), &[7; 3000]).await.unwrap();
    }
    server.admin("/v1/ctrl/trigger_snapshot").await;
    wait::until_true("the first base", || folder::bases(&raft_dir).len() == 1).await;
    let mut slow = client.export(Some(1)).await.unwrap();
    slow.message().await.unwrap().unwrap();
    client.put("one more", b"").await.unwrap();
    server.admin("/v1/ctrl/trigger_snapshot").await;
    wait::until_true("a second base", || folder::bases(&raft_dir).len() == 2).await;
    drop(slow);
    wait::until_true("the first base to go", || folder::bases(&raft_dir).len() == 1).await;
}

#[tokio::test]
async fn what_has_grown_large_in_memory_is_compacted_without_being_asked() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    let more = args([&"--compact-above", &"5000000"]);
    let server = Server::start_leading(Settings { more, ..Settings::single(&raft_dir) }).await;
    let mut client = server.client().await;
    let mut written = 0;
    while server.admin("/v1/cluster/status").await["snapshot_last_log_id"].is_null() {
        // What is written while the base is built comes on top.
        assert!(written < 600, "no compaction after {written} times 50 kB");
        client.transact(vec![put(written)]).await.unwrap();
        written += 1;
    }
    assert!(written >= 100, "compacted after {written} times 50 kB");
    server.kill().await;
    let server = Server::start_leading(Settings::single(&raft_dir)).await;
    let found = server.client().await.list("large/").await.unwrap();
    assert_eq!(found.len(), written);
    assert!(found.values().all(|(_, data)| data.len() == 50_000));
}

fn put(n: usize) -> Op {
    Op::Put(pb::TxnPutRequest { key: format!("large/{n}"), value: vec![1; 50_000], ..pb::TxnPutRequest::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_takes_too_long_ends_with_an_error_and_lets_go_of_its_base() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    let more = args([&"--export-pin-limit", &"1000"]);
    let server = Server::start_leading(Settings { more, ..Settings::single(&raft_dir) }).await;
    let mut client = server.client().await;
    for n in 0..40 {
        client.transact(vec![put(n)]).await.unwrap();
    }
    server.admin("/v1/ctrl/trigger_snapshot").await;
    wait::until_true("the first base", || folder::bases(&raft_dir).len() == 1).await;
    let mut slow = client.export(Some(1)).await.unwrap();
    slow.message().await.unwrap().unwrap();
    client.put("one more", b"").await.unwrap();
    server.admin("/v1/ctrl/trigger_snapshot").await;
    wait::until_true("a second base", || folder::bases(&raft_dir).len() == 2).await;
    wait::until_true("the first base to go", || folder::bases(&raft_dir).len() == 1).await;
    let end = rest(slow).await.unwrap_err();
    assert_eq!(end.code(), Code::DeadlineExceeded, "{end}");
}
