//! Why a node does not do what it was asked, and what a gRPC client is told about it.

use std::{io, time::Duration};

use openraft::errors::{ClientWriteError, Fatal, RaftError};
use tonic::Status;

use super::{leadership::Leadership, seek::Answers};
use crate::{apply::MAX_REPLY_BYTES, command::LimitError, raft::types::TypeConfig};

/// What a write whose outcome is unknown is reported with.
pub(super) const OUTCOME_UNKNOWN: &str = "the outcome of the write is unknown, it may still take effect: ";

/// Metadata of a reply: where clients reach the leader.
pub const LEADER_METADATA: &str = "x-databend-meta-leader-grpc-endpoint";

/// Why a running node can not answer a read or a write.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Nothing was done; it is safe to ask again.
    #[error("{0}")]
    NotLeader(Leadership),

    /// Nothing was done; it is safe to ask again.
    #[error("{leadership}; {reason}")]
    LeaderNotReached { leadership: Leadership, reason: String },

    /// The leader and this node do not take each other for members of one cluster. Nothing was done.
    #[error("node {leader}, which was asked to do it, does not talk to this node: {reason}")]
    Unwelcome { leader: u64, reason: String },

    /// Nothing was done, nor will be here.
    #[error(
        "node {0} was removed from the cluster, and hears nothing of it any more: ask a member (metactl status at one of them \
         names all)"
    )]
    Removed(u64),

    /// The command is refused for what it asks; nothing was done.
    #[error("the request is refused: {0}")]
    Refused(#[from] LimitError),

    /// The same, and it was the leader that refused it.
    #[error("{0}")]
    RefusedByLeader(String),

    /// The write is in a log, or may be, but whether it is committed is not known. Sending it again may do it twice.
    #[error("{OUTCOME_UNKNOWN}{0}")]
    OutcomeUnknown(String),

    /// The command is committed and applied; sending it again would do it twice.
    #[error(
        "the transaction was carried out, its writes took effect, but what it answers is larger than {MAX_REPLY_BYTES} bytes: \
         read the records in several requests"
    )]
    ReplyTooLarge,

    /// No new base could be built, most likely for want of space. The node goes on with the one it has.
    #[error("cannot compact, and the old base stays; nothing is lost: {0}")]
    Compact(#[source] io::Error),

    /// The node has stopped, on request or because its disk failed.
    #[error("the node has stopped: {0}")]
    Stopped(#[source] Fatal<TypeConfig>),
}

impl NodeError {
    /// What became of a write that openraft did not carry out.
    pub(super) fn of_write(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>, leadership: Leadership) -> Self {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => Self::NotLeader(leadership),
            RaftError::APIError(error @ ClientWriteError::LogEntryDiscarded(_)) => {
                Self::OutcomeUnknown(error.to_string())
            }
            // Both answer requests that change the membership, which a command never is.
            RaftError::APIError(
                error @ (ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_)),
            ) => Self::OutcomeUnknown(error.to_string()),
            // What stopped the node may have happened before or after the entry became durable.
            RaftError::Fatal(fatal) => Self::OutcomeUnknown(format!("the node has stopped: {fatal}")),
        }
    }
}

/// The one place where an error becomes a gRPC status. UNAVAILABLE is what clients try again elsewhere; a write whose
/// outcome is unknown must not be tried again unseen, so it is UNKNOWN. OUT_OF_RANGE is what gRPC itself says of a message that is
/// too large for its receiver; RESOURCE_EXHAUSTED would invite another try.
impl From<NodeError> for Status {
    fn from(error: NodeError) -> Self {
        let message = error.to_string();
        match error {
            NodeError::NotLeader(leadership) | NodeError::LeaderNotReached { leadership, .. } => {
                let mut status = Status::unavailable(message);
                if let Some(address) = leadership.grpc_address.and_then(|address| address.parse().ok()) {
                    status.metadata_mut().insert(LEADER_METADATA, address);
                }
                status
            }
            NodeError::Stopped(_) | NodeError::Unwelcome { .. } | NodeError::Removed(_) => Status::unavailable(message),
            NodeError::Refused(_) | NodeError::RefusedByLeader(_) => Status::invalid_argument(message),
            NodeError::ReplyTooLarge => Status::out_of_range(message),
            NodeError::OutcomeUnknown(_) => Status::unknown(message),
            NodeError::Compact(_) => Status::internal(message),
        }
    }
}

/// Why a node can not go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeFailure {
    #[error("{0}")]
    Raft(Fatal<TypeConfig>),
    #[error("its log can not be written any more: {0}")]
    Log(String),
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "there is no node in {raft_dir}: check --raft-dir, or start a new cluster of this one node with --single, join one \
         with --join <HOST:PORT>, or restore a backup with --import --db <FILE>"
    )]
    NotInitialized { raft_dir: String },

    #[error(
        "node {id} in {raft_dir} was joining a cluster and does not know how to reach its members: name some with --join, or \
         empty the folder to start something else there"
    )]
    JoinUnfinished { raft_dir: String, id: u64 },

    #[error(
        "the store in {raft_dir} belongs to cluster {stored}, and raft_config.cluster_id is {given}: remove the setting, or check \
         --raft-dir"
    )]
    OtherCluster { raft_dir: String, stored: String, given: String },

    #[error(
        "the list that the store in {raft_dir} was imported with has node {id} at {listed}, and the configuration at {configured}: the \
         other members look for it at {listed}; correct --raft-advertise-host or --raft-api-port, or leave out --strict"
    )]
    OtherAddress { raft_dir: String, id: u64, listed: String, configured: String },

    #[error("cannot start Raft with these times")]
    Times(#[from] openraft::ConfigError),

    #[error("cannot start Raft on the store in {raft_dir}")]
    Raft { raft_dir: String, source: Fatal<TypeConfig> },

    #[error("cannot initialise the store in {raft_dir}: {reason}")]
    Initialize { raft_dir: String, reason: String },

    #[error("cannot write to the store in {raft_dir}")]
    Write { raft_dir: String, source: io::Error },
}

/// Why a node has not joined a cluster. What it has until then stays: it goes on with it when it is started again.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("cannot join the cluster: {address} refuses this node: {reason}")]
    Refused { address: String, reason: String },

    #[error("cannot join the cluster: no member could take this node in within {} s ({answers})", within.as_secs())]
    NoAnswer { within: Duration, answers: Answers },

    #[error("cannot write to the store how far joining has come")]
    Write(#[source] io::Error),
}
