//! Two Rafts in one process, with a network between them that sends snapshots as messages: what openraft makes of them.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use meta_proto::raft as pb;
use openraft::{
    AnyError, EmptyNode, RaftNetworkFactory, RaftNetworkV2, ServerState, SnapshotPolicy,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse},
};
use tempfile::TempDir;

use super::{
    chunks, header, receive,
    tests::{bases, opened, put, records, until},
};
use crate::{
    raft::{
        log_store::LogStore,
        state_machine::SnapshotOf,
        types::{Raft, TypeConfig, Vote},
    },
    state::{StateMachine, StateOptions, View},
    store::Store,
};

type Member = (Raft<StateMachine>, StateMachine);

/// Reaches the one follower, while there is one.
#[derive(Clone, Default)]
struct Network {
    follower: Arc<Mutex<Option<Member>>>,
    /// So many snapshots break off after their first records.
    broken: Arc<AtomicU64>,
    installed: Arc<AtomicU64>,
}

impl Network {
    fn follower(&self) -> Result<Member, Unreachable<TypeConfig>> {
        let follower = self.follower.lock().unwrap().clone();
        follower.ok_or_else(|| Unreachable::new(&AnyError::error("there is no follower")))
    }
}

fn failed(error: impl std::fmt::Display) -> NetworkError<TypeConfig> {
    NetworkError::new(&AnyError::error(error.to_string()))
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Network;

    async fn new_client(&mut self, _target: u64, _node: &EmptyNode) -> Network {
        self.clone()
    }
}

impl RaftNetworkV2<TypeConfig> for Network {
    type SnapshotData = View;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let (raft, _) = self.follower()?;
        raft.append_entries(rpc).await.map_err(|err| failed(err).into())
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let (raft, _) = self.follower()?;
        raft.vote(rpc).await.map_err(|err| failed(err).into())
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let (raft, machine) = self.follower()?;
        let broken = self.broken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        let first = header(pb::Caller::default(), pb::Ballot::default(), &snapshot.snapshot);
        let messages = chunks(first.clone(), snapshot.snapshot).skip(1).take(if broken { 1 } else { usize::MAX });
        let received = receive(first, messages.map(Ok), &machine, Duration::from_secs(10)).await.map_err(failed)?;
        let answer = raft.install_full_snapshot(vote, received).await.map_err(failed)?;
        self.installed.fetch_add(1, Ordering::Relaxed);
        Ok(answer)
    }
}

async fn started(id: u64, store: &Store, network: Network) -> Raft<StateMachine> {
    let config = openraft::Config {
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        install_snapshot_timeout: 10_000,
        ..openraft::Config::default()
    };
    let config = Arc::new(config.validate().unwrap());
    Raft::new(id, config, network, LogStore::new(store.log.clone()), store.state.clone()).await.unwrap()
}

/// A leader whose log begins after 1000 records.
async fn leader(network: &Network) -> (TempDir, Store, Raft<StateMachine>) {
    let (dir, store) = opened();
    let raft = started(1, &store, network.clone()).await;
    raft.initialize(BTreeSet::from([1])).await.unwrap();
    raft.wait(Some(Duration::from_secs(20))).state(ServerState::Leader, "the only voter").await.unwrap();
    for number in 0..1_000 {
        raft.client_write(put(format!("k{number:06}"), 1_000)).await.unwrap();
    }
    store.state.compact().unwrap();
    raft.trigger().snapshot().await.unwrap();
    let base = store.state.view().base().last_applied().unwrap().index;
    raft.wait(Some(Duration::from_secs(20)))
        .metrics(|m| m.snapshot.is_some_and(|id| id.index == base), "base")
        .await
        .unwrap();
    raft.trigger().purge_log(base).await.unwrap();
    until("the log is purged", || store.log.purged().is_some_and(|id| id.index == base)).await;
    (dir, store, raft)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_member_gets_a_snapshot_and_goes_on_from_it() {
    let network = Network::default();
    network.broken.store(2, Ordering::Relaxed);
    let (_leader_dir, leader_store, leader) = leader(&network).await;
    let (dir, store) = opened();
    let follower = started(2, &store, network.clone()).await;
    *network.follower.lock().unwrap() = Some((follower.clone(), store.state.clone()));

    let adding = tokio::spawn({
        let leader = leader.clone();
        async move { leader.add_learner(2, EmptyNode {}, true).await }
    });
    for number in 0..200 {
        leader.client_write(put(format!("later{number:03}"), 10)).await.unwrap();
    }
    adding.await.unwrap().unwrap();
    let same = || records(&store.state.view()) == records(&leader_store.state.view());
    until("both have the same", same).await;
    assert_eq!(network.broken.load(Ordering::Relaxed), 0);
    assert_eq!(network.installed.load(Ordering::Relaxed), 1, "the rest came from the log");
    assert_eq!(bases(&dir).len(), 1, "{:?}", bases(&dir));

    // It starts again from the snapshot and the log after it.
    let expected = records(&store.state.view());
    follower.shutdown().await.unwrap();
    network.follower.lock().unwrap().take();
    store.log.close().unwrap();
    drop((follower, store));
    let store = Store::open(dir.path(), StateOptions::default()).unwrap();
    let follower = started(2, &store, network.clone()).await;
    *network.follower.lock().unwrap() = Some((follower.clone(), store.state.clone()));
    until("it is up to date again", || records(&store.state.view()) == expected).await;
    leader.client_write(put("last".to_owned(), 1)).await.unwrap();
    until("it follows", || store.state.view().get("last").unwrap().is_some()).await;
    assert_eq!(network.installed.load(Ordering::Relaxed), 1);
    leader.shutdown().await.unwrap();
    follower.shutdown().await.unwrap();
}
