//! Between the header of a snapshot and what a base is the state of. A field that is missing, or does not fit the others, is an
//! error that names it.

use std::collections::BTreeMap;

use meta_proto::raft as pb;

use crate::{
    base::BaseMeta,
    raft::{
        types,
        wire::{self, Malformed},
    },
    state::State,
};

/// The header for what `state` is the state of.
pub(super) fn header_to_pb(caller: pb::Caller, vote: pb::Ballot, state: &State) -> pb::SnapshotHeader {
    pb::SnapshotHeader {
        caller: Some(caller),
        vote: Some(vote),
        last_log_id: state.last_applied().map(|id| wire::log_id_to_pb(types::log_id(id))),
        last_membership: Some(wire::stored_membership_to_pb(state.last_membership())),
        sequence: state.sequence(),
        nodes: state.nodes().iter().map(|(id, node)| wire::node_to_pb(*id, node)).collect(),
    }
}

/// What the header says of the state that follows. Caller and vote are for whoever took it.
pub(super) fn header_from_pb(header: pb::SnapshotHeader) -> Result<BaseMeta, Malformed> {
    let last_log_id = wire::log_id(wire::required(header.last_log_id, "last_log_id")?, "last_log_id")?;
    let last_applied = types::record_log_id(last_log_id);
    let last_membership = wire::last_membership(header.last_membership)?;
    if last_membership.log_id > Some(last_applied) {
        let reason = format!("it is of a later entry than the last one, {last_applied}");
        return Err(Malformed::invalid("last_membership.log_id", &reason));
    }
    let mut nodes = BTreeMap::new();
    for node in header.nodes {
        let (id, node) = wire::node(node)?;
        if nodes.insert(id, node).is_some() {
            return Err(Malformed::invalid("nodes", &format!("node {id} is there twice")));
        }
    }
    Ok(BaseMeta::new(Some(last_applied), last_membership, header.sequence, nodes))
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
            last_log_id: meta.last_applied.map(|id| wire::log_id_to_pb(types::log_id(id))),
            last_membership: Some(wire::stored_membership_to_pb(&meta.last_membership)),
            sequence: meta.sequence,
            nodes: meta.nodes.iter().map(|(id, node)| wire::node_to_pb(*id, node)).collect(),
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
            (|h| h.last_log_id = None, "`last_log_id` is missing"),
            (|h| h.last_log_id.as_mut().unwrap().leader_id = None, "`last_log_id.leader_id` is missing"),
            (|h| h.last_membership = None, "`last_membership` is missing"),
            (
                |h| membership(h).log_id.as_mut().unwrap().leader_id = None,
                "`last_membership.log_id.leader_id` is missing",
            ),
            (|h| membership(h).membership = None, "`last_membership.membership` is missing"),
            (
                |h| membership(h).membership.as_mut().unwrap().configs.clear(),
                "`last_membership.membership.configs` is missing",
            ),
            (|h| membership(h).membership.as_mut().unwrap().nodes.clear(), "`last_membership.membership` can not be: "),
            (
                |h| membership(h).log_id.as_mut().unwrap().index = 71,
                "`last_membership.log_id` can not be: it is of a later entry than the last one, T3-N2.70",
            ),
            (|h| h.nodes[1].port = 70_000, "`node.port` can not be: 70000 is not a port"),
            (|h| h.nodes[1].id = 1, "`nodes` can not be: node 1 is there twice"),
        ];
        for (spoil, expected) in cases {
            let mut header = whole();
            spoil(&mut header);
            let error = header_from_pb(header).unwrap_err().to_string();
            let text = error.strip_prefix("cannot understand a message of another member: ").unwrap();
            assert!(text.starts_with(expected), "{error}");
        }
    }
}
