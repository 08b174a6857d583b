//! This node's place in a cluster, and the times that Raft runs by.

use std::{ops::Range, path::PathBuf, time::Duration};

use backup_plugin::record::Endpoint;

use super::{ConfigError, RaftSettings, host, parse_host_port};
use crate::state::StateOptions;

/// Valid Raft settings.
#[derive(Debug, Clone)]
pub struct RaftConfig {
    /// `None`: not given; a new node is then node 0.
    pub id: Option<u64>,
    pub raft_dir: PathBuf,
    /// Where the Raft service listens.
    pub raft_listen_host: String,
    /// The host that other members reach this node at, without brackets; `None`: not given, and the name of this host unless
    /// the cluster knows another.
    pub raft_advertise_host: Option<String>,
    pub raft_api_port: u16,
    /// Start a new cluster when the store is not initialised.
    pub single: bool,
    /// Do not start with another Raft address than the store was imported with.
    pub strict: bool,
    /// Members of the cluster to join when the store is not initialised, by their Raft addresses.
    pub join: Vec<Endpoint>,
    /// Join as a learner, and stay one.
    pub learner: bool,
    /// Remove a member instead of serving.
    pub leave: Option<Leave>,
    /// 64 lower-case hex digits, for a store that belongs to no cluster yet.
    pub cluster_id: Option<String>,
    /// How long joining and leaving may go without an answer.
    pub wait_leader_timeout: Duration,
    pub cluster_name: String,
    pub heartbeat_interval_ms: u64,
    pub install_snapshot_timeout_ms: u64,
    /// Bytes of changes in memory above which they are compacted.
    pub compact_above: usize,
    /// Entries that are kept in the log although the base includes them.
    pub max_applied_log_to_keep: u64,
    /// Given for compatibility, and used for nothing: compaction goes by size.
    pub snapshot_logs_since_last: u64,
    /// Given for compatibility, and used for nothing: a snapshot is sent record by record.
    pub snapshot_chunk_size: u64,
}

/// A member to be removed from its cluster.
#[derive(Debug, Clone)]
pub struct Leave {
    /// Members to ask, by their Raft addresses. Never empty.
    pub via: Vec<Endpoint>,
    /// `None`: the one in `raft_dir`.
    pub id: Option<u64>,
}

/// A longer time than any network needs, and short enough that an election time-out can not overflow.
const MAX_HEARTBEAT_MS: u64 = 60_000;

impl RaftConfig {
    pub(super) fn new(settings: RaftSettings) -> Result<Self, ConfigError> {
        let join = members("raft_config.join", settings.join)?;
        let leave = leave(members("raft_config.leave_via", settings.leave_via)?, settings.leave_id)?;
        let single = settings.single.unwrap_or(false);
        if single && !join.is_empty() {
            return Err(ConfigError::Contradiction(
                "single and join contradict each other: one starts a new cluster, the other joins one that is there"
                    .into(),
            ));
        }
        if leave.is_some() && (single || !join.is_empty()) {
            return Err(ConfigError::Contradiction(
                "leave_via has a member removed and does not serve: it goes with neither single nor join".into(),
            ));
        }
        let raft_api_port = settings.raft_api_port.unwrap_or(28004);
        if raft_api_port == 0 {
            return Err(ConfigError::invalid(
                "raft_config.raft_api_port",
                &raft_api_port,
                "the port is written to the cluster's records and must be a fixed one",
            ));
        }
        Ok(Self {
            id: settings.id,
            raft_dir: settings.raft_dir.unwrap_or_else(|| "./.databend/meta".into()),
            raft_listen_host: host("raft_config.raft_listen_host", settings.raft_listen_host)?
                .unwrap_or_else(|| "127.0.0.1".to_owned()),
            raft_advertise_host: host("raft_config.raft_advertise_host", settings.raft_advertise_host)?,
            raft_api_port,
            single,
            strict: settings.strict.unwrap_or(false),
            join,
            learner: settings.learner.unwrap_or(false),
            leave,
            cluster_id: settings.cluster_id.map(cluster_id).transpose()?,
            wait_leader_timeout: Duration::from_millis(at_least_1(
                "raft_config.wait_leader_timeout",
                settings.wait_leader_timeout.unwrap_or(180_000),
                u64::MAX,
            )?),
            cluster_name: settings.cluster_name.unwrap_or_else(|| "foo_cluster".into()),
            heartbeat_interval_ms: at_least_1(
                "raft_config.heartbeat_interval",
                settings.heartbeat_interval.unwrap_or(500),
                MAX_HEARTBEAT_MS,
            )?,
            install_snapshot_timeout_ms: at_least_1(
                "raft_config.install_snapshot_timeout",
                settings.install_snapshot_timeout.unwrap_or(4000),
                u64::MAX,
            )?,
            compact_above: settings.compact_above.unwrap_or(StateOptions::default().compact_above),
            max_applied_log_to_keep: settings.max_applied_log_to_keep.unwrap_or(1000),
            snapshot_logs_since_last: settings.snapshot_logs_since_last.unwrap_or(1024),
            snapshot_chunk_size: settings.snapshot_chunk_size.unwrap_or(4 * 1024 * 1024),
        })
    }

    /// An election starts after a silence that is drawn from this range, in milliseconds.
    pub fn election_timeout_ms(&self) -> Range<u64> {
        2 * self.heartbeat_interval_ms..3 * self.heartbeat_interval_ms
    }
}

fn members(key: &'static str, members: Option<Vec<String>>) -> Result<Vec<Endpoint>, ConfigError> {
    let member = |text: String| match parse_host_port(&text) {
        Ok(Endpoint { port: 0, .. }) => Err(ConfigError::invalid(key, &text, "nobody listens on port 0")),
        Ok(endpoint) => Ok(endpoint),
        Err(reason) => Err(ConfigError::invalid(key, &text, reason)),
    };
    members.unwrap_or_default().into_iter().map(member).collect()
}

fn leave(via: Vec<Endpoint>, id: Option<u64>) -> Result<Option<Leave>, ConfigError> {
    match id {
        Some(id) if via.is_empty() => Err(ConfigError::Contradiction(format!(
            "leave_id = {id} says who is to leave a cluster, but not which: name members of it with leave_via"
        ))),
        id => Ok((!via.is_empty()).then_some(Leave { via, id })),
    }
}

fn cluster_id(text: String) -> Result<String, ConfigError> {
    if text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(text);
    }
    Err(ConfigError::invalid("raft_config.cluster_id", &text, "must be 64 lower-case hex digits"))
}

fn at_least_1(key: &'static str, value: u64, most: u64) -> Result<u64, ConfigError> {
    if (1..=most).contains(&value) {
        Ok(value)
    } else {
        Err(ConfigError::invalid(key, &value, format!("must be 1 to {most} ms")))
    }
}
