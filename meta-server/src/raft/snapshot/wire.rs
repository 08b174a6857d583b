//! Between the header of a snapshot and what a base is the state of. Every field that is missing is an error that names it.

use std::collections::{BTreeMap, BTreeSet};

use backup_plugin::record::{Endpoint, LeaderId, LogId, Membership, NoAddress, Node, StoredMembership};
use meta_proto::raft as pb;

use crate::{base::BaseMeta, raft::convert, state::State};

/// Why a snapshot's header or end is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("the snapshot has no `{0}`")]
    Missing(&'static str),
    #[error("the snapshot's `{field}` is not possible: {reason}")]
    Invalid { field: &'static str, reason: String },
}

use WireError::{Invalid, Missing};

/// The header for what `state` is the state of.
pub(super) fn header_to_pb(caller: pb::Caller, vote: pb::Ballot, state: &State) -> pb::SnapshotHeader {
    pb::SnapshotHeader {
        caller: Some(caller),
        vote: Some(vote),
        last_log_id: state.last_applied().map(log_id_to_pb),
        last_membership: Some(membership_to_pb(state.last_membership())),
        sequence: state.sequence(),
        nodes: state.nodes().iter().map(|(id, node)| node_to_pb(*id, node)).collect(),
    }
}

/// What the header says of the state that follows. Caller and vote are for whoever took it.
pub(super) fn header_from_pb(header: pb::SnapshotHeader) -> Result<BaseMeta, WireError> {
    let last_log_id = header.last_log_id.ok_or(Missing("last_log_id"))?;
    let last_applied = log_id_from_pb(last_log_id).ok_or(Missing("last_log_id.leader_id"))?;
    let last_membership = membership_from_pb(header.last_membership.ok_or(Missing("last_membership"))?)?;
    if last_membership.log_id > Some(last_applied) {
        let reason = format!("it is of a later entry than the last one, {last_applied}");
        return Err(Invalid { field: "last_membership.log_id", reason });
    }
    let mut nodes = BTreeMap::new();
    for node in header.nodes {
        let (id, node) = node_from_pb(node)?;
        if nodes.insert(id, node).is_some() {
            return Err(Invalid { field: "nodes", reason: format!("node {id} is there twice") });
        }
    }
    Ok(BaseMeta::new(Some(last_applied), last_membership, header.sequence, nodes))
}

fn log_id_to_pb(id: LogId) -> pb::LogId {
    let leader_id = pb::LeaderId { term: id.leader_id.term, node_id: id.leader_id.node_id };
    pb::LogId { leader_id: Some(leader_id), index: id.index }
}

fn log_id_from_pb(id: pb::LogId) -> Option<LogId> {
    let leader = id.leader_id?;
    Some(LogId { leader_id: LeaderId { term: leader.term, node_id: leader.node_id }, index: id.index })
}

fn membership_to_pb(stored: &StoredMembership) -> pb::StoredMembership {
    let Membership { configs, nodes } = &stored.membership;
    let configs = configs.iter().map(|ids| pb::Voters { ids: ids.iter().copied().collect() }).collect();
    let membership = pb::Membership { configs, nodes: nodes.keys().copied().collect() };
    pb::StoredMembership { log_id: stored.log_id.map(log_id_to_pb), membership: Some(membership) }
}

/// A membership without an entry of its own is one that was imported.
fn membership_from_pb(stored: pb::StoredMembership) -> Result<StoredMembership, WireError> {
    let log_id = match stored.log_id {
        Some(id) => Some(log_id_from_pb(id).ok_or(Missing("last_membership.log_id.leader_id"))?),
        None => None,
    };
    let pb::Membership { configs, nodes } = stored.membership.ok_or(Missing("last_membership.membership"))?;
    if configs.is_empty() {
        return Err(Missing("last_membership.membership.configs"));
    }
    let configs = configs.into_iter().map(|voters| BTreeSet::from_iter(voters.ids)).collect();
    let nodes = nodes.into_iter().map(|id| (id, NoAddress {})).collect();
    let membership = Membership { configs, nodes };
    convert::membership(&membership)
        .map_err(|err| Invalid { field: "last_membership.membership", reason: err.to_string() })?;
    Ok(StoredMembership { log_id, membership })
}

fn node_to_pb(id: u64, node: &Node) -> pb::Node {
    pb::Node {
        id,
        name: node.name.clone(),
        host: node.endpoint.addr.clone(),
        port: node.endpoint.port.into(),
        grpc_address: node.grpc_api_advertise_address.clone(),
    }
}

fn node_from_pb(node: pb::Node) -> Result<(u64, Node), WireError> {
    let port = u16::try_from(node.port)
        .map_err(|_| Invalid { field: "nodes.port", reason: format!("{} is not a port", node.port) })?;
    let endpoint = Endpoint { addr: node.host, port };
    Ok((node.id, Node { name: node.name, endpoint, grpc_api_advertise_address: node.grpc_address }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> pb::SnapshotHeader {
        let log_id = pb::LogId { leader_id: Some(pb::LeaderId { term: 3, node_id: 2 }), index: 70 };
        let membership = pb::Membership {
            configs: vec![pb::Voters { ids: vec![1, 2] }, pb::Voters { ids: vec![2] }],
            nodes: vec![1, 2, 9],
        };
        let node = |id, grpc: Option<&str>| pb::Node {
            id,
            name: format!("n{id}"),
            host: "db".to_owned(),
            port: 28_004,
            grpc_address: grpc.map(str::to_owned),
        };
        pb::SnapshotHeader {
            last_log_id: Some(log_id),
            last_membership: Some(pb::StoredMembership { log_id: Some(log_id), membership: Some(membership) }),
            sequence: 12,
            nodes: vec![node(1, None), node(2, Some("db:9191"))],
            ..pb::SnapshotHeader::default()
        }
    }

    #[test]
    fn a_header_comes_back_as_it_was() {
        let meta = header_from_pb(whole()).unwrap();
        assert_eq!(meta.last_applied.unwrap().to_string(), "T3-N2.70");
        assert_eq!(meta.sequence, 12);
        let back = pb::SnapshotHeader {
            last_log_id: meta.last_applied.map(log_id_to_pb),
            last_membership: Some(membership_to_pb(&meta.last_membership)),
            sequence: meta.sequence,
            nodes: meta.nodes.iter().map(|(id, node)| node_to_pb(*id, node)).collect(),
            ..pb::SnapshotHeader::default()
        };
        assert_eq!(back, whole());
    }

    #[test]
    fn what_is_missing_or_not_possible_is_named() {
        type Break = fn(&mut pb::SnapshotHeader);
        fn membership(header: &mut pb::SnapshotHeader) -> &mut pb::StoredMembership {
            header.last_membership.as_mut().unwrap()
        }
        let cases: [(Break, &str); 10] = [
            (|h| h.last_log_id = None, "the snapshot has no `last_log_id`"),
            (|h| h.last_log_id.as_mut().unwrap().leader_id = None, "the snapshot has no `last_log_id.leader_id`"),
            (|h| h.last_membership = None, "the snapshot has no `last_membership`"),
            (
                |h| membership(h).log_id.as_mut().unwrap().leader_id = None,
                "the snapshot has no `last_membership.log_id.leader_id`",
            ),
            (|h| membership(h).membership = None, "the snapshot has no `last_membership.membership`"),
            (
                |h| membership(h).membership.as_mut().unwrap().configs.clear(),
                "the snapshot has no `last_membership.membership.configs`",
            ),
            (
                |h| membership(h).membership.as_mut().unwrap().nodes.clear(),
                "the snapshot's `last_membership.membership` is not possible: ",
            ),
            (
                |h| membership(h).log_id.as_mut().unwrap().index = 71,
                "the snapshot's `last_membership.log_id` is not possible: it is of a later entry than the last one, T3-N2.70",
            ),
            (|h| h.nodes[1].port = 70_000, "the snapshot's `nodes.port` is not possible: 70000 is not a port"),
            (|h| h.nodes[1].id = 1, "the snapshot's `nodes` is not possible: node 1 is there twice"),
        ];
        for (spoil, expected) in cases {
            let mut header = whole();
            spoil(&mut header);
            let error = header_from_pb(header).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
