//! Between the types of the wire and our own: records, transactions, and what they answer. Wire types go no further than this.
//!
//! Records are foreign types on both sides, so they are converted by functions; the rest by `TryFrom` and `From`.

use backup_plugin::record::{KvMeta, SeqV};
use meta_proto::pb::{
    self, txn_condition::Target as PbTarget, txn_op::Request as PbRequest, txn_op_response::Response as PbResponse,
};

use crate::{
    apply::{OpResponse, TxnReply},
    command::{
        BooleanExpression, Combine, Comparison, Condition, ConditionalOperation, Operation, Target, Transaction, TxnOp,
    },
};

/// A request that leaves out what it is about. A newer client's kind of operation or target reads as one left out, too: it must
/// not be taken for something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the request has no `{field}`, or one that this server does not know")]
pub struct MissingField {
    /// Where it should stand, such as `operations[0].predicate.conditions[1].target`.
    pub field: String,
}

impl MissingField {
    pub(super) fn new(field: &str) -> Self {
        MissingField { field: field.to_owned() }
    }

    /// The same error as seen from the message that holds `outer`.
    pub(super) fn inside(self, outer: &str) -> Self {
        MissingField { field: format!("{outer}.{}", self.field) }
    }
}

/// A record as the wire has it.
pub fn record_to_pb(record: SeqV) -> pb::SeqV {
    let meta = record.meta.map(|meta| pb::KvMeta { expire_at: meta.expire_at, proposed_at_ms: meta.proposed_at_ms });
    pb::SeqV { seq: record.seq, data: record.data, meta }
}

/// A record that came over the wire.
pub fn record_from_pb(record: pb::SeqV) -> SeqV {
    let meta = record.meta.map(|meta| KvMeta { expire_at: meta.expire_at, proposed_at_ms: meta.proposed_at_ms });
    SeqV { seq: record.seq, meta, data: record.data }
}

impl TryFrom<pb::TxnRequest> for Transaction {
    type Error = MissingField;

    fn try_from(request: pb::TxnRequest) -> Result<Self, MissingField> {
        Ok(Transaction {
            operations: each(request.operations, "operations", ConditionalOperation::try_from)?,
            condition: each(request.condition, "condition", Condition::try_from)?,
            if_then: each(request.if_then, "if_then", TxnOp::try_from)?,
            else_then: each(request.else_then, "else_then", TxnOp::try_from)?,
        })
    }
}

/// Converts a repeated field; an error names the item.
pub(super) fn each<T, U>(
    items: Vec<T>,
    field: &str,
    convert: impl Fn(T) -> Result<U, MissingField>,
) -> Result<Vec<U>, MissingField> {
    let convert = |(position, item)| convert(item).map_err(|err| err.inside(&format!("{field}[{position}]")));
    items.into_iter().enumerate().map(convert).collect()
}

impl TryFrom<pb::ConditionalOperation> for ConditionalOperation {
    type Error = MissingField;

    fn try_from(operation: pb::ConditionalOperation) -> Result<Self, MissingField> {
        // No predicate is a meaning of its own: such operations always run.
        let predicate = operation.predicate.map(BooleanExpression::try_from).transpose();
        Ok(ConditionalOperation {
            predicate: predicate.map_err(|err| err.inside("predicate"))?,
            operations: each(operation.operations, "operations", TxnOp::try_from)?,
        })
    }
}

impl TryFrom<pb::BooleanExpression> for BooleanExpression {
    type Error = MissingField;

    fn try_from(expression: pb::BooleanExpression) -> Result<Self, MissingField> {
        Ok(BooleanExpression {
            operator: Combine::from(i64::from(expression.operator)),
            sub_expressions: each(expression.sub_expressions, "sub_expressions", BooleanExpression::try_from)?,
            conditions: each(expression.conditions, "conditions", Condition::try_from)?,
        })
    }
}

impl TryFrom<pb::TxnCondition> for Condition {
    type Error = MissingField;

    fn try_from(condition: pb::TxnCondition) -> Result<Self, MissingField> {
        let target = target(condition.target.ok_or_else(|| MissingField::new("target"))?);
        let expected = Comparison::from_number(condition.expected.into());
        Ok(Condition { key: condition.key, expected, target: Some(target) })
    }
}

pub(super) fn target(target: PbTarget) -> Target {
    match target {
        PbTarget::Value(value) => Target::Value(value),
        PbTarget::Seq(seq) => Target::Seq(seq),
        PbTarget::KeysWithPrefix(count) => Target::KeysWithPrefix(count),
    }
}

impl TryFrom<pb::TxnOp> for TxnOp {
    type Error = MissingField;

    fn try_from(op: pb::TxnOp) -> Result<Self, MissingField> {
        let request = match op.request.ok_or_else(|| MissingField::new("request"))? {
            PbRequest::Get(get) => Operation::Get { key: get.key },
            PbRequest::Put(put) => Operation::Put {
                key: put.key,
                value: put.value,
                expire_at: put.expire_at,
                ttl_ms: put.ttl_ms,
                match_seq: put.match_seq,
            },
            PbRequest::Delete(delete) => Operation::Delete { key: delete.key, match_seq: delete.match_seq },
            PbRequest::DeleteByPrefix(delete) => Operation::DeleteByPrefix { prefix: delete.prefix },
            PbRequest::FetchIncreaseU64(increase) => Operation::FetchIncreaseU64 {
                key: increase.key,
                match_seq: increase.match_seq,
                delta: increase.delta,
                max_value: increase.max_value,
            },
            PbRequest::PutSequential(put) => Operation::PutSequential {
                prefix: put.prefix,
                sequence_key: put.sequence_key,
                value: put.value,
                expires_at_ms: put.expires_at_ms,
                ttl_ms: put.ttl_ms,
            },
        };
        Ok(TxnOp { request })
    }
}

impl From<TxnReply> for pb::TxnReply {
    fn from(reply: TxnReply) -> Self {
        pb::TxnReply {
            success: reply.success(),
            execution_path: reply.path.to_string(),
            responses: reply.responses.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<OpResponse> for pb::TxnOpResponse {
    fn from(response: OpResponse) -> Self {
        let response = match response {
            OpResponse::Get { key, value } => {
                PbResponse::Get(pb::TxnGetResponse { key, value: value.map(record_to_pb) })
            }
            OpResponse::Put { key, prev, current } => PbResponse::Put(pb::TxnPutResponse {
                key,
                prev_value: prev.map(record_to_pb),
                current: current.map(record_to_pb),
            }),
            OpResponse::Delete { key, success, prev } => {
                PbResponse::Delete(pb::TxnDeleteResponse { key, success, prev_value: prev.map(record_to_pb) })
            }
            OpResponse::DeleteByPrefix { prefix, count } => {
                PbResponse::DeleteByPrefix(pb::TxnDeleteByPrefixResponse { prefix, count })
            }
            OpResponse::FetchIncreaseU64 { key, before_seq, before, after_seq, after } => {
                PbResponse::FetchIncreaseU64(pb::FetchIncreaseU64Response { key, before_seq, before, after_seq, after })
            }
        };
        pb::TxnOpResponse { response: Some(response) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apply::ExecutedPath;

    fn op(request: PbRequest) -> pb::TxnOp {
        pb::TxnOp { request: Some(request) }
    }

    fn condition(expected: i32, target: Option<PbTarget>) -> pb::TxnCondition {
        pb::TxnCondition { key: "c".into(), expected, target }
    }

    #[test]
    fn a_transaction_comes_off_the_wire_with_every_field() {
        let expression = |operator, sub_expressions| pb::BooleanExpression {
            operator,
            sub_expressions,
            conditions: vec![condition(5, Some(PbTarget::KeysWithPrefix(3)))],
        };
        let request = pb::TxnRequest {
            operations: vec![
                pb::ConditionalOperation {
                    predicate: Some(expression(1, vec![expression(0, vec![])])),
                    operations: vec![],
                },
                pb::ConditionalOperation { predicate: None, operations: vec![] },
            ],
            condition: vec![condition(2, Some(PbTarget::Value(vec![1]))), condition(99, Some(PbTarget::Seq(7)))],
            if_then: vec![
                op(PbRequest::Get(pb::TxnGetRequest { key: "g".into() })),
                op(PbRequest::Put(pb::TxnPutRequest {
                    key: "p".into(),
                    value: vec![2],
                    expire_at: Some(3),
                    ttl_ms: Some(4),
                    match_seq: Some(5),
                })),
                op(PbRequest::Delete(pb::TxnDeleteRequest { key: "d".into(), match_seq: Some(6) })),
            ],
            else_then: vec![
                op(PbRequest::DeleteByPrefix(pb::TxnDeleteByPrefixRequest { prefix: "x".into() })),
                op(PbRequest::FetchIncreaseU64(pb::FetchIncreaseU64 {
                    key: "f".into(),
                    delta: -7,
                    match_seq: Some(8),
                    max_value: 9,
                })),
                op(PbRequest::PutSequential(pb::PutSequential {
                    prefix: "q".into(),
                    sequence_key: "s".into(),
                    value: vec![10],
                    expires_at_ms: Some(11),
                    ttl_ms: Some(12),
                })),
            ],
        };
        let leaf = json!({"key": "c", "expected": 5, "target": {"KeysWithPrefix": 3}});
        let expected = json!({
            "operations": [
                {
                    "predicate": {
                        "operator": 1,
                        "sub_expressions": [{"operator": 0, "sub_expressions": [], "conditions": [leaf]}],
                        "conditions": [leaf],
                    },
                    "operations": [],
                },
                {"predicate": null, "operations": []},
            ],
            "condition": [
                {"key": "c", "expected": 2, "target": {"Value": [1]}},
                {"key": "c", "expected": 0, "target": {"Seq": 7}},
            ],
            "if_then": [
                {"request": {"Get": {"key": "g"}}},
                {"request": {"Put": {"key": "p", "value": [2], "expire_at": 3, "ttl_ms": 4, "match_seq": 5}}},
                {"request": {"Delete": {"key": "d", "match_seq": 6}}},
            ],
            "else_then": [
                {"request": {"DeleteByPrefix": {"prefix": "x"}}},
                {"request": {"FetchIncreaseU64": {"key": "f", "match_seq": 8, "delta": -7, "max_value": 9}}},
                {"request": {"PutSequential": {
                    "prefix": "q", "sequence_key": "s", "value": [10], "expires_at_ms": 11, "ttl_ms": 12,
                }}},
            ],
        });
        let transaction = Transaction::try_from(request).unwrap();
        assert_eq!(serde_json::to_value(transaction).unwrap(), expected);
    }

    #[test]
    fn what_a_request_leaves_out_is_named() {
        let empty_op = pb::TxnOp { request: None };
        let get = op(PbRequest::Get(pb::TxnGetRequest::default()));
        let predicate = pb::BooleanExpression {
            sub_expressions: vec![pb::BooleanExpression { conditions: vec![condition(0, None)], ..Default::default() }],
            ..Default::default()
        };
        let branch = |predicate, operations| vec![pb::ConditionalOperation { predicate, operations }];
        let cases = [
            (pb::TxnRequest { condition: vec![condition(0, None)], ..Default::default() }, "condition[0].target"),
            (pb::TxnRequest { if_then: vec![get, empty_op.clone()], ..Default::default() }, "if_then[1].request"),
            (pb::TxnRequest { else_then: vec![empty_op.clone()], ..Default::default() }, "else_then[0].request"),
            (
                pb::TxnRequest { operations: branch(None, vec![empty_op]), ..Default::default() },
                "operations[0].operations[0].request",
            ),
            (
                pb::TxnRequest { operations: branch(Some(predicate), vec![]), ..Default::default() },
                "operations[0].predicate.sub_expressions[0].conditions[0].target",
            ),
        ];
        for (request, field) in cases {
            assert_eq!(Transaction::try_from(request), Err(MissingField::new(field)));
        }
    }

    #[test]
    fn records_are_the_same_after_both_ways() {
        for meta in [None, Some(KvMeta::default()), Some(KvMeta { expire_at: Some(1), proposed_at_ms: Some(2) })] {
            let record = SeqV { seq: 3, meta, data: vec![4, 255] };
            assert_eq!(record_from_pb(record_to_pb(record.clone())), record);
        }
    }

    #[test]
    fn a_reply_says_what_ran_and_what_each_operation_answered() {
        let old = || Some(SeqV { seq: 1, meta: None, data: vec![1] });
        let new = || Some(SeqV { seq: 2, meta: None, data: vec![2] });
        let key = || "k".to_owned();
        let reply = TxnReply {
            path: ExecutedPath::Operation(3),
            responses: vec![
                OpResponse::Get { key: key(), value: old() },
                OpResponse::Put { key: key(), prev: old(), current: new() },
                OpResponse::Delete { key: key(), success: true, prev: old() },
                OpResponse::DeleteByPrefix { prefix: key(), count: 4 },
                OpResponse::FetchIncreaseU64 { key: key(), before_seq: 5, before: 6, after_seq: 7, after: 8 },
            ],
        };
        let (old, new) = (old().map(record_to_pb), new().map(record_to_pb));
        let responses = [
            PbResponse::Get(pb::TxnGetResponse { key: key(), value: old.clone() }),
            PbResponse::Put(pb::TxnPutResponse { key: key(), prev_value: old.clone(), current: new }),
            PbResponse::Delete(pb::TxnDeleteResponse { key: key(), success: true, prev_value: old }),
            PbResponse::DeleteByPrefix(pb::TxnDeleteByPrefixResponse { prefix: key(), count: 4 }),
            PbResponse::FetchIncreaseU64(pb::FetchIncreaseU64Response {
                key: key(),
                before_seq: 5,
                before: 6,
                after_seq: 7,
                after: 8,
            }),
        ];
        let responses = responses.map(|response| pb::TxnOpResponse { response: Some(response) }).into();
        assert_eq!(
            pb::TxnReply::from(reply),
            pb::TxnReply { success: true, responses, execution_path: "operation:3".into() }
        );
        for (path, success, shown) in [
            (ExecutedPath::Then, true, "then"),
            (ExecutedPath::Else, false, "else"),
            (ExecutedPath::Nothing, false, ""),
        ] {
            let reply = pb::TxnReply::from(TxnReply { path, responses: vec![] });
            assert_eq!((reply.success, reply.execution_path.as_str()), (success, shown));
        }
    }
}
