//! Reads and writes over the wire, as Databend's clients send them; and the tool's `get` and `upsert`.

use std::net::TcpListener;

use integration_tests::{
    client::Client,
    server::{Server, Settings, free_port},
    tool::metactl,
    wait,
};
use meta_proto::pb::{self, txn_condition::Target, txn_op::Request as Op, txn_op_response::Response as Reply};
use serde_json::{Value, json};
use tonic::Code;

async fn server(temp: &tempfile::TempDir) -> Server {
    Server::start_leading(Settings::single(&temp.path().join("meta"))).await
}

/// Seq and data of a record in JSON.
fn brief(record: &Value) -> Value {
    match record {
        Value::Null => Value::Null,
        record => json!([record["seq"], record["data"]]),
    }
}

#[tokio::test]
async fn upserts_answer_with_the_record_before_and_after() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let mut client = server.client().await;
    let any = json!({"GE": 0});
    for (key, matches, value, before, after) in [
        ("a", any.clone(), json!({"Update": [1, 2]}), json!(null), json!([1, [1, 2]])),
        ("a", json!("Any"), json!({"Update": []}), json!([1, [1, 2]]), json!([2, []])),
        ("a", json!({"Exact": 1}), json!({"Update": [9]}), json!([2, []]), json!([2, []])),
        ("a", json!({"Exact": 2}), json!({"Update": [3]}), json!([2, []]), json!([3, [3]])),
        ("a", any.clone(), json!("AsIs"), json!([3, [3]]), json!([4, [3]])),
        ("b", any.clone(), json!("AsIs"), json!(null), json!(null)),
        ("b", json!({"Exact": 0}), json!({"Update": [5]}), json!(null), json!([5, [5]])),
        ("b", json!({"GE": 6}), json!("Delete"), json!([5, [5]]), json!([5, [5]])),
        ("b", any.clone(), json!("Delete"), json!([5, [5]]), json!(null)),
        ("b", any.clone(), json!("Delete"), json!(null), json!(null)),
        ("ключ/\"\u{1F511}\"", any, json!({"Update": [0, 255]}), json!(null), json!([6, [0, 255]])),
    ] {
        let upsert = json!({"UpsertKV": {"key": key, "seq": matches, "value": value, "value_meta": null}});
        let reply = client.kv_api(&upsert).await.unwrap();
        assert_eq!((brief(&reply["prev"]), brief(&reply["result"])), (before, after), "{upsert}");
        assert_eq!(reply["ident"], Value::Null);
    }
    for bad in [json!({}), json!({"UpsertKV": {"key": "a"}}), json!({"GetKV": {"key": "a"}})] {
        assert_eq!(client.kv_api(&bad).await.unwrap_err().code(), Code::InvalidArgument, "{bad}");
    }
}

#[tokio::test]
async fn reads_give_an_item_for_each_key_asked_for_or_listed() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let mut client = server.client().await;
    for key in ["a/1", "a/2", "b/1"] {
        client.put(key, key.as_bytes()).await.unwrap();
    }
    let long = "é".repeat(40_000);
    for (request, expected) in [
        (json!({"GetKV": {"key": "a/2"}}), vec![("a/2", Some(2))]),
        (json!({"GetKV": {"key": "none"}}), vec![("none", None)]),
        (json!({"MGetKV": {"keys": ["b/1", "x", "a/1"]}}), vec![("b/1", Some(3)), ("x", None), ("a/1", Some(1))]),
        (json!({"ListKV": {"prefix": "a/"}}), vec![("a/1", Some(1)), ("a/2", Some(2))]),
        (json!({"ListKV": {"prefix": "c"}}), vec![]),
        // Longer than any key that is stored, and than the engine could ask for.
        (json!({"MGetKV": {"keys": ["a/1", long, "a/2"]}}), vec![("a/1", Some(1)), (&long, None), ("a/2", Some(2))]),
        (json!({"ListKV": {"prefix": long}}), vec![]),
    ] {
        let mut items = client.read(&request).await.unwrap();
        let mut found = Vec::new();
        while let Some(item) = items.message().await.unwrap() {
            assert!(item.value.as_ref().is_none_or(|value| value.data == item.key.as_bytes()));
            found.push((item.key, item.value.map(|value| value.seq)));
        }
        let found: Vec<_> = found.iter().map(|(key, seq)| (key.as_str(), *seq)).collect();
        assert_eq!(found, expected, "{request}");
    }
}

#[tokio::test]
async fn a_request_above_the_limits_is_refused_and_nothing_is_written() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let mut client = server.client().await;
    for (key, len) in [(String::new(), 1), ("k".repeat(65_001), 1), ("k".to_owned(), 1024 * 1024 + 1)] {
        let status = client.put(&key, &vec![0; len]).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "a key of {} bytes: {status}", key.len());
    }
    assert_eq!(client.put(&"k".repeat(65_000), &[0; 900_000]).await.unwrap(), 1);
}

fn put(key: &str, value: &str) -> Op {
    Op::Put(pb::TxnPutRequest { key: key.to_owned(), value: value.into(), ..pb::TxnPutRequest::default() })
}

fn ops(operations: Vec<Op>) -> Vec<pb::TxnOp> {
    operations.into_iter().map(|request| pb::TxnOp { request: Some(request) }).collect()
}

async fn transact(client: &mut Client, request: pb::TxnRequest) -> pb::TxnReply {
    client.rpc.transaction(client.request(request)).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_transaction_runs_the_branch_whose_conditions_hold_and_its_operations_see_each_other() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let mut client = server.client().await;
    let absent = |key: &str| pb::TxnCondition { key: key.to_owned(), expected: 0, target: Some(Target::Seq(0)) };
    let request = pb::TxnRequest {
        condition: vec![absent("lock")],
        if_then: ops(vec![put("lock", "mine"), Op::Get(pb::TxnGetRequest { key: "lock".to_owned() })]),
        else_then: ops(vec![Op::Get(pb::TxnGetRequest { key: "lock".to_owned() })]),
        ..pb::TxnRequest::default()
    };
    let first = transact(&mut client, request.clone()).await;
    assert_eq!((first.success, first.execution_path.as_str(), first.responses.len()), (true, "then", 2));
    assert!(
        matches!(&first.responses[1].response, Some(Reply::Get(got)) if got.value.as_ref().unwrap().data == b"mine")
    );
    let second = transact(&mut client, request).await;
    assert_eq!((second.success, second.execution_path.as_str(), second.responses.len()), (false, "else", 1));

    let branch = |condition, operation| pb::ConditionalOperation {
        predicate: Some(pb::BooleanExpression { conditions: vec![condition], ..pb::BooleanExpression::default() }),
        operations: ops(vec![operation]),
    };
    let count = |delta| {
        let key = "counter".to_owned();
        Op::FetchIncreaseU64(pb::FetchIncreaseU64 { key, delta, ..pb::FetchIncreaseU64::default() })
    };
    let request = pb::TxnRequest {
        operations: vec![branch(absent("lock"), count(100)), branch(absent("counter"), count(7))],
        if_then: ops(vec![count(1)]),
        ..pb::TxnRequest::default()
    };
    let third = transact(&mut client, request.clone()).await;
    assert_eq!((third.success, third.execution_path.as_str()), (true, "operation:1"));
    assert!(matches!(&third.responses[0].response, Some(Reply::FetchIncreaseU64(r)) if (r.before, r.after) == (0, 7)));
    // Now no branch holds, and the old form is considered.
    assert_eq!(transact(&mut client, request).await.execution_path, "then");
    assert_eq!(client.get("counter").await.unwrap().unwrap().data, b"8");

    let sequential = |value: &str| {
        let (prefix, sequence_key) = ("log/".to_owned(), "log-seq".to_owned());
        Op::PutSequential(pb::PutSequential { prefix, sequence_key, value: value.into(), ..Default::default() })
    };
    let reply = client.transact(vec![sequential("a"), sequential("b")]).await.unwrap();
    let keys = reply.responses.iter().map(|response| match &response.response {
        Some(Reply::Put(put)) => put.key.as_str(),
        other => panic!("{other:?} is no answer to a PutSequential"),
    });
    assert_eq!(keys.collect::<Vec<_>>(), ["log/000_000_000_000_000_000_000", "log/000_000_000_000_000_000_001"]);
    let prefix = "log/".to_owned();
    let reply = client.transact(vec![Op::DeleteByPrefix(pb::TxnDeleteByPrefixRequest { prefix })]).await.unwrap();
    assert!(matches!(&reply.responses[0].response, Some(Reply::DeleteByPrefix(deleted)) if deleted.count == 2));
    assert_eq!(transact(&mut client, pb::TxnRequest::default()).await, pb::TxnReply::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_many_clients_take_effect_one_after_the_other() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = server.client().await;
        clients.push(tokio::spawn(async move {
            let mut counted = Vec::new();
            for _ in 0..50 {
                let key = "counter".to_owned();
                let count = Op::FetchIncreaseU64(pb::FetchIncreaseU64 { key, delta: 1, ..Default::default() });
                match client.transact(vec![count]).await.unwrap().responses.remove(0).response {
                    Some(Reply::FetchIncreaseU64(reply)) => counted.push((reply.after, reply.after_seq)),
                    other => panic!("{other:?} is no answer to a FetchIncreaseU64"),
                }
            }
            // A client's own writes are in the order in which it made them.
            assert!(counted.is_sorted());
            counted
        }));
    }
    let mut counted = Vec::new();
    for client in clients {
        counted.extend(client.await.unwrap());
    }
    counted.sort_unstable();
    assert_eq!(counted, (1..=400).map(|n| (n, n)).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_expired_record_is_hidden_from_reads_before_anything_cleans_it() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let mut client = server.client().await;
    client.put("stays", b"1").await.unwrap();
    let upsert =
        json!({"key": "goes", "seq": {"GE": 0}, "value": {"Update": [1]}, "value_meta": {"ttl": {"millis": 1500}}});
    client.kv_api(&json!({"UpsertKV": upsert})).await.unwrap();
    assert!(client.get("goes").await.unwrap().unwrap().meta.unwrap().expire_at.is_some());
    wait::until("the record to expire", async || client_get(&server, "goes").await.is_none().then_some(())).await;
    assert_eq!(client.list("").await.unwrap().keys().collect::<Vec<_>>(), ["stays"]);
    // Nothing was written since, so it is still there, and a backup has it.
    let exported = metactl([&"export", &"--grpc-api-address", &server.grpc_address()]).await.expect(0).stdout;
    assert!(exported.contains("{\"GenericKV\":{\"key\":\"goes\""), "{exported}");
    client.put("stays", b"2").await.unwrap();
    let exported = metactl([&"export", &"--grpc-api-address", &server.grpc_address()]).await.expect(0).stdout;
    assert!(!exported.contains("{\"GenericKV\":{\"key\":\"goes\""), "{exported}");
}

async fn client_get(server: &Server, key: &str) -> Option<pb::SeqV> {
    server.client().await.get(key).await.unwrap()
}

#[tokio::test]
async fn the_tool_writes_and_reads_as_the_real_one_does() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let address = server.grpc_address();
    let upsert = async |value: &str| {
        metactl([&"upsert", &"--key", &"a/b", &"--value", &value, &"--grpc-api-address", &address])
            .await
            .expect(0)
            .stdout
    };
    let get =
        async |key: &str| metactl([&"get", &"--key", &key, &"--grpc-api-address", &address]).await.expect(0).stdout;
    let proposed = async || {
        let record: Value = serde_json::from_str(&get("a/b").await).unwrap();
        record["meta"]["proposed_at_ms"].as_u64().unwrap()
    };
    let shown = |seq, ms| {
        let meta = format!("Some(KVMeta {{ expire_at: None, proposed_at_ms: Some({ms}) }})");
        format!("Some(SeqV {{ seq: {seq}, meta: {meta}, data: \"[binary]\" }})")
    };
    let first = upsert("hello").await;
    let first_ms = proposed().await;
    assert_eq!(first, format!("upsert-result: None: None -> {}\n", shown(1, first_ms)));
    let second = upsert("world").await;
    let second_ms = proposed().await;
    assert_eq!(second, format!("upsert-result: None: {} -> {}\n", shown(1, first_ms), shown(2, second_ms)));
    let expected =
        format!("{{\"seq\":2,\"meta\":{{\"proposed_at_ms\":{second_ms}}},\"data\":[119,111,114,108,100]}}\n");
    assert_eq!(get("a/b").await, expected);
    assert_eq!(get("none").await, "null\n");
}

#[tokio::test]
async fn the_tool_says_which_server_it_cannot_reach() {
    let address = format!("127.0.0.1:{}", free_port());
    let ran = metactl([&"get", &"--key", &"k", &"--grpc-api-address", &address]).await.expect(1);
    assert!(ran.stderr.contains(&address) && ran.stderr.contains("refused"), "{}", ran.stderr);
}

#[tokio::test]
async fn the_tool_gives_up_on_a_server_that_does_not_answer() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let ran = metactl([&"get", &"--key", &"k", &"--timeout", &"1", &"--grpc-api-address", &address]).await.expect(1);
    assert!(ran.stderr.contains(&address) && ran.stderr.contains("within 1 s"), "{}", ran.stderr);
}
