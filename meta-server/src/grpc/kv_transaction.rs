//! `KvTransaction` between the wire and the command of that name: the messages of the older transaction, in fewer shapes.

use meta_proto::pb::{self, boolean_expression::CombiningOperator, txn_op::Request as PbRequest};

use super::convert::{MissingField, each, target};
use crate::{
    apply::KvTxnReply,
    command::{Comparison, KvBranch, KvOperation, KvPayload, KvTarget, KvTransaction, Predicate},
};

impl TryFrom<pb::KvTransactionRequest> for KvTransaction {
    type Error = MissingField;

    fn try_from(request: pb::KvTransactionRequest) -> Result<Self, MissingField> {
        Ok(KvTransaction { branches: each(request.branches, "branches", branch)? })
    }
}

fn branch(branch: pb::ConditionalOperation) -> Result<KvBranch, MissingField> {
    let predicate = branch.predicate.map(predicate).transpose().map_err(|err| err.inside("predicate"))?;
    Ok(KvBranch {
        // No predicate always holds, and so does one without parts.
        predicate: predicate.unwrap_or(Predicate::And(Vec::new())),
        operations: each(branch.operations, "operations", operation)?,
    })
}

fn predicate(expression: pb::BooleanExpression) -> Result<Predicate, MissingField> {
    let operator = expression.operator();
    let mut parts = each(expression.sub_expressions, "sub_expressions", predicate)?;
    parts.extend(each(expression.conditions, "conditions", leaf)?);
    Ok(match operator {
        CombiningOperator::And => Predicate::And(parts),
        CombiningOperator::Or => Predicate::Or(parts),
    })
}

fn leaf(condition: pb::TxnCondition) -> Result<Predicate, MissingField> {
    let op = Comparison::from_number(condition.expected.into());
    let target = target(condition.target.ok_or_else(|| MissingField::new("target"))?);
    Ok(Predicate::Leaf { key: condition.key, target, op })
}

fn operation(op: pb::TxnOp) -> Result<KvOperation, MissingField> {
    Ok(match op.request.ok_or_else(|| MissingField::new("request"))? {
        PbRequest::Get(get) => KvOperation::Get { key: get.key },
        PbRequest::Put(put) => KvOperation::Put {
            target: KvTarget { key: put.key, match_seq: put.match_seq },
            payload: KvPayload { value: put.value, expire_at_ms: put.expire_at, ttl_ms: put.ttl_ms },
        },
        PbRequest::Delete(delete) => {
            KvOperation::Delete { target: KvTarget { key: delete.key, match_seq: delete.match_seq } }
        }
        PbRequest::DeleteByPrefix(delete) => KvOperation::DeleteByPrefix { prefix: delete.prefix },
        PbRequest::FetchIncreaseU64(increase) => KvOperation::FetchIncreaseU64 {
            target: KvTarget { key: increase.key, match_seq: increase.match_seq },
            delta: increase.delta,
            floor: increase.max_value,
        },
        PbRequest::PutSequential(put) => KvOperation::PutSequential {
            prefix: put.prefix,
            sequence_key: put.sequence_key,
            payload: KvPayload { value: put.value, expire_at_ms: put.expires_at_ms, ttl_ms: put.ttl_ms },
        },
    })
}

impl From<KvTxnReply> for pb::KvTransactionReply {
    fn from(reply: KvTxnReply) -> Self {
        pb::KvTransactionReply {
            executed_branch: reply.executed_branch,
            responses: reply.responses.into_iter().map(Into::into).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use meta_proto::pb::txn_condition::Target as PbTarget;
    use serde_json::json;

    use super::*;

    fn op(request: PbRequest) -> pb::TxnOp {
        pb::TxnOp { request: Some(request) }
    }

    fn condition(target: Option<PbTarget>) -> pb::TxnCondition {
        pb::TxnCondition { key: "c".into(), expected: 4, target }
    }

    fn transaction(predicate: Option<pb::BooleanExpression>, operations: Vec<pb::TxnOp>) -> pb::KvTransactionRequest {
        pb::KvTransactionRequest { branches: vec![pb::ConditionalOperation { predicate, operations }] }
    }

    #[test]
    fn a_transaction_comes_off_the_wire_with_every_field() {
        let inner = pb::BooleanExpression {
            operator: 1,
            sub_expressions: vec![pb::BooleanExpression::default()],
            conditions: vec![condition(Some(PbTarget::Value(vec![1])))],
        };
        let outer = pb::BooleanExpression {
            operator: 0,
            sub_expressions: vec![inner],
            conditions: vec![condition(Some(PbTarget::Seq(7))), condition(Some(PbTarget::KeysWithPrefix(3)))],
        };
        let operations = vec![
            op(PbRequest::Get(pb::TxnGetRequest { key: "g".into() })),
            op(PbRequest::Put(pb::TxnPutRequest {
                key: "p".into(),
                value: vec![2],
                expire_at: Some(3),
                ttl_ms: Some(4),
                match_seq: Some(5),
            })),
            op(PbRequest::Delete(pb::TxnDeleteRequest { key: "d".into(), match_seq: Some(6) })),
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
        ];
        let leaf = |target| json!({"Leaf": {"key": "c", "target": target, "op": "Le"}});
        let predicate = json!({"And": [
            {"Or": [{"And": []}, leaf(json!({"Value": [1]}))]},
            leaf(json!({"Seq": 7})),
            leaf(json!({"KeysWithPrefix": 3})),
        ]});
        let expected = json!({"branches": [{"predicate": predicate, "operations": [
            {"Get": {"key": "g"}},
            {"Put": {
                "target": {"key": "p", "match_seq": 5}, "payload": {"value": [2], "expire_at_ms": 3, "ttl_ms": 4},
            }},
            {"Delete": {"target": {"key": "d", "match_seq": 6}}},
            {"DeleteByPrefix": {"prefix": "x"}},
            {"FetchIncreaseU64": {"target": {"key": "f", "match_seq": 8}, "delta": -7, "floor": 9}},
            {"PutSequential": {
                "prefix": "q", "sequence_key": "s",
                "payload": {"value": [10], "expire_at_ms": 11, "ttl_ms": 12},
            }},
        ]}]});
        let command = KvTransaction::try_from(transaction(Some(outer), operations)).unwrap();
        assert_eq!(serde_json::to_value(command).unwrap(), expected);

        let always = KvTransaction::try_from(transaction(None, vec![])).unwrap();
        assert_eq!(always.branches[0].predicate, Predicate::And(vec![]));
    }

    #[test]
    fn what_a_request_leaves_out_is_named() {
        let nested = pb::BooleanExpression { conditions: vec![condition(None)], ..Default::default() };
        let predicate = pb::BooleanExpression { sub_expressions: vec![nested], ..Default::default() };
        for (request, field) in [
            (transaction(None, vec![pb::TxnOp { request: None }]), "branches[0].operations[0].request"),
            (transaction(Some(predicate), vec![]), "branches[0].predicate.sub_expressions[0].conditions[0].target"),
        ] {
            assert_eq!(KvTransaction::try_from(request).unwrap_err().field, field);
        }
    }
}
