//! What each operation of a transaction does and answers.

use serde_json::json;

use super::{NOW, given, record, run_at, then};
use crate::apply::{Applied, MAX_REPLY_BYTES, OpResponse, memory::MemoryStore};

#[test]
fn an_operation_sees_what_the_ones_before_it_wrote() {
    let mut store = MemoryStore::default();
    let responses = then(
        &mut store,
        &[
            json!({"Put": {"key": "k", "value": b"v"}}),
            json!({"Get": {"key": "k"}}),
            json!({"Delete": {"key": "k", "match_seq": 1}}),
            json!(null),
            json!({"Get": {"key": "k"}}),
        ],
    );
    let written = Some(record(1, "v", None));
    let expected = [
        OpResponse::Put { key: "k".into(), prev: None, current: written.clone() },
        OpResponse::Get { key: "k".into(), value: written.clone() },
        OpResponse::Delete { key: "k".into(), success: true, prev: written },
        OpResponse::Get { key: String::new(), value: None },
        OpResponse::Get { key: "k".into(), value: None },
    ];
    assert_eq!(responses, expected);
}

#[test]
fn put_and_delete_work_on_the_record_that_matches() {
    let old = || Some(record(1, "old", None));
    let new = |seq| Some(record(seq, "new", None));
    // Whether there is a record, the seq asked for, and what a put leaves and a delete removes.
    let cases = [
        (false, json!(null), new(1), false),
        (false, json!(0), new(1), false),
        (false, json!(1), None, false),
        (true, json!(null), new(2), true),
        (true, json!(1), new(2), true),
        (true, json!(0), old(), false),
        (true, json!(2), old(), false),
    ];
    for (present, match_seq, current, removes) in cases {
        let prev = if present { old() } else { None };
        let before = || {
            let mut store = MemoryStore::default();
            if present {
                given(&mut store, "k", "old", None);
            }
            store
        };
        let put = json!({"Put": {"key": "k", "value": b"new", "match_seq": match_seq}});
        let mut store = before();
        let expected = OpResponse::Put { key: "k".into(), prev: prev.clone(), current: current.clone() };
        assert_eq!(then(&mut store, &[put]), [expected]);
        assert_eq!(store.records.get("k"), current.as_ref());

        let delete = json!({"Delete": {"key": "k", "match_seq": match_seq}});
        let mut store = before();
        let expected = OpResponse::Delete { key: "k".into(), success: removes, prev };
        assert_eq!(then(&mut store, &[delete]), [expected]);
        assert_eq!(store.records.contains_key("k"), present && !removes);
    }
}

#[test]
fn delete_by_prefix_removes_every_key_under_it() {
    for (prefix, left) in [("a/", vec!["a", "a0", "b"]), ("", vec![]), ("c", vec!["a", "a/", "a/1", "a/2", "a0", "b"])]
    {
        let mut store = MemoryStore::default();
        for key in ["a", "a/", "a/1", "a/2", "a0", "b"] {
            given(&mut store, key, "v", None);
        }
        let count = 6 - u32::try_from(left.len()).unwrap();
        let responses = then(&mut store, &[json!({"DeleteByPrefix": {"prefix": prefix}})]);
        assert_eq!(responses, [OpResponse::DeleteByPrefix { prefix: prefix.into(), count }]);
        assert_eq!(store.records.into_keys().collect::<Vec<_>>(), left);
        assert_eq!(store.sequence, 6);
    }
}

#[test]
fn a_counter_is_increased_inside_its_bounds() {
    const MAX: u64 = u64::MAX;
    // What is stored, delta, floor; before and after.
    let cases = [
        (None, 5, 0, 0, 5),
        (None, -5, 0, 0, 0),
        (None, 2, 50, 0, 52),
        (Some("7"), 0, 0, 7, 7),
        (Some("7"), -3, 0, 7, 4),
        (Some("7"), -100, 0, 7, 0),
        (Some("7"), 2, 50, 7, 52),
        (Some("70"), 2, 50, 70, 72),
        (Some("7"), -2, 50, 7, 48),
        (Some("abc"), 1, 0, 0, 1),
        (Some("18446744073709551615"), 1, 0, MAX, MAX),
        (Some("1"), i64::MAX, MAX, 1, MAX),
        (Some("0"), i64::MIN, MAX, 0, MAX / 2),
    ];
    for (stored, delta, max_value, before, after) in cases {
        let mut store = MemoryStore::default();
        if let Some(stored) = stored {
            given(&mut store, "n", stored, Some(NOW));
        }
        let before_seq = u64::from(stored.is_some());
        let increase = json!({"FetchIncreaseU64": {"key": "n", "delta": delta, "max_value": max_value}});
        let after_seq = before_seq + 1;
        let expected = OpResponse::FetchIncreaseU64 { key: "n".into(), before_seq, before, after_seq, after };
        assert_eq!(then(&mut store, &[increase]), [expected]);
        assert_eq!(store.records["n"], record(after_seq, &after.to_string(), None), "its expiry is lost");
    }
}

#[test]
fn a_counter_with_another_seq_stays_as_it_is() {
    let mut store = MemoryStore::default();
    let absent = then(&mut store, &[json!({"FetchIncreaseU64": {"key": "n", "match_seq": 1, "delta": 1}})]);
    let unchanged = |seq, number| OpResponse::FetchIncreaseU64 {
        key: "n".into(),
        before_seq: seq,
        before: number,
        after_seq: seq,
        after: number,
    };
    assert_eq!(absent, [unchanged(0, 0)]);
    given(&mut store, "n", "7", None);
    let present =
        then(&mut store, &[json!({"FetchIncreaseU64": {"key": "n", "match_seq": 0, "delta": 1, "max_value": 9}})]);
    assert_eq!(present, [unchanged(1, 7)]);
    assert_eq!(store.sequence, 1);
    then(&mut store, &[json!({"FetchIncreaseU64": {"key": "n", "match_seq": 1, "delta": 1}})]);
    assert_eq!(store.records["n"], record(2, "8", None));
}

#[test]
fn a_sequential_put_counts_and_names_its_key_by_the_count_before() {
    let mut store = MemoryStore::default();
    given(&mut store, "s", "41", None);
    let put = |ttl_ms: Option<u64>| json!({"PutSequential": {"prefix": "q/", "sequence_key": "s", "value": b"v", "ttl_ms": ttl_ms}});
    let responses = then(&mut store, &[put(None), put(Some(900))]);
    let put = |end: &str, seq, expire_at| OpResponse::Put {
        key: format!("q/000_000_000_000_000_000_{end}"),
        prev: None,
        current: Some(record(seq, "v", expire_at)),
    };
    assert_eq!(responses, [put("041", 3, None), put("042", 5, Some(NOW + 900))]);
    assert_eq!(store.records["s"], record(4, "43", None));
}

/// A few bytes may ask for the same large value thousands of times.
#[test]
fn a_reply_that_is_too_large_is_dropped_and_everything_is_done_nevertheless() {
    let value = "v".repeat(1024 * 1024);
    let fits = MAX_REPLY_BYTES / value.len() - 1;
    let get = json!({"Get": {"key": "k"}});
    let touch = json!({"FetchIncreaseU64": {"key": "n", "delta": 1}});
    let put = json!({"Put": {"key": "k", "value": b"w", "match_seq": 0}});
    let delete = json!({"Delete": {"key": "k", "match_seq": 0}});
    // An operation, and how often it may be asked for; that put does not match, and answers with the record twice.
    for (operation, most) in [(get, fits), (put, fits / 2), (delete, fits)] {
        for count in [most, most + 2] {
            let mut store = MemoryStore::default();
            given(&mut store, "k", &value, None);
            let mut operations = vec![operation.clone(); count];
            operations.push(touch.clone());
            let if_then: Vec<_> = operations.iter().map(|op| json!({ "request": op })).collect();
            let txn = json!({"Transaction": {"condition": [], "if_then": if_then, "else_then": []}});
            match run_at(&mut store, Some(NOW), txn) {
                Applied::Txn(reply) => assert_eq!((count, reply.responses.len()), (most, count + 1)),
                Applied::ReplyTooLarge => assert_eq!(count, most + 2, "{operation}"),
                other => panic!("{other}"),
            }
            assert_eq!(store.records["n"], record(2, "1", None), "after {count} times {operation}");
        }
    }
    let mut store = MemoryStore::default();
    given(&mut store, "k", &value, None);
    let branch = json!({"predicate": {"And": []}, "operations": vec![json!({"Get": {"key": "k"}}); fits + 2]});
    let applied = run_at(&mut store, Some(NOW), json!({"KvTransaction": {"branches": [branch]}}));
    assert_eq!(applied, Applied::ReplyTooLarge);
}
