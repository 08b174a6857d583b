//! What each operation proves. Values and seqs are unique, so an answer that shows a record names the write that wrote
//! it, and the writes whose records were seen happened in the order of their seqs.
//!
//! A write of unknown outcome whose record nobody saw is left out: only other unseen writes without a condition can
//! have followed it unnoticed, and those do as well without it.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::Violation;
use crate::history::{Action, Operation, Outcome, Record, When};

/// The records that some answer shows.
pub(super) struct Seen {
    /// Of each value.
    seqs: HashMap<u64, u64>,
}

/// What an operation of one key did, or saw, and when it may have.
#[derive(Debug)]
pub(super) struct Fact<'h> {
    pub(super) operation: &'h Operation,
    pub(super) kind: Kind,
    pub(super) invoked: Duration,
    /// `Duration::MAX`: never told.
    pub(super) returned: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// `prev` is the outer `None` when the writer was not told.
    Put {
        record: Record,
        prev: Option<Option<Record>>,
        when: When,
    },
    Remove {
        prev: Record,
    },
    /// Had no effect, and was told what is there.
    Observe(Option<Record>),
}

/// The operations of one key.
#[derive(Debug, Default)]
pub(super) struct KeyFacts<'h> {
    /// All that must have happened, in the order of their requests.
    pub(super) certain: Vec<Fact<'h>>,
    /// Removals of unknown outcome: their conditions, and since when they may have happened; the oldest first.
    pub(super) possible_removals: Vec<(When, Duration)>,
}

/// The records in an answer.
fn shown(outcome: Outcome) -> impl Iterator<Item = Record> {
    match outcome {
        Outcome::Read(record) => [record, None],
        Outcome::Written { prev, result } => [prev, result],
        Outcome::Refused | Outcome::Unknown => [None, None],
    }
    .into_iter()
    .flatten()
}

impl Seen {
    /// Each record that was seen has one writer, which wrote to that key and was not refused; one seq belongs to one value.
    pub(super) fn new(history: &[Operation]) -> Result<Self, Violation> {
        let mut writers = HashMap::new();
        for operation in history {
            if let Action::Put { value, .. } = operation.action {
                let other = writers.insert(value, operation);
                assert_eq!(other, None, "two operations were to write {value}");
            }
        }
        let mut seqs = HashMap::new();
        let mut values = HashMap::new();
        for operation in history {
            for Record { seq, value } in shown(operation.outcome) {
                let Some(writer) = writers.get(&value).filter(|writer| writer.key == operation.key) else {
                    return Err(Violation::new(format!("nobody wrote {value} to this key"), &[operation]));
                };
                if writer.outcome == Outcome::Refused {
                    return Err(Violation::new("a write that was refused was done", &[writer, operation]));
                }
                let (first_seq, first) = *seqs.entry(value).or_insert((seq, operation));
                if first_seq != seq {
                    return Err(Violation::new("one write was done twice", &[writer, first, operation]));
                }
                let (first_value, first) = *values.entry(seq).or_insert((value, operation));
                if first_value != value {
                    return Err(Violation::new(format!("seq {seq} was given out twice"), &[first, operation]));
                }
            }
        }
        Ok(Seen { seqs: seqs.into_iter().map(|(value, (seq, _))| (value, seq)).collect() })
    }

    /// One counter serves all keys: a write that began after a seq was shown has a greater one.
    pub(super) fn check_order_of_seqs(&self, history: &[Operation]) -> Result<(), Violation> {
        let mut by_return: Vec<&Operation> = history.iter().collect();
        by_return.sort_by_key(|operation| operation.returned);
        // The greatest seq shown up to each instant.
        let mut greatest = BTreeMap::<Duration, (u64, &Operation)>::new();
        let mut last = 0;
        for operation in by_return {
            for Record { seq, .. } in shown(operation.outcome) {
                if seq > last {
                    last = seq;
                    greatest.insert(operation.returned, (seq, operation));
                }
            }
        }
        for writer in history {
            let Action::Put { value, .. } = writer.action else { continue };
            let Some(seq) = self.seqs.get(&value) else { continue };
            if let Some((_, (shown, by))) = greatest.range(..writer.invoked).next_back()
                && shown >= seq
            {
                let reason = format!("a write got seq {seq}, although {shown} had been seen before it began");
                return Err(Violation::new(reason, &[by, writer]));
            }
        }
        Ok(())
    }

    /// What the operations of one key prove.
    pub(super) fn facts<'h>(&self, operations: &[&'h Operation]) -> Result<KeyFacts<'h>, Violation> {
        let mut facts = KeyFacts::default();
        for operation in operations.iter().copied() {
            let kind = match (operation.action, operation.outcome) {
                (_, Outcome::Refused) | (Action::Read, Outcome::Unknown) => continue,
                (Action::Remove { when }, Outcome::Unknown) => {
                    facts.possible_removals.push((when, operation.invoked));
                    continue;
                }
                (Action::Put { value, when }, Outcome::Unknown) => match self.seqs.get(&value) {
                    Some(&seq) => Kind::Put { record: Record { seq, value }, prev: None, when },
                    None => continue,
                },
                (Action::Read, Outcome::Read(record)) => Kind::Observe(record),
                (Action::Put { value, when }, Outcome::Written { prev, result }) => match result {
                    Some(record) if record.value == value && when.accepts(prev) => {
                        Kind::Put { record, prev: Some(prev), when }
                    }
                    _ if result == prev && !when.accepts(prev) => Kind::Observe(prev),
                    _ => return Err(Violation::new("the answer to a write contradicts itself", &[operation])),
                },
                (Action::Remove { when }, Outcome::Written { prev, result }) => match (prev, result) {
                    (None, None) => Kind::Observe(None),
                    (Some(prev), None) if when.accepts(Some(prev)) => Kind::Remove { prev },
                    _ if result == prev && !when.accepts(prev) => Kind::Observe(prev),
                    _ => return Err(Violation::new("the answer to a removal contradicts itself", &[operation])),
                },
                (Action::Read, Outcome::Written { .. }) | (_, Outcome::Read(_)) => {
                    panic!("an answer of another kind: {operation}")
                }
            };
            let told = operation.outcome != Outcome::Unknown;
            let returned = if told { operation.returned } else { Duration::MAX };
            facts.certain.push(Fact { operation, kind, invoked: operation.invoked, returned });
        }
        facts.certain.sort_by_key(|fact| fact.invoked);
        facts.possible_removals.sort_by_key(|(_, invoked)| *invoked);
        Ok(facts)
    }
}
