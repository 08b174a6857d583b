//! Why members do not talk to each other, in words, as a metric's label, and as what the other one is answered. Knows nothing of
//! how it is found out.

use std::{fmt, io};

use meta_proto::raft as pb;
use prost::Message as _;
use tonic::{Code, Status};

use crate::raft::{types::LogId, wire};

/// Why a message of another node is not taken. Nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it is meant for node {meant}, and this is node {own}: two nodes have the same address on record")]
    OtherNode { meant: u64, own: u64 },

    #[error("node {peer} belongs to cluster {theirs}, node {own} belongs to cluster {ours}")]
    OtherCluster { peer: u64, theirs: String, own: u64, ours: String },

    #[error("node {peer} belongs to no cluster yet, node {own} belongs to cluster {ours}")]
    NoCluster { peer: u64, own: u64, ours: String },

    #[error("node {peer} is not a member that node {own}, which belongs to no cluster yet, knows")]
    Stranger { peer: u64, own: u64 },

    /// The one that talks has lost its memory.
    #[error(
        "node {peer} was imported again or wiped, and has forgotten what it acknowledged: remove it and join it anew \
         (empty its raft_dir, and start it with --join and the same --id and address)"
    )]
    PeerReborn {
        peer: u64,
        /// It would be one of this cluster.
        kin: bool,
    },

    /// It is the same node, and its disk is not as it was.
    #[error(
        "node {peer} acknowledged log entries up to {had} and does not have {missing} any more: its raft_dir was put back to an \
         older copy, or lost what was on disk; remove it and join it anew (empty its raft_dir, and start it with --join and the \
         same --id and address)"
    )]
    PeerReverted { peer: u64, had: LogId, missing: LogId },

    /// The same, or only a message that was under way while it came that far: it knows which.
    #[error(
        "node {peer} acknowledged log entries up to {had}, and asks with a log that ends {}: unless it was asking while it got \
         there, its raft_dir was put back to an older copy, or lost what was on disk; then it takes no part any more, and is to be \
         removed and joined anew (empty its raft_dir, and start it with --join and the same --id and address)", end(*last)
    )]
    PeerBehind { peer: u64, had: LogId, last: Option<LogId> },

    /// The same, told by its starts.
    #[error(
        "node {peer} is at start {start} of its store, and node {own} knows another start {known} of it: its raft_dir was put back \
         to an older copy, or a copy of it runs somewhere else; see that one process at most runs as node {peer}; the one that is \
         refused is to be removed and joined anew (empty its raft_dir, and start it with --join and the same --id and address)"
    )]
    PeerWentBack { peer: u64, start: u64, own: u64, known: u64 },

    /// The one that is talked to did.
    #[error(
        "node {own} is at start {start} of its store, and node {peer} knows another start {known} of it: its raft_dir was put back \
         to an older copy, or a copy of it runs somewhere else; see that one process at most runs as node {own}; the one that is \
         refused is to be removed and joined anew (empty its raft_dir, and start it with --join and the same --id and address)"
    )]
    WentBack { own: u64, start: u64, peer: u64, known: u64 },

    /// The one that is talked to has.
    #[error(
        "node {own} was imported again or wiped, and node {peer} knows it from before: remove node {own} and join it anew \
         (empty its raft_dir, and start it with --join and the same --id and address)"
    )]
    Reborn { own: u64, peer: u64 },

    /// The one that is talked to knows that it has.
    #[error(
        "node {own} was imported again, wiped, or put back to an older copy, and others know it from before: remove node {own} \
         and join it anew (empty its raft_dir, and start it with --join and the same --id and address), or stop all nodes and \
         import every one again"
    )]
    Forgetful { own: u64 },
}

impl Refusal {
    /// All that [`Refusal::kind`] may say.
    pub const KINDS: [&str; 5] = ["older_copy", "other_cluster", "other_incarnation", "other_node", "stranger"];

    /// As a metric's label.
    pub fn kind(&self) -> &'static str {
        match self {
            Refusal::OtherNode { .. } => "other_node",
            Refusal::OtherCluster { .. } | Refusal::NoCluster { .. } => "other_cluster",
            Refusal::Stranger { .. } => "stranger",
            Refusal::PeerReverted { .. }
            | Refusal::PeerBehind { .. }
            | Refusal::PeerWentBack { .. }
            | Refusal::WentBack { .. } => "older_copy",
            Refusal::PeerReborn { .. } | Refusal::Reborn { .. } | Refusal::Forgetful { .. } => "other_incarnation",
        }
    }

    /// What the one that is refused is to know of itself.
    fn details(&self) -> Vec<u8> {
        match self {
            Refusal::PeerReborn { kin: true, .. } => YOU_FORGOT.to_vec(),
            Refusal::PeerReverted { .. } | Refusal::PeerWentBack { .. } => YOU_WENT_BACK.to_vec(),
            Refusal::PeerBehind { had, .. } => [YOU_HELD, &wire::log_id_to_pb(*had).encode_to_vec()].concat(),
            _ => Vec::new(),
        }
    }
}

fn end(last: Option<LogId>) -> impl fmt::Display {
    last.map_or_else(|| "before its first entry".to_owned(), |last| format!("at {last}"))
}

/// What the one that asked had once, by the details of an answer that say so.
pub(super) fn held_in(details: &[u8]) -> Option<LogId> {
    let held = pb::LogId::decode(details.strip_prefix(YOU_HELD)?).ok()?;
    wire::log_id(held, "held").ok()
}

/// What a member answers when it refuses to listen.
pub(super) const REFUSED: Code = Code::FailedPrecondition;
/// In the details of the answer, where the one that asked is to know of itself that it has forgotten.
pub(super) const YOU_FORGOT: &[u8] = b"reborn";
/// The same, where it is so whatever has become of the cluster since.
pub(super) const YOU_WENT_BACK: &[u8] = b"went back";
/// What it acknowledged follows: it has gone back if it lacks that.
const YOU_HELD: &[u8] = b"held ";

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Status::with_details(REFUSED, refusal.to_string(), refusal.details().into())
    }
}

/// Why a message was not let through.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("a message of another member does not say who it is from")]
    Anonymous,
    #[error("cannot put on record who another member is")]
    Record(#[source] io::Error),
}

impl From<GuardError> for Status {
    fn from(error: GuardError) -> Self {
        match error {
            GuardError::Refused(refusal) => refusal.into(),
            GuardError::Anonymous => Status::invalid_argument(error.to_string()),
            GuardError::Record(source) => Status::internal(format!("cannot put on record who the caller is: {source}")),
        }
    }
}
