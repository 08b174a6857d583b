//! What a node knows of who leads, as an operator wants to be told when nobody does.

use std::{collections::BTreeSet, fmt};

use openraft::{RaftMetrics, ServerState};

use crate::raft::types::TypeConfig;

/// The leadership as one node sees it at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    pub node_id: u64,
    pub state: ServerState,
    pub term: u64,
    /// Who leads, as far as this node knows.
    pub leader: Option<u64>,
    /// Where clients reach whoever leads.
    pub grpc_address: Option<String>,
    pub voters: BTreeSet<u64>,
}

impl Leadership {
    /// Without addresses.
    pub fn of(metrics: &RaftMetrics<TypeConfig>) -> Self {
        Self {
            node_id: metrics.id,
            state: metrics.state,
            term: metrics.current_term,
            leader: metrics.current_leader,
            grpc_address: None,
            voters: metrics.membership_config.voter_ids().collect(),
        }
    }
}

impl fmt::Display for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node_id, state, term, leader, grpc_address: _, voters } = self;
        match leader {
            Some(leader) if leader != node_id => {
                write!(f, "node {node_id} does not lead: node {leader} does, as far as it knows")
            }
            _ => {
                if *state == ServerState::Leader {
                    write!(f, "node {node_id} leads in term {term}, but does not reach a majority of voters ")?;
                } else {
                    write!(f, "no leader: node {node_id} is {state:?} in term {term}, voters ")?;
                }
                for (n, voter) in voters.iter().enumerate() {
                    write!(f, "{}{voter}", if n == 0 { "" } else { ", " })?;
                }
                write!(f, "; reads and writes need a majority")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_leader_is_told_with_what_is_known() {
        let mut leadership = Leadership {
            node_id: 1,
            state: ServerState::Candidate,
            term: 3,
            leader: None,
            grpc_address: None,
            voters: BTreeSet::from([1, 2, 3]),
        };
        assert_eq!(
            leadership.to_string(),
            "no leader: node 1 is Candidate in term 3, voters 1, 2, 3; reads and writes need a majority"
        );
        leadership.leader = Some(2);
        assert_eq!(leadership.to_string(), "node 1 does not lead: node 2 does, as far as it knows");
    }
}
