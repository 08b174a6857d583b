//! What an import will make, as data: decided by what the file says and what was asked for, before anything is made.

use super::{
    Refusal,
    check::{Facts, Fault},
    options::{Identity, ImportOptions},
    room::check_sequence,
    summary::Warning,
};
use crate::{
    cluster::{Basis, Lineage, MemberList},
    record::{HardState, LogId, Vote},
    target::{RestoredState, Seed},
};

/// What an import will make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportPlan {
    /// The node that was exported, as it was: the log tail stays in the log.
    SameNode { node_id: u64, hard_state: HardState },
    /// A member of a new cluster: the log tail is applied, and the new log goes on from `last` with the entry `first`.
    NewLineage {
        node_id: u64,
        members: MemberList,
        vote: Option<Vote>,
        last: LogId,
        first: LogId,
        min_term: u64,
        bump_seq: u64,
    },
}

impl ImportPlan {
    pub(super) fn new(facts: &Facts, options: &ImportOptions) -> Result<Self, Fault> {
        match &options.identity {
            Identity::NewMember { id, members } => {
                let (vote, last, min_term) = (facts.hard_state.vote, facts.last, options.min_term);
                let first = Lineage::first_log_id(members, vote, last, min_term)
                    .map_err(|exhausted| Fault { line: None, refusal: exhausted.into() })?;
                Ok(ImportPlan::NewLineage {
                    node_id: *id,
                    members: members.clone(),
                    vote,
                    last,
                    first,
                    min_term,
                    bump_seq: options.bump_seq,
                })
            }
            Identity::SameNode { id: given } => {
                let fault = |refusal| Fault { line: facts.node_id_line, refusal };
                let node_id = match (facts.hard_state.node_id, *given) {
                    (Some(found), Some(given)) if found != given => {
                        return Err(fault(Refusal::OtherNode { found, given }));
                    }
                    (Some(id), _) | (None, Some(id)) => id,
                    (None, None) => return Err(fault(Refusal::NoNodeId)),
                };
                // A node votes in a term before it takes entries of it; Raft does not start on anything else.
                if let Some(term) = facts.hard_state.vote.map(|vote| vote.leader_id.term)
                    && term < facts.last.leader_id.term
                {
                    return Err(Fault { line: None, refusal: Refusal::VoteBehind { term, last: facts.last } });
                }
                // The others of its cluster would still have what it drops.
                if let Some(stop) = options.stop
                    && facts.voters.len() > 1
                {
                    let refusal = Refusal::StopOneOfMany { node_id, voters: facts.voters.len(), stop };
                    return Err(Fault { line: None, refusal });
                }
                let hard_state = HardState { node_id: Some(node_id), ..facts.hard_state.clone() };
                Ok(ImportPlan::SameNode { node_id, hard_state })
            }
        }
    }

    /// The node that is made.
    pub fn node_id(&self) -> u64 {
        match self {
            ImportPlan::SameNode { node_id, .. } | ImportPlan::NewLineage { node_id, .. } => *node_id,
        }
    }

    /// The list of the new cluster, if there is one.
    pub(super) fn members(&self) -> Option<&MemberList> {
        match self {
            ImportPlan::SameNode { .. } => None,
            ImportPlan::NewLineage { members, .. } => Some(members),
        }
    }

    /// Where the state must end once the log tail is applied; `None` when it is not to be applied.
    pub(super) fn replay_to(&self) -> Option<LogId> {
        match self {
            ImportPlan::SameNode { .. } => None,
            ImportPlan::NewLineage { last, .. } => Some(*last),
        }
    }

    /// Who the generation is to be, now that its state is known.
    pub(super) fn seed(&self, state: &RestoredState) -> Result<Seed, Refusal> {
        match self {
            ImportPlan::SameNode { hard_state, .. } => Ok(Seed::SameNode(hard_state.clone())),
            &ImportPlan::NewLineage { node_id, ref members, vote, last, min_term, bump_seq, .. } => {
                let sequence = state.sequence.saturating_add(bump_seq);
                check_sequence(sequence)?;
                let lineage = Lineage::plan(members, &Basis { vote, last, sequence, content: state.digest, min_term })?;
                Ok(Seed::NewLineage { node_id, lineage, nodes: members.nodes(), sequence })
            }
        }
    }

    pub(super) fn warnings(&self, facts: &Facts, sealed: bool) -> Vec<Warning> {
        let mut warnings = if sealed { Vec::new() } else { vec![Warning::Unsealed] };
        if !facts.retired.is_empty() {
            warnings.push(Warning::Retired(facts.retired.clone()));
        }
        if let ImportPlan::SameNode { node_id, .. } = self
            && facts.voters.len() > 1
        {
            warnings.push(Warning::OneOfMany { node_id: *node_id, voters: facts.voters.clone() });
        }
        if let ImportPlan::SameNode { .. } = self
            && let Some(applied) = facts.log_dropped
        {
            warnings.push(Warning::LogDropped { applied });
        }
        warnings
    }
}
