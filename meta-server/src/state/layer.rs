//! One layer of the overlay: changes to records and to the expire index since whatever lies below it. Maps are persistent, so a
//! clone is a moment that stays.

use std::{
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

use backup_plugin::record::SeqV;
use imbl::OrdMap;

use super::merge::Cursor;
use crate::base::ExpireKey;

/// What an entry of the maps costs beside its key and value.
const OVERHEAD: usize = 160;
/// Changes that a cursor copies out of the map at once.
const READ_AHEAD: usize = 128;

/// A change: the new value, or that it is gone.
type Changed<V> = Option<Arc<V>>;

#[derive(Clone, Default)]
pub(super) struct Layer {
    records: OrdMap<Arc<str>, Changed<SeqV>>,
    expiries: OrdMap<ExpireKey, Changed<str>>,
    bytes: usize,
}

impl Layer {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.expiries.is_empty()
    }

    /// Puts the changes of a newer layer over the ones here.
    pub(super) fn absorb(&mut self, newer: &Layer) {
        for (key, change) in &newer.records {
            self.set_record(key.clone(), change.clone());
        }
        for (at, change) in &newer.expiries {
            self.set_expiry(*at, change.clone());
        }
    }

    pub(super) fn record(&self, key: &str) -> Option<&Changed<SeqV>> {
        self.records.get(key)
    }

    pub(super) fn set_record(&mut self, key: Arc<str>, change: Changed<SeqV>) {
        self.bytes += key.len() + change.as_ref().map_or(0, |value| value.data.len()) + OVERHEAD;
        if let Some(old) = self.records.insert(key.clone(), change) {
            self.bytes -= key.len() + old.map_or(0, |value| value.data.len()) + OVERHEAD;
        }
    }

    pub(super) fn set_expiry(&mut self, at: ExpireKey, change: Changed<str>) {
        if self.expiries.insert(at, change).is_none() {
            self.bytes += OVERHEAD;
        }
    }

    pub(super) fn records_with_prefix(&self, prefix: &str) -> Cursor<Arc<str>, SeqV> {
        let under = prefix.to_owned();
        self.records_while(prefix, move |key| key.starts_with(&under))
    }

    /// From `start` on, as long as keys are `within` what is asked for.
    pub(super) fn records_while(
        &self,
        start: &str,
        within: impl Fn(&str) -> bool + Send + 'static,
    ) -> Cursor<Arc<str>, SeqV> {
        let map = self.records.clone();
        let start: Arc<str> = Arc::from(start);
        Cursor::new(move |after| {
            let from = (after.map_or(Included(start.clone()), |key| Excluded(Arc::clone(key))), Unbounded);
            let found = map.range(from).take_while(|(key, _)| within(key));
            found.take(READ_AHEAD).map(|(key, change)| (key.clone(), change.clone())).collect()
        })
    }

    /// The index from the time `from` (ms) on.
    pub(super) fn expiries(&self, from: u64) -> Cursor<ExpireKey, str> {
        let map = self.expiries.clone();
        Cursor::new(move |after| {
            let from = (after.map_or(Included((from, 0)), |key| Excluded(*key)), Unbounded);
            map.range(from).take(READ_AHEAD).map(|(key, change)| (*key, change.clone())).collect()
        })
    }
}
