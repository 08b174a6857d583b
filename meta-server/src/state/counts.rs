//! What a state machine is doing and has done with bases, for those who measure it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::StateMachine;

/// Numbers as of one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateCounts {
    /// Bytes of the base on disk.
    pub base_bytes: u64,
    /// Records in the base that expire.
    pub base_expiring: u64,
    /// Bases that are being built of what is here.
    pub building: u64,
    /// Records in all bases that were built.
    pub written: u64,
    /// States of others that are being received.
    pub receiving: u64,
    pub watchers: u64,
}

/// The numbers that change with what is done. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) building: Arc<AtomicU64>,
    pub(super) receiving: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
}

impl Tally {
    pub(super) fn wrote(&self, records: u64) {
        self.written.fetch_add(records, Ordering::Relaxed);
    }
}

/// Counts one until it is dropped.
pub(super) struct Busy(Arc<AtomicU64>);

impl Busy {
    pub(super) fn with(count: &Arc<AtomicU64>) -> Busy {
        count.fetch_add(1, Ordering::Relaxed);
        Busy(count.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl StateMachine {
    /// Blocks: what expires in a base is counted once.
    pub fn counts(&self) -> io::Result<StateCounts> {
        let base = self.view().base().clone();
        let tally = self.tally();
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok(StateCounts {
            base_bytes: base.disk_bytes(),
            base_expiring: base.expiring()?,
            building: get(&tally.building),
            written: get(&tally.written),
            receiving: get(&tally.receiving),
            watchers: self.watchers().count() as u64,
        })
    }
}
