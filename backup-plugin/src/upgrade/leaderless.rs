//! V0 to V001: how early servers wrote log ids, votes and memberships. Each comes out in its current type, whichever way it was
//! written, so that both may stand in one file.
//!
//! | | early V0 | since |
//! |---|---|---|
//! | log id | `{"term":1,"index":9}` | `{"leader_id":{"term":1,"node_id":0},"index":9}` |
//! | vote | `{"current_term":1,"voted_for":1}` | `{"leader_id":{"term":1,"node_id":1},"committed":false}` |
//! | membership | `{"configs":[[1]],"all_nodes":[1]}` | `{"configs":[[1]],"nodes":{"1":{}}}` |

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::record::{LeaderId, LogId, Membership, NoAddress, StoredMembership, Vote};

/// A log id with or without its leader's node; without, that is node 0.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "LogIdFields")]
pub(super) struct OldLogId(pub(super) LogId);

#[derive(Deserialize)]
struct LogIdFields {
    leader_id: Option<LeaderId>,
    term: Option<u64>,
    index: u64,
}

impl TryFrom<LogIdFields> for OldLogId {
    type Error = &'static str;

    fn try_from(LogIdFields { leader_id, term, index }: LogIdFields) -> Result<Self, Self::Error> {
        let leader_id = match (leader_id, term) {
            (Some(leader_id), None) => leader_id,
            (None, Some(term)) => LeaderId { term, node_id: 0 },
            (Some(_), Some(_)) => return Err("a log id with both `leader_id` and `term`"),
            (None, None) => return Err("missing field `leader_id`"),
        };
        Ok(OldLogId(LogId { leader_id, index }))
    }
}

/// A vote; the early form knows nothing of a quorum, and reads as not granted by one.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "VoteFields")]
pub(super) struct OldVote(pub(super) Vote);

#[derive(Deserialize)]
struct VoteFields {
    leader_id: Option<LeaderId>,
    committed: Option<bool>,
    current_term: Option<u64>,
    voted_for: Option<u64>,
}

impl TryFrom<VoteFields> for OldVote {
    type Error = &'static str;

    fn try_from(fields: VoteFields) -> Result<Self, Self::Error> {
        let vote = match fields {
            VoteFields {
                leader_id: Some(leader_id),
                committed: Some(committed),
                current_term: None,
                voted_for: None,
            } => Vote { leader_id, committed },
            VoteFields { leader_id: None, committed: None, current_term: Some(term), voted_for } => {
                Vote { leader_id: LeaderId { term, node_id: voted_for.unwrap_or(0) }, committed: false }
            }
            VoteFields { leader_id: Some(_), committed: None, current_term: None, voted_for: None } => {
                return Err("missing field `committed`");
            }
            VoteFields { leader_id: None, current_term: None, .. } => return Err("missing field `leader_id`"),
            _ => return Err("a vote with both `leader_id` and `current_term`"),
        };
        Ok(OldVote(vote))
    }
}

/// A membership, its nodes listed or mapped.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "MembershipFields")]
pub(super) struct OldMembership(pub(super) Membership);

#[derive(Deserialize)]
struct MembershipFields {
    configs: Vec<BTreeSet<u64>>,
    nodes: Option<BTreeMap<u64, Option<NoAddress>>>,
    all_nodes: Option<BTreeSet<u64>>,
}

impl TryFrom<MembershipFields> for OldMembership {
    type Error = &'static str;

    fn try_from(MembershipFields { configs, nodes, all_nodes }: MembershipFields) -> Result<Self, Self::Error> {
        if nodes.is_none() && all_nodes.is_none() {
            return Err("missing field `nodes`");
        }
        let ids = nodes.into_iter().flatten().map(|(id, _)| id).chain(all_nodes.into_iter().flatten());
        let nodes = ids.map(|id| (id, NoAddress {})).collect();
        Ok(OldMembership(Membership { configs, nodes }))
    }
}

/// The last membership that was applied.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct OldStoredMembership {
    log_id: Option<OldLogId>,
    membership: OldMembership,
}

impl From<OldStoredMembership> for StoredMembership {
    fn from(old: OldStoredMembership) -> Self {
        StoredMembership { log_id: old.log_id.map(|OldLogId(log_id)| log_id), membership: old.membership.0 }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::de::DeserializeOwned;

    use super::*;

    fn read<T: DeserializeOwned + Debug>(json: &str) -> String {
        match serde_json::from_str::<T>(json) {
            Ok(read) => format!("{read:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn both_forms_say_the_same() {
        for (early, late) in [
            (r#"{"term":3,"index":9}"#, r#"{"leader_id":{"term":3,"node_id":0},"index":9}"#),
            (r#"{"term":0,"index":0,"leader_id":null}"#, r#"{"leader_id":{"term":0,"node_id":0},"index":0}"#),
        ] {
            assert_eq!(read::<OldLogId>(early), read::<OldLogId>(late));
        }
        for (early, late) in [
            (r#"{"current_term":3,"voted_for":2}"#, r#"{"leader_id":{"term":3,"node_id":2},"committed":false}"#),
            (r#"{"current_term":3,"voted_for":null}"#, r#"{"leader_id":{"term":3,"node_id":0},"committed":false}"#),
            (r#"{"current_term":3}"#, r#"{"leader_id":{"term":3,"node_id":0},"committed":false}"#),
        ] {
            assert_eq!(read::<OldVote>(early), read::<OldVote>(late));
        }
        let late = read::<OldMembership>(r#"{"configs":[[1],[1,2]],"nodes":{"1":{},"2":{},"3":{}}}"#);
        for early in [
            r#"{"configs":[[1],[1,2]],"all_nodes":[3,1,2]}"#,
            r#"{"configs":[[1],[2,1]],"all_nodes":[1,2,3],"nodes":null}"#,
            r#"{"configs":[[1],[1,2]],"nodes":{"1":null,"2":null},"all_nodes":[3]}"#,
        ] {
            assert_eq!(read::<OldMembership>(early), late);
        }
    }

    #[test]
    fn what_is_neither_form_is_named() {
        for (found, expected) in [
            (read::<OldLogId>(r#"{"index":9}"#), "missing field `leader_id`"),
            (read::<OldLogId>(r#"{"term":1}"#), "missing field `index`"),
            (read::<OldLogId>(r#"{"term":1,"leader_id":{"term":1,"node_id":1},"index":9}"#), "a log id with both "),
            (read::<OldLogId>(r#"{"term":"1","index":9}"#), "invalid type: string \"1\", expected u64"),
            (read::<OldVote>("{}"), "missing field `leader_id`"),
            (read::<OldVote>(r#"{"voted_for":1}"#), "missing field `leader_id`"),
            (read::<OldVote>(r#"{"leader_id":{"term":1,"node_id":1}}"#), "missing field `committed`"),
            (
                read::<OldVote>(r#"{"leader_id":{"term":1,"node_id":1},"committed":true,"current_term":1}"#),
                "a vote with both ",
            ),
            (read::<OldMembership>(r#"{"configs":[[1]]}"#), "missing field `nodes`"),
            (read::<OldMembership>(r#"{"all_nodes":[1]}"#), "missing field `configs`"),
            (
                read::<OldMembership>(r#"{"configs":[[1]],"all_nodes":{"1":{}}}"#),
                "invalid type: map, expected a sequence",
            ),
        ] {
            assert!(found.starts_with(expected), "{found}");
        }
    }
}
