//! The content digest: one number that two state machines share when they hold the same key-value records.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::{hex::hex, record::SeqV};

/// SHA-256 over the key-value records of a state machine; see [`ContentHasher`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentDigest(pub [u8; 32]);

/// 64 lower-case hex digits.
impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentDigest({self})")
    }
}

/// Takes the records of a state machine, in key order, and digests them.
///
/// For each record, in this order, numbers as 8 bytes big-endian:
///
/// | field | bytes |
/// |---|---|
/// | key | length, then the bytes |
/// | seq | number |
/// | expire_at | `0`, or `1` and the number as it was given (seconds or milliseconds) |
/// | proposed_at_ms | `0`, or `1` and the number |
/// | data | length, then the bytes |
///
/// A missing meta and an empty one mean the same and digest the same.
#[derive(Debug, Clone, Default)]
pub struct ContentHasher {
    hasher: Sha256,
    /// Bytes that are still to be hashed: many small pieces cost more than they weigh.
    pending: Vec<u8>,
}

/// Bytes that are hashed together.
const PENDING: usize = 16 * 1024;

impl ContentHasher {
    pub fn new() -> Self {
        ContentHasher::default()
    }

    /// Adds the next record; keys come in byte order.
    pub fn push(&mut self, key: &str, value: &SeqV) {
        let meta = value.meta.unwrap_or_default();
        let out = &mut self.pending;
        put_number(out, key.len() as u64);
        out.extend_from_slice(key.as_bytes());
        put_number(out, value.seq);
        put_optional(out, meta.expire_at);
        put_optional(out, meta.proposed_at_ms);
        put_number(out, value.data.len() as u64);
        if value.data.len() < PENDING {
            self.pending.extend_from_slice(&value.data);
        } else {
            self.hash_pending();
            self.hasher.update(&value.data);
        }
        if self.pending.len() >= PENDING {
            self.hash_pending();
        }
    }

    pub fn finish(mut self) -> ContentDigest {
        self.hash_pending();
        ContentDigest(self.hasher.finalize().into())
    }

    fn hash_pending(&mut self) {
        self.hasher.update(&self.pending);
        self.pending.clear();
    }
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn put_optional(out: &mut Vec<u8>, value: Option<u64>) {
    out.push(value.is_some().into());
    if let Some(value) = value {
        put_number(out, value);
    }
}

/// 8 bytes, big-endian.
pub(super) fn number(hasher: &mut Sha256, number: u64) {
    hasher.update(number.to_be_bytes());
}

/// The length as a number, then the bytes: what follows can not be taken for a part of them.
pub(super) fn bytes(hasher: &mut Sha256, bytes: &[u8]) {
    number(hasher, bytes.len() as u64);
    hasher.update(bytes);
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::{ContentDigest, ContentHasher, PENDING};
    use crate::record::{KvMeta, SeqV};

    fn value(seq: u64, meta: Option<KvMeta>, data: &[u8]) -> SeqV {
        SeqV { seq, meta, data: data.to_vec() }
    }

    fn digest(records: &[(&str, SeqV)]) -> ContentDigest {
        let mut hasher = ContentHasher::new();
        for (key, value) in records {
            hasher.push(key, value);
        }
        hasher.finish()
    }

    /// Pins the byte layout: a change of it would give every cluster another id.
    #[test]
    fn the_layout_is_fixed() {
        let meta = KvMeta { expire_at: Some(1_667_291_025), proposed_at_ms: None };
        let records = [("a", value(1, None, b"x")), ("b/é", value(258, Some(meta), b""))];
        let expected = "6f9edc009e1a8707203e31ef12e37591510df32679a11e4c9146bb664051b46c";
        assert_eq!(digest(&records).to_string(), expected);
        assert_eq!(
            digest(&[]).to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "SHA-256 of nothing"
        );
    }

    #[test]
    fn every_field_counts_and_a_missing_meta_is_an_empty_one() {
        let base = [("a", value(1, None, b"x"))];
        assert_eq!(digest(&base), digest(&[("a", value(1, Some(KvMeta::default()), b"x"))]));

        let expire = KvMeta { expire_at: Some(1), proposed_at_ms: None };
        let proposed = KvMeta { expire_at: None, proposed_at_ms: Some(1) };
        let others = [
            vec![],
            vec![("b", value(1, None, b"x"))],
            vec![("a", value(2, None, b"x"))],
            vec![("a", value(1, Some(expire), b"x"))],
            vec![("a", value(1, Some(proposed), b"x"))],
            vec![("a", value(1, None, b"y"))],
            vec![("a", value(1, None, b"x")), ("b", value(2, None, b""))],
        ];
        let mut seen: Vec<ContentDigest> = others.iter().map(|records| digest(records)).collect();
        seen.push(digest(&base));
        let count = seen.len();
        seen.sort_by_key(|digest| digest.0);
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    /// However the bytes are gathered, they are the same bytes.
    #[test]
    fn values_of_any_size_are_hashed_in_order() {
        let records: Vec<(String, SeqV)> = [1, PENDING - 1, PENDING, 3, PENDING + 1, 0, 5 * PENDING]
            .into_iter()
            .enumerate()
            .map(|(i, len)| (format!("k{i}"), value(i as u64, None, &vec![i as u8; len])))
            .collect();
        let mut hasher = ContentHasher::new();
        let mut whole = Sha256::new();
        for (key, value) in &records {
            hasher.push(key, value);
            let numbers = [key.len() as u64, value.seq, value.data.len() as u64].map(u64::to_be_bytes);
            let parts: [&[u8]; 7] = [&numbers[0], key.as_bytes(), &numbers[1], &[0], &[0], &numbers[2], &value.data];
            parts.iter().for_each(|part| whole.update(part));
        }
        assert_eq!(hasher.finish(), ContentDigest(whole.finalize().into()));
    }
}
