//! A server that answers as a test tells it to, over a real connection.

use std::{net::SocketAddr, pin::Pin};

use meta_proto::pb::{self, meta_service_server::MetaService, meta_service_server::MetaServiceServer};
use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport};

const TOKEN: &[u8] = b"\0token\xff";

type Answer<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a call for an export gets.
#[derive(Clone)]
pub(super) enum Export {
    Unimplemented,
    /// These chunks, and then the end or an error.
    Chunks(Vec<Vec<String>>, Option<Status>),
    /// One chunk, and nothing more.
    Stalls(Vec<String>),
}

#[derive(Clone)]
pub(super) struct FakeServer {
    pub(super) export: Export,
    pub(super) export_v1: Export,
    /// What comes with the first chunk of an `ExportV1`.
    pub(super) provenance: Option<pb::Provenance>,
    /// The reply to any `KvApi`; `None`: there never is one.
    pub(super) kv_api: Option<Result<pb::RaftReply, Status>>,
    /// The one item of any `KvReadV1`.
    pub(super) kv_read_v1: pb::StreamItem,
}

impl FakeServer {
    pub(super) fn exporting(export_v1: Export) -> FakeServer {
        FakeServer {
            export: Export::Unimplemented,
            export_v1,
            provenance: None,
            kv_api: Some(Ok(pb::RaftReply::default())),
            kv_read_v1: pb::StreamItem::default(),
        }
    }

    /// Serves until the runtime of the test ends.
    pub(super) async fn start(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = MetaServiceServer::new(self).max_encoding_message_size(usize::MAX);
        let server = transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }
}

fn check_token<T>(request: &Request<T>) -> Result<(), Status> {
    let token = request.metadata().get_bin("auth-token-bin").and_then(|token| token.to_bytes().ok());
    if token.is_some_and(|token| token == TOKEN) { Ok(()) } else { Err(Status::unauthenticated("no token")) }
}

fn answer(
    export: Export,
    mut provenance: Option<pb::Provenance>,
) -> Result<Response<Answer<pb::ExportedChunk>>, Status> {
    let mut chunk = |lines: Vec<String>| Ok(pb::ExportedChunk::new(lines.iter().collect(), provenance.take()));
    Ok(Response::new(match export {
        Export::Unimplemented => return Err(Status::unimplemented("no such method")),
        Export::Chunks(chunks, end) => {
            let chunks: Vec<_> = chunks.into_iter().map(chunk).chain(end.map(Err)).collect();
            Box::pin(tokio_stream::iter(chunks))
        }
        Export::Stalls(lines) => Box::pin(tokio_stream::once(chunk(lines)).chain(tokio_stream::pending())),
    }))
}

#[tonic::async_trait]
impl MetaService for FakeServer {
    type HandshakeStream = Answer<pb::HandshakeResponse>;
    type ExportStream = Answer<pb::ExportedChunk>;
    type ExportV1Stream = Answer<pb::ExportedChunk>;
    type KvReadV1Stream = Answer<pb::StreamItem>;
    type KvListStream = Answer<pb::StreamItem>;
    type KvGetManyStream = Answer<pb::StreamItem>;
    type WatchStream = Answer<pb::WatchResponse>;
    type SnapshotKeysLayoutStream = Answer<pb::KeysCount>;

    async fn handshake(
        &self,
        _: Request<Streaming<pb::HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let reply = pb::HandshakeResponse { protocol_version: 0, payload: TOKEN.to_vec() };
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(reply)))))
    }

    async fn export(&self, request: Request<pb::Empty>) -> Result<Response<Self::ExportStream>, Status> {
        check_token(&request)?;
        answer(self.export.clone(), None)
    }

    async fn export_v1(&self, request: Request<pb::ExportRequest>) -> Result<Response<Self::ExportV1Stream>, Status> {
        check_token(&request)?;
        answer(self.export_v1.clone(), self.provenance.clone())
    }

    async fn kv_api(&self, request: Request<pb::RaftRequest>) -> Result<Response<pb::RaftReply>, Status> {
        check_token(&request)?;
        match self.kv_api.clone() {
            Some(reply) => reply.map(Response::new),
            None => std::future::pending().await,
        }
    }

    async fn kv_read_v1(&self, request: Request<pb::RaftRequest>) -> Result<Response<Self::KvReadV1Stream>, Status> {
        check_token(&request)?;
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(self.kv_read_v1.clone())))))
    }

    async fn kv_list(&self, _: Request<pb::KvListRequest>) -> Result<Response<Self::KvListStream>, Status> {
        Err(Status::unimplemented("not asked for by any test"))
    }

    async fn kv_get_many(
        &self,
        _: Request<Streaming<pb::KvGetManyRequest>>,
    ) -> Result<Response<Self::KvGetManyStream>, Status> {
        Err(Status::unimplemented("not asked for by any test"))
    }

    async fn kv_transaction(
        &self,
        _: Request<pb::KvTransactionRequest>,
    ) -> Result<Response<pb::KvTransactionReply>, Status> {
        Err(Status::unimplemented("not asked for by any test"))
    }

    async fn watch(&self, _: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not asked for by any test"))
    }

    async fn snapshot_keys_layout(
        &self,
        _: Request<pb::KeysLayoutRequest>,
    ) -> Result<Response<Self::SnapshotKeysLayoutStream>, Status> {
        Err(Status::unimplemented("not asked for by any test"))
    }

    async fn transaction(&self, _: Request<pb::TxnRequest>) -> Result<Response<pb::TxnReply>, Status> {
        Err(Status::unimplemented("not asked for by any test"))
    }

    async fn member_list(&self, _: Request<pb::MemberListRequest>) -> Result<Response<pb::MemberListReply>, Status> {
        Err(Status::unimplemented("not asked for by any test"))
    }

    async fn get_cluster_status(&self, _: Request<pb::Empty>) -> Result<Response<pb::ClusterStatus>, Status> {
        Err(Status::unimplemented("not asked for by any test"))
    }

    async fn get_client_info(&self, _: Request<pb::Empty>) -> Result<Response<pb::ClientInfo>, Status> {
        Err(Status::unimplemented("not asked for by any test"))
    }
}
