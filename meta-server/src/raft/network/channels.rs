//! Connections to other members: one for each kind of traffic, so that a snapshot does not hold up a heartbeat. They are made
//! when they are first used, and anew when they break or when a member's address has changed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use backup_plugin::record;
use meta_proto::raft::raft_service_client::RaftServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::state::StateMachine;

/// A client of another member's Raft service.
pub type PeerClient = RaftServiceClient<Channel>;

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    Replication,
    Heartbeat,
    Snapshot,
    /// Single calls: votes, forwarded requests, questions.
    Call,
    /// Forwarded reads, each of which stalls when its client does.
    Read,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A member that is not there any more, or hangs, is noticed within this and as much again.
const KEEPALIVE: Duration = Duration::from_secs(3);
/// Bytes that may be under way, of one stream and of all: what was sent and not taken yet.
const WINDOWS: (u32, u32) = (4 << 20, 8 << 20);
/// The same for reads. Their clients may stall, each with a window full; the others must get theirs all the same.
const READ_WINDOWS: (u32, u32) = (256 << 10, (256 << 10) * MAX_STREAMS);
/// Streams that one member may have open on one connection.
pub const MAX_STREAMS: u32 = 1024;
/// The largest message taken: entries are read a mebibyte at a time, and the largest entry travels alone.
pub const MAX_MESSAGE: usize = 64 << 20;

/// Nobody knows where a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no address is known for node {0}")]
pub struct NoAddress(pub u64);

/// An address that can not be connected to, whoever listens there.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {endpoint}")]
pub struct BadAddress {
    endpoint: String,
    source: tonic::transport::Error,
}

/// Why there is no client for a member.
#[derive(Debug, thiserror::Error)]
pub enum NoClient {
    #[error(transparent)]
    NoAddress(#[from] NoAddress),
    #[error(transparent)]
    BadAddress(#[from] BadAddress),
}

/// The connections of one node; clones share them.
#[derive(Clone)]
pub struct Channels {
    state: StateMachine,
    open: Arc<Mutex<HashMap<(u64, Lane), Open>>>,
}

struct Open {
    endpoint: record::Endpoint,
    client: PeerClient,
}

impl Channels {
    /// Addresses come from the nodes in the state machine.
    pub fn new(state: StateMachine) -> Self {
        Self { state, open: Arc::default() }
    }

    pub fn client(&self, target: u64, lane: Lane) -> Result<PeerClient, NoClient> {
        let view = self.state.view();
        let endpoint = &view.nodes().get(&target).ok_or(NoAddress(target))?.endpoint;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get(&(target, lane)).filter(|known| known.endpoint == *endpoint) {
            return Ok(known.client.clone());
        }
        let windows = if lane == Lane::Read { READ_WINDOWS } else { WINDOWS };
        let client = connect_with(&endpoint.to_string(), windows)?;
        open.insert((target, lane), Open { endpoint: endpoint.clone(), client: client.clone() });
        Ok(client)
    }
}

/// A client that connects to `host:port` when it is first used.
pub fn connect(endpoint: &str) -> Result<PeerClient, BadAddress> {
    connect_with(endpoint, WINDOWS)
}

fn connect_with(endpoint: &str, (stream_window, connection_window): (u32, u32)) -> Result<PeerClient, BadAddress> {
    let bad = |source| BadAddress { endpoint: endpoint.to_owned(), source };
    let channel = Endpoint::from_shared(format!("http://{endpoint}"))
        .map_err(bad)?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(stream_window)
        .initial_connection_window_size(connection_window)
        .connect_lazy();
    Ok(RaftServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE))
}
