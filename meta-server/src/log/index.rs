//! Where each entry lies on disk. Follows the records in the order they are written, or found at start. Knows nothing of bytes.

use std::collections::VecDeque;

/// A record on disk. Small: there is one for each entry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) len: u32,
}

/// Invariant: the entries at `start..end()` have places. Those at `first..start` are in the log too, but were in segments that
/// are gone: they are about to be purged by a later record, or else lost.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Index {
    first: u64,
    start: u64,
    places: VecDeque<Place>,
}

impl Index {
    /// A log of these entries, with none of their places.
    pub(super) fn of_lost(first: u64, end: u64) -> Self {
        Self { first, start: end, places: VecDeque::new() }
    }

    /// The index of the first entry, or where it would be.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The index after the last entry.
    pub(super) fn end(&self) -> u64 {
        self.start + self.places.len() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first == self.end()
    }

    /// The first entry that has no place.
    pub(super) fn lost(&self) -> Option<u64> {
        (self.first < self.start).then_some(self.first)
    }

    /// Takes the next entry. What is empty may begin anywhere.
    pub(super) fn append(&mut self, index: u64, place: Place) {
        if self.is_empty() {
            (self.first, self.start) = (index, index);
        }
        debug_assert_eq!(index, self.end());
        self.places.push_back(place);
    }

    /// Drops the entries from `end` on.
    pub(super) fn truncate(&mut self, end: u64) {
        let kept = end.saturating_sub(self.start).min(self.places.len() as u64);
        self.places.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        self.start = self.start.min(end.max(self.first));
    }

    /// Drops the entries up to `upto`; the log then starts after it, even when it never had it.
    pub(super) fn purge(&mut self, upto: u64) {
        let dropped = (upto + 1).saturating_sub(self.start).min(self.places.len() as u64);
        self.places.drain(..usize::try_from(dropped).unwrap_or(usize::MAX));
        self.start = (self.start + dropped).max(upto + 1);
        self.first = upto + 1;
        if self.places.capacity() > 4 * self.places.len() {
            self.places.shrink_to(2 * self.places.len());
        }
    }

    /// The oldest segment that has an entry of the log.
    pub(super) fn oldest_segment(&self) -> Option<u32> {
        self.places.front().map(|place| place.segment)
    }

    /// The places from `index` on.
    pub(super) fn places(&self, index: u64) -> impl Iterator<Item = Place> + '_ {
        let skip = index.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok()).unwrap_or(usize::MAX);
        self.places.iter().skip(skip).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(segment: u32) -> Place {
        Place { segment, offset: 0, len: 1 }
    }

    #[test]
    fn entries_that_lost_their_place_are_missed_until_they_are_dropped() {
        let lost = || {
            let mut index = Index::of_lost(5, 9);
            index.append(9, place(2));
            index.append(10, place(3));
            index
        };
        let mut index = lost();
        assert_eq!((index.lost(), index.oldest_segment(), index.end()), (Some(5), Some(2), 11));
        index.purge(6);
        assert_eq!((index.lost(), index.end()), (Some(7), 11));
        index.purge(8);
        assert_eq!((index.lost(), index.first(), index.end()), (None, 9, 11));
        index.purge(9);
        assert_eq!((index.lost(), index.oldest_segment()), (None, Some(3)));

        let mut index = lost();
        index.truncate(7);
        assert_eq!((index.lost(), index.end(), index.is_empty()), (Some(5), 7, false));
        index.append(7, place(4));
        index.truncate(5);
        assert_eq!((index.lost(), index.is_empty()), (None, true));
        index.append(20, place(4));
        assert_eq!((index.first(), index.end()), (20, 21));
    }

    #[test]
    fn a_purge_beyond_the_end_moves_the_start() {
        let mut index = Index::default();
        index.append(3, place(1));
        index.purge(10);
        assert_eq!((index.first(), index.end(), index.is_empty()), (11, 11, true));
        assert_eq!(index.places(11).next(), None);
    }
}
