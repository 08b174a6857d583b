//! The newer reads and the newer transaction: KvList, KvGetMany, KvTransaction, SnapshotKeysLayout; and what the tool makes of
//! members, layouts and snapshots.

use integration_tests::{
    client::Client,
    cluster::{Cluster, Layout},
    server::{Server, Settings, free_port},
    tool::metactl,
};
use meta_proto::pb::{self, txn_condition::Target, txn_op::Request as Op, txn_op_response::Response as Reply};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status};

const LEADER: &str = "x-databend-meta-leader-grpc-endpoint";

async fn server(temp: &tempfile::TempDir) -> Server {
    Server::start_leading(Settings::single(&temp.path().join("meta"))).await
}

async fn list(client: &mut Client, prefix: &str, limit: Option<u64>) -> Result<Vec<String>, Status> {
    let request = client.request(pb::KvListRequest { prefix: prefix.to_owned(), limit });
    let mut items = client.rpc.kv_list(request).await?.into_inner();
    let mut keys = Vec::new();
    while let Some(item) = items.message().await? {
        assert!(item.value.is_some(), "{} is listed without its record", item.key);
        keys.push(item.key);
    }
    Ok(keys)
}

fn key(key: &str) -> pb::KvGetManyRequest {
    pb::KvGetManyRequest { key: key.to_owned() }
}

#[tokio::test]
async fn a_list_is_in_order_and_no_longer_than_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let mut client = server.client().await;
    for key in ["a/2", "b", "a/1", "a/3"] {
        client.put(key, b"v").await.unwrap();
    }
    let meta = json!({"expire_at": null, "ttl": {"millis": 1}});
    let upsert = json!({"key": "a/0", "seq": {"GE": 0}, "value": {"Update": [1]}, "value_meta": meta});
    client.kv_api(&json!({ "UpsertKV": upsert })).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    for (prefix, limit, expected) in [
        ("a/", None, &["a/1", "a/2", "a/3"][..]),
        ("", None, &["a/1", "a/2", "a/3", "b"]),
        // What has expired does not count.
        ("a/", Some(2), &["a/1", "a/2"]),
        ("a/", Some(0), &[]),
        ("a/", Some(u64::MAX), &["a/1", "a/2", "a/3"]),
        ("c", Some(1), &[]),
    ] {
        assert_eq!(list(&mut client, prefix, limit).await.unwrap(), expected, "{prefix:?} {limit:?}");
    }
}

#[tokio::test]
async fn each_key_of_a_stream_is_read_after_it_was_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let mut client = server.client().await;
    client.put("a", b"1").await.unwrap();
    let (ask, asked) = mpsc::unbounded_channel();
    let request = client.request(UnboundedReceiverStream::new(asked));
    let mut items = client.rpc.kv_get_many(request).await.unwrap().into_inner();
    for (asked, expected) in [("a", Some(1)), ("none", None), ("a", Some(1))] {
        ask.send(key(asked)).unwrap();
        let item = items.message().await.unwrap().unwrap();
        assert_eq!((item.key.as_str(), item.value.map(|value| value.seq)), (asked, expected));
    }
    client.put("a", b"2").await.unwrap();
    for n in 0..500 {
        ask.send(key(if n % 2 == 0 { "a" } else { "b" })).unwrap();
    }
    drop(ask);
    for n in 0..500 {
        let item = items.message().await.unwrap().unwrap();
        let expected = if n % 2 == 0 { ("a", Some(2)) } else { ("b", None) };
        assert_eq!((item.key.as_str(), item.value.map(|value| value.seq)), expected, "item {n}");
    }
    assert_eq!(items.message().await.unwrap(), None);
}

/// The first of two branches if `taken` is absent, otherwise the second.
fn transaction(taken: &str) -> pb::KvTransactionRequest {
    let branch = |condition: Option<pb::TxnCondition>, request| pb::ConditionalOperation {
        predicate: condition
            .map(|condition| pb::BooleanExpression { conditions: vec![condition], ..Default::default() }),
        operations: vec![pb::TxnOp { request: Some(request) }],
    };
    let absent = pb::TxnCondition { key: taken.to_owned(), expected: 0, target: Some(Target::Seq(0)) };
    let put = Op::Put(pb::TxnPutRequest { key: taken.to_owned(), value: b"t".into(), ..Default::default() });
    let get = Op::Get(pb::TxnGetRequest { key: taken.to_owned() });
    pb::KvTransactionRequest { branches: vec![branch(Some(absent), put), branch(None, get)] }
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_forward_transactions_and_say_where_lists_are_served() {
    let cluster = Cluster::formed(Layout::voters(3)).await;
    let leader = cluster.wait_for_leader().await;
    let leader_address = cluster.member(leader).grpc_address();
    for id in cluster.ids() {
        let elsewhere = (id != leader).then_some(leader_address);
        let mut client = cluster.client(id).await;
        let taken = format!("taken/{id}");
        for branch in 0..2 {
            let reply = client.rpc.kv_transaction(client.request(transaction(&taken))).await.unwrap();
            let told = reply.metadata().get(LEADER).map(|address| address.to_str().unwrap());
            assert_eq!(told, elsewhere, "the leader as told by {id}");
            let reply = reply.into_inner();
            assert_eq!(reply.executed_branch, Some(branch));
            match (branch, &reply.responses[0].response) {
                (0, Some(Reply::Put(put))) => assert_eq!((&put.key, &put.prev_value), (&taken, &None)),
                (_, Some(Reply::Get(got))) => assert_eq!(got.value.as_ref().unwrap().data, b"t"),
                other => panic!("{other:?}"),
            }
        }
        let nothing = client.request(pb::KvTransactionRequest::default());
        assert_eq!(client.rpc.kv_transaction(nothing).await.unwrap().into_inner(), Default::default());

        let listed = list(&mut client, &taken, None).await;
        let many = client.request(tokio_stream::once(key(&taken)));
        let many = client.rpc.kv_get_many(many).await;
        if id == leader {
            assert_eq!(listed.unwrap(), [taken.as_str()]);
            assert_eq!(many.unwrap().into_inner().message().await.unwrap().unwrap().value.unwrap().data, b"t");
            continue;
        }
        for refused in [listed.unwrap_err(), many.map(|_| ()).unwrap_err()] {
            assert_eq!(refused.code(), Code::Unavailable, "{refused}");
            assert_eq!(refused.metadata().get(LEADER).unwrap().to_str().unwrap(), leader_address);
        }
    }
    let address = cluster.member(1).grpc_address();
    let listed = metactl([&"member-list", &"--grpc-api-address", &address]).await.expect(0).stdout;
    assert_eq!(listed, cluster.grpc_addresses().iter().map(|address| format!("{address}\n")).collect::<String>());
    let listed = metactl([&"member-list", &"--json", &"--grpc-api-address", &address]).await.expect(0).stdout;
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap(), json!(cluster.grpc_addresses()));
}

#[tokio::test]
async fn the_layout_is_that_of_the_last_snapshot() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let mut client = server.client().await;
    for key in ["databases/1/tables/orders", "databases/1/tables/users", "databases/2", "system/config", "top"] {
        client.put(key, b"v").await.unwrap();
    }
    let (grpc, admin) = (server.grpc_address(), server.admin_address());
    let layout = async |flags: &str| {
        let mut line: Vec<std::ffi::OsString> = ["keys-layout", "--grpc-api-address", grpc].map(Into::into).into();
        line.extend(flags.split_whitespace().map(Into::into));
        integration_tests::tool::run(&integration_tests::binaries::tool(), &line).await.expect(0).stdout
    };
    assert_eq!(layout("").await, " 0\n", "no snapshot was taken");
    let triggered = metactl([&"trigger-snapshot", &"--admin-api-address", &admin]).await.expect(0);
    assert_eq!((triggered.stdout.as_str(), triggered.stderr.as_str()), ("triggered snapshot successfully.\n", ""));
    client.put("later", b"v").await.unwrap();

    let all = "databases/1/tables 2\ndatabases/1 2\ndatabases 3\nsystem 1\n 5\n";
    assert_eq!(layout("").await, all);
    assert_eq!(layout("--depth 1").await, "databases 3\nsystem 1\n 5\n");
    assert_eq!(layout("--depth 2").await, "databases/1 2\ndatabases 3\nsystem 1\n 5\n");
    assert_eq!(layout("--depth 0").await, " 5\n");
    let found: Value = serde_json::from_str(&layout("--json --depth 1").await).unwrap();
    let count = |prefix: &str, count: u64| json!({"prefix": prefix, "count": count});
    assert_eq!(found, json!([count("databases", 3), count("system", 1), count("", 5)]));

    let metrics = metactl([&"metrics", &"--admin-api-address", &admin]).await.expect(0).stdout;
    assert!(metrics.lines().any(|line| line == "metasrv_server_is_leader 1"), "{metrics}");
    let gone = format!("127.0.0.1:{}", free_port());
    let failed = metactl([&"trigger-snapshot", &"--admin-api-address", &gone]).await.expect(1);
    assert!(failed.stderr.contains(&format!("cannot connect to {gone}")), "{}", failed.stderr);
}
