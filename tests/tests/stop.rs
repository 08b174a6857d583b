//! Signals: the server stops within a few seconds, says 0, and gives its folder back.

use std::time::Duration;

use integration_tests::{
    client::rest,
    server::{Server, Settings},
    tool::export_folder,
    wait,
};
use rustix::process::Signal;

/// "Within a few seconds", on a slow machine that runs other tests too.
const FEW_SECONDS: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_stops_the_server_cleanly_with_a_slow_export_in_flight() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    let mut expected = 0;
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start_leading(Settings::single(&raft_dir)).await;
        let mut client = server.client().await;
        for n in 0..300 {
            client.put(&format!("{signal:?}/{n}"), &[200; 1000]).await.unwrap();
            expected += 1;
        }
        let mut slow = client.export(Some(1)).await.unwrap();
        slow.message().await.unwrap().unwrap();

        let (code, took) = server.stop(signal).await;
        assert_eq!(code, Some(0), "{signal:?}");
        assert!(took < FEW_SECONDS, "{signal:?} took {took:?}");
        // The client reads on, and must not take the part for the whole.
        assert!(rest(slow).await.is_err(), "{signal:?}: the export ended as if it were complete");

        let exported = export_folder(&raft_dir).await;
        assert_eq!(exported.lines().filter(|line| line.contains("{\"GenericKV\":")).count(), expected, "{signal:?}");
    }
    let server = Server::start_leading(Settings::single(&raft_dir)).await;
    assert_eq!(server.client().await.list("").await.unwrap().len(), expected);
}

#[tokio::test]
async fn an_idle_server_stops_at_once() {
    let temp = tempfile::tempdir().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start(Settings::single(&temp.path().join("meta"))).await;
        let idle = server.client().await;
        let (code, took) = server.stop(signal).await;
        assert_eq!(code, Some(0));
        assert!(took < FEW_SECONDS, "{signal:?} took {took:?}");
        drop(idle);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_under_load_loses_nothing_that_was_acknowledged() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    let server = Server::start_leading(Settings::single(&raft_dir)).await;
    let mut writers = Vec::new();
    for writer in 0..8 {
        let mut client = server.client().await;
        writers.push(tokio::spawn(async move {
            let mut written = 0;
            while client.put(&format!("{writer}/{written}"), &[1; 500]).await.is_ok() {
                written += 1;
            }
            written
        }));
    }
    let client = server.client().await;
    wait::until("the load", async || (client.clone().list("").await.unwrap().len() > 200).then_some(())).await;
    let (code, took) = server.stop(Signal::TERM).await;
    assert_eq!(code, Some(0));
    assert!(took < FEW_SECONDS, "{took:?}");

    let server = Server::start_leading(Settings::single(&raft_dir)).await;
    let found = server.client().await.list("").await.unwrap();
    let mut acknowledged = 0;
    for (writer, task) in writers.into_iter().enumerate() {
        let written = task.await.unwrap();
        assert!((0..written).all(|n| found.contains_key(&format!("{writer}/{n}"))), "writer {writer} of {written}");
        acknowledged += written;
    }
    // At most one write of each was under way.
    assert!((acknowledged..=acknowledged + 8).contains(&found.len()), "{} of {acknowledged}", found.len());
}
