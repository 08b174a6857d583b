//! The state machine: base + overlay.
//!
//! The *base* is the state as of one log id, on disk and immutable. The *overlay* is every change since, in memory: layers of
//! persistent maps, the newest last, a tombstone for a removed key. A read looks in the layers, newest first, then in the base.
//! A [`View`] is one consistent moment: it shares everything, costs nothing, and never changes.
//!
//! Knows the commands' effects (through [`StateStore`]), not the commands; knows nothing of Raft.
//!
//! [`StateStore`]: crate::apply::StateStore

mod counts;
mod layer;
mod machine;
mod merge;
mod receive;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod watch_tests;
mod write;

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use backup_plugin::{
    cluster::ContentDigest,
    record::{LogId, Node, SeqV, StateRecord, StoredMembership},
};

use crate::{
    base::{Base, BaseBuilder, BaseMeta, ExpireKey, StoredKey, StoredValue, build_stored},
    watch::{Event, KeyRange},
};
pub use counts::StateCounts;
use layer::Layer;
pub use machine::{BaseNames, Change, StateMachine, StateOptions, base_name};
use merge::Merge;
pub use receive::{ReceiveError, Receiving};

/// One consistent moment of the state machine. Cheap to clone; reading may block on disk.
pub type View = Arc<State>;

/// The state machine at one applied log id.
#[derive(Clone)]
pub struct State {
    base: Arc<Base>,
    /// Changes since the base, oldest layer first. The last one takes the writes; the others are being compacted.
    layers: Vec<Layer>,
    last_applied: Option<LogId>,
    last_membership: Arc<StoredMembership>,
    sequence: u64,
    nodes: Arc<BTreeMap<u64, Node>>,
    /// No record expires before this: lets an entry skip the search for expired records. `None`: nothing expires.
    expires_from: Option<u64>,
    /// What was changed since it began to be kept, in order; `None` while nobody wants to know.
    changes: Option<Vec<Event>>,
}

impl State {
    /// The state that a base holds.
    pub fn of_base(base: Arc<Base>) -> io::Result<State> {
        let meta = base.meta();
        let expires_from = base.expiries(0).next().transpose()?.map(|((time_ms, _), _)| time_ms);
        Ok(State {
            layers: vec![Layer::default()],
            last_applied: meta.last_applied,
            last_membership: Arc::new(meta.last_membership.clone()),
            sequence: meta.sequence,
            nodes: Arc::new(meta.nodes.clone()),
            expires_from,
            changes: None,
            base,
        })
    }

    pub fn last_applied(&self) -> Option<LogId> {
        self.last_applied
    }

    pub fn last_membership(&self) -> &StoredMembership {
        &self.last_membership
    }

    /// The last sequence number given out.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    pub fn nodes(&self) -> &BTreeMap<u64, Node> {
        &self.nodes
    }

    /// The base this state stands on.
    pub fn base(&self) -> &Arc<Base> {
        &self.base
    }

    /// Bytes that the overlay takes in memory, roughly.
    pub fn overlay_bytes(&self) -> usize {
        self.layers.iter().map(Layer::bytes).sum()
    }

    /// The record under `key`, expired or not.
    pub fn get(&self, key: &str) -> io::Result<Option<SeqV>> {
        match self.recent(key) {
            Some(change) => Ok(change.cloned()),
            None => self.base.get(key),
        }
    }

    /// What the overlay knows of `key`, which never blocks: its record, or that it is gone. `None`: only the base can tell.
    pub fn recent(&self, key: &str) -> Option<Option<&SeqV>> {
        self.layers.iter().rev().find_map(|layer| layer.record(key)).map(Option::as_deref)
    }

    /// Every record under `prefix`, in key order, expired ones included. Holds what it reads, whatever happens meanwhile.
    pub fn prefix(&self, prefix: &str) -> impl Iterator<Item = io::Result<(Arc<str>, Arc<SeqV>)>> + Send + use<> {
        let layers = self.layers.iter().map(|layer| layer.records_with_prefix(prefix)).collect();
        self.held(Merge::new(self.base.prefix(prefix), layers))
    }

    /// Every record in `range`, as [`State::prefix`] has it.
    pub fn range(&self, range: &KeyRange) -> impl Iterator<Item = io::Result<(Arc<str>, Arc<SeqV>)>> + Send + use<> {
        let last = range.end().map_or_else(|| format!("{}\0", range.start()), str::to_owned);
        let within = |last: String| move |key: &str| key < last.as_str();
        let layers = self.layers.iter().map(|layer| layer.records_while(range.start(), within(last.clone()))).collect();
        self.held(Merge::new(self.base.range(range.start(), &last), layers))
    }

    /// Every record, in key order, for one who takes them all: nothing of it is shared.
    pub fn all(&self) -> impl Iterator<Item = io::Result<(String, SeqV)>> + Send + use<> {
        let layers = self.layers.iter().map(|layer| layer.records_with_prefix("")).collect();
        self.held(Merge::of(
            self.base.records(),
            layers,
            |key, changed| key.as_str().cmp(changed),
            |key, value| (key.to_string(), Arc::unwrap_or_clone(value)),
        ))
    }

    /// The expire index, oldest first.
    pub fn expiries(&self) -> impl Iterator<Item = io::Result<(ExpireKey, Arc<str>)>> + Send + use<> {
        // Everything before is gone: what removed it need not be read again.
        let from = self.expires_from.unwrap_or(u64::MAX);
        let layers = self.layers.iter().map(|layer| layer.expiries(from)).collect();
        self.held(Merge::new(self.base.expiries(from), layers))
    }

    /// Keeps the base while the items are read: an open table does not keep its own files from being deleted.
    fn held<I: Iterator>(&self, items: I) -> impl Iterator<Item = I::Item> + use<I> {
        let base = self.base.clone();
        items.inspect(move |_| _ = &base)
    }

    /// Builds a base in `dir`, which must not exist, that holds this state and nothing else.
    pub fn build_base(&self, dir: &Path) -> io::Result<Base> {
        let layers = self.layers.iter().map(|layer| layer.records_with_prefix("")).collect();
        let records = self.held(Merge::of(
            self.base.stored(),
            layers,
            |key, changed| key.order(changed),
            |key, value| (StoredKey::of(&key), StoredValue::of(&value)),
        ));
        build_stored(dir, self.meta(), records)
    }

    /// The same, with what its records come to.
    pub fn build_digested(&self, dir: &Path) -> io::Result<(Base, ContentDigest)> {
        let mut builder = BaseBuilder::create(dir)?;
        for item in self.all() {
            let (key, value) = item?;
            builder.push(key, value)?;
        }
        builder.finish(self.meta())
    }

    fn meta(&self) -> BaseMeta {
        BaseMeta::new(
            self.last_applied,
            StoredMembership::clone(&self.last_membership),
            self.sequence,
            BTreeMap::clone(&self.nodes),
        )
    }

    /// The whole state in the order an export writes it.
    pub fn records(&self) -> impl Iterator<Item = io::Result<StateRecord>> + Send + use<> {
        let sequence = StateRecord::Sequence(self.sequence);
        let applied = self.last_applied.map(StateRecord::LastApplied);
        let membership = StateRecord::LastMembership(StoredMembership::clone(&self.last_membership));
        let nodes = BTreeMap::clone(&self.nodes).into_iter().map(|(id, node)| StateRecord::Node { id, node });
        let expiries = self.expiries().map(|item| {
            let ((time_ms, seq), key) = item?;
            Ok(StateRecord::Expire { time_ms, seq, key: key.to_string() })
        });
        let records = self.all().map(|item| item.map(|(key, value)| StateRecord::Kv { key, value }));
        let meta = std::iter::once(sequence).chain(applied).chain([membership]).chain(nodes);
        meta.map(Ok).chain(expiries).chain(records)
    }
}
