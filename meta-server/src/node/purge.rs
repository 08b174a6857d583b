//! How far the log may be purged: behind the base, and on a leader no further than what a follower needs that can still be fed
//! from the log. Knows nothing of exports and snapshots on their way, which hold the log by pins.

use std::{collections::VecDeque, time::Duration};

/// A follower that has not acknowledged a heartbeat for longer is taken for dead: the log does not wait for it.
const ALIVE_WITHIN: Duration = Duration::from_secs(10);

/// What the log may keep for a follower, in encoded bytes, where the base is not larger. What it costs is disk, so it is counted in
/// bytes: entries may take a hundred of them or a million.
const KEPT_BYTES: u64 = 256 * 1024 * 1024;

/// One follower, as the leader knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Follower {
    /// The last index that it is known to share; `None` as long as nothing is known.
    pub(super) matched: Option<u64>,
    /// Since it last acknowledged a heartbeat, or, if it never has, since this node began to lead.
    pub(super) silent: Duration,
}

impl Follower {
    /// The first entry that it needs from the log, `None` where it needs none: it is dead, or so far behind that it gets a snapshot.
    fn needs(self, first: u64, kept_from: u64) -> Option<u64> {
        // Of a follower that nothing is known of, the most there could be.
        let next = self.matched.map_or(first, |matched| matched + 1);
        (self.silent <= ALIVE_WITHIN && next >= first && next >= kept_from).then_some(next)
    }
}

/// How far the log, which begins at `first`, may be purged for the followers: short of the first entry that one of them needs.
/// `kept_from`: nobody is kept an entry before this. `None`: not at all; with nobody to mind, `upto`.
pub(super) fn short_of_followers(
    upto: u64,
    followers: impl Iterator<Item = Follower>,
    first: u64,
    kept_from: u64,
) -> Option<u64> {
    match followers.filter_map(|follower| follower.needs(first, kept_from)).min() {
        Some(needed) => needed.checked_sub(1).map(|last| last.min(upto)),
        None => Some(upto),
    }
}

/// The last index to purge: `keep` entries behind the base, unless that is purged already.
pub(super) fn behind_base(base: u64, keep: u64, purged: Option<u64>) -> Option<u64> {
    base.checked_sub(keep).filter(|upto| Some(*upto) > purged)
}

/// Above this a snapshot is less to send than the entries, and a follower gets one.
pub(super) fn kept_bytes(base_bytes: u64) -> u64 {
    KEPT_BYTES.max(base_bytes)
}

/// Remembers how many bytes the log had grown by when it ended at which entry. What it had when the node started counts as nothing.
#[derive(Debug, Default)]
pub(super) struct LogMeter {
    /// The index after the last entry, and the bytes appended until then, both ascending.
    marks: VecDeque<(u64, u64)>,
}

impl LogMeter {
    /// Marks closer to each other are not worth their memory.
    const APART: u64 = 1024 * 1024;

    /// Notes that the log now ends before `end`, with `appended` bytes in all since the node started.
    pub(super) fn note(&mut self, end: u64, appended: u64) {
        // What was truncated is not there any more.
        while self.marks.back().is_some_and(|(marked, _)| *marked > end) {
            self.marks.pop_back();
        }
        if self.marks.back().is_none_or(|(_, bytes)| bytes + Self::APART <= appended) {
            self.marks.push_back((end, appended));
        }
    }

    /// The first index from which on the log has, to about [`LogMeter::APART`], no more than `limit` bytes, when `appended` bytes
    /// were appended in all. Forgets what lies before.
    pub(super) fn within(&mut self, limit: u64, appended: u64) -> u64 {
        if appended <= limit {
            return 0;
        }
        while self.marks.get(1).is_some_and(|(_, bytes)| bytes + limit < appended) {
            self.marks.pop_front();
        }
        let fits = |(_, bytes): &&(u64, u64)| bytes + limit >= appended;
        self.marks.iter().find(fits).map_or(u64::MAX, |(end, _)| *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_purged_behind_the_base() {
        for (base, keep, purged, expected) in [
            (1000, 100, None, Some(900)),
            (1000, 100, Some(899), Some(900)),
            (1000, 100, Some(900), None),
            (1000, 100, Some(950), None),
            (1000, 0, Some(999), Some(1000)),
            (100, 1000, None, None),
        ] {
            assert_eq!(behind_base(base, keep, purged), expected, "base {base}, keep {keep}, purged {purged:?}");
        }
    }

    #[test]
    fn the_log_waits_for_followers_that_live_and_can_be_fed_from_it() {
        let live = |matched| (Some(matched), 1);
        let dead = |matched| (Some(matched), 11);
        // The log begins at 101, and may be purged up to 900.
        for (followers, kept_from, expected, why) in [
            (vec![], 0, Some(900), "nobody is there"),
            (vec![live(950), live(2000)], 0, Some(900), "both have it"),
            (vec![live(950), live(300)], 0, Some(300), "one needs what is after 300"),
            (vec![live(900)], 0, Some(900), "the next one it needs is 901"),
            (vec![live(899)], 0, Some(899), "it needs 900"),
            (vec![dead(300), live(950)], 0, Some(900), "the one that lacks something is dead"),
            (vec![live(99), live(700)], 0, Some(700), "100 is gone: the first gets a snapshot"),
            (vec![live(100), live(700)], 0, Some(100), "101 is still there"),
            (vec![(None, 1)], 0, Some(100), "nothing is known of it yet"),
            (vec![(None, 11)], 0, Some(900), "it was never heard of"),
            (vec![live(300), live(700)], 500, Some(700), "too much was written since the first lags"),
            (vec![(None, 1)], 500, Some(900), "too much to keep for one that is not known"),
        ] {
            let followers = followers
                .into_iter()
                .map(|(matched, silent_s)| Follower { matched, silent: Duration::from_secs(silent_s) });
            assert_eq!(short_of_followers(900, followers, 101, kept_from), expected, "{why}");
        }
        let fresh = Follower { matched: None, silent: Duration::ZERO };
        assert_eq!(short_of_followers(900, [fresh].into_iter(), 0, 0), None, "it needs the log from its start");
    }

    #[test]
    fn what_is_kept_is_counted_in_bytes() {
        const MIB: u64 = 1024 * 1024;
        let mut meter = LogMeter::default();
        // It starts with 1000 entries, and grows by one entry of 1 MiB each time.
        for grown in 0..100 {
            meter.note(1000 + grown, grown * MIB);
        }
        let appended = 99 * MIB;
        assert_eq!(meter.within(99 * MIB, appended), 0, "all there is");
        assert_eq!(meter.within(50 * MIB, appended), 1049);
        assert_eq!(meter.within(10 * MIB, appended), 1089);
        assert_eq!(meter.marks.len(), 12, "older ones are forgotten");
        // Little by little: not a mark for each.
        for grown in 0..100_000 {
            meter.note(1100 + grown, appended + grown * 10);
        }
        assert!(meter.marks.len() <= 13);
        assert_eq!(meter.within(0, appended + MIB), u64::MAX, "nothing may be kept");
    }

    #[test]
    fn a_truncated_end_counts_no_more() {
        let mib = LogMeter::APART;
        let mut meter = LogMeter::default();
        for (end, appended) in [(10, 0), (20, mib), (30, 2 * mib), (15, 2 * mib), (25, 3 * mib)] {
            meter.note(end, appended);
        }
        assert_eq!(meter.marks, [(10, 0), (15, 2 * mib), (25, 3 * mib)]);
        assert_eq!(meter.within(mib, 3 * mib), 15);
    }

    #[test]
    fn a_large_base_lets_the_log_grow_as_large() {
        assert_eq!(kept_bytes(0), KEPT_BYTES);
        assert_eq!(kept_bytes(10 * KEPT_BYTES), 10 * KEPT_BYTES);
    }
}
