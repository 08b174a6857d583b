//! Two states of few keys, compared by the code and by maps.

use std::{collections::BTreeMap, convert::Infallible};

use proptest::prelude::*;

use super::*;
use crate::record::KvMeta;

type State = BTreeMap<String, SeqV>;

const NOW: u64 = 100_000;

fn record(seq: u64, data: &[u8], expire_at: Option<u64>) -> SeqV {
    SeqV { seq, meta: expire_at.map(|at| KvMeta { expire_at: Some(at), proposed_at_ms: None }), data: data.to_vec() }
}

fn state<'a>(records: impl IntoIterator<Item = (&'a str, SeqV)>) -> State {
    records.into_iter().map(|(key, record)| (key.to_owned(), record)).collect()
}

fn sorted(state: &State) -> impl Iterator<Item = Result<KeyRecord, Infallible>> {
    state.clone().into_iter().map(Ok)
}

/// The outcome, and the differences that were told.
fn diff(a: &State, b: &State, options: DiffOptions) -> (Compared, Vec<Pair>) {
    let mut told = Vec::new();
    let Ok(compared) = compare(sorted(a), sorted(b), options, |pair| {
        told.push(pair.clone());
        Ok(())
    });
    (compared, told)
}

fn options(depth: usize) -> DiffOptions {
    DiffOptions { depth, strict_seq: false, expired_at: Some(NOW) }
}

#[test]
fn a_record_is_changed_by_its_data_and_its_expiry_and_by_its_seq_only_if_that_is_asked_for() {
    let old = record(1, b"x", Some(200));
    let proposed = |mut record: SeqV| {
        record.meta.get_or_insert_default().proposed_at_ms = Some(7);
        record
    };
    for (new, kind, strict) in [
        (old.clone(), Kind::Same, Kind::Same),
        (proposed(old.clone()), Kind::Same, Kind::Same),
        (record(2, b"x", Some(200)), Kind::SeqOnly, Kind::Changed),
        (record(1, b"y", Some(200)), Kind::Changed, Kind::Changed),
        (record(1, b"x", Some(201)), Kind::Changed, Kind::Changed),
        (record(1, b"x", None), Kind::Changed, Kind::Changed),
    ] {
        let pair = Pair { key: "k".to_owned(), a: Some(old.clone()), b: Some(new) };
        assert_eq!((pair.kind(false), pair.kind(true)), (Some(kind), Some(strict)), "{pair:?}");
    }
    // The same moment in seconds and in milliseconds.
    let (seconds, ms) = (record(1, b"x", Some(2_000_000_000)), record(1, b"x", Some(2_000_000_000_000)));
    assert_eq!(Pair { key: "k".to_owned(), a: Some(seconds), b: Some(ms) }.kind(true), Some(Kind::Same));
}

#[test]
fn what_has_expired_is_as_if_it_were_not_there() {
    let gone = || record(1, b"x", Some(99));
    let a = state([("gone", gone()), ("renewed", gone()), ("stays", record(3, b"x", Some(100)))]);
    let b = state([("renewed", record(4, b"x", None)), ("stays", record(3, b"x", Some(100)))]);
    let (compared, told) = diff(&a, &b, options(1));
    assert_eq!((compared.a, compared.b), (Seen { keys: 1, expired: 2 }, Seen { keys: 2, expired: 0 }));
    assert_eq!((compared.total.added.keys, compared.total.same, told.len()), (1, 1, 1));
    let (compared, _) = diff(&a, &b, DiffOptions { expired_at: None, ..options(1) });
    assert_eq!((compared.total.removed.keys, compared.total.changed.keys), (1, 1));
}

#[test]
fn differences_are_added_up_under_each_prefix_that_ends_before_a_slash() {
    let one = || record(1, b"1", None);
    let a = state([("a", one()), ("a/b/c", one()), ("a/b/d", one()), ("a/e", one()), ("f/g", one())]);
    let b = state([("a/b/d", record(2, b"22", None)), ("a/e", one()), ("a/h", one()), ("f/g", one()), ("i", one())]);
    let rows = |depth| {
        let (compared, _) = diff(&a, &b, options(depth));
        assert_eq!(compared.prefixes.left_out, 0);
        let row = |row: &PrefixTally| {
            let Tally { added, removed, changed, .. } = row.tally;
            format!("{} +{} -{} ~{}", row.prefix, added.keys, removed.keys, changed.keys)
        };
        let total = &compared.total;
        assert_eq!((total.added, total.removed.keys), (Amount { keys: 2, bytes: 6 }, 2));
        assert_eq!(total.changed, Changed { keys: 1, bytes_a: 6, bytes_b: 7 });
        compared.prefixes.prefixes.iter().map(row).collect::<Vec<_>>()
    };
    assert_eq!(rows(0), [""; 0]);
    assert_eq!(rows(1), ["a +1 -1 ~1"]);
    assert_eq!(rows(2), ["a +1 -1 ~1", "a/b +0 -1 ~1"]);
    assert_eq!(rows(9), ["a +1 -1 ~1", "a/b +0 -1 ~1"]);
}

#[test]
fn the_table_keeps_the_prefixes_with_most_differences() {
    let keys = (0..3 * MAX_PREFIXES).flat_map(|n| {
        let many = if n % 3 == 2 { 2 } else { 1 };
        (0..many).map(move |i| (format!("{n:04}/{i}"), record(1, b"", None)))
    });
    let (compared, told) = diff(&keys.collect(), &State::new(), options(1));
    assert_eq!(told.len(), 4 * MAX_PREFIXES);
    assert_eq!(compared.prefixes.left_out, 2 * MAX_PREFIXES as u64);
    let expected: Vec<String> = (0..MAX_PREFIXES).map(|n| format!("{:04}", 3 * n + 2)).collect();
    assert_eq!(compared.prefixes.prefixes.iter().map(|row| row.prefix.clone()).collect::<Vec<_>>(), expected);
}

#[test]
fn a_side_that_breaks_off_is_an_error_and_what_it_did_not_give_is_no_difference() {
    let keys = |end: Option<&'static str>| {
        let record = |key: &str| Ok((key.to_owned(), record(1, b"", None)));
        vec![record("a"), record("b"), end.map_or_else(|| record("c"), Err), record("d")].into_iter()
    };
    for (a, b) in [(Some("gone"), None), (None, Some("gone"))] {
        let mut told = 0;
        let failed = compare(keys(a), keys(b), options(1), |_| {
            told += 1;
            Ok(())
        });
        assert_eq!((failed, told), (Err("gone"), 0));
    }
    // Whoever goes on is told of nothing.
    let mut join = Join::new(keys(Some("gone")), keys(None));
    assert_eq!(join.nth(2), Some(Err("gone")));
    assert_eq!(join.next(), None);
}

#[test]
fn keys_that_do_not_ascend_are_refused_with_the_two_that_show_it() {
    for (keys, expected) in
        [(["a", "c", "b"], Some(("b", "c"))), (["a", "b", "b"], Some(("b", "b"))), (["a", "b", "c"], None)]
    {
        let records = keys.map(|key| Ok((key.to_owned(), SeqV::default()))).into_iter();
        let refused = ascending(records, |fault| fault).find_map(Result::err);
        assert_eq!(refused.as_ref().map(|fault| (fault.key.as_str(), fault.after.as_str())), expected);
    }
}

fn any_state() -> impl Strategy<Value = State> {
    let record = (1..4_u64, proptest::collection::vec(0..2_u8, 0..3), proptest::option::of(98..103_u64))
        .prop_map(|(seq, data, expire_at)| record(seq, &data, expire_at));
    proptest::collection::btree_map("[ab/]{1,4}", record, 0..12)
}

fn any_options() -> impl Strategy<Value = DiffOptions> {
    (0..4_usize, any::<bool>(), any::<bool>()).prop_map(|(depth, strict_seq, hide)| DiffOptions {
        depth,
        strict_seq,
        expired_at: hide.then_some(NOW),
    })
}

/// What maps make of it: the tally, and the keys that differ.
fn oracle(a: &State, b: &State, options: DiffOptions, under: &str) -> (Tally, Vec<String>) {
    let shown = |state: &State| -> State {
        let expired = |record: &SeqV| match (options.expired_at, record.meta) {
            (Some(now), Some(KvMeta { expire_at: Some(at), .. })) => at * 1000 < now,
            _ => false,
        };
        state.iter().filter(|(_, record)| !expired(record)).map(|(key, record)| (key.clone(), record.clone())).collect()
    };
    let (a, b) = (shown(a), shown(b));
    let bytes = |key: &str, record: &SeqV| (key.len() + record.data.len()) as u64;
    let (mut tally, mut keys) = (Tally::default(), Vec::new());
    let mut all: Vec<&String> = a.keys().chain(b.keys()).filter(|key| key.starts_with(under)).collect();
    all.sort();
    all.dedup();
    for key in all {
        match (a.get(key), b.get(key)) {
            (Some(old), None) => {
                tally.removed = Amount { keys: tally.removed.keys + 1, bytes: tally.removed.bytes + bytes(key, old) };
            }
            (None, Some(new)) => {
                tally.added = Amount { keys: tally.added.keys + 1, bytes: tally.added.bytes + bytes(key, new) };
            }
            (Some(old), Some(new)) if old == new => {
                tally.same += 1;
                continue;
            }
            (Some(old), Some(new)) if (&old.data, old.meta) == (&new.data, new.meta) && !options.strict_seq => {
                tally.seq_only += 1;
                continue;
            }
            (Some(old), Some(new)) => {
                tally.changed.keys += 1;
                tally.changed.bytes_a += bytes(key, old);
                tally.changed.bytes_b += bytes(key, new);
            }
            (None, None) => unreachable!("the key is of one of them"),
        }
        keys.push(key.clone());
    }
    (tally, keys)
}

fn mirrored(tally: Tally) -> Tally {
    let Tally { added, removed, changed, .. } = tally;
    let changed = Changed { keys: changed.keys, bytes_a: changed.bytes_b, bytes_b: changed.bytes_a };
    Tally { added: removed, removed: added, changed, ..tally }
}

proptest! {
    #[test]
    fn nothing_differs_from_itself(a in any_state(), options in any_options()) {
        let (compared, told) = diff(&a, &a, options);
        prop_assert_eq!((told.len(), compared.total.differences(), compared.total.seq_only), (0, 0, 0));
        prop_assert_eq!(compared.prefixes, PrefixTable::default());
        prop_assert_eq!(compared.total.same + compared.a.expired, a.len() as u64);
    }

    #[test]
    fn maps_come_to_the_same(a in any_state(), b in any_state(), options in any_options()) {
        let (compared, told) = diff(&a, &b, options);
        let (tally, keys) = oracle(&a, &b, options, "");
        prop_assert_eq!(compared.total, tally);
        prop_assert_eq!(told.into_iter().map(|pair| pair.key).collect::<Vec<_>>(), keys);
        for row in compared.prefixes.prefixes {
            let (under, _) = oracle(&a, &b, options, &format!("{}/", row.prefix));
            prop_assert!(under.differences() > 0);
            prop_assert_eq!(row.tally, under);
        }
    }

    #[test]
    fn the_other_way_round_is_the_mirror_image(a in any_state(), b in any_state(), options in any_options()) {
        let ((there, told), (back, told_back)) = (diff(&a, &b, options), diff(&b, &a, options));
        prop_assert_eq!(back.total, mirrored(there.total));
        prop_assert_eq!((back.a, back.b), (there.b, there.a));
        let mirror = |row: PrefixTally| PrefixTally { tally: mirrored(row.tally), ..row };
        let rows: Vec<_> = there.prefixes.prefixes.into_iter().map(mirror).collect();
        prop_assert_eq!(back.prefixes.prefixes, rows);
        let swap = |Pair { key, a, b }| Pair { key, a: b, b: a };
        prop_assert_eq!(told_back, told.into_iter().map(swap).collect::<Vec<_>>());
    }
}
