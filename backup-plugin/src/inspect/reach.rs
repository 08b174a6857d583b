//! Where an import of a file may stop: the indexes and the moments that `--to-index` and `--to-time` take, by the rules
//! of the import. The log comes before the state that says how much of it is applied, so what the clocks showed on the
//! way is kept in samples.

use serde::Serialize;

/// Samples that are kept, at most; half of them go when there are more.
const SAMPLES: usize = 4096;

/// The states that an import can make of a file, by where it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Reach {
    pub first_index: u64,
    /// The state at the end of the file, which is what an import makes that is not told to stop.
    pub last_index: u64,
    /// `None`: no entry tells the time of a state that can be made.
    pub moments: Option<Moments>,
    /// There is more than one voter, so to stop anywhere takes `--initial-cluster`.
    pub needs_new_cluster: bool,
}

/// Moments at which an import may stop, both of them included, in ms since 1970.
///
/// In a log of more than some thousand entries that begins below its state, `from_ms` may be that of an entry which is
/// a little later than the first one that would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Moments {
    pub from_ms: u64,
    pub to_ms: u64,
}

/// The times of log entries as they go by.
#[derive(Default)]
pub(super) struct Clock {
    first: Option<u64>,
    last: Option<u64>,
    latest: Option<u64>,
    entries: u64,
    /// Every `stride`-th entry: its index, and the latest time up to it.
    samples: Vec<(u64, Option<u64>)>,
    /// As a power of two.
    stride: u32,
}

impl Clock {
    pub(super) fn push(&mut self, index: u64, time_ms: Option<u64>) {
        self.first = self.first.or(time_ms);
        self.last = time_ms.or(self.last);
        self.latest = self.latest.max(time_ms);
        if self.entries & ((1 << self.stride) - 1) == 0 {
            if self.samples.len() == SAMPLES {
                let mut nth = 0;
                self.samples.retain(|_| {
                    nth += 1;
                    nth % 2 == 1
                });
                self.stride += 1;
            }
            self.samples.push((index, self.latest));
        }
        self.entries += 1;
    }

    /// The latest time of an entry up to `index`, or of one a little behind it; `None` where there is none.
    fn latest_up_to(&self, index: u64) -> Option<u64> {
        match self.samples.first() {
            Some((first, _)) if *first <= index => {}
            _ => return None,
        }
        let behind = self.samples.partition_point(|(sample, _)| *sample < index);
        self.samples.get(behind).map_or(self.latest, |(_, latest)| *latest)
    }
}

/// The moments at which an import may stop, of a log that ends at index `last` and whose state ends at `applied`.
///
/// A moment is the state before the first entry that is later. That it is not before the state takes that no entry
/// which is applied is later; that the log comes as far, an entry that is later, or one at that very moment at its end.
pub(super) fn moments(clock: &Clock, applied: Option<u64>, last: u64) -> Option<Moments> {
    if applied.is_some_and(|applied| last < applied) {
        return None;
    }
    let (first, latest) = (clock.first?, clock.latest?);
    let from_ms = applied.and_then(|applied| clock.latest_up_to(applied)).map_or(first, |applied| applied.max(first));
    let to_ms = if clock.last == Some(latest) { latest } else { latest.checked_sub(1)? };
    (from_ms <= to_ms).then_some(Moments { from_ms, to_ms })
}
