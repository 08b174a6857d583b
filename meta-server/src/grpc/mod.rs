//! What the server serves over gRPC: `meta.MetaService`, health and reflection for clients, `raft.RaftService` for members, a
//! router each. Knows nothing of sockets.

pub mod convert;
pub mod counted;
mod get_many;
pub mod handshake;
mod keys_layout;
pub mod kv;
mod kv_transaction;
pub mod peers;
mod service;
mod status;
pub mod streams;
pub mod token;
mod watch;

use std::sync::Arc;

use meta_proto::{pb::meta_service_server::MetaServiceServer, raft::raft_service_server::RaftServiceServer};
use tokio_util::sync::CancellationToken;
use tonic::service::{Routes, RoutesBuilder};
use tonic_reflection::server::Builder as Reflection;

use self::{handshake::Gate, peers::PeerApi, service::MetaApi};
use crate::{node::MetaNode, raft::network::MAX_MESSAGE};

/// A byte of a value takes up to five characters in the JSON of a KvApi request: `255, `.
const ENCODED_BYTES_PER_BYTE: usize = 5;
/// What a request may take beside its keys and values.
const FRAMING: usize = 256 * 1024;

/// Everything that the gRPC port serves. Watches, which have no end of their own, end with an error once `stopping` is cancelled,
/// and all other streams once `end_streams` is.
pub async fn routes(
    node: Arc<MetaNode>,
    max_request_bytes: usize,
    stopping: CancellationToken,
    end_streams: CancellationToken,
) -> Result<Routes, tonic_reflection::server::Error> {
    // Larger requests are refused for their size by the limits, with a reason; this only bounds what is read for that.
    let largest_request = max_request_bytes * ENCODED_BYTES_PER_BYTE + FRAMING;
    let service = MetaServiceServer::new(MetaApi::new(node, Gate::with_random_key(), stopping, end_streams))
        .max_decoding_message_size(largest_request);

    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<MetaServiceServer<MetaApi>>().await;

    let reflection = || {
        Reflection::configure()
            .register_encoded_file_descriptor_set(meta_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut routes = RoutesBuilder::default();
    routes
        .add_service(service)
        .add_service(health)
        // Tools in the field ask for one or for the other.
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(routes.routes())
}

/// Everything that the Raft port serves. Streams end with an error once `stopping` is cancelled.
pub fn peer_routes(node: Arc<MetaNode>, stopping: CancellationToken) -> Routes {
    let service = RaftServiceServer::new(PeerApi::new(node, stopping))
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    Routes::new(service)
}
