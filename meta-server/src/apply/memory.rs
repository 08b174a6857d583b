//! A state store in plain maps, for tests of the rules.

use std::{collections::BTreeMap, io};

use backup_plugin::record::{Node, SeqV, StateRecord};

use super::StateStore;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemoryStore {
    /// The last sequence number given out.
    pub(crate) sequence: u64,
    pub(crate) nodes: BTreeMap<u64, Node>,
    /// (expiry in ms, seq) to key.
    pub(crate) expire: BTreeMap<(u64, u64), String>,
    pub(crate) records: BTreeMap<String, SeqV>,
}

impl MemoryStore {
    /// What it holds, in the order of an export.
    pub(crate) fn state_records(&self) -> Vec<StateRecord> {
        let nodes = self.nodes.iter().map(|(id, node)| StateRecord::Node { id: *id, node: node.clone() });
        let expiries =
            self.expire.iter().map(|(at, key)| StateRecord::Expire { time_ms: at.0, seq: at.1, key: key.clone() });
        let records =
            self.records.iter().map(|(key, value)| StateRecord::Kv { key: key.clone(), value: value.clone() });
        std::iter::once(StateRecord::Sequence(self.sequence)).chain(nodes).chain(expiries).chain(records).collect()
    }

    fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a String> {
        self.records.range(prefix.to_owned()..).map(|(key, _)| key).take_while(move |key| key.starts_with(prefix))
    }
}

impl StateStore for MemoryStore {
    fn get(&self, key: &str) -> io::Result<Option<SeqV>> {
        Ok(self.records.get(key).cloned())
    }

    fn put(&mut self, key: &str, value: SeqV) -> io::Result<()> {
        self.remove(key)?;
        if let Some(expiry) = value.expiry_ms() {
            self.expire.insert((expiry, value.seq), key.to_owned());
        }
        self.records.insert(key.to_owned(), value);
        Ok(())
    }

    fn remove(&mut self, key: &str) -> io::Result<()> {
        if let Some(old) = self.records.remove(key)
            && let Some(expiry) = old.expiry_ms()
        {
            self.expire.remove(&(expiry, old.seq));
        }
        Ok(())
    }

    fn keys_with_prefix(&self, prefix: &str) -> io::Result<Vec<String>> {
        Ok(self.under(prefix).cloned().collect())
    }

    fn count_prefix(&self, prefix: &str) -> io::Result<u64> {
        Ok(self.under(prefix).count() as u64)
    }

    fn expired_before(&self, time_ms: u64) -> io::Result<Vec<String>> {
        Ok(self.expire.range(..(time_ms, 0)).map(|(_, key)| key.clone()).collect())
    }

    fn next_seq(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn node(&self, id: u64) -> Option<Node> {
        self.nodes.get(&id).cloned()
    }

    fn set_node(&mut self, id: u64, node: Option<Node>) {
        match node {
            Some(node) => self.nodes.insert(id, node),
            None => self.nodes.remove(&id),
        };
    }
}
