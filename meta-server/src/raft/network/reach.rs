//! Who is up, in the log: one line when a member does not answer any more, and one when it does again, however often it is tried
//! meanwhile. Knows nothing of what is sent.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Members that a leader does not reach; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Reach {
    down: Arc<Mutex<BTreeSet<u64>>>,
    /// Nobody has to look while all are up.
    any: Arc<AtomicBool>,
}

impl Reach {
    pub(super) fn failed(&self, peer: u64, error: &dyn fmt::Display) {
        if self.note_failed(peer) {
            tracing::warn!(peer, %error, "a member does not answer; it is tried again and again");
        }
    }

    pub(super) fn answered(&self, peer: u64) {
        if self.any.load(Ordering::Acquire) && self.note_answered(peer) {
            tracing::info!(peer, "a member answers again");
        }
    }

    /// Returns whether this is news.
    fn note_failed(&self, peer: u64) -> bool {
        let mut down = self.lock();
        self.any.store(true, Ordering::Release);
        down.insert(peer)
    }

    fn note_answered(&self, peer: u64) -> bool {
        let mut down = self.lock();
        let news = down.remove(&peer);
        self.any.store(!down.is_empty(), Ordering::Release);
        news
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_news_once_that_a_member_is_down_and_once_that_it_is_up() {
        let reach = Reach::default();
        assert!(!reach.note_answered(2));
        assert!(reach.note_failed(2));
        assert!(!reach.clone().note_failed(2));
        assert!(reach.note_failed(3));
        assert!(reach.note_answered(2));
        assert!(!reach.note_answered(2));
        assert!(reach.any.load(Ordering::Acquire));
        assert!(reach.note_answered(3));
        assert!(!reach.any.load(Ordering::Acquire));
    }
}
