//! Changing the state: the [`StateStore`] that commands are applied to, over the newest layer. The expire index is kept in step
//! with every write, so that it is always exactly what the records imply.

use std::{io, sync::Arc};

use backup_plugin::record::{LogId, Node, SeqV, StoredMembership};

use super::State;
use crate::{apply::StateStore, watch::Event};

impl State {
    /// Records that everything up to `log_id` is applied.
    pub(super) fn set_last_applied(&mut self, log_id: LogId) {
        self.last_applied = Some(log_id);
    }

    pub(super) fn set_last_membership(&mut self, membership: StoredMembership) {
        self.last_membership = Arc::new(membership);
    }

    /// Moves on from what expired before `time_ms` and was removed.
    pub(super) fn skip_expired(&mut self, time_ms: u64) -> io::Result<()> {
        if self.expires_from.is_some_and(|from| from < time_ms) {
            self.expires_from = self.expiries().next().transpose()?.map(|((first, _), _)| first);
        }
        Ok(())
    }

    /// From now on, or no longer, keeps what is changed until it is taken.
    pub(super) fn keep_changes(&mut self, keep: bool) {
        self.changes = keep.then(Vec::new);
    }

    /// What was changed since it began to be kept.
    pub(super) fn take_changes(&mut self) -> Vec<Event> {
        self.changes.take().unwrap_or_default()
    }

    fn set(&mut self, key: &str, value: Option<SeqV>) -> io::Result<()> {
        let old = self.get(key)?;
        if old.is_none() && value.is_none() {
            return Ok(());
        }
        let key: Arc<str> = Arc::from(key);
        let old_expiry = old.as_ref().and_then(|old| Some((old.expiry_ms()?, old.seq)));
        let new_expiry = value.as_ref().and_then(|new| Some((new.expiry_ms()?, new.seq)));
        if let Some((time_ms, _)) = new_expiry {
            self.expires_from = Some(self.expires_from.map_or(time_ms, |from| from.min(time_ms)));
        }
        let Some(layer) = self.layers.last_mut() else {
            return Err(io::Error::other("the overlay has no layer to write to"));
        };
        if let Some(at) = old_expiry {
            layer.set_expiry(at, None);
        }
        if let Some(at) = new_expiry {
            layer.set_expiry(at, Some(key.clone()));
        }
        let value = value.map(Arc::new);
        layer.set_record(key.clone(), value.clone());
        if let Some(changes) = &mut self.changes {
            changes.push(Event { key, prev: old.map(Arc::new), current: value });
        }
        Ok(())
    }
}

impl StateStore for State {
    fn get(&self, key: &str) -> io::Result<Option<SeqV>> {
        State::get(self, key)
    }

    fn put(&mut self, key: &str, value: SeqV) -> io::Result<()> {
        self.set(key, Some(value))
    }

    fn remove(&mut self, key: &str) -> io::Result<()> {
        self.set(key, None)
    }

    fn keys_with_prefix(&self, prefix: &str) -> io::Result<Vec<String>> {
        self.prefix(prefix).map(|item| Ok(item?.0.to_string())).collect()
    }

    fn count_prefix(&self, prefix: &str) -> io::Result<u64> {
        self.prefix(prefix).try_fold(0, |count, item| item.map(|_| count + 1))
    }

    fn expired_before(&self, time_ms: u64) -> io::Result<Vec<String>> {
        if self.expires_from.is_none_or(|from| from >= time_ms) {
            return Ok(Vec::new());
        }
        let mut keys = Vec::new();
        for item in self.expiries() {
            let ((expiry, _), key) = item?;
            if expiry >= time_ms {
                break;
            }
            keys.push(key.to_string());
        }
        Ok(keys)
    }

    fn next_seq(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn node(&self, id: u64) -> Option<Node> {
        self.nodes.get(&id).cloned()
    }

    fn set_node(&mut self, id: u64, node: Option<Node>) {
        let nodes = Arc::make_mut(&mut self.nodes);
        match node {
            Some(node) => nodes.insert(id, node),
            None => nodes.remove(&id),
        };
    }
}
