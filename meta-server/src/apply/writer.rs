//! Writing records for one log entry: sequence numbers, meta, and the match of what is there.

use std::io;

use backup_plugin::record::{KvMeta, SeqV};

use super::{Change, StateStore, expiry::Expiry, reply::seq_of};
use crate::command::{MatchSeq, UpsertKv, ValueOp};

/// A store, and the time of the entry that is applied to it.
pub(super) struct Writer<'s, S> {
    pub(super) store: &'s mut S,
    /// 0 when the entry has none.
    time_ms: u64,
}

impl<'s, S: StateStore> Writer<'s, S> {
    pub(super) fn new(store: &'s mut S, time_ms: Option<u64>) -> Self {
        Writer { store, time_ms: time_ms.unwrap_or(0) }
    }

    pub(super) fn upsert(&mut self, upsert: &UpsertKv) -> io::Result<Change> {
        let expiry = upsert.value_meta.into();
        match &upsert.value {
            ValueOp::Update(data) => self.put(&upsert.key, upsert.seq, data, expiry),
            ValueOp::AsIs => self.touch(&upsert.key, upsert.seq, expiry),
            ValueOp::Delete => self.delete(&upsert.key, upsert.seq),
        }
    }

    /// Replaces data and meta of a record, or adds it.
    pub(super) fn put(&mut self, key: &str, seq: MatchSeq, data: &[u8], expiry: Expiry) -> io::Result<Change> {
        self.change(key, seq, |writer, _| writer.write(key, data.to_vec(), expiry))
    }

    /// Replaces the meta of a record; an absent one stays absent.
    fn touch(&mut self, key: &str, seq: MatchSeq, expiry: Expiry) -> io::Result<Change> {
        self.change(key, seq, |writer, present| match present {
            Some(record) => writer.write(key, record.data.clone(), expiry),
            None => Ok(None),
        })
    }

    pub(super) fn delete(&mut self, key: &str, seq: MatchSeq) -> io::Result<Change> {
        self.change(key, seq, |writer, _| writer.store.remove(key).map(|()| None))
    }

    /// Makes `change` of the record under `key` if `seq` accepts it. An expired record counts until it is cleaned.
    fn change(
        &mut self,
        key: &str,
        seq: MatchSeq,
        change: impl FnOnce(&mut Self, Option<&SeqV>) -> io::Result<Option<SeqV>>,
    ) -> io::Result<Change> {
        let prev = self.store.get(key)?;
        let result = if seq.accepts(seq_of(prev.as_ref())) { change(self, prev.as_ref())? } else { prev.clone() };
        Ok(Change { prev, result })
    }

    /// Writes a record under the next sequence number. One that is born expired takes its number and is gone at once, and so is
    /// the record it replaces.
    fn write(&mut self, key: &str, data: Vec<u8>, expiry: Expiry) -> io::Result<Option<SeqV>> {
        let meta = KvMeta { expire_at: expiry.expire_at(self.time_ms), proposed_at_ms: Some(self.time_ms) };
        let record = SeqV { seq: self.store.next_seq(), meta: Some(meta), data };
        if record.is_expired(self.time_ms) {
            self.store.remove(key)?;
            return Ok(None);
        }
        self.store.put(key, record.clone())?;
        Ok(Some(record))
    }
}
