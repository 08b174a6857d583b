//! What a base is built of: records as they are read and written, and records as a table has them. The latter only go from one
//! table into the next, so they are not taken apart on the way. Knows nothing of files.

use std::{cmp::Ordering, io};

use backup_plugin::{cluster::ContentHasher, record::SeqV};
use lsm_tree::{UserKey, UserValue};

use super::{ExpireKey, codec};

/// A record that goes into a table.
pub trait Item: Send + 'static {
    /// What is kept of all of them.
    type Digest: Default + Send + 'static;

    /// Bytes of the value, roughly.
    fn bytes(&self) -> usize;

    /// Where the record stands in the expire index, and what that has there. An error where there is no value.
    fn expires(&self) -> io::Result<Option<(ExpireKey, &[u8])>>;

    fn digest(&self, digest: &mut Self::Digest);

    /// As the table has it. `scratch`: memory to write in.
    fn stored(self, scratch: &mut Vec<u8>) -> (UserKey, UserValue);
}

impl Item for (String, SeqV) {
    type Digest = ContentHasher;

    fn bytes(&self) -> usize {
        self.1.data.len()
    }

    fn expires(&self) -> io::Result<Option<(ExpireKey, &[u8])>> {
        let (key, value) = self;
        Ok(value.expiry_ms().map(|time_ms| ((time_ms, value.seq), key.as_bytes())))
    }

    fn digest(&self, digest: &mut ContentHasher) {
        digest.push(&self.0, &self.1);
    }

    fn stored(self, scratch: &mut Vec<u8>) -> (UserKey, UserValue) {
        let (key, value) = self;
        scratch.clear();
        codec::put_kv_key(&key, scratch);
        let stored_key = scratch.as_slice().into();
        scratch.clear();
        codec::put_value(&value, scratch);
        (stored_key, scratch.as_slice().into())
    }
}

/// The key of a record as a table has it.
pub struct StoredKey(UserKey);

/// The rest of it.
pub struct StoredValue(UserValue);

impl StoredKey {
    pub fn of(key: &str) -> StoredKey {
        StoredKey(codec::kv_key(key).into())
    }

    pub(super) fn new(stored: UserKey) -> StoredKey {
        StoredKey(stored)
    }

    /// Keys have the same order in either form.
    pub fn order(&self, key: &str) -> Ordering {
        codec::kv_bytes(&self.0).cmp(key.as_bytes())
    }
}

impl StoredValue {
    pub fn of(value: &SeqV) -> StoredValue {
        StoredValue(codec::encode_value(value).into())
    }

    pub(super) fn new(stored: UserValue) -> StoredValue {
        StoredValue(stored)
    }
}

/// Nobody asks for the digest of a state that was here before.
impl Item for (StoredKey, StoredValue) {
    type Digest = ();

    fn bytes(&self) -> usize {
        self.1.0.len()
    }

    fn expires(&self) -> io::Result<Option<(ExpireKey, &[u8])>> {
        let (StoredKey(key), StoredValue(value)) = self;
        Ok(codec::parts(value)?.expires().map(|at| (at, codec::kv_bytes(key))))
    }

    fn digest(&self, (): &mut ()) {}

    fn stored(self, _: &mut Vec<u8>) -> (UserKey, UserValue) {
        (self.0.0, self.1.0)
    }
}
