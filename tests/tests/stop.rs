//! Signals: the server stops within a few seconds, says 0, and gives its folder back.

use std::time::Duration;

use integration_tests::{
    client::rest,
    server::{Server, Settings},
    tool::export_folder,
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
