//! The tool's side of the gRPC protocol: logs in as `root`, and puts address and call to whatever goes wrong.
//!
//! Every wait is bounded. Wire types that a command prints are made plain here, except the cluster's status.

use std::{error::Error, time::Duration};

use backup_plugin::{
    export::MAX_LINE_BYTES,
    provenance::{Consistency, Provenance, Wanted},
    record::{self, EndpointError, SeqV},
    source::Extent,
    wire::extent_to_pb,
};
use meta_proto::{
    Lines, PROTOCOL_VERSION,
    pb::{self, meta_service_client::MetaServiceClient},
};
use prost::Message;
use serde_json::json;
use tonic::{
    Code, Request, Response, Status, Streaming,
    metadata::{Binary, MetadataValue},
    transport::{Channel, Endpoint},
};

use super::wrong_port::{self, Found};
use crate::{apply::Change, grpc::convert::record_from_pb};

/// What one message may hold: the longest line that is written, and room for a server whose chunks are not bounded in bytes.
const MAX_MESSAGE_BYTES: usize = 4 * MAX_LINE_BYTES;

/// How often a server that has nothing to say is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Bytes that a server may send before they are taken, in one stream and in all, and in one frame.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
const FRAME: u32 = 1 << 20;

/// What a write is called.
const KV_API: &str = "KvApi";

/// A connection, logged in.
pub(super) struct Client {
    address: String,
    timeout: Duration,
    rpc: MetaServiceClient<Channel>,
    token: MetadataValue<Binary>,
}

/// Why a server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot read {address:?} as a gRPC address <host>:<port>")]
    Address { address: String, source: Box<dyn Error + Send + Sync> },
    #[error("cannot connect to {address} (is databend-meta running, and is this its grpc_api_address?)")]
    Connect { address: String, source: tonic::transport::Error },
    #[error(
        "{address} is not the gRPC address of a databend-meta server: {found}; the tool needs its grpc_api_address, port 9191 by default"
    )]
    WrongPort { address: String, found: Found },
    #[error("{address} did not answer {call} within {} s; --timeout allows for more", timeout.as_secs())]
    Silent { address: String, call: &'static str, timeout: Duration },
    #[error("{call} at {address} failed: {} ({:?})", status.message(), status.code())]
    Failed { address: String, call: &'static str, status: Box<Status> },
    #[error("{address} refused {call}: {reason}")]
    Refused { address: String, call: &'static str, reason: String },
    #[error("{address} answered {call} with {what}, which this tool cannot read: is it a databend-meta server?")]
    Unreadable { address: String, call: &'static str, what: String },
    #[error(
        "{address} does not know --consistency, as Databend's servers do not: what it exports may miss acknowledged \
         writes; --consistency auto takes what it gives"
    )]
    NoConsistency { address: String },
    #[error("{address} is gone: the connection broke in the middle of {call}")]
    Lost { address: String, call: &'static str, source: Box<Status> },
    #[error("{address} ended {call} without a word; it goes on until somebody ends it")]
    Ended { address: String, call: &'static str },
    #[error("{address} does not know --with-history and --logs, as Databend's servers do not: it sent a plain export")]
    NoExtent { address: String },
    #[error("{address} was asked for a linearizable export, and sent one that is {found}")]
    NotLinearizable { address: String, found: Consistency },
    /// Sending it again may do it twice.
    #[error("the outcome is unknown: the write may have taken effect")]
    OutcomeUnknown { source: Box<ClientError> },
}

impl ClientError {
    /// Whether the server said that it did nothing. A status that the connection made up on its way has a source, and says
    /// nothing of what the server did.
    fn nothing_was_done(&self) -> bool {
        match self {
            Self::Failed { status, .. } => {
                status.source().is_none()
                    && matches!(
                        status.code(),
                        Code::Unavailable
                            | Code::InvalidArgument
                            | Code::Unauthenticated
                            | Code::PermissionDenied
                            | Code::Unimplemented
                    )
            }
            Self::Address { .. }
            | Self::Connect { .. }
            | Self::WrongPort { .. }
            | Self::Refused { .. }
            | Self::NoConsistency { .. }
            | Self::NoExtent { .. }
            | Self::NotLinearizable { .. }
            | Self::Ended { .. } => true,
            Self::Silent { .. } | Self::Lost { .. } | Self::Unreadable { .. } | Self::OutcomeUnknown { .. } => false,
        }
    }

    /// What it is counted as among many.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Failed { status, .. } | Self::Lost { source: status, .. } => format!("{:?}", status.code()),
            Self::Silent { .. } => "no answer in time".to_owned(),
            Self::Refused { .. } => "refused".to_owned(),
            Self::OutcomeUnknown { source } => source.kind(),
            _ => "unreadable answer".to_owned(),
        }
    }

    fn of_write(self) -> ClientError {
        if self.nothing_was_done() { self } else { ClientError::OutcomeUnknown { source: Box::new(self) } }
    }
}

impl Client {
    /// Connects and logs in.
    pub(super) async fn connect(address: &str, timeout: Duration) -> Result<Client, ClientError> {
        let unreadable = |source| ClientError::Address { address: address.to_owned(), source };
        let place: record::Endpoint = address.parse().map_err(|error: EndpointError| unreadable(error.into()))?;
        let url = format!("http://{place}");
        let endpoint = Endpoint::from_shared(url).map_err(|error| unreadable(error.into()))?;
        // A host that is gone says nothing; a watch would wait for it for ever.
        let endpoint = endpoint.http2_keep_alive_interval(KEEPALIVE).keep_alive_timeout(timeout);
        // For exports: what the server may send ahead, and in one frame.
        let endpoint = endpoint
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME);
        let channel = tokio::time::timeout(timeout, endpoint.connect())
            .await
            .map_err(|_| ClientError::Silent { address: address.to_owned(), call: "a connection", timeout })?
            .map_err(|source| ClientError::Connect { address: address.to_owned(), source })?;
        let rpc = MetaServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let mut client = Client { address: address.to_owned(), timeout, rpc, token: MetadataValue::from_bytes(b"") };
        client.token = match client.log_in().await {
            Ok(token) => token,
            Err(error) => return Err(client.explain(error).await),
        };
        Ok(client)
    }

    /// Why logging in failed, where something else listens at the address.
    async fn explain(&self, error: ClientError) -> ClientError {
        let ClientError::Failed { status, .. } = &error else { return error };
        // A status that the connection made up has a source. Where the server made it up, it does not know the call.
        let speaks_grpc = status.source().is_none() && status.code() == Code::Unimplemented;
        if !speaks_grpc && status.source().is_none() {
            return error;
        }
        match wrong_port::look(&self.address, speaks_grpc).await {
            Some(found) => ClientError::WrongPort { address: self.address.clone(), found },
            None => error,
        }
    }

    async fn log_in(&self) -> Result<MetadataValue<Binary>, ClientError> {
        const CALL: &str = "Handshake";
        let auth = pb::BasicAuth { username: "root".to_owned(), password: String::new() };
        let request = pb::HandshakeRequest { protocol_version: PROTOCOL_VERSION, payload: auth.encode_to_vec() };
        let mut rpc = self.rpc.clone();
        let mut replies = self.bounded(CALL, rpc.handshake(tokio_stream::once(request))).await?;
        let reply = self.bounded(CALL, async { replies.message().await.map(Response::new) }).await?;
        let reply = reply.ok_or_else(|| self.unreadable(CALL, "nothing"))?;
        Ok(MetadataValue::from_bytes(&reply.payload))
    }

    /// Asks for an export: `ExportV1`, or `Export` of a server that is too old for it. Waits for its first lines, so
    /// that what is not `wanted` is refused before any of it is taken.
    pub(super) async fn export(
        &self,
        chunk_size: Option<u64>,
        wanted: Wanted,
        extent: Extent,
    ) -> Result<ExportedLines<'_>, ClientError> {
        let mut rpc = self.rpc.clone();
        let consistency = pb::Consistency::from(wanted).into();
        let (with_history, logs) = extent_to_pb(extent);
        let request = pb::ExportRequest { chunk_size, consistency, with_history, logs: logs.into() };
        let answer = self.bounded("ExportV1", rpc.export_v1(self.request(request))).await;
        let mut chunks = match answer {
            Err(ClientError::Failed { status, .. })
                if status.code() == Code::Unimplemented && extent == Extent::Moment =>
            {
                self.bounded("Export", rpc.export(self.request(pb::Empty {}))).await?
            }
            other => other?,
        };
        let Some(first) = self.next_chunk(&mut chunks).await? else {
            return Ok(ExportedLines { client: self, first: None, chunks, provenance: None });
        };
        let provenance = first.provenance.map(Provenance::try_from).transpose();
        let provenance = provenance.map_err(|error| self.unreadable("ExportV1", &error.to_string()))?;
        let found = provenance.as_ref().map(|provenance| provenance.consistency);
        let address = || self.address.clone();
        if found.is_none() && extent != Extent::Moment {
            return Err(ClientError::NoExtent { address: address() });
        }
        match (wanted, found) {
            (Wanted::Linearizable, None) => Err(ClientError::NoConsistency { address: address() }),
            (Wanted::Linearizable, Some(found)) if found != Consistency::Linearizable => {
                Err(ClientError::NotLinearizable { address: address(), found })
            }
            _ => Ok(ExportedLines { client: self, first: Some(first.data), chunks, provenance }),
        }
    }

    async fn next_chunk(
        &self,
        chunks: &mut Streaming<pb::ExportedChunk>,
    ) -> Result<Option<pb::ExportedChunk>, ClientError> {
        self.bounded("the export", async { chunks.message().await.map(Response::new) }).await
    }

    pub(super) async fn status(&self) -> Result<pb::ClusterStatus, ClientError> {
        let mut rpc = self.rpc.clone();
        self.bounded("GetClusterStatus", rpc.get_cluster_status(self.request(pb::Empty {}))).await
    }

    /// The record under `key`, read through the leader.
    pub(super) async fn get(&self, key: &str) -> Result<Option<SeqV>, ClientError> {
        const CALL: &str = "KvReadV1";
        let data = json!({"GetKV": {"key": key}}).to_string();
        let mut rpc = self.rpc.clone();
        let mut items = self.bounded(CALL, rpc.kv_read_v1(self.request(pb::RaftRequest { data }))).await?;
        let item = self.bounded(CALL, async { items.message().await.map(Response::new) }).await?;
        let item = item.ok_or_else(|| self.unreadable(CALL, "nothing"))?;
        Ok(item.value.map(record_from_pb))
    }

    /// Writes `value` under `key`, whatever is there. Where the error is not [`ClientError::OutcomeUnknown`], nothing was written.
    pub(super) async fn upsert(&self, key: &str, value: &[u8]) -> Result<Change, ClientError> {
        self.try_upsert(key, value).await.map_err(ClientError::of_write)
    }

    async fn try_upsert(&self, key: &str, value: &[u8]) -> Result<Change, ClientError> {
        let upsert = json!({"key": key, "seq": {"GE": 0}, "value": {"Update": value}, "value_meta": null});
        let reply = self.kv_api(json!({"UpsertKV": upsert}).to_string()).await?;
        serde_json::from_str(&reply).map_err(|_| self.unreadable(KV_API, &reply))
    }

    /// Sends a command, and gives what it changed: both are JSON, as it is.
    pub(super) async fn kv_api(&self, data: String) -> Result<String, ClientError> {
        let mut rpc = self.rpc.clone();
        let reply = self.bounded(KV_API, rpc.kv_api(self.request(pb::RaftRequest { data }))).await?;
        if !reply.error.is_empty() {
            return Err(ClientError::Refused { address: self.address.clone(), call: KV_API, reason: reply.error });
        }
        Ok(reply.data)
    }

    /// The gRPC addresses of the members.
    pub(super) async fn member_list(&self) -> Result<Vec<String>, ClientError> {
        let mut rpc = self.rpc.clone();
        let request = self.request(pb::MemberListRequest::default());
        Ok(self.bounded("MemberList", rpc.member_list(request)).await?.data)
    }

    /// How many keys are under each prefix of the snapshot.
    pub(super) async fn keys_layout(&self, depth: Option<u32>) -> Result<KeysLayout<'_>, ClientError> {
        let mut rpc = self.rpc.clone();
        let request = self.request(pb::KeysLayoutRequest { depth });
        Ok(KeysLayout {
            client: self,
            counts: self.bounded(KeysLayout::CALL, rpc.snapshot_keys_layout(request)).await?,
        })
    }

    /// Watches the keys from `start` on and before `end`: the records that there are, then changes. Waits for the first response.
    pub(super) async fn watch(&self, start: &str, end: &str) -> Result<Watched<'_>, ClientError> {
        let mut rpc = self.rpc.clone();
        let request = pb::WatchRequest {
            key: start.to_owned(),
            key_end: Some(end.to_owned()),
            filter_type: pb::watch_request::FilterType::All.into(),
            initial_flush: true,
        };
        let mut responses = self.bounded(Watched::CALL, rpc.watch(self.request(request))).await?;
        let first = self.bounded(Watched::CALL, async { responses.message().await.map(Response::new) }).await?;
        Ok(Watched { client: self, first: Some(first), responses })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert_bin("auth-token-bin", self.token.clone());
        request
    }

    /// Waits for one answer, for as long as the operator allows.
    async fn bounded<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ClientError> {
        let address = || self.address.clone();
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(ClientError::Failed { address: address(), call, status: Box::new(status) }),
            Err(_) => Err(ClientError::Silent { address: address(), call, timeout: self.timeout }),
        }
    }

    fn unreadable(&self, call: &'static str, what: &str) -> ClientError {
        let what = what.chars().take(80).collect();
        ClientError::Unreadable { address: self.address.clone(), call, what }
    }
}

/// An export on its way here.
pub(super) struct ExportedLines<'a> {
    client: &'a Client,
    first: Option<Lines>,
    chunks: Streaming<pb::ExportedChunk>,
    provenance: Option<Provenance>,
}

impl ExportedLines<'_> {
    /// `None` where the server does not say.
    pub(super) fn provenance(&self) -> Option<&Provenance> {
        self.provenance.as_ref()
    }

    /// The next lines; `None` only when the server said that these were all.
    pub(super) async fn next(&mut self) -> Result<Option<Lines>, ClientError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let chunk = self.client.next_chunk(&mut self.chunks).await?;
        Ok(chunk.map(|chunk| chunk.data))
    }
}

/// The counts of a snapshot's prefixes, on their way here.
pub(super) struct KeysLayout<'a> {
    client: &'a Client,
    counts: Streaming<pb::KeysCount>,
}

impl KeysLayout<'_> {
    const CALL: &'static str = "SnapshotKeysLayout";

    pub(super) async fn next(&mut self) -> Result<Option<pb::KeysCount>, ClientError> {
        self.client.bounded(Self::CALL, async { self.counts.message().await.map(Response::new) }).await
    }
}

/// A record that was there, a change, or the mark between the two, which has neither.
pub(super) struct WatchEvent {
    pub(super) is_initialization: bool,
    /// A key, and its record before and after.
    pub(super) change: Option<(String, Change)>,
}

/// What a watcher is sent. It has no end of its own.
pub(super) struct Watched<'a> {
    client: &'a Client,
    first: Option<Option<pb::WatchResponse>>,
    responses: Streaming<pb::WatchResponse>,
}

impl Watched<'_> {
    const CALL: &'static str = "Watch";

    /// Waits for as long as nothing changes.
    pub(super) async fn next(&mut self) -> Result<WatchEvent, ClientError> {
        let address = || self.client.address.clone();
        let response = match self.first.take() {
            Some(first) => first,
            None => self.responses.message().await.map_err(|status| {
                let (address, call, status) = (address(), Self::CALL, Box::new(status));
                // What the connection made up on its way has a source; what the server says has none.
                match status.source() {
                    Some(_) => ClientError::Lost { address, call, source: status },
                    None => ClientError::Failed { address, call, status },
                }
            })?,
        };
        let response = response.ok_or_else(|| ClientError::Ended { address: address(), call: Self::CALL })?;
        let change = response.event.map(|event| {
            let (prev, result) = (event.prev.map(record_from_pb), event.current.map(record_from_pb));
            (event.key, Change { prev, result })
        });
        Ok(WatchEvent { is_initialization: response.is_initialization, change })
    }
}

#[cfg(test)]
mod tests {
    use backup_plugin::record::KvMeta;

    use super::*;
    use crate::{
        ctl::testing::{Export, FakeServer},
        error_chain::chain,
    };

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_record_is_read_and_its_absence_too() {
        for (value, expected) in [
            (None, None),
            (
                Some(pb::SeqV {
                    seq: 7,
                    data: vec![1],
                    meta: Some(pb::KvMeta { expire_at: Some(5), proposed_at_ms: None }),
                }),
                Some(SeqV { seq: 7, data: vec![1], meta: Some(KvMeta { expire_at: Some(5), proposed_at_ms: None }) }),
            ),
        ] {
            let mut server = FakeServer::exporting(Export::Unimplemented);
            server.kv_read_v1 = pb::StreamItem { key: "k".to_owned(), value };
            let client = Client::connect(&server.start().await.to_string(), TIMEOUT).await.unwrap();
            assert_eq!(client.get("k").await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn a_reply_to_an_upsert_is_a_change_or_an_error() {
        let written = r#"{"ident":null,"prev":null,"result":{"seq":1,"meta":null,"data":[120]}}"#;
        let reply = |data: &str, error: &str| Ok(pb::RaftReply { data: data.to_owned(), error: error.to_owned() });
        for (reply, expected) in [
            (reply(written, ""), Ok(1)),
            (reply("", "no leader"), Err(("refused KvApi: no leader", false))),
            (reply("[]", ""), Err(("answered KvApi with [], which this tool cannot read", true))),
            (Err(Status::unavailable("no leader")), Err(("KvApi at 127.0.0.1:", false))),
            (Err(Status::invalid_argument("too large")), Err(("failed: too large (InvalidArgument)", false))),
            (Err(Status::unknown("the node has stopped")), Err(("failed: the node has stopped (Unknown)", true))),
            (Err(Status::internal("the write was done, but")), Err(("(Internal)", true))),
        ] {
            let mut server = FakeServer::exporting(Export::Unimplemented);
            server.kv_api = Some(reply.clone());
            let client = Client::connect(&server.start().await.to_string(), TIMEOUT).await.unwrap();
            match (client.upsert("k", b"x").await, expected) {
                (Ok(change), Ok(seq)) => assert_eq!(change.result.unwrap().seq, seq),
                (Err(error), Err(expected)) => assert_upsert_error(&error, expected),
                (result, _) => panic!("{reply:?}: {result:?}"),
            }
        }
    }

    #[tokio::test]
    async fn an_upsert_without_an_answer_may_have_been_written() {
        let mut server = FakeServer::exporting(Export::Unimplemented);
        server.kv_api = None;
        let address = server.start().await.to_string();
        let client = Client::connect(&address, Duration::from_millis(500)).await.unwrap();
        let error = client.upsert("k", b"x").await.unwrap_err();
        assert_upsert_error(&error, ("did not answer KvApi within", true));
    }

    fn assert_upsert_error(error: &ClientError, (cause, unknown): (&str, bool)) {
        let text = chain(error);
        assert!(text.contains(cause), "{text}");
        assert_eq!(text.starts_with("the outcome is unknown: the write may have taken effect: "), unknown, "{text}");
    }

    #[tokio::test]
    async fn what_is_no_address_is_not_connected_to() {
        for (address, cause) in [("localhost", "the port is missing"), ("a b:1", "`a b` is not a host")] {
            let error = chain(&Client::connect(address, TIMEOUT).await.err().unwrap());
            let expected = format!("cannot read {address:?} as a gRPC address <host>:<port>: {cause}");
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_called_by_its_address() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let error = Client::connect(&free, TIMEOUT).await.err().unwrap().to_string();
        assert!(error.starts_with(&format!("cannot connect to {free} (is databend-meta running")), "{error}");
    }
}
