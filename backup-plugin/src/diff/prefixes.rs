//! Adds differences up by prefix while their sorted keys go by. A prefix ends before a slash, and counts everything
//! under it; it is finished when the first key that is not under it comes. Of the finished ones a bounded number is
//! kept: those with most differences.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::Serialize;

use super::Tally;

/// The most prefixes that a table holds.
pub const MAX_PREFIXES: usize = 100;

/// The prefixes under which there are differences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrefixTable {
    /// In the order of keys, each before those that are under it.
    pub prefixes: Vec<PrefixTally>,
    /// How many were left out, each with no more differences than those that are here.
    pub left_out: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrefixTally {
    /// Without its slash.
    pub prefix: String,
    #[serde(flatten)]
    pub tally: Tally,
}

/// A prefix that the next key may still be under.
struct Open {
    /// Where it ends in the last key.
    end: usize,
    /// How many were begun before it.
    number: u64,
    tally: Tally,
}

pub(super) struct Prefixes {
    depth: usize,
    last: String,
    /// What the last key is under, outermost first.
    open: Vec<Open>,
    begun: u64,
    kept: Kept,
}

impl Prefixes {
    /// For prefixes of up to `depth` parts.
    pub(super) fn new(depth: usize) -> Self {
        Prefixes { depth, last: String::new(), open: Vec::new(), begun: 0, kept: Kept::default() }
    }

    pub(super) fn add(&mut self, key: &str, tally: Tally) {
        // A prefix goes on as long as keys share it with its slash.
        let goes_on = |open: &&Open| key.as_bytes().starts_with(&self.last.as_bytes()[..=open.end]);
        let shared = self.open.iter().take_while(goes_on).count();
        self.close(shared);
        let slashes = key.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(at, _)| at);
        for end in slashes.take(self.depth).skip(shared) {
            self.open.push(Open { end, number: self.begun, tally: Tally::default() });
            self.begun += 1;
        }
        for open in &mut self.open {
            open.tally += tally;
        }
        key.clone_into(&mut self.last);
    }

    pub(super) fn finish(mut self) -> PrefixTable {
        self.close(0);
        self.kept.finish()
    }

    /// Closes all prefixes but the outermost `shared`.
    fn close(&mut self, shared: usize) {
        for open in self.open.drain(shared..) {
            let prefix = &self.last[..open.end];
            self.kept.push(open.number, prefix, open.tally);
        }
    }
}

/// The finished prefixes with most differences.
#[derive(Default)]
struct Kept {
    /// By differences, and of as many by which was begun later: the first is the next to go.
    rows: BTreeMap<(u64, Reverse<u64>), PrefixTally>,
    left_out: u64,
}

impl Kept {
    fn push(&mut self, number: u64, prefix: &str, tally: Tally) {
        if tally.differences() == 0 {
            return;
        }
        let row = PrefixTally { prefix: prefix.to_owned(), tally };
        self.rows.insert((tally.differences(), Reverse(number)), row);
        if self.rows.len() > MAX_PREFIXES {
            self.rows.pop_first();
            self.left_out += 1;
        }
    }

    fn finish(self) -> PrefixTable {
        let mut rows: Vec<_> = self.rows.into_iter().collect();
        rows.sort_by_key(|((_, Reverse(number)), _)| *number);
        PrefixTable { prefixes: rows.into_iter().map(|(_, row)| row).collect(), left_out: self.left_out }
    }
}
