//! The best few of many, by rank. Of equals, those that came first. Knows nothing of what they are.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Keeps the `room` best of what it is offered.
pub(super) struct Top<R> {
    room: usize,
    /// How many were taken: who came later is worse.
    taken: u64,
    /// The worst first.
    kept: BinaryHeap<Reverse<(R, Reverse<u64>, String)>>,
}

impl<R: Ord + Copy> Top<R> {
    pub(super) fn new(room: usize) -> Self {
        Top { room, taken: 0, kept: BinaryHeap::new() }
    }

    pub(super) fn offer(&mut self, rank: R, key: &str) {
        if self.kept.len() >= self.room {
            let better = self.kept.peek().is_some_and(|Reverse((worst, ..))| rank > *worst);
            if !better {
                return;
            }
            self.kept.pop();
        }
        self.taken += 1;
        self.kept.push(Reverse((rank, Reverse(self.taken), key.to_owned())));
    }

    /// The best first.
    pub(super) fn into_sorted(self) -> Vec<(R, String)> {
        self.kept.into_sorted_vec().into_iter().map(|Reverse((rank, _, key))| (rank, key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_and_of_equals_the_first() {
        let offered = [(3, "a"), (1, "b"), (5, "c"), (3, "d"), (5, "e"), (4, "f"), (3, "g")];
        for (room, expected) in [
            (0, &[][..]),
            (1, &[(5, "c")]),
            (4, &[(5, "c"), (5, "e"), (4, "f"), (3, "a")]),
            (9, &[(5, "c"), (5, "e"), (4, "f"), (3, "a"), (3, "d"), (3, "g"), (1, "b")]),
        ] {
            let mut top = Top::new(room);
            offered.iter().for_each(|(rank, key)| top.offer(*rank, key));
            let kept = top.into_sorted();
            assert_eq!(kept.iter().map(|(rank, key)| (*rank, key.as_str())).collect::<Vec<_>>(), expected);
        }
    }
}
