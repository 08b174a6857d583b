//! Who may join, move or leave: decisions of a leader, made of what it knows and nothing else.

use std::collections::BTreeMap;

use backup_plugin::record::{Endpoint, Node};
use openraft::RaftMetrics;

use crate::{log::Role, raft::types::TypeConfig};

/// A learner that lacks no more entries than this has them by the time that it is a voter.
const CLOSE: u64 = 1000;

/// A node that wants to be a member.
#[derive(Debug, Clone)]
pub struct Applicant {
    pub id: u64,
    pub incarnation: u64,
    pub node: Node,
    pub role: Role,
    /// Its log is empty: it has never acknowledged anything.
    pub fresh: bool,
    /// What it has applied names it as a member.
    pub was_member: bool,
}

/// What comes before an applicant becomes a learner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Add,
    /// It was a member in another life, which it has forgotten.
    RemoveFirst,
}

/// Why the membership stays as it is, whoever asks, and however often.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipRefusal {
    #[error(
        "node {id} is known {}, and an id is never used for another node: start this one with another --id, or remove \
         that one first (databend-meta --leave-via <a member> --leave-id {id})",
        at(address.as_ref())
    )]
    IdTaken { id: u64, address: Option<Endpoint> },

    #[error(
        "{address} is the address of node {id}: give this node another one (raft_advertise_host, raft_api_port), or remove \
         that one first (databend-meta --leave-via <a member> --leave-id {id})"
    )]
    AddressTaken { address: Endpoint, id: u64 },

    #[error("node {0} is the last voter: without it there is no cluster. Stop it and delete its raft_dir instead")]
    LastVoter(u64),

    #[error(
        "node {0} is no member of the cluster: it was removed. Stop it; to have it take part again, empty its raft_dir and \
         start it with --join"
    )]
    NotMember(u64),

    #[error(
        "node {0} was imported again or wiped: empty its raft_dir, and start it with --join and the same --id and address"
    )]
    Reborn(u64),
}

fn at(address: Option<&Endpoint>) -> String {
    address.map_or_else(|| "without an address".to_owned(), |address| format!("at {address}"))
}

/// Whether a node may join, as `leader` sees it. `on_record`: the incarnation that it is known by.
pub(super) fn judge(
    applicant: &Applicant,
    leader: u64,
    nodes: &BTreeMap<u64, Node>,
    metrics: &RaftMetrics<TypeConfig>,
    on_record: Option<u64>,
) -> Result<Verdict, MembershipRefusal> {
    let Applicant { id, incarnation, ref node, fresh, .. } = *applicant;
    let membership = metrics.membership_config.membership();
    let is_member = membership.get_node(&id).is_some();
    address_is_free(id, &node.endpoint, nodes)?;
    // Whoever has the store that is on record is the node itself, wherever it lives now.
    let itself = on_record == Some(incarnation) && id != leader;
    let address = nodes.get(&id).map(|known| &known.endpoint);
    let elsewhere = address.map_or(is_member, |address| *address != node.endpoint);
    if id == leader || elsewhere && !itself {
        return Err(MembershipRefusal::IdTaken { id, address: address.cloned() });
    }
    let another_life = on_record.is_some_and(|on_record| on_record != incarnation);
    let amnesiac = fresh && membership.voter_ids().any(|voter| voter == id);
    Ok(if is_member && (another_life || amnesiac) { Verdict::RemoveFirst } else { Verdict::Add })
}

/// Whether a node that calls itself a member is one, and may have this address.
pub(super) fn may_move(
    member: &Applicant,
    nodes: &BTreeMap<u64, Node>,
    metrics: &RaftMetrics<TypeConfig>,
    on_record: Option<u64>,
) -> Result<(), MembershipRefusal> {
    if metrics.membership_config.membership().get_node(&member.id).is_none() {
        return Err(MembershipRefusal::NotMember(member.id));
    }
    if on_record.is_some_and(|on_record| on_record != member.incarnation) {
        return Err(MembershipRefusal::Reborn(member.id));
    }
    address_is_free(member.id, &member.node.endpoint, nodes)
}

/// Whether there is a cluster without this voter.
pub(super) fn may_leave(id: u64, mut voters: impl Iterator<Item = u64>) -> Result<(), MembershipRefusal> {
    if voters.any(|voter| voter != id) { Ok(()) } else { Err(MembershipRefusal::LastVoter(id)) }
}

/// The entries that a learner lacks to be what it asked to be; 0: none, or few, and it goes on taking them. One that has not
/// acknowledged a single entry, or is silent, lacks one at least: to stay a learner it needs to have something of the cluster,
/// so that its store is taken for nothing else.
pub(super) fn lag(role: Role, last_log: Option<u64>, matched: Option<u64>, alive: bool) -> u64 {
    let end = last_log.map_or(0, |last| last + 1);
    match matched {
        None => end.max(1),
        Some(matched) => match end.saturating_sub(matched + 1) {
            lacking if alive && (lacking <= CLOSE || role == Role::Learner) => 0,
            lacking => lacking.max(1),
        },
    }
}

fn address_is_free(id: u64, address: &Endpoint, nodes: &BTreeMap<u64, Node>) -> Result<(), MembershipRefusal> {
    match nodes.iter().find(|(other, node)| **other != id && node.endpoint == *address) {
        Some((other, _)) => Err(MembershipRefusal::AddressTaken { address: address.clone(), id: *other }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use openraft::EmptyNode;

    use super::*;
    use crate::raft::types::{Membership, StoredMembership};

    fn node(port: u16) -> Node {
        Node { endpoint: Endpoint { addr: "db".into(), port }, ..Node::default() }
    }

    /// Voters 1, 2 and 4, learner 3; nobody knows where 4 is; 9 was removed, and its addresses were not yet.
    fn cluster() -> (BTreeMap<u64, Node>, RaftMetrics<TypeConfig>) {
        let nodes: BTreeMap<u64, EmptyNode> = [1, 2, 3, 4].map(|id| (id, EmptyNode {})).into();
        let membership = Membership::new(vec![BTreeSet::from([1, 2, 4])], nodes).unwrap();
        let mut metrics = RaftMetrics::new_initial(1);
        metrics.membership_config = Arc::new(StoredMembership::new(None, membership));
        ([(1, node(1)), (2, node(2)), (3, node(3)), (9, node(9))].into(), metrics)
    }

    fn applicant(id: u64, incarnation: u64, port: u16, fresh: bool) -> Applicant {
        Applicant { id, incarnation, node: node(port), role: Role::Voter, fresh, was_member: false }
    }

    #[test]
    fn ids_and_addresses_are_never_given_twice_and_the_forgetful_start_anew() {
        use MembershipRefusal::{AddressTaken, IdTaken};
        let (nodes, metrics) = cluster();
        let endpoint = |port| node(port).endpoint;
        for (who, on_record, expected) in [
            // New ones.
            (applicant(5, 50, 5, true), None, Ok(Verdict::Add)),
            (applicant(5, 50, 5, true), Some(49), Ok(Verdict::Add)),
            (applicant(9, 90, 9, true), None, Ok(Verdict::Add)),
            (applicant(5, 50, 2, true), None, Err(AddressTaken { address: endpoint(2), id: 2 })),
            (applicant(5, 50, 9, true), None, Err(AddressTaken { address: endpoint(9), id: 9 })),
            // The leader's own id.
            (applicant(1, 10, 1, true), None, Err(IdTaken { id: 1, address: Some(endpoint(1)) })),
            (applicant(1, 10, 7, true), Some(10), Err(IdTaken { id: 1, address: Some(endpoint(1)) })),
            // Members that go on joining.
            (applicant(2, 20, 2, false), Some(20), Ok(Verdict::Add)),
            (applicant(3, 30, 3, true), Some(30), Ok(Verdict::Add)),
            (applicant(3, 30, 7, false), Some(30), Ok(Verdict::Add)),
            (applicant(4, 40, 4, false), Some(40), Ok(Verdict::Add)),
            // Members that have forgotten.
            (applicant(2, 21, 2, true), Some(20), Ok(Verdict::RemoveFirst)),
            (applicant(2, 21, 2, false), Some(20), Ok(Verdict::RemoveFirst)),
            (applicant(2, 20, 2, true), Some(20), Ok(Verdict::RemoveFirst)),
            (applicant(2, 20, 2, true), None, Ok(Verdict::RemoveFirst)),
            (applicant(3, 31, 3, true), Some(30), Ok(Verdict::RemoveFirst)),
            // Others that take their place.
            (applicant(2, 21, 7, true), Some(20), Err(IdTaken { id: 2, address: Some(endpoint(2)) })),
            (applicant(3, 31, 7, true), None, Err(IdTaken { id: 3, address: Some(endpoint(3)) })),
            (applicant(4, 41, 4, true), Some(40), Err(IdTaken { id: 4, address: None })),
            (applicant(9, 90, 7, true), None, Err(IdTaken { id: 9, address: Some(endpoint(9)) })),
        ] {
            assert_eq!(judge(&who, 1, &nodes, &metrics, on_record), expected, "{who:?}, on record {on_record:?}");
        }
    }

    #[test]
    fn a_member_may_move_and_nobody_else() {
        let (nodes, metrics) = cluster();
        for (who, on_record, expected) in [
            (applicant(2, 20, 7, false), Some(20), Ok(())),
            (applicant(2, 20, 7, false), None, Ok(())),
            (applicant(4, 40, 4, false), Some(40), Ok(())),
            (applicant(2, 21, 7, false), Some(20), Err(MembershipRefusal::Reborn(2))),
            (applicant(9, 90, 9, false), Some(90), Err(MembershipRefusal::NotMember(9))),
            (
                applicant(2, 20, 3, false),
                Some(20),
                Err(MembershipRefusal::AddressTaken { address: node(3).endpoint, id: 3 }),
            ),
        ] {
            assert_eq!(may_move(&who, &nodes, &metrics, on_record), expected, "{who:?}, on record {on_record:?}");
        }
    }

    #[test]
    fn the_last_voter_stays() {
        assert_eq!(may_leave(1, [1, 2].into_iter()), Ok(()));
        assert_eq!(may_leave(1, [1].into_iter()), Err(MembershipRefusal::LastVoter(1)));
    }

    #[test]
    fn a_learner_is_done_when_it_has_something_and_answers_and_a_voter_when_it_is_close_too() {
        for (last_log, matched, alive, expected) in [
            (None, None, true, [1, 1]),
            (Some(10), None, true, [11, 11]),
            (Some(10), Some(10), true, [0, 0]),
            (Some(1010), Some(10), true, [0, 0]),
            (Some(1011), Some(10), true, [1001, 0]),
            (Some(10), Some(10), false, [1, 1]),
            (Some(10), Some(3), false, [7, 7]),
        ] {
            let lags = [Role::Voter, Role::Learner].map(|role| lag(role, last_log, matched, alive));
            assert_eq!(lags, expected, "{last_log:?} {matched:?} {alive}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let taken = MembershipRefusal::IdTaken { id: 2, address: Some(node(7).endpoint) };
        assert_eq!(
            taken.to_string(),
            "node 2 is known at db:7, and an id is never used for another node: start this one with another --id, or \
             remove that one first (databend-meta --leave-via <a member> --leave-id 2)"
        );
    }
}
