//! The bytes of a value: in JSON an array of numbers and nothing else, in MessagePack a byte string.

use serde::{Deserialize, Deserializer, Serializer};

pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serde_bytes::serialize(bytes, serializer)
}

/// A JSON string is not taken for bytes: a Databend that reads the same log refuses it.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    if deserializer.is_human_readable() {
        Vec::deserialize(deserializer)
    } else {
        serde_bytes::deserialize(deserializer)
    }
}
