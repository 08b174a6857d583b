//! A client that has none of the protocol's files, as grpcurl has none: it asks the server what its methods and messages are, and
//! makes its calls of that.

use integration_tests::{
    client::channel,
    server::{Server, Settings},
};
use prost::{
    Message,
    bytes::{Buf, BufMut},
};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde_json::{Value, json};
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataValue,
    transport::Channel,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

/// Messages of which only their description is known.
struct Dynamic(MessageDescriptor);

impl Codec for Dynamic {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Dynamic;
    type Decoder = Dynamic;

    fn encoder(&mut self) -> Dynamic {
        Dynamic(self.0.clone())
    }

    fn decoder(&mut self) -> Dynamic {
        Dynamic(self.0.clone())
    }
}

impl Encoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message.encode_to_vec().as_slice());
        Ok(())
    }
}

impl Decoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        DynamicMessage::decode(self.0.clone(), bytes).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// Such a client.
struct Stranger {
    channel: Channel,
    pool: DescriptorPool,
}

impl Stranger {
    async fn meet(address: &str) -> Stranger {
        let channel = channel(address).await;
        let symbol = MessageRequest::FileContainingSymbol("meta.MetaService".to_owned());
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(symbol) };
        let mut client = ServerReflectionClient::new(channel.clone());
        let mut replies = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
        let Some(MessageResponse::FileDescriptorResponse(files)) =
            replies.message().await.unwrap().unwrap().message_response
        else {
            panic!("the server does not describe its service")
        };
        let mut pool = DescriptorPool::new();
        for file in files.file_descriptor_proto {
            pool.decode_file_descriptor_proto(file.as_slice()).unwrap();
        }
        Stranger { channel, pool }
    }

    fn method(&self, name: &str) -> MethodDescriptor {
        let service = self.pool.get_service_by_name("meta.MetaService").unwrap();
        service.methods().find(|method| method.name() == name).unwrap_or_else(|| panic!("no method {name}"))
    }

    /// Calls a method with requests in JSON, and gives its answers in JSON.
    async fn call(&self, name: &str, token: &[u8], requests: Vec<Value>) -> Result<Vec<Value>, Status> {
        let method = self.method(name);
        let requests: Vec<DynamicMessage> =
            requests.into_iter().map(|request| DynamicMessage::deserialize(method.input(), request).unwrap()).collect();
        let mut request = Request::new(tokio_stream::iter(requests));
        request.metadata_mut().insert_bin("auth-token-bin", MetadataValue::from_bytes(token));
        let mut rpc = Grpc::new(self.channel.clone());
        rpc.ready().await.unwrap();
        let path = format!("/meta.MetaService/{name}").parse().unwrap();
        let mut answers = rpc.streaming(request, path, Dynamic(method.output())).await?.into_inner();
        let mut found = Vec::new();
        while let Some(answer) = answers.message().await? {
            found.push(serde_json::to_value(&answer).unwrap());
        }
        Ok(found)
    }
}

#[tokio::test]
async fn a_client_without_the_protocols_files_exports_reads_and_asks_for_the_status() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start_leading(Settings::single(&temp.path().join("meta"))).await;
    let mut client = server.client().await;
    for n in 0..40 {
        client.put(&format!("k{n:02}"), b"v").await.unwrap();
    }
    let stranger = Stranger::meet(server.grpc_address()).await;

    let status = stranger.call("GetClusterStatus", b"", vec![json!({})]).await.unwrap();
    assert_eq!((&status[0]["state"], &status[0]["lastSeq"]), (&json!("Leader"), &json!("40")));

    let chunks = stranger.call("Export", b"", vec![json!({})]).await.unwrap();
    let sizes: Vec<usize> = chunks.iter().map(|chunk| chunk["data"].as_array().unwrap().len()).collect();
    let (last, whole) = sizes.split_last().unwrap();
    assert!(whole.iter().all(|lines| *lines == 32) && (1..=32).contains(last), "{sizes:?}");
    let lines: Vec<&str> =
        chunks.iter().flat_map(|chunk| chunk["data"].as_array().unwrap()).map(|line| line.as_str().unwrap()).collect();
    assert_eq!(lines[0], r#"["header",{"DataHeader":{"key":"header","value":{"version":"V004"}}}]"#);
    assert_eq!(lines.iter().filter(|line| line.contains("GenericKV")).count(), 40);

    let refused = stranger.call("KvGetMany", b"", vec![json!({"key": "k00"})]).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    // As the README has it: the user `root`, without a password.
    let hello = stranger.call("Handshake", b"", vec![json!({"payload": "EgRyb290"})]).await.unwrap();
    let method = stranger.method("Handshake");
    let reply = DynamicMessage::deserialize(method.output(), hello[0].clone()).unwrap();
    let token = reply.get_field_by_name("payload").unwrap().as_bytes().unwrap().clone();
    let items = stranger.call("KvGetMany", &token, vec![json!({"key": "k07"}), json!({"key": "none"})]).await.unwrap();
    assert_eq!((&items[0]["key"], &items[0]["value"]["seq"]), (&json!("k07"), &json!("8")));
    assert_eq!(items[1], json!({"key": "none"}));
}
