//! A gRPC client as Databend's own is: handshake, token, JSON inside of protobuf.

use std::collections::BTreeMap;

use meta_proto::pb::{self, meta_service_client::MetaServiceClient};
use prost::Message;
use serde_json::{Value, json};
use tonic::{
    Code, Request, Status, Streaming,
    metadata::{Binary, MetadataValue},
    transport::Channel,
};

/// The version that present clients say they are, 1.2.869.
const CLIENT_VERSION: u64 = 1_002_869;

/// What a client takes in one message unless it is told otherwise.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;

#[derive(Clone)]
pub struct Client {
    pub rpc: MetaServiceClient<Channel>,
    token: MetadataValue<Binary>,
}

impl Client {
    /// Connects and logs in as real clients do unless they are configured.
    pub async fn log_in(address: &str) -> Result<Client, Status> {
        Client::handshake(address, CLIENT_VERSION, "root").await.map(|(client, _)| client)
    }

    /// Connects and shakes hands; also gives the version that the server says it is.
    pub async fn handshake(address: &str, version: u64, username: &str) -> Result<(Client, u64), Status> {
        let mut rpc = MetaServiceClient::new(connect(address).await?);
        let auth = pb::BasicAuth { username: username.to_owned(), password: "xxx".to_owned() };
        let hello = pb::HandshakeRequest { protocol_version: version, payload: auth.encode_to_vec() };
        let mut replies = rpc.handshake(tokio_stream::once(hello)).await?.into_inner();
        let reply = replies.message().await?.expect("a reply to the handshake");
        Ok((Client { rpc, token: MetadataValue::from_bytes(&reply.payload) }, reply.protocol_version))
    }

    /// Connects without a handshake, with a token from elsewhere.
    pub async fn with_token(address: &str, token: &[u8]) -> Client {
        Client { rpc: MetaServiceClient::new(channel(address).await), token: MetadataValue::from_bytes(token) }
    }

    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert_bin("auth-token-bin", self.token.clone());
        request
    }

    /// One `KvApi` call, JSON in and JSON out.
    pub async fn kv_api(&mut self, request: &Value) -> Result<Value, Status> {
        let request = self.request(pb::RaftRequest { data: request.to_string() });
        let reply = self.rpc.kv_api(request).await?.into_inner();
        assert_eq!(reply.error, "");
        Ok(serde_json::from_str(&reply.data).expect("a reply in JSON"))
    }

    /// Writes a record, whatever is there, and gives its seq.
    pub async fn put(&mut self, key: &str, value: &[u8]) -> Result<u64, Status> {
        let upsert = json!({"key": key, "seq": {"GE": 0}, "value": {"Update": value}, "value_meta": null});
        let reply = self.kv_api(&json!({ "UpsertKV": upsert })).await?;
        Ok(reply["result"]["seq"].as_u64().expect("a seq"))
    }

    /// Removes a record, if it is there.
    pub async fn delete(&mut self, key: &str) -> Result<(), Status> {
        let upsert = json!({"key": key, "seq": {"GE": 0}, "value": "Delete", "value_meta": null});
        self.kv_api(&json!({ "UpsertKV": upsert })).await.map(|_| ())
    }

    /// A transaction without conditions.
    pub async fn transact(&mut self, operations: Vec<pb::txn_op::Request>) -> Result<pb::TxnReply, Status> {
        let if_then = operations.into_iter().map(|request| pb::TxnOp { request: Some(request) }).collect();
        let request = self.request(pb::TxnRequest { if_then, ..pb::TxnRequest::default() });
        Ok(self.rpc.transaction(request).await?.into_inner())
    }

    pub async fn get(&mut self, key: &str) -> Result<Option<pb::SeqV>, Status> {
        let mut items = self.read(&json!({"GetKV": {"key": key}})).await?;
        let item = items.message().await?.expect("an item for the key asked for");
        assert_eq!(item.key, key);
        Ok(item.value)
    }

    /// Every record under `prefix`, with seq and data.
    pub async fn list(&mut self, prefix: &str) -> Result<BTreeMap<String, (u64, Vec<u8>)>, Status> {
        let mut items = self.read(&json!({"ListKV": {"prefix": prefix}})).await?;
        let mut found = BTreeMap::new();
        while let Some(item) = items.message().await? {
            let value = item.value.expect("a listed record has a value");
            found.insert(item.key, (value.seq, value.data));
        }
        Ok(found)
    }

    /// One `KvReadV1` call.
    pub async fn read(&mut self, request: &Value) -> Result<Streaming<pb::StreamItem>, Status> {
        let request = self.request(pb::RaftRequest { data: request.to_string() });
        Ok(self.rpc.kv_read_v1(request).await?.into_inner())
    }

    /// Begins an export: by `ExportV1`, or by `Export` when no size of a chunk is given.
    pub async fn export(&mut self, chunk_size: Option<u64>) -> Result<Streaming<pb::ExportedChunk>, Status> {
        let chunks = match chunk_size {
            Some(_) => self.rpc.export_v1(self.request(pb::ExportRequest { chunk_size, ..Default::default() })).await,
            None => self.rpc.export(self.request(pb::Empty {})).await,
        };
        chunks.map(tonic::Response::into_inner)
    }
}

/// What is taken of one stream before it is read. Small, so that a client that does not read is one that the server
/// waits for.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Enough for many streams that are not read, beside those that are.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// A connection, for whatever service the server has.
pub async fn channel(address: &str) -> Channel {
    connect(address).await.unwrap()
}

/// The same to a server that may be gone.
pub async fn connect(address: &str) -> Result<Channel, Status> {
    let endpoint = Channel::from_shared(format!("http://{address}"))
        .expect("an address")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    endpoint.connect().await.map_err(|error| Status::unavailable(format!("cannot connect to {address}: {error}")))
}

/// The rest of an export.
pub async fn rest(mut chunks: Streaming<pb::ExportedChunk>) -> Result<Vec<pb::ExportedChunk>, Status> {
    let mut all = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        all.push(chunk);
    }
    Ok(all)
}

/// The lines of chunks.
pub fn lines(chunks: &[pb::ExportedChunk]) -> impl Iterator<Item = &str> {
    let text = |line| std::str::from_utf8(line).expect("a line is text");
    chunks.iter().flat_map(|chunk| chunk.data.iter()).map(text)
}

/// What a server that is gone or going answers with.
pub fn is_unavailable(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled)
}
