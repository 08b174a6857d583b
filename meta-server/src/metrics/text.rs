//! The text: every metric by its name, with what it means. The encoder puts `_total` behind the names of counters.

use std::{collections::BTreeMap, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::Metrics;
use crate::{node::NodeStatus, raft::guard::Refusal, state::StateCounts};

/// What is true of a node at the moment it is asked.
pub struct Observed {
    pub status: NodeStatus,
    pub state: StateCounts,
    /// Messages of other nodes that were refused, by [`Refusal::kind`].
    pub refused: BTreeMap<&'static str, u64>,
    /// The last committed index that each member is known to hold.
    pub held: BTreeMap<u64, u64>,
}

/// The metrics of one node.
pub fn text(metrics: &Metrics, observed: &Observed) -> String {
    let mut registry = Registry::default();
    server(registry.sub_registry_with_prefix("metasrv_server"), metrics, observed);
    network(registry.sub_registry_with_prefix("metasrv_meta_network"), metrics);
    raft_storage(registry.sub_registry_with_prefix("metasrv_raft_storage"), &observed.state);
    members(registry.sub_registry_with_prefix("metasrv_raft"), observed);
    backup(registry.sub_registry_with_prefix("backup"), metrics);
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, &registry);
    text
}

fn server(registry: &mut Registry, metrics: &Metrics, Observed { status, state, .. }: &Observed) {
    let leader: u64 = status.leader.as_ref().and_then(|leader| leader.name.parse().ok()).unwrap_or_default();
    gauges(
        registry,
        [
            ("is_leader", "Whether this node leads", status.is_leader.into()),
            ("node_is_health", "Whether this node knows who leads", status.leader.is_some().into()),
            ("current_leader_id", "The id of the leader; 0: none is known", leader),
            ("current_term", "The term", status.current_term),
            ("last_log_index", "The index of the last entry in the log", status.last_log_index),
            ("last_seq", "The last sequence number that was given out", status.last_seq),
            ("proposals_applied", "The index of the last entry applied", status.last_applied.map_or(0, |id| id.index)),
            ("proposals_pending", "Commands proposed and not applied yet", metrics.proposals_pending.get()),
            ("raft_log_size", "Bytes of the log on disk", status.raft_log.wal_total_size),
            ("snapshot_key_count", "Records in the last snapshot", status.snapshot_key_count),
            ("snapshot_data_size", "Bytes of the last snapshot on disk", state.base_bytes),
            ("snapshot_primary_index_count", "Records in the last snapshot", status.snapshot_key_count),
            ("snapshot_expire_index_count", "Records in the last snapshot that expire", state.base_expiring),
            ("applying_snapshot", "Snapshots of the leader that are being received", state.receiving),
            ("watchers", "Clients that watch", state.watchers),
        ],
    );
    counters(
        registry,
        [
            ("leader_changes", "How often this node saw another leader", metrics.leader_changes.get()),
            ("proposals_failed", "Commands proposed that failed, or may have", metrics.proposals_failed.get()),
            ("read_failed", "Reads that failed", metrics.reads_failed.get()),
        ],
    );
    let version = Family::<[(&str, &str); 2], Gauge>::default();
    version.get_or_create(&[("component", "metasrv"), ("semver", status.binary_version)]).set(1);
    registry.register("version", "The version of the protocol that is spoken", version);
}

fn network(registry: &mut Registry, metrics: &Metrics) {
    let calls = &metrics.calls;
    gauges(registry, [("req_inflights", "Calls that are being answered", calls.in_flight.get())]);
    counters(
        registry,
        [
            ("recv_bytes", "Bytes of calls", calls.received_bytes.get()),
            ("sent_bytes", "Bytes of answers", calls.sent_bytes.get()),
            ("req_success", "Calls that were answered", calls.succeeded.get()),
            ("req_failed", "Calls that failed", calls.failed.get()),
            ("watch_initialization", "Records that watchers were shown at first", metrics.watch_initializations.get()),
            ("watch_change", "Changes that watchers were told of", metrics.watch_changes.get()),
        ],
    );
    registry.register("rpc_delay_ms", "Milliseconds until a call was answered", calls.delay_ms.clone());
    registry.register("rpc_delay_read_ms", "The same, of reads", calls.read_delay_ms.clone());
    registry.register("rpc_delay_write_ms", "The same, of writes", calls.write_delay_ms.clone());
}

fn raft_storage(registry: &mut Registry, state: &StateCounts) {
    gauges(registry, [("snapshot_building", "Snapshots that are being built", state.building)]);
    let written = ("snapshot_written_entries", "Records written to snapshots that were built", state.written);
    counters(registry, [written]);
}

fn members(registry: &mut Registry, Observed { refused, held, .. }: &Observed) {
    let refusals = Family::<[(&str, &str); 1], Counter>::default();
    for reason in Refusal::KINDS {
        let count = refused.get(reason).copied().unwrap_or_default();
        refusals.get_or_create(&[("reason", reason)]).inc_by(count);
    }
    registry.register("refused", "Messages of other nodes that were refused", refusals);
    let held_by = Family::<[(&str, String); 1], Gauge<u64, AtomicU64>>::default();
    for (member, index) in held {
        held_by.get_or_create(&[("member", member.to_string())]).set(*index);
    }
    registry.register("member_held", "The last committed index that a member is known to hold", held_by);
}

fn backup(registry: &mut Registry, metrics: &Metrics) {
    let backup = &metrics.backup;
    let success = backup.last_success();
    let seconds = success.map_or(0, |success| success.at_ms / 1000);
    let log_id = success.and_then(|success| success.log_id).unwrap_or_default();
    gauges(
        registry,
        [
            ("exports_in_flight", "Exports that run", backup.in_flight.get()),
            (
                "last_success_timestamp_seconds",
                "When an export was last served whole; 0: never since the start",
                seconds,
            ),
            ("last_success_log_index", "The index of the log id of the state in it", log_id.index),
            ("last_success_log_term", "The term of that log id", log_id.leader_id.term),
        ],
    );
    counters(
        registry,
        [
            ("export_bytes", "Bytes of exports that were sent", backup.bytes.get()),
            ("export_records", "Lines of exports that were sent", backup.records.get()),
        ],
    );
    registry.register("export_seconds", "Seconds that a whole export took", backup.seconds.clone());
    let failures = Family::<[(&str, String); 1], Counter>::default();
    for (kind, count) in backup.failures() {
        failures.get_or_create(&[("kind", kind.to_string())]).inc_by(count);
    }
    registry.register("export_failures", "Exports that were not served whole", failures);
}

fn gauges<const N: usize>(registry: &mut Registry, gauges: [(&str, &str, u64); N]) {
    for (name, help, value) in gauges {
        let gauge = Gauge::<u64, AtomicU64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    }
}

fn counters<const N: usize>(registry: &mut Registry, counters: [(&str, &str, u64); N]) {
    for (name, help, value) in counters {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use backup_plugin::{
        observe::{ExportFailure, ExportObserver},
        record::{LeaderId, LogId, Node},
    };

    use super::*;
    use crate::{
        metrics::{CallKind, Calling},
        node::RaftLogStatus,
    };

    fn observed() -> Observed {
        let status = NodeStatus {
            id: 2,
            binary_version: "260304.0.0",
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
            cluster_id: None,
            imported_content: None,
        };
        let state =
            StateCounts { base_bytes: 11, base_expiring: 12, building: 1, written: 13, receiving: 1, watchers: 2 };
        Observed { status, state, refused: [("stranger", 2)].into(), held: [(3, 8)].into() }
    }

    fn metrics() -> Arc<Metrics> {
        let metrics = Arc::new(Metrics::default());
        metrics.proposals_failed.add(4);
        metrics.reads_failed.add(5);
        metrics.leader_changes.add(6);
        metrics.watch_initializations.add(7);
        metrics.watch_changes.add(8);
        metrics.calls.received_bytes.add(100);
        let mut call = Calling::begin(metrics.clone(), CallKind::Write);
        call.sent(50);
        call.end(true);
        drop(Calling::begin(metrics.clone(), CallKind::Read));
        std::mem::forget(Calling::begin(metrics.clone(), CallKind::Other));
        std::mem::forget(metrics.proposals_pending.hold());
        let log_id = LogId { leader_id: LeaderId { term: 3, node_id: 1 }, index: 77 };
        metrics.began();
        metrics.sent(10, 2000);
        metrics.succeeded(Some(log_id), Duration::from_secs(2));
        metrics.began();
        metrics.failed(ExportFailure::Abandoned);
        metrics.began();
        metrics
    }

    #[test]
    fn metrics_have_the_names_that_dashboards_know() {
        let text = text(&metrics(), &observed());
        for line in [
            "metasrv_server_is_leader 0",
            "metasrv_server_node_is_health 1",
            "metasrv_server_current_leader_id 7",
            "metasrv_server_current_term 3",
            "metasrv_server_last_log_index 9",
            "metasrv_server_last_seq 4",
            "metasrv_server_proposals_applied 0",
            "metasrv_server_proposals_pending 1",
            "metasrv_server_proposals_failed_total 4",
            "metasrv_server_read_failed_total 5",
            "metasrv_server_leader_changes_total 6",
            "metasrv_server_raft_log_size 1488",
            "metasrv_server_snapshot_key_count 5",
            "metasrv_server_snapshot_data_size 11",
            "metasrv_server_snapshot_primary_index_count 5",
            "metasrv_server_snapshot_expire_index_count 12",
            "metasrv_server_applying_snapshot 1",
            "metasrv_server_watchers 2",
            "metasrv_server_version{component=\"metasrv\",semver=\"260304.0.0\"} 1",
            "metasrv_meta_network_recv_bytes_total 100",
            "metasrv_meta_network_sent_bytes_total 50",
            "metasrv_meta_network_req_inflights 1",
            "metasrv_meta_network_req_success_total 1",
            "metasrv_meta_network_req_failed_total 1",
            "metasrv_meta_network_watch_initialization_total 7",
            "metasrv_meta_network_watch_change_total 8",
            "metasrv_meta_network_rpc_delay_ms_count 2",
            "metasrv_meta_network_rpc_delay_read_ms_count 1",
            "metasrv_meta_network_rpc_delay_write_ms_count 1",
            "metasrv_meta_network_rpc_delay_ms_bucket{le=\"+Inf\"} 2",
            "metasrv_raft_storage_snapshot_building 1",
            "metasrv_raft_storage_snapshot_written_entries_total 13",
            "metasrv_raft_refused_total{reason=\"stranger\"} 2",
            "metasrv_raft_refused_total{reason=\"other_cluster\"} 0",
            "metasrv_raft_member_held{member=\"3\"} 8",
            "backup_exports_in_flight 1",
            "backup_export_bytes_total 2000",
            "backup_export_records_total 10",
            "backup_export_seconds_sum 2.0",
            "backup_export_seconds_count 1",
            "backup_last_success_log_index 77",
            "backup_last_success_log_term 3",
            "backup_export_failures_total{kind=\"abandoned\"} 1",
            "backup_export_failures_total{kind=\"source\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
