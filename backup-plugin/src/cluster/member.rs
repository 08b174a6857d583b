//! The `--initial-cluster` list: who is a member of the new cluster, under which id, at which address.
//!
//! A list that exists is a valid one: ids and addresses are unique, and somebody votes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    str::FromStr,
};

use crate::record::{Endpoint, EndpointError, Membership, NoAddress, Node};

/// Whether a member votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Voter,
    Learner,
}

/// One entry of the list: `<id>=<host>:<port>`, then nothing (a voter), `,learner`, or `,<host>:<port>`, the address that a
/// voter's gRPC service is reached at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    id: u64,
    endpoint: Endpoint,
    role: Role,
    grpc_address: Option<Endpoint>,
}

impl Member {
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where its Raft service is reached.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub fn role(&self) -> Role {
        self.role
    }

    /// Its record among the state machine's nodes, named by its id.
    pub fn node(&self) -> Node {
        Node {
            name: self.id.to_string(),
            endpoint: self.endpoint.clone(),
            grpc_api_advertise_address: self.grpc_address.as_ref().map(ToString::to_string),
        }
    }
}

impl FromStr for Member {
    type Err = MemberError;

    fn from_str(entry: &str) -> Result<Self, Self::Err> {
        let refuse = |reason| MemberError { entry: entry.to_owned(), reason };
        let (id, rest) = entry.split_once('=').ok_or_else(|| refuse(MemberReason::NoId))?;
        let digits = !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
        let id = match id.parse() {
            Ok(id) if digits => id,
            _ => return Err(refuse(MemberReason::Id(id.to_owned()))),
        };
        let (address, suffix) = match rest.split_once(',') {
            Some((address, suffix)) => (address, Some(suffix)),
            None => (rest, None),
        };
        let endpoint = parse_address(address).map_err(refuse)?;
        let (role, grpc_address) = match suffix {
            None => (Role::Voter, None),
            Some("learner") => (Role::Learner, None),
            Some(suffix) if suffix.contains(':') => (Role::Voter, Some(parse_address(suffix).map_err(refuse)?)),
            Some(suffix) => return Err(refuse(MemberReason::Suffix(suffix.to_owned()))),
        };
        Ok(Member { id, endpoint, role, grpc_address })
    }
}

/// An address that others connect to, so its port is a real one.
fn parse_address(text: &str) -> Result<Endpoint, MemberReason> {
    let endpoint: Endpoint = text.parse()?;
    if endpoint.port == 0 { Err(MemberReason::PortZero) } else { Ok(endpoint) }
}

/// The entry that it was read from, in its one canonical form.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.id, self.endpoint)?;
        match (self.role, &self.grpc_address) {
            (Role::Learner, _) => write!(f, ",learner"),
            (Role::Voter, Some(address)) => write!(f, ",{address}"),
            (Role::Voter, None) => Ok(()),
        }
    }
}

/// An entry that is no member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read `{entry}` as <id>=<host>:<port>[,learner]: {reason}")]
pub struct MemberError {
    entry: String,
    reason: MemberReason,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum MemberReason {
    #[error("there is no `=` after an id")]
    NoId,
    #[error("`{0}` is not an id, a number from 0 up")]
    Id(String),
    #[error(transparent)]
    Address(#[from] EndpointError),
    #[error("port 0 is no port to connect to")]
    PortZero,
    #[error("`{0}` is neither `learner` nor a gRPC address <host>:<port>")]
    Suffix(String),
}

/// The members of a new cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberList {
    by_id: BTreeMap<u64, Member>,
    first_voter: u64,
}

impl MemberList {
    /// Checks the members against each other. Host names compare without regard to case.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Result<Self, MemberListError> {
        let mut by_id: BTreeMap<u64, Member> = BTreeMap::new();
        let mut by_address: HashMap<String, String> = HashMap::new();
        for member in members {
            let entry = member.to_string();
            if let Some(first) = by_id.get(&member.id) {
                return Err(MemberListError::DuplicateId { id: member.id, first: first.to_string(), second: entry });
            }
            for address in std::iter::once(&member.endpoint).chain(&member.grpc_address) {
                let address = address.to_string();
                if let Some(first) = by_address.insert(address.to_lowercase(), entry.clone()) {
                    return Err(MemberListError::DuplicateAddress { address, first, second: entry });
                }
            }
            by_id.insert(member.id, member);
        }
        match by_id.values().find(|member| member.role == Role::Voter).map(Member::id) {
            Some(first_voter) => Ok(MemberList { by_id, first_voter }),
            None => Err(MemberListError::NoVoter { entries: by_id.values().map(Member::to_string).collect() }),
        }
    }

    /// The members by id.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.by_id.values()
    }

    pub fn contains(&self, id: u64) -> bool {
        self.by_id.contains_key(&id)
    }

    /// The ids that vote.
    pub fn voters(&self) -> BTreeSet<u64> {
        self.iter().filter(|member| member.role == Role::Voter).map(Member::id).collect()
    }

    /// The smallest id that votes.
    pub fn first_voter(&self) -> u64 {
        self.first_voter
    }

    /// The list as Raft's membership.
    pub fn membership(&self) -> Membership {
        Membership { configs: vec![self.voters()], nodes: self.by_id.keys().map(|id| (*id, NoAddress {})).collect() }
    }

    /// The list as the state machine's nodes.
    pub fn nodes(&self) -> BTreeMap<u64, Node> {
        self.iter().map(|member| (member.id, member.node())).collect()
    }

    /// One line a member, by id: the same text for the same list, in whatever order it was given.
    pub fn canonical(&self) -> String {
        self.iter().map(|member| format!("{member}\n")).collect()
    }
}

/// Entries that make no cluster together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberListError {
    #[error("id {id} is given twice: `{first}` and `{second}`")]
    DuplicateId { id: u64, first: String, second: String },
    #[error("address {address} is given twice: `{first}` and `{second}`")]
    DuplicateAddress { address: String, first: String, second: String },
    #[error("a cluster needs a voter, and there is none in [{}]", entries.join(" "))]
    NoVoter { entries: Vec<String> },
}

#[cfg(test)]
mod tests {
    use super::{Member, MemberList, MemberListError, Role};
    use crate::record::Endpoint;

    fn list(entries: &[&str]) -> Result<MemberList, MemberListError> {
        MemberList::new(entries.iter().map(|entry| entry.parse().unwrap()))
    }

    #[test]
    fn entries_are_read_and_written_alike() {
        for (entry, role, grpc) in [
            ("1=db-1:28004", Role::Voter, None),
            ("0=10.0.0.1:1", Role::Voter, None),
            ("18446744073709551615=[::1]:28004,learner", Role::Learner, None),
            ("3=db-3:28004,db-3:9191", Role::Voter, Some("db-3:9191")),
            ("3=db-3:28004,[fe80::3]:9191", Role::Voter, Some("[fe80::3]:9191")),
        ] {
            let member: Member = entry.parse().unwrap();
            assert_eq!(member.to_string(), entry);
            assert_eq!(member.role(), role);
            assert_eq!(member.node().grpc_api_advertise_address.as_deref(), grpc);
        }
    }

    #[test]
    fn a_members_node_is_named_by_its_id() {
        let node = "3=[::1]:28004".parse::<Member>().unwrap().node();
        assert_eq!((node.name.as_str(), node.endpoint), ("3", Endpoint { addr: "::1".to_owned(), port: 28004 }));
    }

    #[test]
    fn what_is_no_member_is_refused_by_name() {
        for (entry, reason) in [
            ("", "there is no `=` after an id"),
            ("db-1:28004", "there is no `=` after an id"),
            ("=db-1:28004", "`` is not an id, a number from 0 up"),
            ("one=db-1:28004", "`one` is not an id, a number from 0 up"),
            ("-1=db-1:28004", "`-1` is not an id, a number from 0 up"),
            ("+1=db-1:28004", "`+1` is not an id, a number from 0 up"),
            ("18446744073709551616=db-1:28004", "`18446744073709551616` is not an id, a number from 0 up"),
            ("1=db-1", "the port is missing"),
            ("1=db-1:0", "port 0 is no port to connect to"),
            ("1=:28004", "the host is missing"),
            ("1=db-1:port", "`port` is not a port between 0 and 65535"),
            ("1=db-1:28004,", "`` is neither `learner` nor a gRPC address <host>:<port>"),
            ("1=db-1:28004,Learner", "`Learner` is neither `learner` nor a gRPC address <host>:<port>"),
            (
                "1=db-1:28004,learner,db-1:9191",
                "`learner,db-1` is not a host name, an IPv4 address or an IPv6 address in brackets",
            ),
            ("1=db-1:28004,db-1:0", "port 0 is no port to connect to"),
        ] {
            let error = entry.parse::<Member>().unwrap_err().to_string();
            assert_eq!(error, format!("cannot read `{entry}` as <id>=<host>:<port>[,learner]: {reason}"));
        }
    }

    #[test]
    fn members_that_do_not_fit_together_are_refused_by_name() {
        for (entries, expected) in [
            (&["1=a:1", "2=b:1", "1=c:1"][..], "id 1 is given twice: `1=a:1` and `1=c:1`"),
            (&["1=a:1", "2=A:1,learner"], "address A:1 is given twice: `1=a:1` and `2=A:1,learner`"),
            (&["1=[::1]:1", "2=[0::1]:1"], "address [::1]:1 is given twice: `1=[::1]:1` and `2=[::1]:1`"),
            (&["1=a:1,b:1", "2=b:1"], "address b:1 is given twice: `1=a:1,b:1` and `2=b:1`"),
            (&["1=a:1,a:1"], "address a:1 is given twice: `1=a:1,a:1` and `1=a:1,a:1`"),
            (
                &["2=b:1,learner", "1=a:1,learner"],
                "a cluster needs a voter, and there is none in [1=a:1,learner 2=b:1,learner]",
            ),
            (&[], "a cluster needs a voter, and there is none in []"),
        ] {
            assert_eq!(list(entries).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn the_order_of_entries_does_not_matter() {
        let (one, other) = (["2=b:1,learner", "10=c:1", "1=a:1"], ["1=a:1", "2=b:1,learner", "10=c:1"]);
        let one = list(&one).unwrap();
        assert_eq!(one, list(&other).unwrap());
        assert_eq!(one.canonical(), "1=a:1\n2=b:1,learner\n10=c:1\n");
        assert_eq!(one.membership().voters(), [1, 10].into());
        assert_eq!(one.membership().learners(), [2].into());
        assert_eq!(one.nodes().into_keys().collect::<Vec<_>>(), [1, 2, 10]);
    }
}
