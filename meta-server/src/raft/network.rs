//! The network of a node that runs alone: every peer is unreachable. A store whose membership names other members can
//! so be opened and looked at; it has no leader, and says so, until those members can be reached.

use std::future::Future;

use openraft::{
    AnyError, EmptyNode, RaftNetworkFactory, RaftNetworkV2,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse},
    storage::RaftStateMachine,
    type_config::alias::SnapshotOf,
};

use super::types::{TypeConfig, Vote};
use crate::state::StateMachine;

type SnapshotData = <StateMachine as RaftStateMachine<TypeConfig>>::SnapshotData;

/// Makes a [`NoPeer`] for whoever is asked for.
#[derive(Debug, Clone, Copy)]
pub struct NoPeers;

/// A peer that never answers.
#[derive(Debug, Clone, Copy)]
pub struct NoPeer {
    target: u64,
}

impl RaftNetworkFactory<TypeConfig> for NoPeers {
    type Network = NoPeer;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> NoPeer {
        NoPeer { target }
    }
}

impl NoPeer {
    fn unreachable(self) -> Unreachable<TypeConfig> {
        Unreachable::new(&AnyError::error(format!(
            "node {} is not reachable: this version runs clusters of one node",
            self.target
        )))
    }
}

impl RaftNetworkV2<TypeConfig> for NoPeer {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(StreamingError::Unreachable(self.unreachable()))
    }
}
