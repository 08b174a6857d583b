//! Starting a node: who it is, and a Raft on its store. Knows nothing of what runs afterwards; that is `upkeep`.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use backup_plugin::record::{Endpoint, Node};
use openraft::SnapshotPolicy;
use tokio::sync::{Mutex, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    MetaNode, StartError,
    forward::Patience,
    identity::{self, Beginning},
    join::Joining,
    read::ReadRounds,
    upkeep::Upkeep,
};
use crate::{
    command::Limits,
    config::{Config, RaftConfig},
    raft::{
        guard::Guard,
        log_store::LogStore,
        network::{Channels, Network},
        types::Raft,
    },
    store::Store,
};

impl MetaNode {
    /// Starts the node that lives in `store`, or a new one where the configuration says `single` or `join`.
    /// `grpc_address` is where its gRPC API listens.
    pub async fn start(store: Store, config: &Config, grpc_address: &Endpoint) -> Result<Arc<Self>, StartError> {
        let raft_dir = store.raft_dir().display().to_string();
        let (id, beginning) = identity::identify(&store, &config.raft).await?;

        let on_record = store.state.view().nodes().get(&id).cloned();
        let endpoint = advertised(&config.raft, on_record.as_ref());
        check_address(&store, id, on_record.as_ref(), &endpoint, config.raft.strict)?;
        let raft_config = Arc::new(raft_config(&config.raft).validate()?);
        let guard = Guard::new(id, store.identity().incarnation, store.log.clone());
        let channels = Channels::new(store.state.clone());
        let network = Network::new(guard.clone(), channels.clone(), store.pins().clone());
        let raft = Raft::new(id, raft_config, network, LogStore::new(store.log.clone()), store.state.clone())
            .await
            .map_err(|source| StartError::Raft { raft_dir: raft_dir.clone(), source })?;
        guard.watch(raft.metrics());
        if beginning == Beginning::Single {
            raft.initialize(BTreeSet::from([id]))
                .await
                .map_err(|error| StartError::Initialize { raft_dir: raft_dir.clone(), reason: error.to_string() })?;
        }

        let grpc_address = advertised_grpc(config, grpc_address).to_string();
        let node = Arc::new(Self {
            id,
            endpoint: endpoint.to_string(),
            grpc_address: grpc_address.clone(),
            raft,
            guard,
            channels,
            store,
            limits: Limits { max_request_bytes: config.max_request_bytes },
            patience: Patience::new(election_time(&config.raft)),
            rounds: ReadRounds::default(),
            export_pin_limit: config.export_pin_limit,
            compaction: Arc::default(),
            membership_turn: Mutex::default(),
            join_failure: watch::Sender::default(),
            metrics: Arc::default(),
            removed: AtomicBool::new(false),
            fork: watch::Sender::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        });
        node.count_leaders();
        node.stand_for_election(beginning != Beginning::Single)
            .await
            .map_err(|source| StartError::Raft { raft_dir, source })?;

        let own = Node { name: id.to_string(), endpoint, grpc_api_advertise_address: Some(grpc_address) };
        if let Beginning::Join(role) | Beginning::JoinOn(role) = beginning {
            Joining::start(&node, own.clone(), role, &config.raft);
        }
        Upkeep::start(&node, own, config.raft.max_applied_log_to_keep);
        Ok(node)
    }

    /// Refuses to make a new node where the configuration does not ask for one: a folder that was mistyped, or not mounted.
    pub fn check_new(config: &RaftConfig) -> Result<(), StartError> {
        identity::check_new(config)
    }
}

fn raft_config(config: &RaftConfig) -> openraft::Config {
    let election_timeout = config.election_timeout_ms();
    openraft::Config {
        cluster_name: config.cluster_name.clone(),
        heartbeat_interval: config.heartbeat_interval_ms,
        election_timeout_min: election_timeout.start,
        election_timeout_max: election_timeout.end,
        install_snapshot_timeout: config.install_snapshot_timeout_ms,
        // Compaction goes by size, and purging by what exports still need: both are `upkeep`'s.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // A node that was cut off must not unseat the leader when it is back.
        enable_pre_vote: Some(true),
        // A leader that resumes its term without an election can serve reads that miss acknowledged writes.
        enable_leader_restore: Some(false),
        ..openraft::Config::default()
    }
}

/// What an election may take, from the loss of a leader on: its lease runs out, a follower stands, and perhaps one more does.
fn election_time(config: &RaftConfig) -> Duration {
    Duration::from_millis(config.election_timeout_ms().end * 3)
}

/// Where other members reach this node. A host that is not given stays what the cluster has on record: a restored node keeps
/// the address of the list it was restored with.
fn advertised(config: &RaftConfig, on_record: Option<&Node>) -> Endpoint {
    let addr = config
        .raft_advertise_host
        .clone()
        .or_else(|| on_record.map(|node| node.endpoint.addr.clone()))
        .unwrap_or_else(|| gethostname::gethostname().to_string_lossy().into_owned());
    Endpoint { addr, port: config.raft_api_port }
}

/// Until a node that was imported with a list is led, the others know it by the list alone: one that is elsewhere is not found.
fn check_address(
    store: &Store,
    id: u64,
    listed: Option<&Node>,
    configured: &Endpoint,
    strict: bool,
) -> Result<(), StartError> {
    let Some(listed) = listed.map(|node| &node.endpoint).filter(|listed| *listed != configured) else { return Ok(()) };
    if !store.identity().elect_on_open {
        return Ok(());
    }
    if !strict {
        tracing::warn!(
            node = id, %listed, %configured,
            "this node is not at the address of the list it was imported with, where the other members look for it"
        );
        return Ok(());
    }
    let raft_dir = store.raft_dir().display().to_string();
    Err(StartError::OtherAddress { raft_dir, id, listed: listed.to_string(), configured: configured.to_string() })
}

/// Where clients are told to reach this node.
fn advertised_grpc(config: &Config, listening: &Endpoint) -> Endpoint {
    let addr = config.grpc_api_advertise_host.as_ref().unwrap_or(&listening.addr);
    Endpoint { addr: addr.clone(), port: listening.port }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn raft_takes_every_heartbeat_that_the_configuration_does() {
        for heartbeat in [1, 10, 500, 60_000] {
            let mut settings = Settings::default();
            settings.raft_config.heartbeat_interval = Some(heartbeat);
            let config = Config::new(settings).unwrap();
            assert!(raft_config(&config.raft).validate().is_ok(), "{heartbeat} ms");
        }
    }
}
