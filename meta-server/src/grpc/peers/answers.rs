//! What applying a command answers, as one member tells it to another. Knows nothing of who asked.

use meta_proto::{
    pb::{
        KvTransactionReply as PbKvTxnReply, TxnOpResponse as PbOpResponse, TxnReply as PbTxnReply,
        txn_op_response::Response as PbResponse,
    },
    raft::{self as pb, write_reply::Result as PbResult},
};

use crate::{
    apply::{Applied, Change, ExecutedPath, KvTxnReply, OpResponse, TxnReply},
    grpc::convert::{record_from_pb, record_to_pb},
};

/// An answer that does not say what was done, although something was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer has no `{0}`, or one that this version does not know")]
pub struct NotAnAnswer(&'static str);

/// `None`: not for another member.
pub fn to_pb(applied: Applied) -> Option<PbResult> {
    match applied {
        Applied::None | Applied::Node(_) => Some(PbResult::Nothing(pb::Blank {})),
        Applied::Kv(Change { prev, result }) => {
            Some(PbResult::Kv(pb::KvChange { prev: prev.map(record_to_pb), result: result.map(record_to_pb) }))
        }
        Applied::Txn(reply) => Some(PbResult::Transaction(reply.into())),
        Applied::KvTxn(reply) => Some(PbResult::KvTransaction(reply.into())),
        Applied::ReplyTooLarge => None,
    }
}

pub fn change(change: pb::KvChange) -> Change {
    Change { prev: change.prev.map(record_from_pb), result: change.result.map(record_from_pb) }
}

pub fn transaction(reply: PbTxnReply) -> Result<TxnReply, NotAnAnswer> {
    let path = path(&reply.execution_path).ok_or(NotAnAnswer("execution_path"))?;
    Ok(TxnReply { path, responses: op_responses(reply.responses)? })
}

pub fn kv_transaction(reply: PbKvTxnReply) -> Result<KvTxnReply, NotAnAnswer> {
    Ok(KvTxnReply { executed_branch: reply.executed_branch, responses: op_responses(reply.responses)? })
}

fn op_responses(responses: Vec<PbOpResponse>) -> Result<Vec<OpResponse>, NotAnAnswer> {
    let responses = responses.into_iter().map(|response| {
        let response = response.response.ok_or(NotAnAnswer("responses.response"))?;
        Ok(op_response(response))
    });
    responses.collect()
}

/// The reverse of its `Display`.
fn path(text: &str) -> Option<ExecutedPath> {
    match text {
        "" => Some(ExecutedPath::Nothing),
        "then" => Some(ExecutedPath::Then),
        "else" => Some(ExecutedPath::Else),
        _ => text.strip_prefix("operation:")?.parse().ok().map(ExecutedPath::Operation),
    }
}

fn op_response(response: PbResponse) -> OpResponse {
    match response {
        PbResponse::Get(get) => OpResponse::Get { key: get.key, value: get.value.map(record_from_pb) },
        PbResponse::Put(put) => OpResponse::Put {
            key: put.key,
            prev: put.prev_value.map(record_from_pb),
            current: put.current.map(record_from_pb),
        },
        PbResponse::Delete(delete) => {
            OpResponse::Delete { key: delete.key, success: delete.success, prev: delete.prev_value.map(record_from_pb) }
        }
        PbResponse::DeleteByPrefix(delete) => OpResponse::DeleteByPrefix { prefix: delete.prefix, count: delete.count },
        PbResponse::FetchIncreaseU64(increase) => OpResponse::FetchIncreaseU64 {
            key: increase.key,
            before_seq: increase.before_seq,
            before: increase.before,
            after_seq: increase.after_seq,
            after: increase.after,
        },
    }
}

#[cfg(test)]
mod tests {
    use backup_plugin::record::{KvMeta, SeqV};

    use super::*;

    fn record(seq: u64) -> Option<SeqV> {
        Some(SeqV { seq, meta: Some(KvMeta { expire_at: Some(1), proposed_at_ms: Some(2) }), data: vec![3, 255] })
    }

    #[test]
    fn a_change_arrives_as_it_was_sent() {
        for sent in [Change { prev: None, result: record(2) }, Change { prev: record(1), result: None }] {
            let Some(PbResult::Kv(message)) = to_pb(Applied::Kv(sent.clone())) else { panic!("not a change") };
            assert_eq!(change(message), sent);
        }
    }

    #[test]
    fn the_reply_of_a_transaction_arrives_as_it_was_sent() {
        let key = || "k".to_owned();
        let responses = vec![
            OpResponse::Get { key: key(), value: record(1) },
            OpResponse::Get { key: key(), value: None },
            OpResponse::Put { key: key(), prev: record(2), current: record(3) },
            OpResponse::Delete { key: key(), success: true, prev: record(4) },
            OpResponse::DeleteByPrefix { prefix: key(), count: 5 },
            OpResponse::FetchIncreaseU64 { key: key(), before_seq: 6, before: 7, after_seq: 8, after: 9 },
        ];
        for path in [ExecutedPath::Operation(12), ExecutedPath::Then, ExecutedPath::Else, ExecutedPath::Nothing] {
            let sent = TxnReply { path, responses: responses.clone() };
            let Some(PbResult::Transaction(message)) = to_pb(Applied::Txn(sent.clone())) else {
                panic!("not a transaction")
            };
            assert_eq!(transaction(message).unwrap(), sent);
        }
        for executed_branch in [None, Some(0), Some(7)] {
            let sent = KvTxnReply { executed_branch, responses: responses.clone() };
            let Some(PbResult::KvTransaction(message)) = to_pb(Applied::KvTxn(sent.clone())) else {
                panic!("not a transaction")
            };
            assert_eq!(kv_transaction(message).unwrap(), sent);
        }
    }

    #[test]
    fn a_reply_that_can_not_be_read_is_not_taken_for_another() {
        for execution_path in ["operation:", "operation:x", "branch:1"] {
            let reply = PbTxnReply { execution_path: execution_path.into(), ..PbTxnReply::default() };
            assert_eq!(transaction(reply), Err(NotAnAnswer("execution_path")), "{execution_path}");
        }
        let reply = PbTxnReply { responses: vec![Default::default()], ..PbTxnReply::default() };
        assert_eq!(transaction(reply), Err(NotAnAnswer("responses.response")));
        let reply = PbKvTxnReply { executed_branch: None, responses: vec![Default::default()] };
        assert_eq!(kv_transaction(reply), Err(NotAnAnswer("responses.response")));
    }
}
