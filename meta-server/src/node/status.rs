//! A node's status, as both APIs tell it. Knows what is told, not how it is encoded.

use std::{collections::BTreeMap, fmt};

use backup_plugin::record::{DATA_VERSION, LogId, Node};

use openraft::async_runtime::WatchReceiver;

use super::MetaNode;
use crate::raft::types::record_log_id;

/// The size of the Raft log, in the terms that clients of a Databend server know; 0 for what our log has not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RaftLogStatus {
    /// Entries that are held in memory.
    pub cache_items: u64,
    /// Their encoded size, in bytes.
    pub cache_used_size: u64,
    /// Bytes of the log on disk.
    pub wal_total_size: u64,
}

/// Everything there is to say about a node at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeStatus {
    pub id: u64,
    /// The version of the protocol: what scripts compare is Databend's numbering.
    pub binary_version: &'static str,
    pub data_version: &'static str,
    /// The address of the Raft service, `host:port`.
    pub endpoint: String,
    pub raft_log: RaftLogStatus,
    /// Key-value records in the base.
    pub snapshot_key_count: u64,
    /// `Leader`, `Follower`, `Candidate` or `Learner`.
    pub state: String,
    pub is_leader: bool,
    pub current_term: u64,
    pub last_log_index: u64,
    pub last_applied: Option<LogId>,
    /// Where the base stands.
    pub snapshot_last_log_id: Option<LogId>,
    pub purged: Option<LogId>,
    pub leader: Option<Node>,
    /// How far each member has the log; empty unless this node leads.
    pub replication: BTreeMap<u64, Option<LogId>>,
    pub voters: Vec<Node>,
    pub non_voters: Vec<Node>,
    /// The last sequence number given out.
    pub last_seq: u64,
    /// 64 lower-case hex digits; `None` while the node belongs to no cluster.
    pub cluster_id: Option<String>,
    /// The content digest of the state that was imported, if one was.
    pub imported_content: Option<String>,
}

impl MetaNode {
    pub fn status(&self) -> NodeStatus {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let view = self.view();
        let nodes = view.nodes();
        // A member may not have told its addresses yet.
        let node =
            |id: u64| nodes.get(&id).cloned().unwrap_or_else(|| Node { name: id.to_string(), ..Node::default() });
        let membership = &metrics.membership_config;
        NodeStatus {
            id: self.id,
            binary_version: meta_proto::PROTOCOL_VERSION_TEXT,
            data_version: DATA_VERSION,
            endpoint: self.endpoint.clone(),
            raft_log: self.raft_log_status(),
            snapshot_key_count: view.base().meta().keys,
            state: format!("{:?}", metrics.state),
            is_leader: metrics.state.is_leader(),
            current_term: metrics.current_term,
            last_log_index: metrics.last_log_index.unwrap_or_default(),
            last_applied: view.last_applied(),
            snapshot_last_log_id: metrics.snapshot.map(record_log_id),
            purged: metrics.purged.map(record_log_id),
            leader: metrics.current_leader.map(node),
            replication: metrics
                .replication
                .iter()
                .flatten()
                .map(|(id, matching)| (*id, matching.map(record_log_id)))
                .collect(),
            voters: membership.voter_ids().map(node).collect(),
            non_voters: membership.membership().learner_ids().map(node).collect(),
            last_seq: view.sequence(),
            cluster_id: self.guard.cluster_id(),
            imported_content: self.store.imported_content().map(str::to_owned),
        }
    }
}

impl MetaNode {
    /// Zeros when the log can not be asked: a status is most wanted when something is wrong.
    fn raft_log_status(&self) -> RaftLogStatus {
        self.store.log.stats().map_or_else(
            |_| RaftLogStatus::default(),
            |stats| RaftLogStatus {
                cache_items: stats.cached_items,
                cache_used_size: stats.cached_bytes,
                wal_total_size: stats.disk_bytes,
            },
        )
    }
}

/// A node as text: `id=<id> raft=<host:port> grpc=<host:port>`, without what is not known.
pub struct DisplayNode<'a>(pub &'a Node);

impl fmt::Display for DisplayNode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Node { name, endpoint, grpc_api_advertise_address } = self.0;
        write!(f, "id={name} raft={endpoint}")?;
        match grpc_api_advertise_address {
            Some(address) => write!(f, " grpc={address}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use backup_plugin::record::Endpoint;

    use super::*;

    #[test]
    fn a_node_is_told_with_the_addresses_it_has() {
        let mut node = Node {
            name: "1".into(),
            endpoint: Endpoint { addr: "127.0.0.1".into(), port: 28104 },
            grpc_api_advertise_address: Some("127.0.0.1:9291".into()),
        };
        assert_eq!(DisplayNode(&node).to_string(), "id=1 raft=127.0.0.1:28104 grpc=127.0.0.1:9291");
        node.grpc_api_advertise_address = None;
        assert_eq!(DisplayNode(&node).to_string(), "id=1 raft=127.0.0.1:28104");
    }
}
