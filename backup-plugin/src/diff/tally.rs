//! Counts of keys and bytes, by what became of them between A and B.

use std::ops::AddAssign;

use serde::Serialize;

use super::{Kind, Pair};
use crate::record::SeqV;

/// Keys that only one side has. Bytes are those of keys and data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    pub keys: u64,
    pub bytes: u64,
}

/// Keys that both sides have, with the bytes that they take on each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Changed {
    pub keys: u64,
    pub bytes_a: u64,
    pub bytes_b: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub added: Amount,
    pub removed: Amount,
    pub changed: Changed,
    /// Keys whose data and expiry are the same, and whose seq is another.
    pub seq_only: u64,
    /// Keys of which nothing differs.
    pub same: u64,
}

impl Tally {
    /// Of one key.
    pub(super) fn of(pair: &Pair, kind: Kind) -> Tally {
        let bytes =
            |record: &Option<SeqV>| record.as_ref().map_or(0, |record| pair.key.len() + record.data.len()) as u64;
        let mut tally = Tally::default();
        match kind {
            Kind::Same => tally.same = 1,
            Kind::SeqOnly => tally.seq_only = 1,
            Kind::Added => tally.added = Amount { keys: 1, bytes: bytes(&pair.b) },
            Kind::Removed => tally.removed = Amount { keys: 1, bytes: bytes(&pair.a) },
            Kind::Changed => tally.changed = Changed { keys: 1, bytes_a: bytes(&pair.a), bytes_b: bytes(&pair.b) },
        }
        tally
    }

    /// Keys that differ.
    pub fn differences(&self) -> u64 {
        self.added.keys + self.removed.keys + self.changed.keys
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        let Tally { added, removed, changed, seq_only, same } = other;
        self.added.keys += added.keys;
        self.added.bytes += added.bytes;
        self.removed.keys += removed.keys;
        self.removed.bytes += removed.bytes;
        self.changed.keys += changed.keys;
        self.changed.bytes_a += changed.bytes_a;
        self.changed.bytes_b += changed.bytes_b;
        self.seq_only += seq_only;
        self.same += same;
    }
}
