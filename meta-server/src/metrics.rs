//! Metrics as Prometheus reads them, under the names that dashboards of a Databend server have. Each one is made when it is asked
//! for, of what the node knows anyway. Knows nothing of HTTP.

use std::{collections::BTreeMap, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{node::NodeStatus, raft::guard::Refusal};

/// What the text is, for HTTP.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text. `refused`: messages of other nodes that were refused, by [`Refusal::kind`].
pub fn text(status: &NodeStatus, refused: &BTreeMap<&'static str, u64>) -> String {
    let mut registry = Registry::default();
    let server = registry.sub_registry_with_prefix("metasrv_server");
    let leader: u64 = status.leader.as_ref().and_then(|leader| leader.name.parse().ok()).unwrap_or_default();
    for (name, help, value) in [
        ("is_leader", "Whether this node leads", status.is_leader.into()),
        ("node_is_health", "Whether this node knows who leads", status.leader.is_some().into()),
        ("current_leader_id", "The id of the leader; 0: none is known", leader),
        ("current_term", "The term", status.current_term),
        ("last_log_index", "The index of the last entry in the log", status.last_log_index),
        ("last_seq", "The last sequence number that was given out", status.last_seq),
        ("proposals_applied", "The index of the last entry applied", status.last_applied.map_or(0, |id| id.index)),
        ("raft_log_size", "Bytes of the log on disk", status.raft_log.wal_total_size),
        ("snapshot_key_count", "Records in the snapshot", status.snapshot_key_count),
    ] {
        let gauge = Gauge::<u64, AtomicU64>::default();
        gauge.set(value);
        server.register(name, help, gauge);
    }
    let refusals = Family::<[(&str, &str); 1], Counter>::default();
    for reason in Refusal::KINDS {
        let count = refused.get(reason).copied().unwrap_or_default();
        refusals.get_or_create(&[("reason", reason)]).inc_by(count);
    }
    let raft = registry.sub_registry_with_prefix("metasrv_raft");
    raft.register("refused", "Messages of other nodes that were refused", refusals);

    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, &registry);
    text
}

#[cfg(test)]
mod tests {
    use backup_plugin::record::Node;

    use super::*;
    use crate::node::RaftLogStatus;

    #[test]
    fn metrics_have_the_names_that_dashboards_know() {
        let status = NodeStatus {
            id: 2,
            binary_version: "",
            data_version: "V004",
            endpoint: String::new(),
            raft_log: RaftLogStatus { wal_total_size: 1488, ..RaftLogStatus::default() },
            snapshot_key_count: 5,
            state: "Follower".into(),
            is_leader: false,
            current_term: 3,
            last_log_index: 9,
            last_applied: None,
            snapshot_last_log_id: None,
            purged: None,
            leader: Some(Node { name: "7".into(), ..Node::default() }),
            replication: BTreeMap::new(),
            voters: Vec::new(),
            non_voters: Vec::new(),
            last_seq: 4,
        };
        let text = text(&status, &[("stranger", 2)].into());
        for line in [
            "metasrv_server_is_leader 0",
            "metasrv_server_node_is_health 1",
            "metasrv_server_current_leader_id 7",
            "metasrv_server_current_term 3",
            "metasrv_server_last_log_index 9",
            "metasrv_server_last_seq 4",
            "metasrv_server_proposals_applied 0",
            "metasrv_server_raft_log_size 1488",
            "metasrv_server_snapshot_key_count 5",
            "metasrv_raft_refused_total{reason=\"stranger\"} 2",
            "metasrv_raft_refused_total{reason=\"other_cluster\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
