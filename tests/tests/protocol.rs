//! What clients of all kinds find before they ask for anything: handshake, tokens, health, reflection, who they are.

use integration_tests::{
    client::{Client, channel},
    server::{Server, Settings},
};
use meta_proto::pb;
use serde_json::json;
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

async fn server(temp: &tempfile::TempDir) -> Server {
    Server::start_leading(Settings::single(&temp.path().join("meta"))).await
}

#[tokio::test]
async fn a_client_is_served_by_its_version() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    for (version, expected) in [
        (0, Ok(())),
        (1, Err(Code::InvalidArgument)),
        (1_002_675, Err(Code::InvalidArgument)),
        (1_002_676, Ok(())),
        (1_002_869, Ok(())),
        (260_304_000_000, Ok(())),
        (u64::MAX, Ok(())),
    ] {
        let found = Client::handshake(server.grpc_address(), version, "root").await.map(|(_, version)| version);
        // Every present client takes this version, and may use all that it implies.
        assert_eq!(found.map_err(|status| status.code()), expected.map(|()| 260_304_000_000), "{version}");
    }
    let refused = Client::handshake(server.grpc_address(), 0, "nobody").await.err().unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn calls_need_the_token_that_the_handshake_gave() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let mut good = server.client().await;
    good.put("k", b"v").await.unwrap();
    for token in [&b""[..], b"wrong", b"\0\xff"] {
        let mut client = Client::with_token(server.grpc_address(), token).await;
        let code = |status: Result<(), Status>| status.unwrap_err().code();
        assert_eq!(code(client.put("k", b"w").await.map(|_| ())), Code::Unauthenticated);
        assert_eq!(code(client.read(&json!({"GetKV": {"key": "k"}})).await.map(|_| ())), Code::Unauthenticated);
        assert_eq!(code(client.transact(vec![]).await.map(|_| ())), Code::Unauthenticated);
        let members = client.rpc.member_list(client.request(pb::MemberListRequest::default())).await;
        assert_eq!(code(members.map(|_| ())), Code::Unauthenticated);
        // Real clients ask for these without a token.
        client.rpc.get_cluster_status(client.request(pb::Empty {})).await.unwrap();
        client.rpc.get_client_info(client.request(pb::Empty {})).await.unwrap();
        client.export(None).await.unwrap();
    }
    assert_eq!(good.get("k").await.unwrap().unwrap().data, b"v");
}

#[tokio::test]
async fn health_is_serving() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let mut health = HealthClient::new(channel(server.grpc_address()).await);
    for service in ["", "meta.MetaService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service:?}");
    }
    assert_eq!(server.admin("/v1/health").await, json!({"status": "pass"}));
}

/// What `grpcurl list` does, with the old name of the protocol and with the new one.
macro_rules! services {
    ($version:ident, $address:expr) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let mut client = ServerReflectionClient::new(channel($address).await);
        let list = MessageRequest::ListServices(String::new());
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
        let mut replies = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
        match replies.message().await.unwrap().unwrap().message_response {
            Some(MessageResponse::ListServicesResponse(list)) => {
                list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
            }
            other => panic!("{other:?} is no list of services"),
        }
    }};
}

#[tokio::test]
async fn reflection_lists_the_service() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    for found in [services!(v1, server.grpc_address()), services!(v1alpha, server.grpc_address())] {
        assert!(found.iter().any(|name| name == "meta.MetaService"), "{found:?}");
        assert!(found.iter().any(|name| name == "grpc.health.v1.Health"), "{found:?}");
    }
}

#[tokio::test]
async fn a_client_is_told_who_it_is_and_who_the_members_are() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(&temp).await;
    let mut client = server.client().await;
    let info = client.rpc.get_client_info(client.request(pb::Empty {})).await.unwrap().into_inner();
    assert!(info.client_addr.starts_with("127.0.0.1:"), "{}", info.client_addr);
    assert!(info.server_time.is_some_and(|ms| ms > 1_700_000_000_000));
    let members = client.rpc.member_list(client.request(pb::MemberListRequest::default())).await.unwrap();
    assert_eq!(members.into_inner().data, [server.grpc_address()]);
}
