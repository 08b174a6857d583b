//! What exports hold back: while one runs, the entries of the log that it will write are not purged.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::raft::types::LogId;

/// The pins of a node; clones share them.
#[derive(Debug, Clone, Default)]
pub struct PinRegistry {
    pins: Arc<Mutex<Pins>>,
}

#[derive(Debug, Default)]
struct Pins {
    held: BTreeSet<u64>,
    next: u64,
    /// The last purge that was permitted. It may still be under way.
    purging: Option<LogId>,
}

/// Holds the log from being purged any further until it is dropped.
#[derive(Debug)]
pub struct Pin {
    registry: PinRegistry,
    number: u64,
    purging: Option<LogId>,
}

impl PinRegistry {
    /// Holds the log as it is.
    pub fn pin(&self) -> Pin {
        let mut pins = self.lock();
        let number = pins.next;
        pins.next += 1;
        pins.held.insert(number);
        Pin { registry: self.clone(), number, purging: pins.purging }
    }

    /// Asks before the log is purged up to `log_id`: not while an export runs. Permission, once given, stands.
    pub fn permit_purge(&self, log_id: LogId) -> bool {
        let mut pins = self.lock();
        if !pins.held.is_empty() {
            return false;
        }
        pins.purging = pins.purging.max(Some(log_id));
        true
    }

    /// How many exports run.
    pub fn held(&self) -> usize {
        self.lock().held.len()
    }

    fn lock(&self) -> MutexGuard<'_, Pins> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pin {
    /// Entries up to here may go at any moment although the pin is held: their purge was permitted before.
    pub fn purging(&self) -> Option<LogId> {
        self.purging
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.registry.lock().held.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::LeaderId;

    #[test]
    fn a_pin_holds_purges_back_and_tells_of_the_one_before_it() {
        let id = |index| LogId::new(LeaderId { term: 1, node_id: 1 }, index);
        let registry = PinRegistry::default();
        assert!(registry.permit_purge(id(5)));
        let pin = registry.pin();
        assert_eq!(pin.purging(), Some(id(5)));
        assert!(!registry.permit_purge(id(6)));
        drop(pin);
        assert!(registry.permit_purge(id(6)));
        assert_eq!(registry.held(), 0);
    }
}
