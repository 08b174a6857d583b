//! The operations of a transaction, in both its forms, and what each answers.

use std::io;

use super::{Change, OpResponse, StateStore, expiry::Expiry, reply::seq_of, writer::Writer};
use crate::command::{KvOperation, KvPayload, KvTarget, MatchSeq, Operation};

impl<S: StateStore> Writer<'_, S> {
    pub(super) fn operation(&mut self, operation: &Operation) -> io::Result<OpResponse> {
        match operation {
            Operation::Get { key } => self.op_get(key),
            Operation::Put { key, value, expire_at, ttl_ms, match_seq } => {
                self.op_put(key, *match_seq, value, Expiry { expire_at: *expire_at, ttl_ms: *ttl_ms })
            }
            Operation::Delete { key, match_seq } => self.op_delete(key, *match_seq),
            Operation::DeleteByPrefix { prefix } => self.op_delete_by_prefix(prefix),
            Operation::FetchIncreaseU64 { key, match_seq, delta, max_value } => {
                self.op_fetch_increase(key, *match_seq, *delta, *max_value)
            }
            Operation::PutSequential { prefix, sequence_key, value, expires_at_ms, ttl_ms } => {
                let expiry = Expiry { expire_at: *expires_at_ms, ttl_ms: *ttl_ms };
                self.op_put_sequential(prefix, sequence_key, value, expiry)
            }
        }
    }

    pub(super) fn kv_operation(&mut self, operation: &KvOperation) -> io::Result<OpResponse> {
        match operation {
            KvOperation::Get { key } => self.op_get(key),
            KvOperation::Put { target: KvTarget { key, match_seq }, payload } => {
                self.op_put(key, *match_seq, &payload.value, expiry_of(payload))
            }
            KvOperation::Delete { target: KvTarget { key, match_seq } } => self.op_delete(key, *match_seq),
            KvOperation::DeleteByPrefix { prefix } => self.op_delete_by_prefix(prefix),
            KvOperation::FetchIncreaseU64 { target: KvTarget { key, match_seq }, delta, floor } => {
                self.op_fetch_increase(key, *match_seq, *delta, *floor)
            }
            KvOperation::PutSequential { prefix, sequence_key, payload } => {
                self.op_put_sequential(prefix, sequence_key, &payload.value, expiry_of(payload))
            }
        }
    }

    fn op_get(&self, key: &str) -> io::Result<OpResponse> {
        Ok(OpResponse::Get { key: key.to_owned(), value: self.store.get(key)? })
    }

    fn op_put(&mut self, key: &str, seq: Option<u64>, data: &[u8], expiry: Expiry) -> io::Result<OpResponse> {
        let Change { prev, result } = self.put(key, exactly(seq), data, expiry)?;
        Ok(OpResponse::Put { key: key.to_owned(), prev, current: result })
    }

    fn op_delete(&mut self, key: &str, seq: Option<u64>) -> io::Result<OpResponse> {
        let Change { prev, result } = self.delete(key, exactly(seq))?;
        Ok(OpResponse::Delete { key: key.to_owned(), success: prev.is_some() && result.is_none(), prev })
    }

    fn op_delete_by_prefix(&mut self, prefix: &str) -> io::Result<OpResponse> {
        let keys = self.store.keys_with_prefix(prefix)?;
        for key in &keys {
            self.store.remove(key)?;
        }
        let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        Ok(OpResponse::DeleteByPrefix { prefix: prefix.to_owned(), count })
    }

    fn op_fetch_increase(&mut self, key: &str, seq: Option<u64>, delta: i64, floor: u64) -> io::Result<OpResponse> {
        let counter = self.increase(key, exactly(seq), delta, floor)?;
        Ok(OpResponse::FetchIncreaseU64 {
            key: key.to_owned(),
            before_seq: counter.before_seq,
            before: counter.before,
            after_seq: counter.after_seq,
            after: counter.after,
        })
    }

    fn op_put_sequential(
        &mut self,
        prefix: &str,
        counter: &str,
        data: &[u8],
        expiry: Expiry,
    ) -> io::Result<OpResponse> {
        let number = self.increase(counter, MatchSeq::Any, 1, 0)?.before;
        self.op_put(&format!("{prefix}{}", sequential(number)), None, data, expiry)
    }

    /// Adds `delta` to the number under `key`, counted from at least `floor` and held inside a u64. The written record never
    /// expires, whatever the one before it did.
    fn increase(&mut self, key: &str, seq: MatchSeq, delta: i64, floor: u64) -> io::Result<Counter> {
        let present = self.store.get(key)?;
        let before = present.as_ref().map_or(0, |record| number_in(&record.data));
        let after = before.max(floor).saturating_add_signed(delta);
        let before_seq = seq_of(present.as_ref());
        if !seq.accepts(before_seq) {
            return Ok(Counter { before_seq, before, after_seq: before_seq, after: before });
        }
        let Change { result, .. } = self.put(key, MatchSeq::Any, after.to_string().as_bytes(), Expiry::NEVER)?;
        Ok(Counter { before_seq, before, after_seq: seq_of(result.as_ref()), after })
    }
}

/// A number kept as text, and its record's sequence number, before and after it was increased.
struct Counter {
    before_seq: u64,
    before: u64,
    after_seq: u64,
    after: u64,
}

/// The number that a record holds as text; any other content counts as 0.
fn number_in(data: &[u8]) -> u64 {
    serde_json::from_slice(data).unwrap_or(0)
}

/// A number as the end of a key, so that keys sort by it: 21 digits, `_` after every third.
fn sequential(number: u64) -> String {
    let mut text = String::with_capacity(27);
    for (position, digit) in format!("{number:021}").chars().enumerate() {
        if position > 0 && position % 3 == 0 {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

fn exactly(seq: Option<u64>) -> MatchSeq {
    seq.map_or(MatchSeq::Any, MatchSeq::Exact)
}

fn expiry_of(payload: &KvPayload) -> Expiry {
    Expiry { expire_at: payload.expire_at_ms, ttl_ms: payload.ttl_ms }
}

#[cfg(test)]
mod tests {
    use super::{number_in, sequential};

    #[test]
    fn a_sequential_number_has_21_digits_in_groups_of_three() {
        assert_eq!(sequential(7), "000_000_000_000_000_000_007");
        assert_eq!(sequential(1_234_567), "000_000_000_000_001_234_567");
        assert_eq!(sequential(u64::MAX), "018_446_744_073_709_551_615");
    }

    #[test]
    fn a_value_that_is_no_json_integer_counts_as_zero() {
        let cases = [("7", 7), (" 7\n", 7), ("18446744073709551615", u64::MAX), ("18446744073709551616", 0)];
        let zeros = ["", "abc", "-1", "1.5", "1e2", "07", "7x", "\"7\"", "null", "\u{fffd}"];
        for (text, number) in cases.into_iter().chain(zeros.map(|text| (text, 0))) {
            assert_eq!(number_in(text.as_bytes()), number, "{text:?}");
        }
    }
}
