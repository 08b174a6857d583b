//! One start of a store among all of them: what tells a store from an older copy of itself. Knows nothing of who compares them.

use meta_proto::raft as pb;
use serde::{Deserialize, Serialize};

/// Each start counts one up, durably, before anybody hears of it. So a store that shows a lower number than it once had was put
/// back to an older copy, and of two that show one number with different tokens, one is a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// How many there were in this incarnation, with this one.
    pub number: u64,
    /// Drawn by this start alone.
    pub token: u64,
}

impl Start {
    /// The start of a store whose last one was `last`.
    pub fn after(last: Option<Start>) -> Self {
        Self { number: last.map_or(1, |last| last.number + 1), token: rand::random() }
    }

    /// Whether who is known to have started as `known` can not show this any more.
    pub fn contradicts(self, known: Start) -> bool {
        self.number < known.number || self.number == known.number && self.token != known.token
    }
}

impl From<pb::Start> for Start {
    fn from(start: pb::Start) -> Self {
        Self { number: start.number, token: start.token }
    }
}

impl From<Start> for pb::Start {
    fn from(start: Start) -> Self {
        Self { number: start.number, token: start.token }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_start_and_another_one_of_the_same_number_contradict_what_is_known() {
        let start = |number, token| Start { number, token };
        for (shown, contradicts) in [
            (start(4, 40), false),
            (start(5, 50), false),
            (start(6, 1), false),
            (start(3, 30), true),
            (start(4, 41), true),
        ] {
            assert_eq!(shown.contradicts(start(4, 40)), contradicts, "{shown:?}");
        }
        let first = Start::after(None);
        assert_eq!(first.number, 1);
        assert!(!Start::after(Some(first)).contradicts(first));
        assert!(Start::after(None).contradicts(first), "two copies of one folder");
    }
}
