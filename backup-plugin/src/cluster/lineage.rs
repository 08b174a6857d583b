//! The start of a new cluster, worked out from a list and from where the old cluster ended.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::{
    ContentDigest, MemberList,
    digest::{bytes, number},
};
use crate::{
    hex::hex,
    record::{LeaderId, LogEntry, LogId, Node, Payload, Vote},
};

/// The start of a new cluster: the same on every node that is given the same file and list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// 64 lower-case hex digits.
    pub cluster_id: String,
    /// Where the state ends: one above the old log, in a term of its own, led by the smallest voter.
    pub log_id: LogId,
    /// The one entry of the new log, at `log_id`: the new membership.
    pub entry: LogEntry,
    /// The entry before it, as the new leader's.
    pub purged: LogId,
    /// For the new leader, committed.
    pub vote: Vote,
}

/// Where the old cluster ended: what a new one goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Basis {
    pub vote: Option<Vote>,
    /// The last log id, which the state is at.
    pub last: LogId,
    /// The last sequence number given out.
    pub sequence: u64,
    /// Of the state at `last`.
    pub content: ContentDigest,
    /// The new term is at least this.
    pub min_term: u64,
}

/// No cluster can start after a log id or a term that has no successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no room for a new cluster after term {term} and log id {last}")]
pub struct Exhausted {
    term: u64,
    last: LogId,
}

impl Lineage {
    /// Where the new log begins, which the content of the state has no part in: one above the old one, in a term above every old
    /// one and not below `min_term`, led by the smallest voter.
    pub fn first_log_id(
        members: &MemberList,
        vote: Option<Vote>,
        last: LogId,
        min_term: u64,
    ) -> Result<LogId, Exhausted> {
        let old_term = vote.map_or(0, |vote| vote.leader_id.term).max(last.leader_id.term);
        let exhausted = Exhausted { term: old_term, last };
        let term = old_term.checked_add(1).ok_or(exhausted)?.max(min_term);
        let index = last.index.checked_add(1).ok_or(exhausted)?;
        Ok(LogId { leader_id: LeaderId { term, node_id: members.first_voter() }, index })
    }

    /// Starts the cluster of `members` after `basis`.
    ///
    /// The new term is above every term of the old cluster that the file knows, so nothing the old one still sends is taken
    /// for news. The log holds the one entry that makes the members known; an empty log would make a leader send its whole
    /// state to every follower.
    ///
    /// The cluster id is SHA-256 over these bytes, numbers as 8 bytes big-endian, texts as their length and their UTF-8:
    ///
    /// 1. the list, as the text of [`MemberList::canonical`];
    /// 2. the new log id: term, node id, index;
    /// 3. the 32 bytes of the content digest;
    /// 4. the last sequence number;
    /// 5. the number of nodes, then for each by id: id, name, address, port, and the gRPC address, an empty text for none.
    pub fn plan(members: &MemberList, basis: &Basis) -> Result<Lineage, Exhausted> {
        let log_id = Lineage::first_log_id(members, basis.vote, basis.last, basis.min_term)?;
        let leader_id = log_id.leader_id;
        Ok(Lineage {
            cluster_id: cluster_id(members, log_id, basis),
            log_id,
            entry: LogEntry { log_id, payload: Payload::Membership(members.membership()) },
            purged: LogId { leader_id, index: basis.last.index },
            vote: Vote { leader_id, committed: true },
        })
    }
}

fn cluster_id(members: &MemberList, log_id: LogId, basis: &Basis) -> String {
    let mut hasher = Sha256::new();
    bytes(&mut hasher, members.canonical().as_bytes());
    number(&mut hasher, log_id.leader_id.term);
    number(&mut hasher, log_id.leader_id.node_id);
    number(&mut hasher, log_id.index);
    hasher.update(basis.content.0);
    number(&mut hasher, basis.sequence);
    hash_nodes(&mut hasher, &members.nodes());
    hex(&hasher.finalize())
}

fn hash_nodes(hasher: &mut Sha256, nodes: &BTreeMap<u64, Node>) {
    number(hasher, nodes.len() as u64);
    for (id, node) in nodes {
        number(hasher, *id);
        bytes(hasher, node.name.as_bytes());
        bytes(hasher, node.endpoint.addr.as_bytes());
        number(hasher, u64::from(node.endpoint.port));
        bytes(hasher, node.grpc_api_advertise_address.as_deref().unwrap_or_default().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::{Basis, Lineage};
    use crate::{
        cluster::{ContentDigest, MemberList},
        record::{LeaderId, LogId, Membership, NoAddress, Payload, Vote},
    };

    fn list(entries: &[&str]) -> MemberList {
        MemberList::new(entries.iter().map(|entry| entry.parse().unwrap())).unwrap()
    }

    fn log_id(term: u64, node_id: u64, index: u64) -> LogId {
        LogId { leader_id: LeaderId { term, node_id }, index }
    }

    fn vote(term: u64) -> Option<Vote> {
        Some(Vote { leader_id: LeaderId { term, node_id: 9 }, committed: false })
    }

    fn basis() -> Basis {
        Basis { vote: vote(3), last: log_id(2, 7, 41), sequence: 12, content: ContentDigest([5; 32]), min_term: 0 }
    }

    #[test]
    fn the_new_log_goes_on_from_the_old_one_in_a_higher_term() {
        let cases = [
            (vote(3), log_id(2, 7, 41), &["1=a:1"][..], log_id(4, 1, 42)),
            (vote(2), log_id(5, 7, 41), &["1=a:1"], log_id(6, 1, 42)),
            (None, log_id(0, 0, 0), &["1=a:1"], log_id(1, 1, 1)),
            (vote(1), log_id(1, 1, 9), &["7=g:1", "3=c:1", "1=a:1,learner"], log_id(2, 3, 10)),
            (vote(1), log_id(1, 1, 9), &["5=e:1", "4=d:1", "3=c:1", "2=b:1", "6=f:1,learner"], log_id(2, 2, 10)),
        ];
        for (vote, last, entries, expected) in cases {
            let members = list(entries);
            let lineage = Lineage::plan(&members, &Basis { vote, last, ..basis() }).unwrap();
            assert_eq!(lineage.log_id, expected, "{entries:?}");
            assert_eq!(lineage.purged, LogId { leader_id: expected.leader_id, index: last.index });
            assert_eq!(lineage.vote, Vote { leader_id: expected.leader_id, committed: true });
            assert_eq!(lineage.entry.log_id, expected);
            assert_eq!(lineage.entry.payload, Payload::Membership(members.membership()));
        }
    }

    #[test]
    fn a_term_that_is_asked_for_is_reached_and_never_gone_below_the_old_ones() {
        for (min_term, expected) in [(0, 4), (4, 4), (5, 5), (1_000, 1_000)] {
            let lineage = Lineage::plan(&list(&["1=a:1"]), &Basis { min_term, ..basis() }).unwrap();
            assert_eq!(lineage.log_id, log_id(expected, 1, 42));
        }
    }

    #[test]
    fn the_membership_is_the_list() {
        let lineage = Lineage::plan(&list(&["2=b:1", "1=a:1", "3=c:1,learner"]), &basis()).unwrap();
        let nodes = [1, 2, 3].map(|id| (id, NoAddress {})).into();
        assert_eq!(lineage.entry.payload, Payload::Membership(Membership { configs: vec![[1, 2].into()], nodes }));
    }

    #[test]
    fn a_log_without_a_successor_is_refused() {
        for (vote, last) in
            [(vote(u64::MAX), log_id(1, 1, 1)), (vote(1), log_id(u64::MAX, 1, 1)), (vote(1), log_id(1, 1, u64::MAX))]
        {
            let error = Lineage::plan(&list(&["1=a:1"]), &Basis { vote, last, ..basis() }).unwrap_err().to_string();
            assert!(error.starts_with("there is no room for a new cluster after term "), "{error}");
        }
    }

    /// Pins the byte layout: nodes of different builds must come to the same id.
    #[test]
    fn the_cluster_id_is_fixed() {
        let members = list(&["2=[::1]:28004,db-2:9191", "1=db-1:28004", "3=db-3:28004,learner"]);
        let cluster_id = Lineage::plan(&members, &basis()).unwrap().cluster_id;
        assert_eq!(cluster_id, "ab891b1afea24b9bd4d020d1dcead22a3526a4dabcf933674d60d60abd37557f");
    }

    #[test]
    fn another_origin_is_another_cluster() {
        let members = list(&["1=a:1", "2=b:1"]);
        let id = |members: &MemberList, basis: &Basis| Lineage::plan(members, basis).unwrap().cluster_id;
        let same = id(&members, &basis());
        assert_eq!(same, id(&list(&["2=b:1", "1=a:1"]), &basis()));
        let others = [
            id(&list(&["1=a:1", "2=b:2"]), &basis()),
            id(&list(&["1=a:1", "2=b:1,learner"]), &basis()),
            id(&list(&["1=a:1", "2=b:1,b:9191"]), &basis()),
            id(&members, &Basis { vote: vote(4), ..basis() }),
            id(&members, &Basis { last: log_id(2, 7, 42), ..basis() }),
            id(&members, &Basis { sequence: 13, ..basis() }),
            id(&members, &Basis { min_term: 5, ..basis() }),
            id(&members, &Basis { content: ContentDigest([6; 32]), ..basis() }),
        ];
        assert!(!others.contains(&same));
    }
}
