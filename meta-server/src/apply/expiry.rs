//! When records expire by the time of an entry, and removing those that have. The rule itself is the record's.

use std::io;

use super::StateStore;
use crate::command::MetaSpec;

/// Removes every record that has expired by `time_ms`.
pub(super) fn clean<S: StateStore>(store: &mut S, time_ms: u64) -> io::Result<()> {
    for key in store.expired_before(time_ms)? {
        store.remove(&key)?;
    }
    Ok(())
}

/// The expiry that a write asks for, as it was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expiry {
    pub(super) expire_at: Option<u64>,
    pub(super) ttl_ms: Option<u64>,
}

impl Expiry {
    pub(super) const NEVER: Expiry = Expiry { expire_at: None, ttl_ms: None };

    /// The `expire_at` to store for a write at `time_ms`.
    pub(super) fn expire_at(self, time_ms: u64) -> Option<u64> {
        match self.ttl_ms {
            Some(ttl_ms) => Some(time_ms.saturating_add(ttl_ms)),
            None => self.expire_at,
        }
    }
}

impl From<Option<MetaSpec>> for Expiry {
    fn from(meta: Option<MetaSpec>) -> Self {
        let meta = meta.unwrap_or_default();
        Expiry { expire_at: meta.expire_at, ttl_ms: meta.ttl.map(|ttl| ttl.millis) }
    }
}
