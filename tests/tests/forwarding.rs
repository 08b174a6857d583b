//! Writes and reads through members that do not lead: they do and answer what the leader would.

use std::{collections::BTreeMap, time::Duration};

use integration_tests::{
    client::Client,
    cluster::{Cluster, Layout},
    fixtures, wait,
};
use meta_proto::pb::{self, txn_op::Request as Op};
use serde_json::json;
use tokio::{task::JoinSet, time::sleep};
use tonic::{Code, Status, metadata::MetadataMap};

const LEADER: &str = "x-databend-meta-leader-grpc-endpoint";
/// Writers while the leader is killed.
const WRITERS: usize = 8;

async fn restored() -> Cluster {
    Cluster::restored(Layout::voters(3), &fixtures::path("v004.ndjson")).await
}

fn followers(cluster: &Cluster, leader: u64) -> Vec<u64> {
    cluster.ids().into_iter().filter(|id| *id != leader).collect()
}

fn leader_of(metadata: &MetadataMap) -> Option<&str> {
    metadata.get(LEADER).map(|address| address.to_str().unwrap())
}

fn upsert(key: &str, seq: &serde_json::Value, value: &[u8]) -> serde_json::Value {
    json!({"UpsertKV": {"key": key, "seq": seq, "value": {"Update": value}, "value_meta": null}})
}

fn message(request: &serde_json::Value) -> pb::RaftRequest {
    pb::RaftRequest { data: request.to_string() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_answers_as_the_leader_does_and_says_who_that_is() {
    let cluster = restored().await;
    let leader = cluster.wait_for_leader().await;
    let leader_address = cluster.member(leader).grpc_address();
    for id in cluster.ids() {
        let expected = (id != leader).then_some(leader_address);
        let mut client = cluster.client(id).await;
        let key = format!("forwarding/{id}");

        let request = client.request(message(&upsert(&key, &json!({"GE": 0}), b"one")));
        let reply = client.rpc.kv_api(request).await.unwrap();
        assert_eq!(leader_of(reply.metadata()), expected, "the leader as told by {id}, write");
        let reply: serde_json::Value = serde_json::from_str(&reply.into_inner().data).unwrap();
        let seq = reply["result"]["seq"].as_u64().unwrap();
        assert_eq!(reply["prev"], json!(null));

        // One that does not match changes nothing; one that does, does.
        let refused = client.kv_api(&upsert(&key, &json!({"Exact": 0}), b"two")).await.unwrap();
        assert_eq!((&refused["prev"]["seq"], &refused["result"]["seq"]), (&json!(seq), &json!(seq)));
        let taken = client.kv_api(&upsert(&key, &json!({"Exact": seq}), b"two")).await.unwrap();
        assert_eq!(taken["prev"]["seq"], json!(seq));

        let request = client.request(message(&json!({"GetKV": {"key": key}})));
        let reply = client.rpc.kv_read_v1(request).await.unwrap();
        assert_eq!(leader_of(reply.metadata()), expected, "the leader as told by {id}, read");
        let item = reply.into_inner().message().await.unwrap().unwrap();
        assert_eq!((item.key.as_str(), item.value.unwrap().data), (key.as_str(), b"two".to_vec()));

        let operations = vec![
            Op::Get(pb::TxnGetRequest { key: key.clone() }),
            Op::Put(pb::TxnPutRequest { key: format!("{key}/txn"), value: b"three".into(), ..Default::default() }),
        ];
        let if_then = operations.into_iter().map(|request| pb::TxnOp { request: Some(request) }).collect();
        let request = client.request(pb::TxnRequest { if_then, ..Default::default() });
        let reply = client.rpc.transaction(request).await.unwrap();
        assert_eq!(leader_of(reply.metadata()), expected, "the leader as told by {id}, transaction");
        let reply = reply.into_inner();
        assert_eq!((reply.success, reply.execution_path.as_str(), reply.responses.len()), (true, "then", 2));
    }
    let listed = cluster.client(leader).await.list("forwarding/").await.unwrap();
    assert_eq!(listed.len(), 2 * cluster.ids().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_values_go_through_and_larger_ones_are_refused_as_the_leader_refuses_them() {
    let cluster = restored().await;
    let leader = cluster.wait_for_leader().await;
    let large = vec![7; 1024 * 1024 - 64];
    let (mut refusals, mut listed) = (Vec::new(), Vec::new());
    for id in cluster.ids() {
        let mut client = cluster.client(id).await;
        for n in 0..3 {
            client.put(&format!("large/{id}/{n}"), &large).await.unwrap();
        }
        let refused = client.put("large/too", &vec![7; 1024 * 1024]).await.unwrap_err();
        refusals.push((refused.code(), refused.message().to_owned()));
    }
    for id in cluster.ids() {
        let read = cluster.client(id).await.list("large/").await.unwrap();
        assert!(read.values().all(|(_, value)| *value == large));
        listed.push(read.into_keys().collect::<Vec<_>>());
    }
    assert_eq!(refusals[0].0, Code::InvalidArgument);
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:?}");
    assert_eq!(listed[0].len(), 9);
    assert!(listed.iter().all(|keys| *keys == listed[0]), "read through each node, of which {leader} leads");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_stall_hold_up_no_others() {
    let cluster = restored().await;
    let leader = cluster.wait_for_leader().await;
    let follower = followers(&cluster, leader)[0];
    let mut client = cluster.client(follower).await;
    for n in 0..24 {
        client.put(&format!("stall/{n:02}"), &vec![1; 512 * 1024]).await.unwrap();
    }
    let mut stalled = Vec::new();
    for _ in 0..40 {
        let mut reader = cluster.client(follower).await;
        let mut items = reader.read(&json!({"ListKV": {"prefix": "stall/"}})).await.unwrap();
        items.message().await.unwrap().unwrap();
        stalled.push(items);
    }
    assert_eq!(client.list("stall/").await.unwrap().len(), 24);
    client.put("stall/more", b"x").await.unwrap();
    // Nor are they harmed themselves.
    let mut rest = 0;
    while let Some(item) = stalled[0].message().await.unwrap() {
        assert_eq!(item.value.unwrap().data.len(), 512 * 1024);
        rest += 1;
    }
    assert_eq!(rest, 23);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_whose_leader_dies_in_the_middle_fails() {
    let mut cluster = restored().await;
    let leader = cluster.wait_for_leader().await;
    let mut client = cluster.client(followers(&cluster, leader)[0]).await;
    for n in 0..32 {
        client.put(&format!("cut/{n:02}"), &vec![1; 512 * 1024]).await.unwrap();
    }
    let mut items = client.read(&json!({"ListKV": {"prefix": "cut/"}})).await.unwrap();
    items.message().await.unwrap().unwrap();
    cluster.kill(leader).await;
    let mut read = 1;
    let error = loop {
        match items.message().await {
            Ok(Some(_)) => read += 1,
            Ok(None) => panic!("a stream of {read} items, of 32, looks complete"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    // Whoever leads next answers.
    assert_eq!(client.list("cut/").await.unwrap().len(), 32);
}

/// What became of one write, as its client was told.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    NotDone,
    Unknown,
}

fn outcome(result: Result<pb::TxnReply, Status>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(status) if status.code() == Code::Unavailable => Outcome::NotDone,
        Err(status) if status.code() == Code::Unknown => Outcome::Unknown,
        Err(other) => panic!("neither done, nor not done, nor unknown: {other}"),
    }
}

/// Appends one record under a number of its own, which shows how often it took effect.
async fn append(client: &mut Client, value: &str) -> Outcome {
    let put = pb::PutSequential {
        prefix: "once/".into(),
        sequence_key: "once-number".into(),
        value: value.into(),
        ..Default::default()
    };
    outcome(client.transact(vec![Op::PutSequential(put)]).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_take_effect_at_most_once_while_leaders_are_killed() {
    let mut cluster = restored().await;
    let mut leader = cluster.wait_for_leader().await;
    let mut outcomes = BTreeMap::new();
    for round in 0..2 {
        let followers = followers(&cluster, leader);
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let mut client = cluster.client(followers[writer % followers.len()]).await;
            writers.spawn(async move {
                let mut outcomes = Vec::new();
                for n in 0.. {
                    let value = format!("{round}/{writer}/{n}");
                    let outcome = append(&mut client, &value).await;
                    let after_the_kill = outcome != Outcome::Done;
                    outcomes.push((value, outcome));
                    if after_the_kill || n > 5000 {
                        break;
                    }
                }
                // And on, with whoever leads next.
                for n in 0..20 {
                    let value = format!("{round}/{writer}/after/{n}");
                    let outcome = append(&mut client, &value).await;
                    outcomes.push((value, outcome));
                }
                outcomes
            });
        }
        sleep(Duration::from_millis(300)).await;
        cluster.kill(leader).await;
        for written in writers.join_all().await {
            outcomes.extend(written);
        }
        cluster.start(leader).await;
        leader = wait::until("a leader", || cluster.leader()).await;
        cluster.wait_applied_everywhere().await;
    }

    let mut client = cluster.client(leader).await;
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for (_, value) in client.list("once/").await.unwrap().into_values() {
        *times.entry(String::from_utf8(value).unwrap()).or_default() += 1;
    }
    for (value, outcome) in &outcomes {
        let times = times.remove(value).unwrap_or_default();
        match outcome {
            Outcome::Done => assert_eq!(times, 1, "{value} was acknowledged"),
            Outcome::NotDone => assert_eq!(times, 0, "{value} was said not to be done"),
            Outcome::Unknown => assert!(times <= 1, "{value} took effect {times} times"),
        }
    }
    assert!(times.is_empty(), "nobody wrote {times:?}");
    let done = outcomes.values().filter(|outcome| **outcome == Outcome::Done).count();
    assert!(done > 2 * WRITERS * 20, "{done} writes were done, which includes none before the kills");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_alone_says_so_soon_and_sends_nobody_elsewhere() {
    let mut cluster = restored().await;
    let leader = cluster.wait_for_leader().await;
    let followers = followers(&cluster, leader);
    let mut client = cluster.client(followers[0]).await;
    cluster.kill(leader).await;
    cluster.kill(followers[1]).await;
    // The first waits for an election; those after it know better.
    let first = client.put("alone", b"x").await.unwrap_err();
    assert_eq!(first.code(), Code::Unavailable, "{first}");
    let began = std::time::Instant::now();
    let second = client.get("alone").await.unwrap_err();
    assert_eq!(second.code(), Code::Unavailable, "{second}");
    assert!(began.elapsed() < Duration::from_millis(1500), "it took {:?}", began.elapsed());
}
