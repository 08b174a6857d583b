//! Random commands for property tests: few keys, so that commands meet, and small numbers beside the largest ones.

use backup_plugin::record::{Endpoint, Node};
use proptest::{collection::vec, option, prelude::*};

use super::{
    BooleanExpression, Combine, Command, Comparison, Condition, ConditionalOperation, KvBranch, KvOperation, KvPayload,
    KvTarget, KvTransaction, LogCommand, MatchSeq, MetaSpec, Operation, Predicate, Target, Transaction, Ttl, TxnOp,
    UpsertKv, ValueOp,
};

/// So many cases, or what `PROPTEST_CASES` asks for.
pub(crate) fn cases(bounded: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_some() { asked } else { ProptestConfig { cases: bounded, ..asked } }
}

/// Times of entries lie in one minute, so that records expire while commands go on.
const BASE_MS: u64 = 1_700_000_000_000;

pub(crate) fn log_command() -> impl Strategy<Value = LogCommand> {
    let time_ms = prop_oneof![30 => time_ms(), 1 => Just(0), 1 => Just(u64::MAX)];
    (option::weighted(0.9, time_ms), command()).prop_map(|(time_ms, cmd)| LogCommand { time_ms, cmd })
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        1 => (0..4u64, node(), any::<bool>())
            .prop_map(|(node_id, node, overriding)| Command::AddNode { node_id, node, overriding }),
        1 => (0..4u64).prop_map(|node_id| Command::RemoveNode { node_id }),
        1 => (key(), any::<bool>()).prop_map(|(feature, enable)| Command::SetFeature { feature, enable }),
        6 => upsert().prop_map(Command::UpsertKV),
        6 => transaction().prop_map(Command::Transaction),
        6 => kv_transaction().prop_map(Command::KvTransaction),
    ]
}

/// Often a whole second, so that a record expires at the very time of an entry.
fn time_ms() -> impl Strategy<Value = u64> {
    prop_oneof![BASE_MS..BASE_MS + 60_000, (0..60u64).prop_map(|second| BASE_MS + second * 1000)]
}

/// An expiry around the times of the entries, in either unit.
fn expire_at() -> impl Strategy<Value = Option<u64>> {
    option::of(prop_oneof![time_ms(), time_ms().prop_map(|ms| ms / 1000), Just(0), Just(u64::MAX)])
}

fn ttl_ms() -> impl Strategy<Value = Option<u64>> {
    option::of(prop_oneof![2 => 0..60_000u64, 2 => (0..60u64).prop_map(|seconds| seconds * 1000), 1 => Just(u64::MAX)])
}

fn seq() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..20u64, 1 => Just(u64::MAX)]
}

fn match_seq() -> impl Strategy<Value = Option<u64>> {
    option::weighted(0.3, seq())
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[ab]/[a-c]", 1 => "a/é\"\\\\\n"]
}

/// A key that is only looked for may be empty.
fn sought() -> impl Strategy<Value = String> {
    prop_oneof![8 => key(), 1 => Just(String::new())]
}

fn prefix() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just("a/".to_owned()), Just("b".to_owned()), Just("none".to_owned())]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![
        4 => (0..99u8).prop_map(|n| n.to_string()),
        1 => prop::sample::select(&[" 7\n", "007", "-3", "1.5", "1e2", "0", "18446744073709551615", "18446744073709551616"][..])
            .prop_map(str::to_owned),
    ];
    prop_oneof![vec(any::<u8>(), 0..5), number.prop_map(String::into_bytes)]
}

fn delta() -> impl Strategy<Value = i64> {
    prop_oneof![8 => -99..99i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX)]
}

fn node() -> impl Strategy<Value = Node> {
    (any::<u16>(), option::of(Just("127.0.0.1:9191".to_owned()))).prop_map(|(port, grpc_api_advertise_address)| Node {
        name: port.to_string(),
        endpoint: Endpoint { addr: "localhost".to_owned(), port },
        grpc_api_advertise_address,
    })
}

fn upsert() -> impl Strategy<Value = UpsertKv> {
    let seq =
        prop_oneof![3 => Just(MatchSeq::Any), 1 => seq().prop_map(MatchSeq::Exact), 1 => seq().prop_map(MatchSeq::GE)];
    let op = prop_oneof![3 => value().prop_map(ValueOp::Update), 1 => Just(ValueOp::Delete), 1 => Just(ValueOp::AsIs)];
    let meta = (expire_at(), ttl_ms())
        .prop_map(|(expire_at, ttl)| MetaSpec { expire_at, ttl: ttl.map(|millis| Ttl { millis }) });
    (key(), seq, op, option::of(meta)).prop_map(|(key, seq, value, value_meta)| UpsertKv {
        key,
        seq,
        value,
        value_meta,
    })
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        seq().prop_map(Target::Seq),
        value().prop_map(Target::Value),
        (0..5u64).prop_map(Target::KeysWithPrefix),
    ]
}

fn comparison() -> impl Strategy<Value = Comparison> {
    (0..6i64).prop_map(Comparison::from_number)
}

fn condition() -> impl Strategy<Value = Condition> {
    (key(), comparison(), option::weighted(0.9, target())).prop_map(|(key, expected, target)| Condition {
        key,
        expected,
        target,
    })
}

fn expression() -> impl Strategy<Value = BooleanExpression> {
    let operator = || prop_oneof![Just(Combine::And), Just(Combine::Or)];
    let flat = (operator(), vec(condition(), 0..3)).prop_map(|(operator, conditions)| BooleanExpression {
        operator,
        sub_expressions: vec![],
        conditions,
    });
    flat.prop_recursive(3, 8, 2, move |inner| {
        (operator(), vec(inner, 0..3), vec(condition(), 0..2)).prop_map(|(operator, sub_expressions, conditions)| {
            BooleanExpression { operator, sub_expressions, conditions }
        })
    })
}

fn predicate() -> impl Strategy<Value = Predicate> {
    let leaf = (key(), target(), comparison()).prop_map(|(key, target, op)| Predicate::Leaf { key, target, op });
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![vec(inner.clone(), 0..3).prop_map(Predicate::And), vec(inner, 0..3).prop_map(Predicate::Or)]
    })
}

fn operation() -> impl Strategy<Value = TxnOp> {
    let put =
        (key(), value(), expire_at(), ttl_ms(), match_seq()).prop_map(|(key, value, expire_at, ttl_ms, match_seq)| {
            Operation::Put { key, value, expire_at, ttl_ms, match_seq }
        });
    let increase = (key(), match_seq(), delta(), seq()).prop_map(|(key, match_seq, delta, max_value)| {
        Operation::FetchIncreaseU64 { key, match_seq, delta, max_value }
    });
    let sequential = (prefix(), key(), value(), expire_at(), ttl_ms()).prop_map(
        |(prefix, sequence_key, value, expires_at_ms, ttl_ms)| Operation::PutSequential {
            prefix,
            sequence_key,
            value,
            expires_at_ms,
            ttl_ms,
        },
    );
    prop_oneof![
        sought().prop_map(|key| Operation::Get { key }),
        put,
        (sought(), match_seq()).prop_map(|(key, match_seq)| Operation::Delete { key, match_seq }),
        prefix().prop_map(|prefix| Operation::DeleteByPrefix { prefix }),
        increase,
        sequential,
    ]
    .prop_map(|request| TxnOp { request })
}

fn transaction() -> impl Strategy<Value = Transaction> {
    let branch = (option::of(expression()), vec(operation(), 0..3))
        .prop_map(|(predicate, operations)| ConditionalOperation { predicate, operations });
    (vec(branch, 0..3), vec(condition(), 0..3), vec(operation(), 0..4), vec(operation(), 0..3)).prop_map(
        |(operations, condition, if_then, else_then)| Transaction { operations, condition, if_then, else_then },
    )
}

fn kv_operation() -> impl Strategy<Value = KvOperation> {
    let target = || (key(), match_seq()).prop_map(|(key, match_seq)| KvTarget { key, match_seq });
    let payload = || {
        (value(), expire_at(), ttl_ms()).prop_map(|(value, expire_at_ms, ttl_ms)| KvPayload {
            value,
            expire_at_ms,
            ttl_ms,
        })
    };
    prop_oneof![
        sought().prop_map(|key| KvOperation::Get { key }),
        (target(), payload()).prop_map(|(target, payload)| KvOperation::Put { target, payload }),
        target().prop_map(|target| KvOperation::Delete { target }),
        prefix().prop_map(|prefix| KvOperation::DeleteByPrefix { prefix }),
        (target(), delta(), seq()).prop_map(|(target, delta, floor)| KvOperation::FetchIncreaseU64 {
            target,
            delta,
            floor
        }),
        (prefix(), key(), payload()).prop_map(|(prefix, sequence_key, payload)| KvOperation::PutSequential {
            prefix,
            sequence_key,
            payload
        }),
    ]
}

fn kv_transaction() -> impl Strategy<Value = KvTransaction> {
    let branch =
        (predicate(), vec(kv_operation(), 0..4)).prop_map(|(predicate, operations)| KvBranch { predicate, operations });
    vec(branch, 0..3).prop_map(|branches| KvTransaction { branches })
}
