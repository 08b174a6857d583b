//! Looks for one order in which the operations of a key can have happened: Wing and Gong's search, with the places
//! it has been to remembered.
//!
//! It hardly ever has a choice: puts happen in the order of their seqs, an operation that saw what is there happens as
//! soon as it may, because it changes nothing, and a removal names what it removed. What is left to try are the removals
//! of which nobody knows whether they happened.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use super::{
    Violation,
    facts::{Fact, KeyFacts, Kind},
};
use crate::history::{Operation, Record, When};

/// More places than any history of the tests has by orders of magnitude.
const MOST_PLACES: usize = 1_000_000;

/// How far an order has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    /// Everything before this index has happened, and of the rest, `later`.
    first: usize,
    later: BTreeSet<usize>,
    /// How many of the puts have happened.
    puts: usize,
    /// Whether the record of the last put is still there.
    present: bool,
    /// How many possible removals without a condition have happened. One with a condition needs no count: the seq that
    /// it asks for does not come back.
    removals: usize,
}

struct Search<'f, 'h> {
    facts: &'f KeyFacts<'h>,
    /// The puts by seq, as indexes.
    puts: Vec<usize>,
}

/// Finds an order, or says where the search came to an end.
pub(super) fn find_order(facts: &KeyFacts) -> Result<(), Violation> {
    let seq = |&index: &usize| match facts.certain[index].kind {
        Kind::Put { record, .. } => Some(record.seq),
        _ => None,
    };
    let mut puts: Vec<usize> = (0..facts.certain.len()).filter(|index| seq(index).is_some()).collect();
    puts.sort_by_key(seq);
    Search { facts, puts }.run()
}

impl Search<'_, '_> {
    fn run(&self) -> Result<(), Violation> {
        let mut start = Place { first: 0, later: BTreeSet::new(), puts: 0, present: false, removals: 0 };
        self.observe(&mut start);
        let mut furthest = start.clone();
        let mut been = HashSet::from([start.clone()]);
        let mut open = vec![start];
        while let Some(place) = open.pop() {
            if place.first == self.facts.certain.len() {
                return Ok(());
            }
            if place.done() > furthest.done() {
                furthest = place.clone();
            }
            for mut next in self.next(&place) {
                self.observe(&mut next);
                if been.insert(next.clone()) {
                    open.push(next);
                }
            }
            assert!(been.len() <= MOST_PLACES, "the history has too much at once to be searched");
        }
        Err(self.stuck(&furthest))
    }

    /// What is there.
    fn record(&self, place: &Place) -> Option<Record> {
        let last = *self.puts[..place.puts].last().filter(|_| place.present)?;
        match self.facts.certain[last].kind {
            Kind::Put { record, .. } => Some(record),
            _ => None,
        }
    }

    /// What has not happened and may be next: what began before anything that has not happened was answered.
    fn ready(&self, place: &Place) -> (Vec<usize>, Duration) {
        let mut horizon = Duration::MAX;
        let mut ready = Vec::new();
        for (index, fact) in self.facts.certain.iter().enumerate().skip(place.first) {
            // Those that follow began later still.
            if fact.invoked > horizon {
                break;
            }
            if !place.later.contains(&index) {
                horizon = horizon.min(fact.returned);
                ready.push(index);
            }
        }
        ready.retain(|&index| self.facts.certain[index].invoked <= horizon);
        (ready, horizon)
    }

    /// Lets everything happen that sees what is there.
    fn observe(&self, place: &mut Place) {
        loop {
            let record = self.record(place);
            let (ready, _) = self.ready(place);
            let sees = |fact: &Fact| matches!(fact.kind, Kind::Observe(seen) if seen == record);
            let seers: Vec<usize> = ready.into_iter().filter(|&index| sees(&self.facts.certain[index])).collect();
            if seers.is_empty() {
                return;
            }
            seers.into_iter().for_each(|index| place.happen(index));
        }
    }

    /// The places one change further.
    fn next(&self, place: &Place) -> Vec<Place> {
        let record = self.record(place);
        let (ready, horizon) = self.ready(place);
        let mut next = Vec::new();
        for index in ready {
            match self.facts.certain[index].kind {
                Kind::Put { prev, when, .. } => {
                    let in_turn = self.puts.get(place.puts) == Some(&index);
                    if in_turn && prev.is_none_or(|prev| prev == record) && when.accepts(record) {
                        let mut after = Place { puts: place.puts + 1, present: true, ..place.clone() };
                        after.happen(index);
                        next.push(after);
                    }
                }
                Kind::Remove { prev } if record == Some(prev) => {
                    let mut after = Place { present: false, ..place.clone() };
                    after.happen(index);
                    next.push(after);
                }
                Kind::Remove { .. } | Kind::Observe(_) => {}
            }
        }
        if let Some(record) = record {
            let begun = self.facts.possible_removals.iter().filter(|(_, invoked)| *invoked <= horizon);
            let (always, on_condition): (Vec<_>, Vec<_>) = begun.partition(|(when, _)| *when == When::Always);
            if on_condition.iter().any(|(when, _)| when.accepts(Some(record))) {
                next.push(Place { present: false, ..place.clone() });
            } else if place.removals < always.len() {
                next.push(Place { present: false, removals: place.removals + 1, ..place.clone() });
            }
        }
        next
    }

    fn stuck(&self, place: &Place) -> Violation {
        let (ready, _) = self.ready(place);
        let last = self.puts[..place.puts].last().copied();
        let shown: Vec<&Operation> =
            last.into_iter().chain(ready).map(|index| self.facts.certain[index].operation).collect();
        let reason = match self.record(place) {
            Some(Record { seq, value }) => format!("with seq {seq} and value {value} there, none of these can be next"),
            None => "with no record there, none of these can be next".to_owned(),
        };
        Violation::new(reason + " (the first is the last write before them, if any)", &shown)
    }
}

impl Place {
    fn done(&self) -> usize {
        self.first + self.later.len()
    }

    fn happen(&mut self, index: usize) {
        self.later.insert(index);
        while self.later.remove(&self.first) {
            self.first += 1;
        }
    }
}
