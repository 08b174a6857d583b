//! A server in this process, spoken to as clients do: over gRPC and HTTP, on ports of its own.

use std::{fs, io, net::TcpListener, path::Path, time::Duration};

use backup_plugin::record::LogId;
use meta_proto::pb::{
    self, meta_service_client::MetaServiceClient, txn_op::Request as Op, txn_op_response::Response as OpReply,
};
use meta_server::{
    config::{Config, Settings},
    server::{Server, ServerError},
};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use tonic::{Code, Request, metadata::MetadataValue, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

fn settings(raft_dir: &Path) -> Settings {
    let mut settings = Settings {
        admin_api_address: Some("127.0.0.1:0".into()),
        grpc_api_address: Some("127.0.0.1:0".into()),
        ..Settings::default()
    };
    settings.raft_config.raft_dir = Some(raft_dir.into());
    settings.raft_config.id = Some(7);
    settings.raft_config.single = Some(true);
    settings.raft_config.raft_advertise_host = Some("localhost".into());
    settings.raft_config.raft_api_port = Some(free_port());
    settings
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn start(settings: Settings) -> Server {
    Server::start(Config::new(settings).unwrap()).await.unwrap()
}

/// A client that has logged in.
struct Client {
    rpc: MetaServiceClient<Channel>,
    token: Vec<u8>,
}

impl Client {
    async fn login(server: &Server, username: &str, password: &str) -> Result<Self, tonic::Status> {
        let mut rpc = MetaServiceClient::connect(format!("http://{}", server.grpc_address())).await.unwrap();
        let auth = pb::BasicAuth { username: username.into(), password: password.into() };
        let hello = pb::HandshakeRequest { protocol_version: 1_002_869, payload: auth.encode_to_vec() };
        let mut replies = rpc.handshake(tokio_stream::iter([hello])).await?.into_inner();
        let token = replies.message().await?.unwrap().payload;
        Ok(Self { rpc, token })
    }

    fn with_token<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert_bin("auth-token-bin", MetadataValue::from_bytes(&self.token));
        request
    }

    async fn upsert(&mut self, key: &str, value: &[u8]) -> String {
        let data = format!(
            r#"{{"UpsertKV":{{"key":{key:?},"seq":{{"GE":0}},"value":{{"Update":{value:?}}},"value_meta":null}}}}"#
        );
        let request = self.with_token(pb::RaftRequest { data });
        self.rpc.kv_api(request).await.unwrap().into_inner().data
    }

    async fn read(&mut self, data: &str) -> Vec<(String, Option<Vec<u8>>)> {
        let request = self.with_token(pb::RaftRequest { data: data.into() });
        let mut items = self.rpc.kv_read_v1(request).await.unwrap().into_inner();
        let mut read = Vec::new();
        while let Some(item) = items.message().await.unwrap() {
            read.push((item.key, item.value.map(|value| value.data)));
        }
        read
    }

    async fn export(&mut self) -> Vec<String> {
        let request = self.with_token(pb::ExportRequest { chunk_size: Some(10), ..Default::default() });
        let mut chunks = self.rpc.export_v1(request).await.unwrap().into_inner();
        let mut lines = Vec::new();
        while let Some(chunk) = chunks.message().await.unwrap() {
            assert!(chunk.data.len() <= 10);
            lines.extend(chunk.data.iter().map(|line| String::from_utf8(line.to_vec()).unwrap()));
        }
        lines
    }
}

async fn http_get(server: &Server, path: &str) -> serde_json::Value {
    let (head, body) = http(server, path).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    serde_json::from_str(&body).unwrap()
}

/// Head and body of the answer.
async fn http(server: &Server, path: &str) -> (String, String) {
    let mut connection = TcpStream::connect(server.admin_address()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    connection.read_to_string(&mut reply).await.unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_read_exported_and_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(settings(dir.path())).await;
    let mut client = Client::login(&server, "root", "any").await.unwrap();

    let reply = client.upsert("a/1", b"x").await;
    assert!(reply.starts_with(r#"{"ident":null,"prev":null,"result":{"seq":1,"#), "{reply}");
    client.upsert("a/2", b"y").await;
    let put = pb::TxnPutRequest { key: "b".into(), value: b"z".into(), ..Default::default() };
    let txn = pb::TxnRequest { if_then: vec![pb::TxnOp { request: Some(Op::Put(put)) }], ..Default::default() };
    let reply = client.rpc.transaction(client.with_token(txn)).await.unwrap().into_inner();
    assert!(reply.success);
    assert!(matches!(&reply.responses[0].response, Some(OpReply::Put(put)) if put.key == "b"));

    let [a_1, a_2] = [("a/1", b"x"), ("a/2", b"y")].map(|(key, data)| (key.to_owned(), Some(data.to_vec())));
    assert_eq!(client.read(r#"{"GetKV":{"key":"a/1"}}"#).await, std::slice::from_ref(&a_1));
    assert_eq!(client.read(r#"{"MGetKV":{"keys":["none","a/2"]}}"#).await, [("none".to_owned(), None), a_2.clone()]);
    assert_eq!(client.read(r#"{"ListKV":{"prefix":"a/"}}"#).await, [a_1.clone(), a_2.clone()]);

    let lines = client.export().await;
    assert!(lines[0].starts_with(r#"["header""#), "{}", lines[0]);
    let records = lines.iter().filter(|line| line.contains("GenericKV"));
    assert_eq!(records.count(), 3);
    let old_client_lines = {
        let mut chunks = client.rpc.export(pb::Empty {}).await.unwrap().into_inner();
        let mut lines = Vec::new();
        while let Some(chunk) = chunks.message().await.unwrap() {
            lines.extend(chunk.data.iter().map(|line| String::from_utf8(line.to_vec()).unwrap()));
        }
        lines
    };
    assert_eq!(old_client_lines, lines);
    drop(client);
    server.shutdown().await;

    let server = start(settings(dir.path())).await;
    let mut client = Client::login(&server, "root", "any").await.unwrap();
    assert_eq!(client.read(r#"{"ListKV":{"prefix":"a/"}}"#).await, [a_1, a_2]);
    drop(client);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_members_are_told_on_both_ports() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(settings(dir.path())).await;
    let mut client = Client::login(&server, "root", "any").await.unwrap();
    client.upsert("k", b"v").await;
    assert_eq!(http_get(&server, "/v1/health").await, serde_json::json!({"status": "pass"}));

    // The addresses are registered a moment after the node leads.
    let deadline = Instant::now() + Duration::from_secs(5);
    let members = loop {
        let request = client.with_token(pb::MemberListRequest::default());
        let members = client.rpc.member_list(request).await.unwrap().into_inner().data;
        if !members.is_empty() || Instant::now() > deadline {
            break members;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(members, [server.grpc_address().to_string()]);

    let status = client.rpc.get_cluster_status(pb::Empty {}).await.unwrap().into_inner();
    assert_eq!((status.id, status.state.as_str(), status.last_seq), (7, "Leader", 1));
    assert_eq!(
        status.voters,
        [format!("id=7 raft=localhost:{} grpc={}", server.raft_address().port(), server.grpc_address())]
    );
    assert_eq!(http_get(&server, "/v1/cluster/status").await["last_seq"], 1);
    assert_eq!(http_get(&server, "/v1/cluster/nodes").await[0]["name"], "7");

    assert_eq!(http_get(&server, "/v1/ctrl/trigger_snapshot").await, serde_json::Value::Null);
    let deadline = Instant::now() + Duration::from_secs(5);
    while http_get(&server, "/v1/cluster/status").await["snapshot_key_count"] != 1 {
        assert!(Instant::now() < deadline, "no snapshot was built");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(client);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_purged_behind_a_new_base() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.raft_config.max_applied_log_to_keep = Some(2);
    let server = start(settings).await;
    let mut client = Client::login(&server, "root", "any").await.unwrap();
    for n in 0..10 {
        client.upsert(&format!("k{n}"), b"v").await;
    }
    server.node().compact().await.unwrap();

    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let status = server.node().status();
        let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
        if index(status.purged) > 0 {
            assert_eq!(index(status.purged) + 2, index(status.snapshot_last_log_id));
            break;
        }
        assert!(Instant::now() < deadline, "nothing was purged");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(client.read(r#"{"ListKV":{"prefix":"k"}}"#).await.len(), 10);
    drop(client);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_compact_says_so_and_serves_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.raft_config.compact_above = Some(1000);
    let server = start(settings).await;
    // No base can be built where something else lies. The node may have built one by itself already.
    let mut in_the_way: Vec<_> = (2..60).map(|n| dir.path().join(format!("gen-000001/base-{n:06}"))).collect();
    in_the_way.retain(|path| match fs::File::create_new(path) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => panic!("{}: {error}", path.display()),
    });
    let mut client = Client::login(&server, "root", "any").await.unwrap();
    client.upsert("k0", &[7; 2000]).await;
    let (head, body) = http(&server, "/v1/ctrl/trigger_snapshot").await;
    assert!(head.starts_with("HTTP/1.1 500"), "{head}");
    assert!(body.contains("cannot compact") && body.contains("base-0000"), "{body}");

    // By now the node has tried by itself, too.
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.upsert("k1", &[7; 2000]).await;
    assert_eq!(client.read(r#"{"ListKV":{"prefix":"k"}}"#).await.len(), 2);
    assert!(server.node().status().is_leader);

    for path in &in_the_way {
        fs::remove_file(path).unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.node().status().snapshot_key_count != 2 {
        assert!(Instant::now() < deadline, "it was not tried again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(client);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_do_not_wait_for_clients_that_do_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(settings(dir.path())).await;
    let mut client = Client::login(&server, "root", "any").await.unwrap();
    // More than fits between a client that does not read and its server.
    for n in 0..8 {
        let put = |i| pb::TxnPutRequest { key: format!("{n}/{i}"), value: vec![7; 4000], ..Default::default() };
        let if_then = (0..200).map(|i| pb::TxnOp { request: Some(Op::Put(put(i))) }).collect();
        client.rpc.transaction(client.with_token(pb::TxnRequest { if_then, ..Default::default() })).await.unwrap();
    }

    let (mut reads, mut exports, mut refused) = (Vec::new(), Vec::new(), 0);
    for _ in 0..4 {
        let mut stalled = Client::login(&server, "root", "any").await.unwrap();
        for _ in 0..150 {
            let list = stalled.with_token(pb::RaftRequest { data: r#"{"ListKV":{"prefix":""}}"#.into() });
            reads.push(stalled.rpc.kv_read_v1(list).await.unwrap().into_inner());
        }
        for _ in 0..10 {
            match stalled.rpc.export_v1(pb::ExportRequest::default()).await {
                Ok(export) => exports.push(export.into_inner()),
                Err(status) => {
                    assert_eq!(status.code(), Code::ResourceExhausted);
                    refused += 1;
                }
            }
        }
    }
    assert!(!exports.is_empty() && refused > 0, "{} exports run, {refused} were refused", exports.len());

    let write = async {
        client.upsert("k", b"v").await;
        client.read(r#"{"GetKV":{"key":"k"}}"#).await
    };
    let read = timeout(Duration::from_secs(5), write).await.expect("the write is acknowledged, and can be read");
    assert_eq!(read, [("k".to_owned(), Some(b"v".to_vec()))]);
    drop((client, reads, exports));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_need_a_token_are_refused_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(settings(dir.path())).await;
    assert_eq!(Client::login(&server, "mallory", "").await.err().unwrap().code(), Code::Unauthenticated);

    let Client { mut rpc, .. } = Client::login(&server, "root", "any").await.unwrap();
    let refusals = [
        rpc.kv_api(pb::RaftRequest::default()).await.err(),
        rpc.kv_read_v1(pb::RaftRequest::default()).await.err(),
        rpc.transaction(pb::TxnRequest::default()).await.err(),
        rpc.member_list(pb::MemberListRequest::default()).await.err(),
    ];
    for refusal in refusals {
        assert_eq!(refusal.unwrap().code(), Code::Unauthenticated);
    }
    assert!(rpc.get_cluster_status(pb::Empty {}).await.is_ok());
    assert!(rpc.get_client_info(pb::Empty {}).await.is_ok());
    assert!(rpc.export(pb::Empty {}).await.is_ok());
    assert!(rpc.export_v1(pb::ExportRequest::default()).await.is_ok());
    drop(rpc);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_find_out_what_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(settings(dir.path())).await;
    let channel = Channel::from_shared(format!("http://{}", server.grpc_address())).unwrap().connect().await.unwrap();

    let mut health = HealthClient::new(channel.clone());
    for service in ["", "meta.MetaService"] {
        let reply = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        assert_eq!(reply.status(), ServingStatus::Serving, "{service:?}");
    }
    // Tools ask for the one or the other version of reflection.
    macro_rules! services {
        ($v:ident) => {{
            use tonic_reflection::pb::$v::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
            };
            let message_request = Some(MessageRequest::ListServices(String::new()));
            let request = ServerReflectionRequest { host: String::new(), message_request };
            let mut client = ServerReflectionClient::new(channel.clone());
            let mut replies = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
            let Some(MessageResponse::ListServicesResponse(list)) =
                replies.message().await.unwrap().unwrap().message_response
            else {
                panic!("no list of services")
            };
            list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
        }};
    }
    for services in [services!(v1), services!(v1alpha)] {
        assert!(services.contains(&"meta.MetaService".to_owned()), "{services:?}");
    }
    drop((health, channel));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_beyond_the_limits_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(settings(dir.path())).await;
    let mut client = Client::login(&server, "root", "any").await.unwrap();
    for (key, bytes, reason) in [("", 1, "empty key"), ("k", 2 * 1024 * 1024, "the limit is 1048576")] {
        let put = pb::TxnPutRequest { key: key.into(), value: vec![0; bytes], ..Default::default() };
        let txn = pb::TxnRequest { if_then: vec![pb::TxnOp { request: Some(Op::Put(put)) }], ..Default::default() };
        let refusal = client.rpc.transaction(client.with_token(txn)).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument);
        assert!(refusal.message().contains(reason), "{}", refusal.message());
    }
    // The largest value there can be, although JSON makes several bytes of each of its own.
    let largest = vec![10; 1024 * 1024 - 1];
    client.upsert("k", &largest).await;

    // Two bytes each on the wire, and a line of the log that no export could hold.
    let operations = vec![pb::ConditionalOperation::default(); 1_000_000];
    let txn = pb::TxnRequest { operations, ..Default::default() };
    let refusal = client.rpc.transaction(client.with_token(txn)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert!(refusal.message().contains("too many steps"), "{}", refusal.message());

    // A small request for a large reply: the writes in it are made, and that is said.
    let get = Op::Get(pb::TxnGetRequest { key: "k".into() });
    let count = Op::FetchIncreaseU64(pb::FetchIncreaseU64 { key: "n".into(), delta: 1, ..Default::default() });
    let ops = [vec![get; 9_998], vec![count.clone()]].concat();
    let txn = |ops: Vec<Op>| pb::TxnRequest {
        if_then: ops.into_iter().map(|op| pb::TxnOp { request: Some(op) }).collect(),
        ..Default::default()
    };
    let refusal = client.rpc.transaction(client.with_token(txn(ops))).await.unwrap_err();
    assert_eq!(refusal.code(), Code::OutOfRange);
    assert!(refusal.message().contains("its writes took effect"), "{}", refusal.message());
    let reply = client.rpc.transaction(client.with_token(txn(vec![count]))).await.unwrap().into_inner();
    assert!(matches!(&reply.responses[0].response, Some(OpReply::FetchIncreaseU64(n)) if n.before == 1), "{reply:?}");
    drop(client);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_stops_within_seconds_although_a_client_does_not_read_its_export() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(settings(dir.path())).await;
    let mut client = Client::login(&server, "root", "any").await.unwrap();
    for n in 0..8 {
        client.upsert(&format!("k{n}"), &vec![10; 1024 * 1024 - 8]).await;
    }
    let request = client.with_token(pb::ExportRequest::default());
    let mut chunks = client.rpc.export_v1(request).await.unwrap().into_inner();
    chunks.message().await.unwrap().unwrap();

    timeout(Duration::from_secs(8), server.shutdown()).await.expect("the server stops");
    // The rest of it is an error, not an end.
    let rest = async {
        while chunks.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    };
    assert!(timeout(Duration::from_secs(8), rest).await.expect("the stream ends").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_and_a_store_in_use_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(settings(dir.path())).await;

    let taken = server.grpc_address().to_string();
    let second = Settings { grpc_api_address: Some(taken.clone()), ..settings(&dir.path().join("other")) };
    let error = Server::start(Config::new(second).unwrap()).await.err().unwrap();
    assert_eq!(error.to_string(), format!("cannot listen on {taken} (--grpc-api-address)"));

    let error = Server::start(Config::new(settings(dir.path())).unwrap()).await.err().unwrap();
    assert!(matches!(error, ServerError::Store(_)), "{error}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_a_node_is_left_as_it_is_and_the_operator_asked() {
    let dir = tempfile::tempdir().unwrap();
    let mistyped = dir.path().join("mistyped");
    let mut settings = settings(&mistyped);
    settings.raft_config.single = None;
    let error = Server::start(Config::new(settings).unwrap()).await.err().unwrap().to_string();
    for flag in ["--single", "--join", "--import"] {
        assert!(error.contains(flag), "{error}");
    }
    assert!(!mistyped.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_in_the_store_wins() {
    let dir = tempfile::tempdir().unwrap();
    start(settings(dir.path())).await.shutdown().await;

    let mut settings = settings(dir.path());
    settings.raft_config.id = Some(8);
    settings.raft_config.single = None;
    let server = start(settings).await;
    assert_eq!(server.node().id(), 7);
    server.shutdown().await;
}
