//! What exports hold back: while one runs, the entries of the log that it will write are not purged. A purge that had to wait
//! is no concern of later exports, so exports that overlap hold it up for as long as the longest of them, not for good. A snapshot
//! on its way to another member holds the entries that follow it, so that the member can go on from it.

use std::{
    collections::BTreeMap,
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
    /// For each export that runs, and each snapshot on its way, what it has no need of: the entries up to here.
    held: BTreeMap<u64, Option<LogId>>,
    next: u64,
    /// The last purge that was asked for. It may still be under way, or wait for exports.
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
    /// Holds the log above the last purge that was asked for.
    pub fn pin(&self) -> Pin {
        self.hold(|purging| purging)
    }

    /// Holds the log above `log_id`, the last one of a snapshot. Keep it until the snapshot was sent, and some seconds more: then
    /// the member that took it is known to go on from there. Where more was asked to be purged before, that may still go.
    pub fn hold_above(&self, log_id: LogId) -> Pin {
        self.hold(|_| Some(log_id))
    }

    /// Holds the log above what `floor` makes of the last purge that was asked for.
    fn hold(&self, floor: impl FnOnce(Option<LogId>) -> Option<LogId>) -> Pin {
        let mut pins = self.lock();
        let number = pins.next;
        pins.next += 1;
        let purging = pins.purging;
        pins.held.insert(number, floor(purging));
        Pin { registry: self.clone(), number, purging }
    }

    /// Asks before the log is purged up to `log_id`, which the base includes. Returns how far it may go now: not into what an
    /// export that runs will write. Permission, once given, stands.
    pub fn permit_purge(&self, log_id: LogId) -> Option<LogId> {
        let mut pins = self.lock();
        pins.purging = pins.purging.max(Some(log_id));
        pins.held.values().copied().chain([Some(log_id)]).min().flatten()
    }

    fn lock(&self) -> MutexGuard<'_, Pins> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pin {
    /// Entries up to here may go at any moment although the pin is held: their purge was asked for before.
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

    fn id(index: u64) -> LogId {
        LogId::new(LeaderId { term: 1, node_id: 1 }, index)
    }

    #[test]
    fn a_pin_holds_purges_back_and_tells_of_the_one_before_it() {
        let registry = PinRegistry::default();
        let first = registry.pin();
        assert_eq!((first.purging(), registry.permit_purge(id(4))), (None, None));
        drop(first);
        assert_eq!(registry.permit_purge(id(5)), Some(id(5)));
        let pin = registry.pin();
        assert_eq!(pin.purging(), Some(id(5)));
        assert_eq!(registry.permit_purge(id(6)), Some(id(5)));
        drop(pin);
        assert_eq!(registry.permit_purge(id(6)), Some(id(6)));
    }

    #[test]
    fn a_snapshot_on_its_way_holds_what_follows_it() {
        let registry = PinRegistry::default();
        assert_eq!(registry.permit_purge(id(3)), Some(id(3)));
        let snapshot = registry.hold_above(id(10));
        let newer = registry.hold_above(id(30));
        for (asked, permitted) in [(5, 5), (10, 10), (11, 10), (40, 10)] {
            assert_eq!(registry.permit_purge(id(asked)), Some(id(permitted)), "up to {asked}");
        }
        drop(snapshot);
        assert_eq!(registry.permit_purge(id(40)), Some(id(30)));
        drop(newer);
        assert_eq!(registry.permit_purge(id(40)), Some(id(40)));
    }

    #[test]
    fn exports_without_a_pause_between_them_do_not_keep_the_log_for_ever() {
        let registry = PinRegistry::default();
        let mut pin = registry.pin();
        for round in 1..10 {
            // The log grows by 100 in each round; the next export starts before this one ends.
            assert_eq!(registry.permit_purge(id(round * 100)), pin.purging());
            let next = registry.pin();
            assert_eq!(registry.permit_purge(id(round * 100 + 50)), pin.purging());
            drop(std::mem::replace(&mut pin, next));
            assert_eq!(registry.permit_purge(id(round * 100 + 50)), Some(id(round * 100)));
        }
    }
}
