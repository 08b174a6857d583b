//! Starting a node: who it is, a Raft on its store, and an election at once where no other node could mind. Knows
//! nothing of what runs afterwards; that is `upkeep`.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use backup_plugin::{
    hex::hex,
    record::{Endpoint, Node},
};
use openraft::{ServerState, SnapshotPolicy, errors::Fatal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{MetaNode, StartError, upkeep::Upkeep};
use crate::{
    command::Limits,
    config::{Config, RaftConfig},
    raft::{
        log_store::LogStore,
        network::NoPeers,
        types::{Raft, TypeConfig},
    },
    store::Store,
};

/// How long a node that needs no other vote may take to lead before it serves without.
const SOLE_VOTER_LEADS_WITHIN: Duration = Duration::from_secs(5);

impl MetaNode {
    /// Starts the node that lives in `store`, or a new one of one node where the configuration says `single`.
    /// `grpc_address` is where its gRPC API listens.
    pub async fn start(store: Store, config: &Config, grpc_address: &Endpoint) -> Result<Arc<Self>, StartError> {
        let raft_dir = store.raft_dir().display().to_string();
        let initialized = store.is_initialized();
        let id =
            if initialized { known_identity(&store, &config.raft) } else { new_identity(&store, &config.raft).await? };

        let raft_config = Arc::new(raft_config(&config.raft).validate()?);
        let raft = Raft::new(id, raft_config, NoPeers, LogStore::new(store.log.clone()), store.state.clone())
            .await
            .map_err(|source| StartError::Raft { raft_dir: raft_dir.clone(), source })?;
        if !initialized {
            raft.initialize(BTreeSet::from([id]))
                .await
                .map_err(|error| StartError::Initialize { raft_dir: raft_dir.clone(), reason: error.to_string() })?;
        }

        let node = Arc::new(Self {
            id,
            endpoint: advertised(config).to_string(),
            raft,
            store,
            limits: Limits { max_request_bytes: config.max_request_bytes },
            export_pin_limit: config.export_pin_limit,
            compaction: Arc::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        });
        node.stand_for_election(initialized).await.map_err(|source| StartError::Raft { raft_dir, source })?;

        let own = Node {
            name: id.to_string(),
            endpoint: advertised(config),
            grpc_api_advertise_address: Some(advertised_grpc(config, grpc_address).to_string()),
        };
        Upkeep::start(&node, own, config.raft.max_applied_log_to_keep);
        Ok(node)
    }

    /// Refuses to make a new node where the configuration does not ask for one: a folder that was mistyped, or not mounted.
    pub fn check_new(config: &RaftConfig) -> Result<(), StartError> {
        if config.join {
            return Err(StartError::JoinNotSupported);
        }
        if !config.single {
            return Err(StartError::NotInitialized { raft_dir: config.raft_dir.display().to_string() });
        }
        Ok(())
    }

    /// Stands for election without waiting for a time-out, where that disturbs nobody: alone, or as the member that a
    /// new lineage names as its first leader.
    async fn stand_for_election(&self, initialized: bool) -> Result<(), Fatal<TypeConfig>> {
        // Asked of Raft itself: its metrics are empty until it has run for a moment.
        let voters: BTreeSet<u64> =
            self.raft.with_raft_state(|state| state.membership_state.effective().voter_ids().collect()).await?;
        let only_voter = voters.iter().eq([&self.id]);
        let first_leader = self.store.identity().elect_on_open && voters.first() == Some(&self.id);
        // Initialising a cluster called its first election already.
        if initialized && (only_voter || first_leader) {
            self.raft.trigger().elect(false).await?;
        }
        if only_voter {
            let led = self.raft.wait(Some(SOLE_VOTER_LEADS_WITHIN)).state(ServerState::Leader, "sole voter").await;
            if let Err(error) = led {
                tracing::warn!(%error, "this node is the only voter and does not lead yet");
            }
        }
        Ok(())
    }
}

/// Who the node in an initialised store is. What was asked of a new node means nothing to it, and that is said.
fn known_identity(store: &Store, config: &RaftConfig) -> u64 {
    let id = store.identity().node_id.unwrap_or_default();
    if let Some(given) = config.id.filter(|given| *given != id) {
        tracing::warn!(given, stored = id, "the store has an id already; the given one is ignored");
    }
    if config.single || config.join {
        tracing::info!("the store is initialised: single and join are ignored");
    }
    id
}

/// Gives a new node its id and a cluster of its own.
async fn new_identity(store: &Store, config: &RaftConfig) -> Result<u64, StartError> {
    MetaNode::check_new(config)?;
    let raft_dir = || store.raft_dir().display().to_string();
    let id = config.id.unwrap_or_default();
    store
        .log
        .update_state(|state| {
            state.node_id = Some(id);
            state.cluster_id = Some(random_cluster_id());
        })
        .await
        .map_err(|source| StartError::Write { raft_dir: raft_dir(), source })?;
    Ok(id)
}

/// 64 lower-case hex digits that no other cluster has.
pub(super) fn random_cluster_id() -> String {
    hex(&rand::random::<[u8; 32]>())
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
        // A leader that resumes its term without an election can serve reads that miss acknowledged writes.
        enable_leader_restore: Some(false),
        ..openraft::Config::default()
    }
}

/// Where other members reach this node.
fn advertised(config: &Config) -> Endpoint {
    Endpoint { addr: config.raft.raft_advertise_host.clone(), port: config.raft.raft_api_port }
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
    fn a_cluster_id_is_64_hex_digits_and_never_the_same() {
        let id = random_cluster_id();
        assert_eq!(id.len(), 64);
        assert!(id.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')));
        assert_ne!(id, random_cluster_id());
    }

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
