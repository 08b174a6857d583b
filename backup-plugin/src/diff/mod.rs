//! What is different between two states: the sorted records of both in, differences and their counts out, in one
//! pass.
//!
//! Holds no more than the two records at hand and a bounded table. Knows nothing of where the records come from, nor
//! of how a difference is told.

mod beside;
mod join;
mod pair;
mod prefixes;
mod tally;

#[cfg(test)]
mod tests;

pub use beside::Beside;
pub use join::{OutOfOrder, ascending};
pub use pair::{Kind, Pair};
pub use prefixes::{MAX_PREFIXES, PrefixTable, PrefixTally};
pub use tally::{Amount, Changed, Tally};

use crate::record::SeqV;
use join::Join;
use prefixes::Prefixes;

/// A key with its record.
pub type KeyRecord = (String, SeqV);

/// What is to be compared, and how it is added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffOptions {
    /// Prefixes of more parts than this are not told apart.
    pub depth: usize,
    /// Whether a record with another seq, and everything else the same, is changed.
    pub strict_seq: bool,
    /// Records that have expired at this time, in ms since 1970, are passed over; `None`: they count like all others.
    pub expired_at: Option<u64>,
}

/// What a comparison came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    pub total: Tally,
    /// The same by prefix.
    pub prefixes: PrefixTable,
    pub a: Seen,
    pub b: Seen,
}

/// The records of a side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Seen {
    /// Those that were compared.
    pub keys: u64,
    /// Those that were passed over because they have expired.
    pub expired: u64,
}

/// Compares two states, and tells each difference in the order of the keys. Keys must ascend on both sides.
///
/// # Errors
///
/// The first error of a side, or of `tell`. What was told before it is true, and not all there is.
pub fn compare<E>(
    a: impl Iterator<Item = Result<KeyRecord, E>>,
    b: impl Iterator<Item = Result<KeyRecord, E>>,
    options: DiffOptions,
    mut tell: impl FnMut(&Pair) -> Result<(), E>,
) -> Result<Compared, E> {
    let mut compared = Compared::default();
    let mut prefixes = Prefixes::new(options.depth);
    for pair in Join::new(a, b) {
        let mut pair = pair?;
        if let Some(now) = options.expired_at {
            compared.a.expired += pass_over(&mut pair.a, now);
            compared.b.expired += pass_over(&mut pair.b, now);
        }
        compared.a.keys += u64::from(pair.a.is_some());
        compared.b.keys += u64::from(pair.b.is_some());
        let Some(kind) = pair.kind(options.strict_seq) else { continue };
        let tally = Tally::of(&pair, kind);
        compared.total += tally;
        prefixes.add(&pair.key, tally);
        if kind.is_difference() {
            tell(&pair)?;
        }
    }
    compared.prefixes = prefixes.finish();
    Ok(compared)
}

/// Takes an expired record away; 1 if it did.
fn pass_over(record: &mut Option<SeqV>, now_ms: u64) -> u64 {
    record.take_if(|record| record.is_expired(now_ms)).map_or(0, |_| 1)
}
