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
pub struct ContentHasher(Sha256);

impl ContentHasher {
    pub fn new() -> Self {
        ContentHasher::default()
    }

    /// Adds the next record; keys come in byte order.
    pub fn push(&mut self, key: &str, value: &SeqV) {
        let meta = value.meta.unwrap_or_default();
        bytes(&mut self.0, key.as_bytes());
        number(&mut self.0, value.seq);
        optional(&mut self.0, meta.expire_at);
        optional(&mut self.0, meta.proposed_at_ms);
        bytes(&mut self.0, &value.data);
    }

    pub fn finish(self) -> ContentDigest {
        ContentDigest(self.0.finalize().into())
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

fn optional(hasher: &mut Sha256, value: Option<u64>) {
    match value {
        None => hasher.update([0]),
        Some(value) => {
            hasher.update([1]);
            number(hasher, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ContentDigest, ContentHasher};
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
}
