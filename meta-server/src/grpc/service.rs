//! `meta.MetaService`: each call checks the token where one is needed, asks the node or the backup plugin, and encodes
//! the answer. What a call means is decided elsewhere.

use std::{iter, sync::Arc};

use backup_plugin::{
    clock::now_ms,
    service::{BackupService, ExportStream},
};
use futures::{TryStreamExt, stream};
use meta_proto::pb::{self, WatchResponse, meta_service_server::MetaService};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{
    convert::MissingField,
    get_many::get_many,
    handshake::Gate,
    keys_layout::keys_layout,
    kv::{self, ReadRequest, WriteReply, WriteRequest, read_error},
    streams::{ReplyStream, from_blocking, until_stopping},
    watch::{self, Wanted},
};
use crate::{
    apply::Applied,
    command::{Command, KvTransaction, Transaction},
    node::{Answer, LEADER_METADATA, MetaNode, NodeSource, Reading},
};

/// The service of one node.
pub struct MetaApi {
    node: Arc<MetaNode>,
    gate: Gate,
    backups: BackupService<NodeSource>,
    stopping: CancellationToken,
    end_streams: CancellationToken,
}

impl MetaApi {
    pub fn new(node: Arc<MetaNode>, gate: Gate, stopping: CancellationToken, end_streams: CancellationToken) -> Self {
        let backups = BackupService::new(Arc::new(NodeSource::new(node.clone())), end_streams.clone())
            .observed_by(node.counters().clone());
        Self { node, gate, backups, stopping, end_streams }
    }
}

/// A reply that says where the leader is, when that was not this node.
fn led_by<T>(message: T, leader_grpc_address: Option<String>) -> Response<T> {
    let mut response = Response::new(message);
    if let Some(address) = leader_grpc_address.and_then(|address| address.parse().ok()) {
        response.metadata_mut().insert(LEADER_METADATA, address);
    }
    response
}

fn incomplete(missing: &MissingField) -> Status {
    Status::invalid_argument(missing.to_string())
}

/// A command answered with another command's result: a fault of this program.
fn unexpected(applied: &Applied) -> Status {
    Status::internal(format!("the write was done, but answered with {applied}"))
}

#[tonic::async_trait]
impl MetaService for MetaApi {
    type HandshakeStream = ReplyStream<pb::HandshakeResponse>;
    type ExportStream = ExportStream;
    type ExportV1Stream = ExportStream;
    type KvReadV1Stream = ReplyStream<pb::StreamItem>;
    type KvListStream = ReplyStream<pb::StreamItem>;
    type KvGetManyStream = ReplyStream<pb::StreamItem>;
    type WatchStream = ReplyStream<pb::WatchResponse>;
    type SnapshotKeysLayoutStream = ReplyStream<pb::KeysCount>;

    async fn handshake(
        &self,
        request: Request<Streaming<pb::HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let request = request
            .into_inner()
            .message()
            .await?
            .ok_or_else(|| Status::invalid_argument("the handshake ended before the client said who it is"))?;
        let reply = self.gate.handshake(&request)?;
        Ok(Response::new(Box::pin(stream::iter([Ok(reply)]))))
    }

    async fn kv_api(&self, request: Request<pb::RaftRequest>) -> Result<Response<pb::RaftReply>, Status> {
        self.gate.require_token(request.metadata())?;
        let WriteRequest::UpsertKV(upsert) = kv::parse(request.get_ref())?;
        let answer = self.node.write_told(Command::UpsertKV(upsert)).await?;
        match answer.value {
            Applied::Kv(change) => Ok(led_by(WriteReply::of(change).encode()?, answer.leader_grpc_address)),
            other => Err(unexpected(&other)),
        }
    }

    async fn kv_read_v1(&self, request: Request<pb::RaftRequest>) -> Result<Response<Self::KvReadV1Stream>, Status> {
        self.gate.require_token(request.metadata())?;
        let read: ReadRequest = kv::parse(request.get_ref())?;
        let Answer { value: reading, leader_grpc_address } = self.node.read_told(read.clone()).await?;
        let items: ReplyStream<_> = match reading {
            Reading::Here(view) => {
                if let Some(item) = read.recent(&view, now_ms()) {
                    return Ok(Response::new(Box::pin(stream::iter([Ok(item)]))));
                }
                Box::pin(read.stream(view))
            }
            Reading::There(items) => items,
        };
        Ok(led_by(until_stopping(items, self.end_streams.clone()), leader_grpc_address))
    }

    async fn kv_list(&self, request: Request<pb::KvListRequest>) -> Result<Response<Self::KvListStream>, Status> {
        self.gate.require_token(request.metadata())?;
        let view = self.node.leader_view().await?;
        Ok(Response::new(until_stopping(kv::list(request.into_inner(), view), self.end_streams.clone())))
    }

    async fn kv_get_many(
        &self,
        request: Request<Streaming<pb::KvGetManyRequest>>,
    ) -> Result<Response<Self::KvGetManyStream>, Status> {
        self.gate.require_token(request.metadata())?;
        // Whoever asks the wrong node is told so before it has sent a key.
        self.node.leader_view().await?;
        let items = get_many(self.node.clone(), request.into_inner());
        Ok(Response::new(until_stopping(items, self.end_streams.clone())))
    }

    async fn transaction(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnReply>, Status> {
        self.gate.require_token(request.metadata())?;
        let transaction = Transaction::try_from(request.into_inner()).map_err(|missing| incomplete(&missing))?;
        let answer = self.node.write_told(Command::Transaction(transaction)).await?;
        match answer.value {
            Applied::Txn(reply) => Ok(led_by(reply.into(), answer.leader_grpc_address)),
            other => Err(unexpected(&other)),
        }
    }

    async fn kv_transaction(
        &self,
        request: Request<pb::KvTransactionRequest>,
    ) -> Result<Response<pb::KvTransactionReply>, Status> {
        self.gate.require_token(request.metadata())?;
        let transaction = KvTransaction::try_from(request.into_inner()).map_err(|missing| incomplete(&missing))?;
        let answer = self.node.write_told(Command::KvTransaction(transaction)).await?;
        match answer.value {
            Applied::KvTxn(reply) => Ok(led_by(reply.into(), answer.leader_grpc_address)),
            other => Err(unexpected(&other)),
        }
    }

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let wanted = Wanted::of(request.into_inner())?;
        let entered = self.node.watch(wanted.range.clone(), wanted.filter).await;
        let (view, watching) = entered.map_err(|error| read_error(&error))?;
        let metrics = self.node.counters().clone();
        let responses = watch::responses(wanted, view, watching).inspect_ok(move |response| match response {
            WatchResponse { is_initialization: true, .. } => metrics.watch_initializations.add(1),
            WatchResponse { event: Some(_), .. } => metrics.watch_changes.add(1),
            WatchResponse { event: None, .. } => {}
        });
        Ok(Response::new(until_stopping(responses, self.stopping.clone())))
    }

    async fn snapshot_keys_layout(
        &self,
        request: Request<pb::KeysLayoutRequest>,
    ) -> Result<Response<Self::SnapshotKeysLayoutStream>, Status> {
        let base = self.node.view().base().clone();
        let depth = request.get_ref().depth;
        let counts = iter::once_with(move || keys_layout(base.keys(), depth)).flatten();
        let counts = from_blocking(counts.map(|count| count.map_err(|error| read_error(&error))));
        Ok(Response::new(until_stopping(counts, self.end_streams.clone())))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListReply>, Status> {
        self.gate.require_token(request.metadata())?;
        let addresses = self.node.nodes().into_values().filter_map(|node| node.grpc_api_advertise_address);
        Ok(Response::new(pb::MemberListReply { data: addresses.collect() }))
    }

    async fn get_cluster_status(&self, _request: Request<pb::Empty>) -> Result<Response<pb::ClusterStatus>, Status> {
        Ok(Response::new(self.node.status().into()))
    }

    async fn get_client_info(&self, request: Request<pb::Empty>) -> Result<Response<pb::ClientInfo>, Status> {
        let client_addr = request.remote_addr().map(|address| address.to_string()).unwrap_or_default();
        Ok(Response::new(pb::ClientInfo { client_addr, server_time: Some(now_ms()) }))
    }

    async fn export(&self, _request: Request<pb::Empty>) -> Result<Response<Self::ExportStream>, Status> {
        Ok(Response::new(self.backups.export(&pb::ExportRequest::default()).await?))
    }

    async fn export_v1(&self, request: Request<pb::ExportRequest>) -> Result<Response<Self::ExportV1Stream>, Status> {
        Ok(Response::new(self.backups.export(request.get_ref()).await?))
    }
}
