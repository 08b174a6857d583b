//! A node's status as protobuf: log ids and nodes are text here.

use backup_plugin::record::LogId;
use meta_proto::pb;

use crate::node::{DisplayNode, NodeStatus, RaftLogStatus};

impl From<NodeStatus> for pb::ClusterStatus {
    fn from(status: NodeStatus) -> Self {
        let text = |id: LogId| id.to_string();
        let node = |node: &_| DisplayNode(node).to_string();
        Self {
            id: status.id,
            binary_version: status.binary_version.into(),
            data_version: status.data_version.into(),
            endpoint: status.endpoint,
            raft_log_size: status.raft_log.wal_total_size,
            state: status.state,
            is_leader: status.is_leader,
            current_term: status.current_term,
            last_log_index: status.last_log_index,
            last_applied: status.last_applied.map(text).unwrap_or_default(),
            snapshot_last_log_id: status.snapshot_last_log_id.map(text),
            purged: status.purged.map(text),
            leader: status.leader.as_ref().map(node),
            replication: status.replication.into_iter().filter_map(|(id, at)| Some((id, at?.to_string()))).collect(),
            voters: status.voters.iter().map(node).collect(),
            non_voters: status.non_voters.iter().map(node).collect(),
            last_seq: status.last_seq,
            snapshot_key_count: status.snapshot_key_count,
            raft_log_status: Some(status.raft_log.into()),
            cluster_id: status.cluster_id,
            imported_content: status.imported_content,
        }
    }
}

/// Our log is one file that is written to: an open chunk. What it has no notion of stays 0.
impl From<RaftLogStatus> for pb::RaftLogStatus {
    fn from(status: RaftLogStatus) -> Self {
        Self {
            cache_items: status.cache_items,
            cache_used_size: status.cache_used_size,
            wal_total_size: status.wal_total_size,
            wal_open_chunk_size: status.wal_total_size,
            ..Self::default()
        }
    }
}
