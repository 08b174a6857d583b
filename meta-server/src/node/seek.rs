//! Looking for the member that does what is asked: members are asked one by one, and one that does not lead is followed to the one
//! that does. Knows nothing of what is asked.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

use meta_proto::raft as pb;
use tonic::{Code, Status};

use crate::raft::network::{PeerClient, connect};

/// How long one member may take to answer. It gives up its own work before.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How often one round follows a member to the one that leads: between two of them, it may have changed again.
const HINTS: usize = 5;

/// In the details of a refusal: the caller is no member any more.
pub(crate) const NOT_A_MEMBER: &[u8] = b"not a member";

/// What one member said.
pub(super) enum Said<T> {
    Answer(T),
    NotLeader(pb::NotLeader),
    /// And another one would say the same. `removed`: since the caller is no member any more.
    Refused {
        reason: String,
        removed: bool,
    },
    /// Whether anything was done is not known.
    Failed(String),
}

/// Why a round was in vain.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InVain {
    Refused { address: String, reason: String, removed: bool },
    Nobody(Answers),
}

/// What members said, by address.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answers(BTreeMap<String, String>);

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no address of a member is known");
        }
        for (n, (address, said)) in self.0.iter().enumerate() {
            write!(f, "{}{address}: {said}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// Asks each of `addresses` until one answers, and gives its address and answer.
pub(super) async fn seek<T, F>(
    addresses: impl IntoIterator<Item = String>,
    mut ask: impl FnMut(String) -> F,
) -> Result<(String, T), InVain>
where
    F: Future<Output = Said<T>>,
{
    let mut left: VecDeque<String> = addresses.into_iter().collect();
    let mut answers = BTreeMap::new();
    let mut hints = 0;
    while let Some(address) = left.pop_front() {
        let said = match ask(address.clone()).await {
            Said::Answer(answer) => return Ok((address, answer)),
            Said::Refused { reason, removed } => return Err(InVain::Refused { address, reason, removed }),
            Said::NotLeader(not_leader) => {
                if let Some(hint) = not_leader.endpoint.filter(|hint| *hint != address)
                    && hints < HINTS
                {
                    hints += 1;
                    left.retain(|other| *other != hint);
                    left.push_front(hint);
                }
                not_leader.reason
            }
            Said::Failed(reason) => reason,
        };
        answers.insert(address, said);
    }
    Err(InVain::Nobody(Answers(answers)))
}

/// One call to the member at `address`.
pub(super) async fn call<T, R, F>(address: &str, call: impl FnOnce(PeerClient) -> F) -> Result<R, Said<T>>
where
    F: Future<Output = Result<tonic::Response<R>, Status>>,
{
    let client = connect(address).map_err(|error| Said::Failed(crate::error_chain::chain(&error)))?;
    match tokio::time::timeout(ANSWER_WITHIN, call(client)).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) if matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument) => {
            let removed = status.details() == NOT_A_MEMBER;
            Err(Said::Refused { reason: status.message().to_owned(), removed })
        }
        Ok(Err(status)) => Err(Said::Failed(reason(&status))),
        Err(_) => Err(Said::Failed(format!("no answer within {} s", ANSWER_WITHIN.as_secs()))),
    }
}

fn reason(status: &Status) -> String {
    match status.code() {
        Code::Unimplemented => "no member's Raft service listens there (raft_api_port)".to_owned(),
        _ => crate::error_chain::chain(status),
    }
}

/// An answer without what it should say.
pub(super) fn empty<T>() -> Said<T> {
    Said::Failed("its answer says nothing: is it of another version?".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn not_leader<T>(endpoint: Option<&str>) -> Said<T> {
        let endpoint = endpoint.map(str::to_owned);
        Said::NotLeader(pb::NotLeader { leader: None, endpoint, reason: "does not lead".into() })
    }

    async fn round(answer: impl Fn(&str) -> Said<u8>) -> (Result<(String, u8), InVain>, Vec<String>) {
        let asked = Mutex::default();
        let addresses = ["a:1", "b:1", "c:1"].map(str::to_owned);
        let result = seek(addresses, |address| {
            let said = answer(&address);
            Vec::push(&mut asked.lock().unwrap(), address);
            std::future::ready(said)
        });
        let result = result.await;
        (result, asked.into_inner().unwrap())
    }

    #[tokio::test]
    async fn the_leader_is_found_by_what_others_say() {
        let (result, asked) = round(|address| match address {
            "a:1" => not_leader(Some("c:1")),
            "c:1" => Said::Answer(7),
            _ => Said::Failed("is down".into()),
        })
        .await;
        assert_eq!((result, asked), (Ok(("c:1".into(), 7)), vec!["a:1".into(), "c:1".into()]));
    }

    #[tokio::test]
    async fn members_that_name_each_other_are_not_followed_for_ever() {
        let (result, asked) = round(|address| not_leader(Some(if address == "a:1" { "b:1" } else { "a:1" }))).await;
        assert!(matches!(result, Err(InVain::Nobody(_))));
        assert!(asked.len() < 10, "{asked:?}");
    }

    #[tokio::test]
    async fn a_refusal_ends_the_round_and_silence_does_not() {
        let (result, asked) = round(|address| match address {
            "b:1" => Said::Refused { reason: "no".into(), removed: false },
            _ => Said::Failed("is down".into()),
        })
        .await;
        assert_eq!(result, Err(InVain::Refused { address: "b:1".into(), reason: "no".into(), removed: false }));
        assert_eq!(asked, ["a:1", "b:1"]);
    }

    #[test]
    fn what_was_said_is_told_by_address() {
        let answers = Answers([("a:1".into(), "is down".into()), ("b:1".into(), "does not lead".into())].into());
        assert_eq!(answers.to_string(), "a:1: is down; b:1: does not lead");
        assert_eq!(Answers::default().to_string(), "no address of a member is known");
    }
}
