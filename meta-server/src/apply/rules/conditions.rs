//! Whether conditions hold, and which part of a transaction runs for it.

use serde_json::{Value, json};

use super::{NOW, given, record, run_at, transaction};
use crate::apply::{Applied, KvTxnReply, OpResponse, memory::MemoryStore};

#[test]
fn a_condition_compares_what_is_stored_on_the_left() {
    let mut store = MemoryStore::default();
    given(&mut store, "a/1", "m", None);
    given(&mut store, "a/2", "m", None);
    given(&mut store, "b", "m", None);
    // Key, target, and which of EQ GT GE LT LE NE hold.
    let cases = [
        ("a/2", json!({"Seq": 1}), [false, true, true, false, false, true]),
        ("a/2", json!({"Seq": 2}), [true, false, true, false, true, false]),
        ("a/2", json!({"Seq": 3}), [false, false, false, true, true, true]),
        ("none", json!({"Seq": 0}), [true, false, true, false, true, false]),
        ("b", json!({"Value": b"l"}), [false, true, true, false, false, true]),
        ("b", json!({"Value": b"m"}), [true, false, true, false, true, false]),
        ("b", json!({"Value": b"m0"}), [false, false, false, true, true, true]),
        ("none", json!({"Value": b"m"}), [false; 6]),
        ("none", json!({"Value": b""}), [false; 6]),
        ("a/", json!({"KeysWithPrefix": 1}), [false, true, true, false, false, true]),
        ("a/", json!({"KeysWithPrefix": 2}), [true, false, true, false, true, false]),
        ("", json!({"KeysWithPrefix": 4}), [false, false, false, true, true, true]),
        ("b", json!(null), [false; 6]),
    ];
    for (key, target, holds) in cases {
        for (expected, (name, holds)) in ["Eq", "Gt", "Ge", "Lt", "Le", "Ne"].into_iter().zip(holds).enumerate() {
            let condition = json!({"key": key, "expected": expected, "target": target});
            let put = json!([{"request": {"Get": {"key": "b"}}}]);
            let reply = transaction(&mut store, &json!({"condition": [condition], "if_then": put, "else_then": put}));
            assert_eq!(reply.success(), holds, "{key} {name} {target}");
            if !target.is_null() {
                let leaf = json!({"Leaf": {"key": key, "target": target, "op": name}});
                let branches = json!({"branches": [{"predicate": leaf, "operations": []}]});
                let Applied::KvTxn(reply) = run_at(&mut store, Some(NOW), json!({ "KvTransaction": branches })) else {
                    panic!()
                };
                assert_eq!(reply.executed_branch.is_some(), holds, "{key} {name} {target}");
            }
        }
    }
}

#[test]
fn conditions_count_records_that_have_expired_but_are_not_cleaned() {
    let mut store = MemoryStore::default();
    given(&mut store, "a/1", "m", Some(NOW));
    let condition = json!([
        {"key": "a/", "expected": 0, "target": {"KeysWithPrefix": 1}},
        {"key": "a/1", "expected": 0, "target": {"Seq": 1}},
    ]);
    let remove = json!([{"request": {"DeleteByPrefix": {"prefix": "a"}}}]);
    let txn = json!({"Transaction": {"condition": condition, "if_then": remove, "else_then": []}});
    let Applied::Txn(reply) = run_at(&mut store, None, txn) else { panic!() };
    assert_eq!(reply.responses, [OpResponse::DeleteByPrefix { prefix: "a".into(), count: 1 }]);
}

#[test]
fn predicates_join_their_parts_and_hold_when_empty() {
    let yes = json!({"key": "none", "expected": 0, "target": {"Seq": 0}});
    let no = json!({"key": "none", "expected": 0, "target": {"Seq": 9}});
    let leaf = |seq: u64| json!({"Leaf": {"key": "none", "op": "Eq", "target": {"Seq": seq}}});
    let (leaf_yes, leaf_no) = (leaf(0), leaf(9));
    let joined = |operator: u8, subs: Value, conditions: Value| json!({"operator": operator, "sub_expressions": subs, "conditions": conditions});
    let (sub_yes, sub_no) = (joined(0, json!([]), json!([yes])), joined(1, json!([]), json!([no])));
    let cases = [
        (json!(null), true),
        (joined(0, json!([]), json!([])), true),
        (joined(1, json!([]), json!([])), true),
        (joined(0, json!([]), json!([yes, yes])), true),
        (joined(0, json!([]), json!([yes, no])), false),
        (joined(1, json!([]), json!([no, yes])), true),
        (joined(1, json!([]), json!([no, no])), false),
        (joined(0, json!([sub_yes]), json!([yes])), true),
        (joined(0, json!([sub_no]), json!([yes])), false),
        (joined(1, json!([sub_yes]), json!([no])), true),
        (joined(1, json!([sub_no]), json!([no])), false),
        (joined(1, json!([joined(1, json!([]), json!([]))]), json!([no])), true),
    ];
    for (predicate, holds) in cases {
        let operations = json!([{"predicate": predicate, "operations": []}]);
        let txn = json!({"operations": operations, "condition": [], "if_then": [], "else_then": []});
        assert_eq!(transaction(&mut MemoryStore::default(), &txn).success(), holds, "{predicate}");
    }
    let cases = [
        (json!({"And": []}), true),
        (json!({"Or": []}), true),
        (json!({"And": [leaf_yes, leaf_no]}), false),
        (json!({"Or": [leaf_no, leaf_yes]}), true),
        (json!({"Or": [leaf_no, {"And": [leaf_yes]}]}), true),
        (json!({"Or": [leaf_no, {"And": [leaf_no]}]}), false),
    ];
    for (predicate, holds) in cases {
        let txn = json!({"branches": [{"predicate": predicate, "operations": []}]});
        let reply = run_at(&mut MemoryStore::default(), Some(NOW), json!({ "KvTransaction": txn }));
        let executed_branch = holds.then_some(0);
        assert_eq!(reply, Applied::KvTxn(KvTxnReply { executed_branch, responses: vec![] }), "{predicate}");
    }
}

#[test]
fn one_part_of_a_transaction_runs() {
    let yes = json!({"key": "none", "expected": 0, "target": {"Seq": 0}});
    let no = json!({"key": "none", "expected": 5, "target": {"Seq": 0}});
    let get = |key: &str| json!([{"request": {"Get": {"key": key}}}]);
    let branch = |condition: &Value, key: &str| {
        let predicate = json!({"operator": 0, "sub_expressions": [], "conditions": [condition]});
        json!({"predicate": predicate, "operations": get(key)})
    };
    let (then, other, none) = (get("then"), get("else"), json!([]));
    // Conditional operations, condition, then, else; the path, whether that is a success, and the key that was read.
    let cases = [
        (
            json!([branch(&no, "0"), branch(&yes, "1"), branch(&yes, "2")]),
            json!([yes]),
            &then,
            &other,
            "operation:1",
            true,
            Some("1"),
        ),
        (json!([branch(&no, "0")]), json!([yes]), &then, &other, "then", true, Some("then")),
        (json!([branch(&no, "0")]), json!([]), &none, &none, "", false, None),
        (json!([]), json!([yes, no]), &then, &other, "else", false, Some("else")),
        (json!([]), json!([]), &then, &other, "then", true, Some("then")),
        (json!([]), json!([yes]), &none, &other, "then", true, None),
        (json!([]), json!([no]), &then, &none, "", false, None),
        (json!([]), json!([]), &none, &other, "", false, None),
        (json!([]), json!([]), &none, &none, "", false, None),
    ];
    for (operations, condition, if_then, else_then, path, success, read) in cases {
        let txn = json!({"operations": operations, "condition": condition, "if_then": if_then, "else_then": else_then});
        let reply = transaction(&mut MemoryStore::default(), &txn);
        assert_eq!((reply.path.to_string().as_str(), reply.success()), (path, success), "{txn}");
        let expected: Vec<_> = read.map(|key| OpResponse::Get { key: key.into(), value: None }).into_iter().collect();
        assert_eq!(reply.responses, expected, "{txn}");
    }
}

#[test]
fn a_key_value_transaction_runs_the_first_branch_that_may() {
    let mut store = MemoryStore::default();
    given(&mut store, "n", "7", None);
    let leaf = |seq: u64| json!({"Leaf": {"key": "n", "op": "Eq", "target": {"Seq": seq}}});
    let payload = json!({"value": b"v", "ttl_ms": 900});
    let operations = json!([
        {"Get": {"key": "n"}},
        {"FetchIncreaseU64": {"target": {"key": "n", "match_seq": 1}, "delta": 1, "floor": 50}},
        {"Put": {"target": {"key": "k", "match_seq": 9}, "payload": payload}},
        {"PutSequential": {"prefix": "q/", "sequence_key": "s", "payload": payload}},
        {"Delete": {"target": {"key": "n", "match_seq": null}}},
        {"DeleteByPrefix": {"prefix": "q/"}},
    ]);
    let branches = json!([
        {"predicate": leaf(9), "operations": []},
        {"predicate": leaf(1), "operations": operations},
        {"predicate": {"And": []}, "operations": [{"DeleteByPrefix": {"prefix": ""}}]},
    ]);
    let Applied::KvTxn(reply) = run_at(&mut store, Some(NOW), json!({"KvTransaction": {"branches": branches}})) else {
        panic!()
    };
    let responses = vec![
        OpResponse::Get { key: "n".into(), value: Some(record(1, "7", None)) },
        OpResponse::FetchIncreaseU64 { key: "n".into(), before_seq: 1, before: 7, after_seq: 2, after: 51 },
        OpResponse::Put { key: "k".into(), prev: None, current: None },
        OpResponse::Put {
            key: "q/000_000_000_000_000_000_000".into(),
            prev: None,
            current: Some(record(4, "v", Some(NOW + 900))),
        },
        OpResponse::Delete { key: "n".into(), success: true, prev: Some(record(2, "51", None)) },
        OpResponse::DeleteByPrefix { prefix: "q/".into(), count: 1 },
    ];
    assert_eq!(reply, KvTxnReply { executed_branch: Some(1), responses });
    assert_eq!(store.records.into_keys().collect::<Vec<_>>(), ["s"]);
}
