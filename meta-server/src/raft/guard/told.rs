//! What was refused so far: said once for each peer and reason, and counted each time. Knows nothing of why.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::refusal::Refusal;

/// How many refusals are remembered, so as not to be logged again. Whoever calls makes up the ids in them.
pub(super) const MOST: usize = 1024;

#[derive(Default)]
pub(super) struct Told {
    /// What was said before, of whom.
    said: Mutex<BTreeSet<(u64, String)>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

impl Told {
    /// Counts it, and says it where it was not said before.
    pub(super) fn refuse(&self, peer: u64, refusal: Refusal) -> Refusal {
        *lock(&self.refused).entry(refusal.kind()).or_default() += 1;
        if self.is_news(peer, refusal.to_string()) {
            tracing::error!(peer, "refused to talk to a node: {refusal}");
        }
        refusal
    }

    pub(super) fn is_news(&self, peer: u64, text: String) -> bool {
        let mut said = lock(&self.said);
        if said.len() >= MOST {
            said.clear();
        }
        said.insert((peer, text))
    }

    /// What is refused of a node from here on is news.
    pub(super) fn forget(&self, peer: u64) {
        lock(&self.said).retain(|(id, _)| *id != peer);
    }

    /// Messages refused so far, by kind.
    pub(super) fn refused(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.refused).clone()
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        lock(&self.said).len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
