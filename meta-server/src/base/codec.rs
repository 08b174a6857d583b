//! Keys and values of a base's table, as bytes. Records come first, the expire index after them, so that one pass in key order
//! writes both.
//!
//! ```text
//! 'k' key            -> flags, seq, [expire_at], [proposed_at_ms], data      integers: 8 bytes, little-endian
//! 'x' time seq       -> key                                                  time (ms) and seq: 8 bytes, big-endian
//! ```

use std::io;

use backup_plugin::record::{KvMeta, SeqV, expiry_ms};

use super::ExpireKey;

const KV: u8 = b'k';
const EXPIRE: u8 = b'x';

const HAS_META: u8 = 1;
const HAS_EXPIRE_AT: u8 = 2;
const HAS_PROPOSED_AT: u8 = 4;

pub(super) fn kv_key(key: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + key.len());
    put_kv_key(key, &mut out);
    out
}

/// Appends what [`kv_key`] gives.
pub(super) fn put_kv_key(key: &str, out: &mut Vec<u8>) {
    out.push(KV);
    out.extend_from_slice(key.as_bytes());
}

pub(super) fn decode_kv_key(bytes: &[u8]) -> io::Result<&str> {
    match bytes.split_first() {
        Some((&KV, key)) => decode_str(key),
        _ => Err(invalid("a record's key")),
    }
}

/// The bytes of a record's key, in the order and the form of the keys themselves.
pub(super) fn kv_bytes(stored: &[u8]) -> &[u8] {
    stored.strip_prefix(&[KV]).unwrap_or_default()
}

pub(super) fn expire_key((time_ms, seq): ExpireKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(17);
    out.push(EXPIRE);
    out.extend_from_slice(&time_ms.to_be_bytes());
    out.extend_from_slice(&seq.to_be_bytes());
    out
}

pub(super) fn decode_expire_key(bytes: &[u8]) -> io::Result<ExpireKey> {
    let (&[EXPIRE], rest) = split::<1>(bytes)? else {
        return Err(invalid("a key of the expire index"));
    };
    let (time_ms, rest) = split::<8>(rest)?;
    let (seq, _) = split::<8>(rest)?;
    Ok((u64::from_be_bytes(*time_ms), u64::from_be_bytes(*seq)))
}

pub(crate) fn encode_value(value: &SeqV) -> Vec<u8> {
    let mut out = Vec::with_capacity(25 + value.data.len());
    put_value(value, &mut out);
    out
}

/// Appends what [`encode_value`] gives.
pub(super) fn put_value(value: &SeqV, out: &mut Vec<u8>) {
    let numbers = value.meta.map(|meta| [(HAS_EXPIRE_AT, meta.expire_at), (HAS_PROPOSED_AT, meta.proposed_at_ms)]);
    let present = || numbers.into_iter().flatten().filter_map(|(flag, number)| Some((flag, number?)));
    let has_meta = if numbers.is_some() { HAS_META } else { 0 };
    out.push(present().fold(has_meta, |flags, (flag, _)| flags | flag));
    out.extend_from_slice(&value.seq.to_le_bytes());
    for (_, number) in present() {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&value.data);
}

pub(crate) fn decode_value(bytes: &[u8]) -> io::Result<SeqV> {
    let Parts { seq, meta, data } = parts(bytes)?;
    Ok(SeqV { seq, meta, data: data.to_vec() })
}

/// A value as it is stored, read in place.
pub(super) struct Parts<'a> {
    pub(super) seq: u64,
    pub(super) meta: Option<KvMeta>,
    pub(super) data: &'a [u8],
}

impl Parts<'_> {
    /// Where the record stands in the expire index.
    pub(super) fn expires(&self) -> Option<ExpireKey> {
        let expire_at = self.meta?.expire_at?;
        Some((expiry_ms(expire_at), self.seq))
    }
}

pub(super) fn parts(bytes: &[u8]) -> io::Result<Parts<'_>> {
    let (&[flags], rest) = split::<1>(bytes)?;
    let (seq, mut data) = split::<8>(rest)?;
    let mut number = |flag| {
        if flags & flag == 0 {
            return Ok(None);
        }
        let (number, tail) = split::<8>(data)?;
        data = tail;
        Ok::<_, io::Error>(Some(u64::from_le_bytes(*number)))
    };
    let meta = KvMeta { expire_at: number(HAS_EXPIRE_AT)?, proposed_at_ms: number(HAS_PROPOSED_AT)? };
    let meta = (flags & HAS_META != 0).then_some(meta);
    Ok(Parts { seq: u64::from_le_bytes(*seq), meta, data })
}

pub(super) fn decode_str(bytes: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| invalid("a key that is not UTF-8"))
}

fn split<const N: usize>(bytes: &[u8]) -> io::Result<(&[u8; N], &[u8])> {
    bytes.split_first_chunk::<N>().ok_or_else(|| invalid("a record that ends early"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the table holds {what} that this version did not write"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = SeqV> {
        let meta = (any::<Option<u64>>(), any::<Option<u64>>())
            .prop_map(|(expire_at, proposed_at_ms)| KvMeta { expire_at, proposed_at_ms });
        (any::<u64>(), proptest::option::of(meta), any::<Vec<u8>>()).prop_map(|(seq, meta, data)| SeqV {
            seq,
            meta,
            data,
        })
    }

    proptest! {
        #[test]
        fn a_value_comes_back_as_it_was(value in any_value()) {
            let stored = encode_value(&value);
            let expires = value.expiry_ms().map(|time_ms| (time_ms, value.seq));
            prop_assert_eq!(parts(&stored).unwrap().expires(), expires);
            prop_assert_eq!(decode_value(&stored).unwrap(), value);
        }

        #[test]
        fn keys_keep_their_order(a in any::<String>(), b in any::<String>()) {
            prop_assert_eq!(kv_key(&a).cmp(&kv_key(&b)), a.cmp(&b));
            let stored = kv_key(&a);
            prop_assert_eq!(decode_kv_key(&stored).unwrap(), &a);
            prop_assert_eq!(kv_bytes(&stored), a.as_bytes());
        }

        #[test]
        fn the_index_is_ordered_by_time_then_seq(a in any::<ExpireKey>(), b in any::<ExpireKey>()) {
            prop_assert_eq!(expire_key(a).cmp(&expire_key(b)), a.cmp(&b));
            prop_assert_eq!(decode_expire_key(&expire_key(a)).unwrap(), a);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in any::<Vec<u8>>()) {
            let _ = decode_value(&bytes);
            let _ = decode_expire_key(&bytes);
            let _ = decode_kv_key(&bytes);
        }
    }
}
