//! Writing one key, what its meta becomes, when it expires; and nodes.

use backup_plugin::record::KvMeta;
use serde_json::json;

use super::{NOW, given, record, run_at, upsert};
use crate::apply::{Applied, Change, NodeChange, memory::MemoryStore};

#[test]
fn an_upsert_takes_effect_when_the_present_seq_matches() {
    // The condition; whether an absent record matches it; whether one with seq 1 does.
    let cases = [
        (json!("Any"), true, true),
        (json!({"Exact": 0}), true, false),
        (json!({"Exact": 1}), false, true),
        (json!({"Exact": 2}), false, false),
        (json!({"GE": 0}), true, true),
        (json!({"GE": 1}), false, true),
        (json!({"GE": 2}), false, false),
    ];
    for (seq, matches_absent, matches_present) in cases {
        for (present, matches) in [(None, matches_absent), (Some(record(1, "old", None)), matches_present)] {
            let before = || {
                let mut store = MemoryStore::default();
                if present.is_some() {
                    given(&mut store, "k", "old", None);
                }
                store
            };
            let written = |data: &str| Some(record(present.as_ref().map_or(1, |_| 2), data, None));

            let mut store = before();
            let update = upsert(&mut store, "k", seq.clone(), json!({"Update": b"new"}), json!(null));
            let result = if matches { written("new") } else { present.clone() };
            assert_eq!(update, Change { prev: present.clone(), result: result.clone() }, "update if {seq}");
            assert_eq!(store.records.get("k"), result.as_ref());

            let mut store = before();
            let touch = upsert(&mut store, "k", seq.clone(), json!("AsIs"), json!(null));
            let result = if matches && present.is_some() { written("old") } else { present.clone() };
            assert_eq!(touch, Change { prev: present.clone(), result: result.clone() }, "touch if {seq}");
            assert_eq!(store.sequence, result.map_or(0, |record| record.seq), "what has no effect takes no number");

            let mut store = before();
            let delete = upsert(&mut store, "k", seq.clone(), json!("Delete"), json!(null));
            let result = if matches { None } else { present.clone() };
            assert_eq!(delete, Change { prev: present.clone(), result }, "delete if {seq}");
            assert_eq!(store.sequence, present.as_ref().map_or(0, |_| 1), "a delete takes no number");
        }
    }
}

#[test]
fn meta_is_when_it_was_proposed_and_when_it_expires() {
    let seconds = NOW / 1000 + 60;
    let cases = [
        (json!(null), None),
        (json!({"expire_at": seconds}), Some(seconds)),
        (json!({"expire_at": seconds * 1000 + 7}), Some(seconds * 1000 + 7)),
        (json!({"ttl": {"millis": 900}}), Some(NOW + 900)),
        (json!({"expire_at": seconds, "ttl": {"millis": 0}}), Some(NOW)),
        (json!({"ttl": {"millis": u64::MAX}}), Some(u64::MAX)),
    ];
    for (meta, expire_at) in cases {
        let mut store = MemoryStore::default();
        let change = upsert(&mut store, "k", json!("Any"), json!({"Update": b"v"}), meta.clone());
        assert_eq!(change.result, Some(record(1, "v", expire_at)), "{meta}");
        assert_eq!(store.records["k"], record(1, "v", expire_at), "{meta}");
    }
}

#[test]
fn an_entry_without_a_time_counts_as_time_zero_and_cleans_nothing() {
    let mut store = MemoryStore::default();
    given(&mut store, "old", "v", Some(NOW));
    let update = json!({"UpsertKV": {"key": "k", "seq": "Any", "value": {"Update": b"v"}, "value_meta": {"ttl": {"millis": 900}}}});
    let Applied::Kv(change) = run_at(&mut store, None, update) else { panic!() };
    assert_eq!(change.result.unwrap().meta, Some(KvMeta { expire_at: Some(900), proposed_at_ms: Some(0) }));
    assert!(store.records.contains_key("old"));
    // Those 900 are seconds, by the rule for reading them.
    assert_eq!(store.expire.keys().next(), Some(&(900_000, 2)));
}

#[test]
fn a_record_is_cleaned_once_its_expiry_lies_before_an_entry() {
    let seconds = NOW / 1000;
    // When it expires, the time of the next entry, and whether the record is still there.
    let cases = [
        (None, u64::MAX, true),
        (Some(NOW + 5), NOW + 4, true),
        (Some(NOW + 5), NOW + 5, true),
        (Some(NOW + 5), NOW + 6, false),
        (Some(seconds + 1), NOW + 1000, true),
        (Some(seconds + 1), NOW + 1001, false),
        (Some(u64::MAX), u64::MAX, true),
    ];
    for (expire_at, time_ms, stays) in cases {
        let mut store = MemoryStore::default();
        given(&mut store, "k", "v", expire_at);
        run_at(&mut store, Some(time_ms), json!({"SetFeature": {"feature": "x", "enable": true}}));
        assert_eq!(store.records.contains_key("k"), stays, "{expire_at:?} at {time_ms}");
        assert_eq!(store.expire.len(), usize::from(stays && expire_at.is_some()));
    }
}

#[test]
fn a_record_that_is_born_expired_takes_its_number_and_is_gone() {
    for present in [false, true] {
        for value in [json!({"Update": b"new"}), json!("AsIs")] {
            let mut store = MemoryStore::default();
            if present {
                given(&mut store, "k", "old", None);
            }
            let change = upsert(&mut store, "k", json!("Any"), value.clone(), json!({"expire_at": 1000}));
            assert_eq!(change, Change { prev: present.then(|| record(1, "old", None)), result: None });
            let written = present || value != json!("AsIs");
            assert_eq!(store.sequence, u64::from(present) + u64::from(written));
            assert_eq!((store.records.len(), store.expire.len()), (0, 0));
        }
    }
}

#[test]
fn a_node_is_added_once_unless_overriding() {
    let mut store = MemoryStore::default();
    let mut add = |port: u16, overriding: bool| {
        let node = json!({"name": "1", "endpoint": {"addr": "h", "port": port}});
        run_at(&mut store, None, json!({"AddNode": {"node_id": 1, "node": node, "overriding": overriding}}))
    };
    let ports = |applied: Applied| {
        let Applied::Node(NodeChange { prev, result }) = applied else { panic!() };
        (prev.map(|node| node.endpoint.port), result.map(|node| node.endpoint.port))
    };
    assert_eq!(ports(add(1, false)), (None, Some(1)));
    assert_eq!(ports(add(2, false)), (Some(1), Some(1)));
    assert_eq!(ports(add(3, true)), (Some(1), Some(3)));
    assert_eq!(store.nodes[&1].endpoint.port, 3);
    for prev in [Some(3), None] {
        assert_eq!(ports(run_at(&mut store, None, json!({"RemoveNode": {"node_id": 1}}))), (prev, None));
    }
    assert!(store.nodes.is_empty());
}
