//! Reads sent straight to a leader that has lost the lead without knowing it: none misses a write that was acknowledged
//! before it was sent.

use std::time::Duration;

use integration_tests::{
    client::Client,
    cluster::{Cluster, Layout},
    load::number,
    wait,
};
use tokio::time::timeout;
use tonic::Status;

const KEY: &str = "the/newest";

async fn write(client: &mut Client, value: u64) {
    wait::until("a write to be acknowledged", async || {
        client.clone().put(KEY, value.to_string().as_bytes()).await.ok()
    })
    .await;
}

async fn read(mut client: Client) -> Result<u64, Status> {
    let limit = Duration::from_secs(10);
    let record = timeout(limit, client.get(KEY)).await.map_err(|_| Status::deadline_exceeded("no answer"))??;
    Ok(number(&record.expect("the first write comes before the first read").data))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_frozen_answers_reads_that_wait_for_it_with_nothing_old() {
    let mut cluster = Cluster::seeded(Layout::voters(3), 1).await;
    for round in 1..=3 {
        let old = cluster.wait_for_leader().await;
        let mut waiting = Vec::new();
        for _ in 0..8 {
            waiting.push(cluster.client(old).await);
        }
        write(&mut waiting[0].clone(), 2 * round).await;
        let in_flight: Vec<_> = waiting.iter().map(|client| tokio::spawn(read(client.clone()))).collect();
        cluster.freeze(old);
        let new = cluster.wait_for_leader_other_than(old).await;
        write(&mut cluster.client(new).await, 2 * round + 1).await;
        let sent_after: Vec<_> = waiting.iter().map(|client| tokio::spawn(read(client.clone()))).collect();
        cluster.thaw(old);
        for read in in_flight {
            if let Ok(value) = read.await.unwrap() {
                assert!(value >= 2 * round, "round {round}: {value}");
            }
        }
        for read in sent_after {
            if let Ok(value) = read.await.unwrap() {
                assert_eq!(value, 2 * round + 1, "round {round}");
            }
        }
        let client = waiting.swap_remove(0);
        let answered = wait::until("an answer of the old leader", async || read(client.clone()).await.ok()).await;
        assert_eq!(answered, 2 * round + 1, "round {round}");
        cluster.wait_applied_everywhere().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_killed_and_comes_back_answers_with_nothing_old() {
    let mut cluster = Cluster::seeded(Layout::voters(3), 1).await;
    let mut value = 0;
    for _ in 0..2 {
        let old = cluster.wait_for_leader().await;
        cluster.kill(old).await;
        let new = cluster.wait_for_leader_other_than(old).await;
        let mut writer = cluster.client(new).await;
        value += 1;
        write(&mut writer, value).await;
        cluster.start(old).await;
        let mut answered = 0;
        for _ in 0..100 {
            // Each finds what is written just before, by way of the node that led once.
            value += 1;
            write(&mut writer, value).await;
            if let Ok(read) = read(cluster.client(old).await).await {
                assert_eq!(read, value);
                answered += 1;
            }
        }
        assert!(answered > 50, "{answered} of 100 reads were answered");
    }
}
