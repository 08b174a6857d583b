//! Asks another member to do what only a leader does, once, and says what came of it. Whom to ask, and whether to ask again,
//! is the node's.

use std::{error::Error, future::Future};

use futures::StreamExt;
use meta_proto::{
    pb::StreamItem,
    raft::{self as pb, read_reply::Part, write_reply::Result as PbResult},
};
use tonic::{Code, ConnectError, Status};

use super::answers;
use crate::{
    apply::Applied,
    command::Command,
    grpc::{kv::ReadRequest, streams::ReplyStream},
    raft::{
        guard::Guard,
        network::{MAX_MESSAGE, PeerClient},
        types::LogId,
        wire,
    },
};

/// What a command may take of a message: the rest is for who calls.
const MAX_COMMAND: usize = MAX_MESSAGE - 4096;

/// Why another member did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was done: it does not lead.
    NotLeader { leader: Option<u64>, reason: String },
    /// Nothing was done: it could not be connected to.
    Unreached(String),
    /// Nothing was done, nor would be the next time: what is asked for is refused.
    Refused(String),
    /// Nothing was done: it does not talk to this node.
    Unwelcome(String),
    /// It was done, but what it answers is too large.
    ReplyTooLarge,
    /// It may have been done, or be done yet.
    Unknown(String),
}

impl Failure {
    /// What a status says of a request that another member was asked. Only what is certain not to have been done may be asked
    /// again: everything that is not known to be an answer from before the request was carried out leaves that open.
    fn of(status: &Status) -> Self {
        let message = status.message().to_owned();
        if never_sent(status) {
            return Self::Unreached(described(status));
        }
        match status.code() {
            Code::InvalidArgument => Self::Refused(message),
            Code::FailedPrecondition => Self::Unwelcome(message),
            Code::OutOfRange => Self::ReplyTooLarge,
            Code::Unknown => Self::Unknown(message),
            _ => Self::Unknown(described(status)),
        }
    }
}

/// Whether a call failed because no connection could be made for it.
fn never_sent(status: &Status) -> bool {
    let mut cause = Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A status with its causes, which its message alone does not tell.
fn described(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let mut cause = Error::source(status);
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// What was done elsewhere, and where clients reach who did it.
#[derive(Debug)]
pub struct Done<T> {
    pub value: T,
    pub grpc_address: Option<String>,
}

/// A command as it travels.
pub fn encode(command: &Command) -> Result<Vec<u8>, Failure> {
    let bytes = rmp_serde::to_vec_named(command).map_err(|error| Failure::Refused(error.to_string()))?;
    if bytes.len() > MAX_COMMAND {
        return Err(Failure::Refused(format!(
            "the request takes {} bytes, and what can be forwarded to the leader is limited to {MAX_COMMAND}",
            bytes.len()
        )));
    }
    Ok(bytes)
}

/// Has `target` propose a command.
pub fn write(
    mut client: PeerClient,
    guard: &Guard,
    target: u64,
    command: Vec<u8>,
) -> impl Future<Output = Result<Done<Applied>, Failure>> + Send {
    let request = pb::WriteRequest { caller: Some(guard.caller(target)), command };
    async move {
        speak(guard)?;
        let reply = client.write(request).await.map_err(|status| Failure::of(&status))?.into_inner();
        accept(guard, target, reply.responder.as_ref()).await?;
        let value = match reply.result {
            Some(PbResult::Nothing(pb::Blank {})) => Applied::None,
            Some(PbResult::Kv(change)) => Applied::Kv(answers::change(change)),
            Some(PbResult::Transaction(reply)) => {
                Applied::Txn(answers::transaction(reply).map_err(|error| Failure::Unknown(error.to_string()))?)
            }
            Some(PbResult::KvTransaction(reply)) => {
                Applied::KvTxn(answers::kv_transaction(reply).map_err(|error| Failure::Unknown(error.to_string()))?)
            }
            Some(PbResult::NotLeader(not_leader)) => return Err(not_leader.into()),
            None => return Err(Failure::Unknown("the answer does not say what was done".into())),
        };
        Ok(Done { value, grpc_address: reply.leader_grpc_address })
    }
}

/// Asks `target` how far a state must be applied to include all that was acknowledged before.
pub async fn read_index(mut client: PeerClient, guard: &Guard, target: u64) -> Result<LogId, Failure> {
    speak(guard)?;
    let request = pb::ReadIndexRequest { caller: Some(guard.caller(target)) };
    let reply = client.read_index(request).await.map_err(|status| Failure::of(&status))?.into_inner();
    accept(guard, target, reply.responder.as_ref()).await?;
    match reply.result {
        Some(pb::read_index_reply::Result::LogId(id)) => {
            wire::log_id(id, "log_id").map_err(|error| Failure::Unknown(error.to_string()))
        }
        Some(pb::read_index_reply::Result::NotLeader(not_leader)) => Err(not_leader.into()),
        None => Err(Failure::Unknown("the answer has no log id".into())),
    }
}

/// What another member reads, as it sends it. It sends no more than is taken.
pub type Items = ReplyStream<StreamItem>;

/// Has `target` read. What fails later is an error of the stream.
pub fn read(
    mut client: PeerClient,
    guard: &Guard,
    target: u64,
    what: &ReadRequest,
) -> impl Future<Output = Result<Done<Items>, Failure>> + Send {
    let request = pb::ReadRequest { caller: Some(guard.caller(target)), what: Some(what.to_pb()) };
    async move {
        speak(guard)?;
        let mut replies = client.read(request).await.map_err(|status| Failure::of(&status))?.into_inner();
        let first = replies.message().await.map_err(|status| Failure::of(&status))?;
        match first.and_then(|reply| reply.part) {
            Some(Part::Reader(pb::Reader { responder, grpc_address })) => {
                accept(guard, target, responder.as_ref()).await?;
                let value: Items = Box::pin(replies.map(move |reply| item(target, reply)));
                Ok(Done { value, grpc_address })
            }
            Some(Part::NotLeader(not_leader)) => Err(not_leader.into()),
            Some(Part::Item(_)) | None => Err(Failure::Unknown("the answer does not say who reads".into())),
        }
    }
}

fn item(target: u64, reply: Result<pb::ReadReply, Status>) -> Result<StreamItem, Status> {
    match reply.map(|reply| reply.part) {
        Ok(Some(Part::Item(item))) => Ok(item),
        Ok(Some(Part::Reader(_) | Part::NotLeader(_)) | None) => Err(Status::internal(format!(
            "node {target} sent something else than a record; the stream is not complete"
        ))),
        // What the leader says of itself is what the client is told.
        Err(status) if Error::source(&status).is_none() => Err(status),
        Err(status) => Err(Status::unavailable(format!(
            "node {target}, which reads, is not reached any more, the stream is not complete: {}",
            described(&status)
        ))),
    }
}

/// A node that has forgotten would take no answer either, and what it asked for would be done all the same.
fn speak(guard: &Guard) -> Result<(), Failure> {
    guard.check_memory().map_err(|refusal| Failure::Unwelcome(refusal.to_string()))
}

async fn accept(guard: &Guard, target: u64, responder: Option<&pb::Responder>) -> Result<(), Failure> {
    guard.accept(target, responder).await.map_err(|error| Failure::Unknown(error.to_string()))
}

impl From<pb::NotLeader> for Failure {
    fn from(pb::NotLeader { leader, reason, .. }: pb::NotLeader) -> Self {
        Self::NotLeader { leader, reason }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn only_what_is_certain_not_to_have_been_done_says_so() {
        let unknown = |text: &str| Failure::Unknown(text.to_owned());
        let cases = [
            (Status::invalid_argument("too large"), Failure::Refused("too large".into())),
            (Status::failed_precondition("other cluster"), Failure::Unwelcome("other cluster".into())),
            (Status::out_of_range("too long"), Failure::ReplyTooLarge),
            (Status::unknown("not committed in time"), unknown("not committed in time")),
            (Status::unavailable("the server is stopping"), unknown("Unavailable: the server is stopping")),
            (Status::cancelled("reset"), unknown("Cancelled: reset")),
            (Status::deadline_exceeded("late"), unknown("DeadlineExceeded: late")),
            (Status::aborted("a"), unknown("Aborted: a")),
            (Status::internal("h2"), unknown("Internal: h2")),
            (Status::unimplemented("no such call"), unknown("Unimplemented: no such call")),
            (Status::resource_exhausted("r"), unknown("ResourceExhausted: r")),
            (Status::data_loss("d"), unknown("DataLoss: d")),
            (Status::not_found("n"), unknown("NotFound: n")),
            (Status::already_exists("e"), unknown("AlreadyExists: e")),
            (Status::permission_denied("p"), unknown("PermissionDenied: p")),
            (Status::unauthenticated("u"), unknown("Unauthenticated: u")),
            (Status::ok(""), unknown("Ok: ")),
        ];
        for (status, failure) in cases {
            assert_eq!(Failure::of(&status), failure);
        }
    }

    #[test]
    fn a_connection_that_was_not_made_has_carried_nothing() {
        let refused = || ConnectError(Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)));
        let wrapped = |source: Arc<dyn Error + Send + Sync>| {
            let mut status = Status::unavailable("no connection");
            status.set_source(source);
            status
        };
        #[derive(Debug, thiserror::Error)]
        #[error("the transport failed")]
        struct Transport(#[source] ConnectError);
        let of_connecting = [wrapped(Arc::new(refused())), wrapped(Arc::new(Transport(refused())))];
        for status in of_connecting {
            assert!(matches!(Failure::of(&status), Failure::Unreached(_)), "{status:?}");
        }
        let lost = wrapped(Arc::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset)));
        assert!(matches!(Failure::of(&lost), Failure::Unknown(_)));
    }

    #[tokio::test]
    async fn nobody_listens_where_no_connection_can_be_made() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut client = crate::raft::network::connect(&free.to_string()).unwrap();
        let status = client.write(pb::WriteRequest::default()).await.unwrap_err();
        assert!(matches!(Failure::of(&status), Failure::Unreached(_)), "{status:?}");
    }

    #[tokio::test]
    async fn a_connection_that_breaks_after_the_request_may_have_carried_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = [0; 1024];
            // The client has said something, then the connection goes.
            tokio::io::AsyncReadExt::read(&mut stream, &mut read).await.unwrap();
        });
        let mut client = crate::raft::network::connect(&address.to_string()).unwrap();
        let status = client.write(pb::WriteRequest::default()).await.unwrap_err();
        assert!(matches!(Failure::of(&status), Failure::Unknown(_)), "{status:?}");
        server.await.unwrap();
    }
}
