//! Histories that an order explains, and histories that none does.

use std::{ops::Range, time::Duration};

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use super::check;
use crate::history::{Action, Operation, Outcome, Record, When};

/// Seq and value.
type Shown = Option<(u64, u64)>;

fn record(shown: Shown) -> Option<Record> {
    shown.map(|(seq, value)| Record { seq, value })
}

fn operation(key: &str, at: Range<u64>, action: Action, outcome: Outcome) -> Operation {
    let [invoked, returned] = [at.start, at.end].map(Duration::from_millis);
    Operation { client: 0, key: key.to_owned(), action, invoked, returned, outcome }
}

fn read(at: Range<u64>, shown: Shown) -> Operation {
    operation("k", at, Action::Read, Outcome::Read(record(shown)))
}

fn put(at: Range<u64>, prev: Shown, (seq, value): (u64, u64)) -> Operation {
    put_if(When::Always, at, value, prev, Some((seq, value)))
}

fn put_if(when: When, at: Range<u64>, value: u64, prev: Shown, result: Shown) -> Operation {
    let outcome = Outcome::Written { prev: record(prev), result: record(result) };
    operation("k", at, Action::Put { value, when }, outcome)
}

fn remove(at: Range<u64>, prev: Shown) -> Operation {
    let outcome = Outcome::Written { prev: record(prev), result: None };
    operation("k", at, Action::Remove { when: When::Always }, outcome)
}

/// A put of which the client does not know what became of it.
fn lost(at: Range<u64>, value: u64) -> Operation {
    lost_if(When::Always, at, value)
}

fn lost_if(when: When, at: Range<u64>, value: u64) -> Operation {
    operation("k", at, Action::Put { value, when }, Outcome::Unknown)
}

fn lost_removal(when: When, at: Range<u64>) -> Operation {
    operation("k", at, Action::Remove { when }, Outcome::Unknown)
}

fn refused(at: Range<u64>, value: u64) -> Operation {
    operation("k", at, Action::Put { value, when: When::Always }, Outcome::Refused)
}

fn on(key: &str, operation: Operation) -> Operation {
    Operation { key: key.to_owned(), ..operation }
}

const A: (u64, u64) = (1, 10);
const B: (u64, u64) = (2, 20);
const C: (u64, u64) = (3, 30);

#[test]
fn histories_that_an_order_explains_pass() {
    let (always, if_a, if_none) = (When::Always, When::SeqIs(1), When::SeqIs(0));
    let cases: Vec<(&str, Vec<Operation>)> = vec![
        ("nothing", vec![]),
        (
            "one after the other",
            vec![
                read(0..1, None),
                put(2..3, None, A),
                read(4..5, Some(A)),
                remove(6..7, Some(A)),
                read(8..9, None),
                put(10..11, None, B),
            ],
        ),
        ("a read beside a write sees it", vec![put(0..10, None, A), read(2..3, Some(A))]),
        ("or does not", vec![put(0..10, None, A), read(2..3, None)]),
        (
            "reads beside a write turn once",
            vec![put(0..10, None, A), read(1..2, None), read(3..4, Some(A)), read(3..9, None)],
        ),
        (
            "writes at once, in the order of their seqs",
            vec![put(0..10, Some(A), B), put(0..10, None, A), read(11..12, Some(B))],
        ),
        ("an answer and a request at the same instant are at once", vec![put(0..5, None, A), read(5..6, None)]),
        ("a lost write never happened", vec![put(0..1, None, A), lost(2..3, 20), read(4..5, Some(A))]),
        (
            "a lost write happened much later",
            vec![
                lost(0..1, 10),
                read(2..3, None),
                put(4..5, None, (1, 40)),
                read(6..7, Some((1, 40))),
                read(8..9, Some((2, 10))),
            ],
        ),
        ("a lost write shows only in what another replaced", vec![lost(0..1, 10), put(5..6, Some(A), B)]),
        (
            "lost writes nobody saw, and one that was seen",
            vec![lost(0..1, 7), lost_if(if_none, 0..1, 8), lost(2..3, 10), read(9..10, Some(A))],
        ),
        ("a lost removal never happened", vec![put(0..1, None, A), lost_removal(always, 2..3), read(4..5, Some(A))]),
        (
            "a lost removal happened later",
            vec![
                put(0..1, None, A),
                lost_removal(always, 2..3),
                read(4..5, Some(A)),
                put(6..7, Some(A), B),
                read(8..9, None),
            ],
        ),
        (
            "each of two lost removals happened once",
            vec![
                lost_removal(always, 0..1),
                lost_removal(always, 0..1),
                put(2..3, None, A),
                put(4..5, None, B),
                read(6..7, None),
            ],
        ),
        ("a lost removal on a condition", vec![put(0..1, None, A), lost_removal(if_a, 2..3), read(4..5, None)]),
        (
            "a lost removal makes room for a lost write",
            vec![put(0..1, None, A), lost_removal(always, 2..3), lost_if(if_none, 2..3, 20), read(4..5, Some(B))],
        ),
        (
            "a condition that holds, and one that does not",
            vec![
                put_if(if_none, 0..1, 10, None, Some(A)),
                put_if(if_none, 2..3, 99, Some(A), Some(A)),
                put_if(if_a, 4..5, 20, Some(A), Some(B)),
            ],
        ),
        ("a refused write", vec![refused(0..1, 99), read(2..3, None)]),
        ("a removal of nothing", vec![remove(0..1, None), read(2..3, None)]),
        (
            "keys are apart, seqs are not",
            vec![put(0..1, None, A), on("l", put(2..3, None, B)), read(4..5, Some(A)), on("l", read(4..5, Some(B)))],
        ),
    ];
    for (case, history) in cases {
        if let Err(violation) = check(&history) {
            panic!("{case}: {violation}");
        }
    }
}

#[test]
fn histories_that_no_order_explains_fail() {
    let (always, if_a, if_none) = (When::Always, When::SeqIs(1), When::SeqIs(0));
    let cases: Vec<(&str, &str, Vec<Operation>)> = vec![
        ("a stale read", "next", vec![put(0..1, None, A), put(2..3, Some(A), B), read(4..5, Some(A))]),
        (
            "a read that goes back beside a write",
            "next",
            vec![put(0..1, None, A), put(2..10, Some(A), B), read(3..4, Some(B)), read(5..6, Some(A))],
        ),
        ("an acknowledged write is lost", "next", vec![put(0..1, None, A), read(2..3, None)]),
        ("an acknowledged write is lost to a write", "next", vec![put(0..1, None, A), put(2..3, None, B)]),
        ("a write is read before it is asked for", "had been seen", vec![read(0..1, Some(A)), put(2..3, None, A)]),
        ("a lost write is read before it is asked for", "had been seen", vec![read(0..1, Some(A)), lost(2..3, 10)]),
        ("a lost write happens and goes away", "next", vec![lost(0..1, 10), read(2..3, Some(A)), read(4..5, None)]),
        (
            "a lost write is done twice",
            "done twice",
            vec![lost(0..1, 10), read(2..3, Some(A)), put(4..5, Some(A), B), read(6..7, Some((3, 10)))],
        ),
        ("an acknowledged write is done twice", "done twice", vec![put(0..1, None, A), read(2..3, Some((2, 10)))]),
        ("a value that nobody wrote", "nobody wrote", vec![read(0..1, Some(A))]),
        ("a value of another key", "nobody wrote", vec![put(0..1, None, A), on("l", read(2..3, Some(A)))]),
        ("a write that was refused", "refused", vec![refused(0..1, 10), read(2..3, Some(A))]),
        ("a seq is given out twice", "given out twice", vec![put(0..1, None, A), on("l", put(2..3, None, (1, 20)))]),
        ("seqs go back on one key", "had been seen", vec![put(0..1, None, B), put(2..3, Some(B), (1, 30))]),
        ("seqs go back across keys", "had been seen", vec![put(0..1, None, B), on("l", put(2..3, None, (1, 30)))]),
        (
            "two writes at once replace the same record",
            "next",
            vec![put(0..1, None, A), put(2..9, Some(A), B), put(2..9, Some(A), C)],
        ),
        (
            "one lost removal happens twice",
            "next",
            vec![lost_removal(always, 0..1), put(2..3, None, A), put(4..5, None, B), read(6..7, None)],
        ),
        (
            "a lost removal happens before it is asked for",
            "next",
            vec![put(0..1, None, A), read(2..3, None), lost_removal(always, 4..5)],
        ),
        (
            "a lost removal whose condition does not hold",
            "next",
            vec![put(0..1, None, A), put(2..3, Some(A), B), lost_removal(if_a, 4..5), read(6..7, None)],
        ),
        (
            "a lost write whose condition does not hold",
            "next",
            vec![put(0..1, None, A), lost_if(if_none, 2..3, 20), read(4..5, Some(B))],
        ),
        ("a removal has no effect", "next", vec![put(0..1, None, A), remove(2..3, Some(A)), read(4..5, Some(A))]),
        ("one record is removed twice", "next", vec![put(0..1, None, A), remove(2..9, Some(A)), remove(2..9, Some(A))]),
        (
            "a write is done although its condition does not hold",
            "contradicts",
            vec![put(0..1, None, A), put_if(if_none, 2..3, 20, Some(A), Some(B))],
        ),
        (
            "a write is not done although its condition holds",
            "contradicts",
            vec![put(0..1, None, A), put_if(if_a, 2..3, 20, Some(A), Some(A))],
        ),
    ];
    for (case, reason, history) in cases {
        let violation = check(&history).expect_err(case);
        assert!(violation.reason.contains(reason), "{case}: {violation}");
        assert!(!violation.operations.is_empty(), "{case}: {violation}");
    }
}

#[test]
fn many_lost_operations_are_checked_without_trying_their_every_order() {
    let mut history: Vec<Operation> = (0..400).map(|n| lost(n..n + 1, 1000 + n)).collect();
    history.extend((0..40).map(|n| lost_removal(When::Always, n..n + 1)));
    let mut prev = None;
    for n in 1..400 {
        let at = 1000 + 2 * n;
        history.push(put(at..at + 1, prev, (n, n)));
        prev = Some((n, n));
        history.push(read(at..at + 3, prev));
    }
    check(&history).unwrap();
    // Its record had been replaced long before.
    history.push(read(5000..5001, Some((1, 1))));
    check(&history).unwrap_err();
}

/// What one client does, as drawn: on which of two keys, and how long before and after it happens it is under way.
#[derive(Debug, Clone)]
struct Drawn {
    key: bool,
    action: DrawnAction,
    before: u64,
    after: u64,
    fate: Fate,
}

#[derive(Debug, Clone, Copy)]
enum DrawnAction {
    Read,
    Put,
    /// If the newest record that was seen is still there, or if there is none.
    PutIf(bool),
    Remove,
    RemoveIf(bool),
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    /// Done, and the answer is lost.
    Lost,
    /// Not done, and no answer says so.
    Never,
    Refused,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let action = prop_oneof![
        4 => Just(DrawnAction::Read),
        3 => Just(DrawnAction::Put),
        1 => any::<bool>().prop_map(DrawnAction::PutIf),
        1 => Just(DrawnAction::Remove),
        1 => any::<bool>().prop_map(DrawnAction::RemoveIf),
    ];
    let fate = prop_oneof![
        7 => Just(Fate::Answered),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Never),
        1 => Just(Fate::Refused)
    ];
    (any::<bool>(), action, 0..80_u64, 0..80_u64, fate).prop_map(|(key, action, before, after, fate)| Drawn {
        key,
        action,
        before,
        after,
        fate,
    })
}

/// Carries the operations out one at a time, ten apart, and takes down what clients would.
fn carry_out(drawn: &[Drawn]) -> Vec<Operation> {
    let (mut records, mut last_shown, mut seq) = ([None::<Record>; 2], [0; 2], 0);
    let mut history = Vec::new();
    for (n, Drawn { key, action, before, after, fate }) in (0..).zip(drawn) {
        let at = 1000 + 10 * n;
        let present = &mut records[usize::from(*key)];
        let last_shown = &mut last_shown[usize::from(*key)];
        let seen = |newest| When::SeqIs(if newest { *last_shown } else { 0 });
        let action = match *action {
            DrawnAction::Read => Action::Read,
            DrawnAction::Put => Action::Put { value: n, when: When::Always },
            DrawnAction::PutIf(newest) => Action::Put { value: n, when: seen(newest) },
            DrawnAction::Remove => Action::Remove { when: When::Always },
            DrawnAction::RemoveIf(newest) => Action::Remove { when: seen(newest) },
        };
        let prev = *present;
        if matches!(fate, Fate::Answered | Fate::Lost) {
            match action {
                Action::Put { value, when } if when.accepts(prev) => {
                    seq += 1;
                    *present = Some(Record { seq, value });
                }
                Action::Remove { when } if when.accepts(prev) => *present = None,
                _ => {}
            }
        }
        let outcome = match (fate, action) {
            (Fate::Answered, Action::Read) => Outcome::Read(prev),
            (Fate::Answered, _) => Outcome::Written { prev, result: *present },
            (Fate::Lost | Fate::Never, _) => Outcome::Unknown,
            (Fate::Refused, _) => Outcome::Refused,
        };
        if let (Fate::Answered, Some(record)) = (fate, *present) {
            *last_shown = record.seq;
        }
        let key = if *key { "a" } else { "b" };
        history.push(operation(key, at - before..at + after, action, outcome));
    }
    history
}

proptest! {
    #[test]
    fn what_was_done_one_at_a_time_passes_however_it_overlaps(drawn in proptest::collection::vec(drawn(), 0..80)) {
        if let Err(violation) = check(&carry_out(&drawn)) {
            panic!("{violation}");
        }
    }

    #[test]
    fn a_read_of_what_had_been_replaced_before_it_began_fails(
        drawn in proptest::collection::vec(drawn(), 0..80), overlap in 0..80_u64,
    ) {
        let mut history = carry_out(&drawn);
        let old = history.len() as u64 + 1000;
        // After all that: a record comes, goes, and is read. Its seq is beyond those of the writes whose answers are lost.
        let end = 10_000;
        let seq = 1000;
        let [first, second] = [(seq, old), (seq + 1, old + 1)];
        history.push(on("a", lost(end..end + 1, old)));
        history.push(on("a", put(end - overlap..end + 1, Some(first), second)));
        history.push(on("a", read(end + 2..end + 3, Some(second))));
        check(&history).unwrap();
        history.push(on("a", read(end + 4..end + 100, Some(first))));
        check(&history).unwrap_err();
    }

    #[test]
    fn an_answered_read_that_is_set_back_fails(drawn in proptest::collection::vec(drawn(), 1..80)) {
        // Without overlap each answer is the only one that is right.
        let drawn: Vec<Drawn> = drawn.into_iter().map(|drawn| Drawn { before: 1, after: 1, ..drawn }).collect();
        let history = carry_out(&drawn);
        let mut older = std::collections::HashMap::<&str, Vec<Option<Record>>>::new();
        for (index, operation) in history.iter().enumerate() {
            let seen = older.entry(&operation.key).or_insert_with(|| vec![None]);
            match operation.outcome {
                Outcome::Read(record) => {
                    for stale in seen[..seen.len() - 1].iter().copied().filter(|stale| stale.is_some() && *stale != record) {
                        let mut changed = history.clone();
                        changed[index].outcome = Outcome::Read(stale);
                        assert!(check(&changed).is_err(), "{stale:?} in {changed:#?}");
                    }
                }
                Outcome::Written { result, .. } if seen.last() != Some(&result) => seen.push(result),
                _ => {}
            }
        }
    }
}
