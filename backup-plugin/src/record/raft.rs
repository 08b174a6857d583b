//! Log ids, votes, memberships and log entries, in the JSON shapes of the format.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Who led a term: the term and the node that was elected in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaderId {
    pub term: u64,
    pub node_id: u64,
}

/// The position of a log entry. Ordered by leader first, then index, as Raft compares logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    pub leader_id: LeaderId,
    pub index: u64,
}

/// `T<term>-N<node>.<index>`
impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T{}-N{}.{}", self.leader_id.term, self.leader_id.node_id, self.index)
    }
}

/// A vote: for whom, and whether a quorum granted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    pub leader_id: LeaderId,
    pub committed: bool,
}

/// A member as the membership knows it: by id only. Addresses live in the `Nodes` records. Written as `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoAddress {}

/// The members: voters in one config, in two while a change is in flight; a node in `nodes` and in no config is a learner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub configs: Vec<BTreeSet<u64>>,
    pub nodes: BTreeMap<u64, NoAddress>,
}

impl Membership {
    /// Every id that has a vote in some config.
    pub fn voters(&self) -> BTreeSet<u64> {
        self.configs.iter().flatten().copied().collect()
    }

    /// Every id that has no vote in any config.
    pub fn learners(&self) -> BTreeSet<u64> {
        let voters = self.voters();
        self.nodes.keys().filter(|id| !voters.contains(id)).copied().collect()
    }
}

/// The last membership that was applied, and where in the log it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMembership {
    pub log_id: Option<LogId>,
    pub membership: Membership,
}

/// An entry of the Raft log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogEntry {
    pub log_id: LogId,
    pub payload: Payload,
}

/// What an entry carries.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Payload {
    Blank,
    Membership(Membership),
    /// A command of the host, undecoded: the JSON object `{"time_ms":…,"cmd":…}`.
    Normal(Box<RawValue>),
}

impl Payload {
    /// When a command was proposed, in ms since 1970 by the clock of the leader of the time; `None` where it does not say, and for
    /// what is no command.
    pub fn time_ms(&self) -> Option<u64> {
        #[derive(Deserialize)]
        struct Timed {
            time_ms: Option<u64>,
        }
        let Payload::Normal(json) = self else { return None };
        time_in_front(json.get()).or_else(|| serde_json::from_str::<Timed>(json.get()).ok()?.time_ms)
    }
}

/// The time of a command where it is written as it is here, without a look at what follows: most of a log is commands.
fn time_in_front(json: &str) -> Option<u64> {
    let (digits, _) = json.strip_prefix(r#"{"time_ms":"#)?.split_once(',')?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// Commands compare by their text.
impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Payload::Blank, Payload::Blank) => true,
            (Payload::Membership(a), Payload::Membership(b)) => a == b,
            (Payload::Normal(a), Payload::Normal(b)) => a.get() == b.get(),
            _ => false,
        }
    }
}

impl Eq for Payload {}

impl PartialEq for LogEntry {
    fn eq(&self, other: &Self) -> bool {
        self.log_id == other.log_id && self.payload == other.payload
    }
}

impl Eq for LogEntry {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_command_is_found_wherever_it_stands() {
        for (json, expected) in [
            (r#"{"time_ms":1667290820099,"cmd":{}}"#, Some(1_667_290_820_099)),
            (r#"{"time_ms": 7 ,"cmd":{}}"#, Some(7)),
            (r#"{"time_ms":7}"#, Some(7)),
            (r#"{"txid":null,"time_ms":7,"cmd":{"time_ms":8}}"#, Some(7)),
            (r#"{"cmd":{"time_ms":8},"time_ms":0}"#, Some(0)),
            (r#"{"time_ms":null,"cmd":{}}"#, None),
            (r#"{"time_ms":1.5,"cmd":{}}"#, None),
            (r#"{"time_ms":1e3,"cmd":{}}"#, None),
            (r#"{"time_ms":-1,"cmd":{}}"#, None),
            (r#"{"time_ms":18446744073709551616,"cmd":{}}"#, None),
            (r#"{"cmd":{"time_ms":8}}"#, None),
            ("7", None),
        ] {
            let payload = Payload::Normal(RawValue::from_string(json.to_owned()).unwrap());
            assert_eq!(payload.time_ms(), expected, "{json}");
        }
        assert_eq!(Payload::Blank.time_ms(), None);
    }
}
