//! Killed under load: what was acknowledged is there at the next start, and of what was not, the whole or nothing.

use std::time::Duration;

use integration_tests::{
    client::{Client, is_unavailable},
    folder,
    server::{Server, Settings},
    wait,
};
use meta_proto::pb::{self, txn_op::Request as Op};
use tokio::{task::JoinHandle, time::sleep};

const WRITERS: usize = 8;

/// Large enough, now and then, that one entry is many pages on disk.
fn value(writer: usize, n: u64) -> Vec<u8> {
    let len = if n.is_multiple_of(7) { 40_000 } else { 300 };
    format!("{writer}/{n}/").into_bytes().into_iter().cycle().take(len).collect()
}

fn names(writer: usize, n: u64) -> [String; 2] {
    [format!("w{writer}/{n:06}/a"), format!("w{writer}/{n:06}/b")]
}

/// Writes pairs of keys, each pair in one transaction, until the server is gone. Gives the first that was not
/// acknowledged.
fn writer(mut client: Client, writer: usize, from: u64) -> JoinHandle<u64> {
    tokio::spawn(async move {
        for n in from.. {
            let put = |key| Op::Put(pb::TxnPutRequest { key, value: value(writer, n), ..pb::TxnPutRequest::default() });
            if let Err(status) = client.transact(names(writer, n).map(put).into()).await {
                assert!(is_unavailable(&status), "{status}");
                return n;
            }
        }
        from
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_survives_a_kill_and_no_write_is_halved() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    let mut next = [0; WRITERS];
    for (round, pause_ms) in [150, 400, 40, 800, 15, 250].into_iter().enumerate() {
        let server = Server::start_leading(Settings::single(&raft_dir)).await;
        let mut client = server.client().await;
        let found = client.list("").await.unwrap();
        for (writer, next) in next.iter_mut().enumerate() {
            let pair = |n| names(writer, n).map(|key| found.get(&key).map(|(_, data)| data.clone()));
            for n in 0..*next {
                assert_eq!(pair(n), [Some(value(writer, n)), Some(value(writer, n))], "round {round}: {writer}/{n}");
            }
            // The one that was under way.
            match pair(*next) {
                [None, None] => {}
                whole => {
                    assert_eq!(whole, [Some(value(writer, *next)), Some(value(writer, *next))], "round {round}");
                    *next += 1;
                }
            }
        }
        assert_eq!(found.len() as u64, 2 * next.iter().sum::<u64>(), "round {round}: nothing else is there");

        let writers: Vec<_> = next.iter().enumerate().map(|(id, from)| writer(client.clone(), id, *from)).collect();
        // The moment of the crash is not to be in step with anything; one round dies while a base is being written.
        sleep(Duration::from_millis(pause_ms)).await;
        if round == 1 {
            server.admin("/v1/ctrl/trigger_snapshot").await;
        }
        server.kill().await;
        for (next, writer) in next.iter_mut().zip(writers) {
            *next = writer.await.unwrap();
        }
    }
    assert!(next.iter().sum::<u64>() > 0, "something was written");
    let server = Server::start_leading(Settings::single(&raft_dir)).await;
    wait::until_true("what crashes left to be gone", || folder::bases(&raft_dir).len() == 1).await;
    assert_eq!(folder::names(&raft_dir).len(), 3, "LOCK, CURRENT and one generation: {:?}", folder::names(&raft_dir));
    drop(server);
}

#[tokio::test]
async fn a_node_that_was_killed_while_it_started_starts() {
    let temp = tempfile::tempdir().unwrap();
    for first in [0, 5, 10, 20, 40, 80] {
        let raft_dir = temp.path().join(format!("meta-{first}"));
        // Killed once in the middle of making the store, and once in the middle of opening it.
        for pause in [first, 30] {
            let mut starting = Settings::single(&raft_dir).spawn();
            sleep(Duration::from_millis(pause)).await;
            starting.kill().await.unwrap();
        }
        let server = Server::start_leading(Settings::single(&raft_dir)).await;
        assert_eq!(server.client().await.put("k", b"v").await.unwrap(), 1, "killed after {first} ms");
        server.kill().await;
        let server = Server::start(Settings::of(&raft_dir)).await;
        assert!(server.client().await.get("k").await.unwrap().is_some(), "killed after {first} ms");
    }
}
