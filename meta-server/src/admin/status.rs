//! A node's status as the admin API's JSON: field by field what operators' scripts read from a Databend server.

use std::collections::BTreeMap;

use backup_plugin::record::{LogId, Node};
use serde::Serialize;

use crate::node::{NodeStatus, RaftLogStatus};

/// The name that a Databend server gives to the records of the generic key-value space.
const GENERIC_KV: &str = "kv--";

#[derive(Serialize)]
pub struct Status {
    id: u64,
    binary_version: &'static str,
    data_version: &'static str,
    endpoint: String,
    raft_log: RaftLog,
    snapshot_key_count: u64,
    snapshot_key_space_stat: BTreeMap<&'static str, u64>,
    state: String,
    is_leader: bool,
    current_term: u64,
    last_log_index: u64,
    last_applied: LogId,
    snapshot_last_log_id: Option<LogId>,
    purged: Option<LogId>,
    leader: Option<Node>,
    replication: Option<BTreeMap<u64, Option<LogId>>>,
    voters: Vec<Node>,
    non_voters: Vec<Node>,
    last_seq: u64,
}

/// The fields of the protobuf message `RaftLogStatus`. Our log is one file that is written to, an open chunk; what it has no notion
/// of is 0.
#[derive(Default, Serialize)]
struct RaftLog {
    cache_items: u64,
    cache_used_size: u64,
    wal_total_size: u64,
    wal_open_chunk_size: u64,
    wal_offset: u64,
    wal_closed_chunk_count: u64,
    wal_closed_chunk_total_size: u64,
    wal_closed_chunk_sizes: BTreeMap<String, u64>,
}

impl From<RaftLogStatus> for RaftLog {
    fn from(log: RaftLogStatus) -> Self {
        Self {
            cache_items: log.cache_items,
            cache_used_size: log.cache_used_size,
            wal_total_size: log.wal_total_size,
            wal_open_chunk_size: log.wal_total_size,
            ..Self::default()
        }
    }
}

impl From<NodeStatus> for Status {
    fn from(status: NodeStatus) -> Self {
        Self {
            id: status.id,
            binary_version: status.binary_version,
            data_version: status.data_version,
            endpoint: status.endpoint,
            raft_log: status.raft_log.into(),
            snapshot_key_count: status.snapshot_key_count,
            snapshot_key_space_stat: match status.snapshot_key_count {
                0 => BTreeMap::new(),
                count => BTreeMap::from([(GENERIC_KV, count)]),
            },
            state: status.state,
            is_leader: status.is_leader,
            current_term: status.current_term,
            last_log_index: status.last_log_index,
            last_applied: status.last_applied.unwrap_or_default(),
            snapshot_last_log_id: status.snapshot_last_log_id,
            purged: status.purged,
            leader: status.leader,
            // Only a leader knows.
            replication: status.is_leader.then_some(status.replication),
            voters: status.voters,
            non_voters: status.non_voters,
            last_seq: status.last_seq,
        }
    }
}

#[cfg(test)]
mod tests {
    use backup_plugin::record::{Endpoint, LeaderId};
    use serde_json::json;

    use super::*;

    #[test]
    fn status_has_the_shape_of_a_databend_server() {
        let log_id = |index| LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index };
        let node = Node {
            name: "1".into(),
            endpoint: Endpoint { addr: "127.0.0.1".into(), port: 28104 },
            grpc_api_advertise_address: Some("127.0.0.1:9291".into()),
        };
        let status = NodeStatus {
            id: 1,
            binary_version: "0.0.0",
            data_version: "V004",
            endpoint: "127.0.0.1:28104".into(),
            raft_log: RaftLogStatus { wal_total_size: 1488, ..RaftLogStatus::default() },
            snapshot_key_count: 1,
            state: "Leader".into(),
            is_leader: true,
            current_term: 1,
            last_log_index: 7,
            last_applied: Some(log_id(7)),
            snapshot_last_log_id: Some(log_id(6)),
            purged: None,
            leader: Some(node.clone()),
            replication: BTreeMap::from([(1, Some(log_id(7)))]),
            voters: vec![node.clone()],
            non_voters: vec![],
            last_seq: 3,
            cluster_id: None,
            imported_content: None,
        };
        let id_7 = json!({"leader_id": {"term": 1, "node_id": 1}, "index": 7});
        assert_eq!(
            serde_json::to_value(Status::from(status)).unwrap(),
            json!({
                "id": 1, "binary_version": "0.0.0", "data_version": "V004", "endpoint": "127.0.0.1:28104",
                "raft_log": {
                    "cache_items": 0, "cache_used_size": 0, "wal_total_size": 1488, "wal_open_chunk_size": 1488, "wal_offset": 0,
                    "wal_closed_chunk_count": 0, "wal_closed_chunk_total_size": 0, "wal_closed_chunk_sizes": {},
                },
                "snapshot_key_count": 1, "snapshot_key_space_stat": {"kv--": 1}, "state": "Leader", "is_leader": true,
                "current_term": 1, "last_log_index": 7, "last_applied": id_7,
                "snapshot_last_log_id": {"leader_id": {"term": 1, "node_id": 1}, "index": 6}, "purged": null, "leader": node,
                "replication": {"1": id_7}, "voters": [node], "non_voters": [], "last_seq": 3,
            })
        );
    }
}
