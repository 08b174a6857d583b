//! A server: one node behind its gRPC, Raft and admin ports, from bound listeners to a clean stop. Knows nothing of command
//! lines, of signals, or of what is served.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use backup_plugin::record::Endpoint;
use futures::future;
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::{self, server::TcpIncoming};
use tower::layer::layer_fn;

use crate::{
    admin,
    config::Config,
    grpc::{self, counted::Counted},
    node::{MetaNode, StartError},
    raft::network::MAX_STREAMS,
    state::StateOptions,
    store::{RaftDir, Store, StoreError},
};

/// How often a silent client is asked whether it is still there: one that is not must not hold an export's pin.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Bytes that members may send unanswered.
const RAFT_STREAM_WINDOW: u32 = 4 << 20;
const RAFT_CONNECTION_WINDOW: u32 = 16 << 20;
/// How long calls in flight may take to end by themselves.
const GRACE: Duration = Duration::from_secs(2);
/// How long streams may then take to tell their clients that they are cut.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot listen on {address} (--{flag})")]
    Listen { address: Endpoint, flag: &'static str, source: io::Error },

    #[error("cannot open the store (--raft-dir)")]
    Store(#[from] StoreError),

    #[error(transparent)]
    Start(#[from] StartError),

    #[error("cannot describe the gRPC API to its clients")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A server that serves.
pub struct Server {
    node: Arc<MetaNode>,
    grpc_address: SocketAddr,
    raft_address: SocketAddr,
    admin_address: SocketAddr,
    stop_accepting: CancellationToken,
    end_streams: CancellationToken,
    grpc: JoinHandle<()>,
    raft: JoinHandle<()>,
    admin: JoinHandle<()>,
}

impl Server {
    /// Binds all ports, opens the store, starts the node, and serves.
    pub async fn start(config: Config) -> Result<Self, ServerError> {
        let (grpc_listener, grpc_address) = listen(&config.grpc_api_address, "grpc-api-address").await?;
        let raft_api = Endpoint { addr: config.raft.raft_listen_host.clone(), port: config.raft.raft_api_port };
        let (raft_listener, raft_address) = listen(&raft_api, "raft-api-port").await?;
        let (admin_listener, admin_address) = listen(&config.admin_api_address, "admin-api-address").await?;

        let raft_dir = config.raft.raft_dir.clone();
        if RaftDir::peek(&raft_dir)?.is_empty() {
            MetaNode::check_new(&config.raft)?;
        }
        let options = StateOptions { compact_above: config.raft.compact_above };
        let store = tokio::task::spawn_blocking(move || Store::open(&raft_dir, options));
        let store = match store.await {
            Ok(store) => store?,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        let grpc_endpoint = Endpoint { addr: config.grpc_api_address.addr.clone(), port: grpc_address.port() };
        let node = MetaNode::start(store, &config, &grpc_endpoint).await?;

        let stop_accepting = CancellationToken::new();
        let end_streams = CancellationToken::new();
        let routes =
            grpc::routes(node.clone(), config.max_request_bytes, stop_accepting.clone(), end_streams.clone()).await?;
        let metrics = node.counters().clone();
        let counted = layer_fn(move |service| Counted::new(service, metrics.clone()));
        let grpc = transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .layer(counted)
            .add_routes(routes)
            .serve_with_incoming_shutdown(
                TcpIncoming::from(grpc_listener).with_nodelay(Some(true)),
                stop_accepting.clone().cancelled_owned(),
            );
        let raft = transport::Server::builder()
            .initial_stream_window_size(RAFT_STREAM_WINDOW)
            .initial_connection_window_size(RAFT_CONNECTION_WINDOW)
            .max_concurrent_streams(MAX_STREAMS)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .add_routes(grpc::peer_routes(node.clone(), stop_accepting.clone()))
            .serve_with_incoming_shutdown(
                TcpIncoming::from(raft_listener).with_nodelay(Some(true)),
                stop_accepting.clone().cancelled_owned(),
            );
        let admin = axum::serve(admin_listener, admin::router(node.clone(), config.shown()))
            .with_graceful_shutdown(stop_accepting.clone().cancelled_owned());
        Ok(Self {
            node,
            grpc_address,
            raft_address,
            admin_address,
            stop_accepting,
            end_streams,
            grpc: tokio::spawn(async move {
                if let Err(error) = grpc.await {
                    tracing::error!(error = &error as &dyn std::error::Error, "the gRPC API stopped serving");
                }
            }),
            raft: tokio::spawn(async move {
                if let Err(error) = raft.await {
                    tracing::error!(error = &error as &dyn std::error::Error, "the Raft service stopped serving");
                }
            }),
            admin: tokio::spawn(async move {
                if let Err(error) = admin.await {
                    tracing::error!(%error, "the admin API stopped serving");
                }
            }),
        })
    }

    /// Where the gRPC API listens.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where the Raft service listens.
    pub fn raft_address(&self) -> SocketAddr {
        self.raft_address
    }

    /// Where the admin API listens.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    pub fn node(&self) -> &Arc<MetaNode> {
        &self.node
    }

    /// Stops within a few seconds: another member leads, no new calls, then a short grace for those in flight, then streams are cut with an
    /// error. What was acknowledged is on disk.
    pub async fn shutdown(mut self) {
        self.node.resign().await;
        self.stop_accepting.cancel();
        let mut serving = future::join3(&mut self.grpc, &mut self.raft, &mut self.admin);
        if timeout(GRACE, &mut serving).await.is_err() {
            self.end_streams.cancel();
            if timeout(FAREWELL, &mut serving).await.is_err() {
                tracing::warn!("clients hold on to their connections; they are cut");
                self.grpc.abort();
                self.raft.abort();
                self.admin.abort();
            }
        }
        self.node.shutdown().await;
    }
}

async fn listen(address: &Endpoint, flag: &'static str) -> Result<(TcpListener, SocketAddr), ServerError> {
    let bound = async {
        let listener = TcpListener::bind((address.addr.as_str(), address.port)).await?;
        let local = listener.local_addr()?;
        Ok((listener, local))
    };
    bound.await.map_err(|source| ServerError::Listen { address: address.clone(), flag, source })
}
