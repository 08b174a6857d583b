//! A base: the state machine as of one log id, as an immutable sorted table on disk.
//!
//! A base is built once, from records in key order ([`BaseBuilder`]), is complete and fsynced before anything names it, and is
//! never written to again. It is deleted when it is obsolete and its last reader has gone. Knows nothing of the log, of
//! overlays, or of who decides which base is live.

mod builder;
mod codec;
mod erase;
mod meta;
mod sorter;
mod stored;

use std::{
    fmt::Display,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
};

use backup_plugin::record::{LogId, MAX_KEY_BYTES, SeqV};
use lsm_tree::{
    AbstractTree, AnyTree, Cache, Config, Guard, SequenceNumberCounter, UserKey, UserValue, config::PinningPolicy,
};

pub use builder::{BaseBuilder, build_stored};
pub(crate) use codec::{decode_value, encode_value};
pub use meta::BaseMeta;
pub use sorter::Sorter;
pub use stored::{StoredKey, StoredValue};

/// Folder of the table inside a base.
const TABLE: &str = "table";
/// Where the engine keeps a table's files, inside its folder.
const TABLE_FILES: &str = "tables";
/// Sees every record of a table: nothing is ever overwritten in one, so any moment will do.
const ALL: u64 = u64::MAX >> 1;
/// What is cached of a table that is read once from end to end, in bytes: the engine can not do with nothing.
const SCAN_CACHE: u64 = 64 * 1024;

/// When a record expires (milliseconds since 1970) and its sequence number: where it stands in the expire index.
pub type ExpireKey = (u64, u64);

/// An open base. Reading blocks on disk.
pub struct Base {
    dir: PathBuf,
    tree: AnyTree,
    meta: BaseMeta,
    /// How many records expire, once that was counted.
    expiring: OnceLock<u64>,
    fate: Mutex<Fate>,
}

/// What becomes of a base's folder with its last reader.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Kept,
    Deleted,
    DeletedInParts,
}

impl Base {
    /// Opens a complete base, whose files are left as they are.
    pub fn open(dir: &Path) -> io::Result<Base> {
        let meta = BaseMeta::load(dir)?;
        let table = dir.join(TABLE);
        check_begun(&table)?;
        let tree = open_table(&table)?;
        if meta.keys > 0 && tree.table_count() == 0 {
            let reason = format!("{} is empty, and should hold {} records", table.display(), meta.keys);
            return Err(io::Error::new(ErrorKind::InvalidData, reason));
        }
        Ok(Base { dir: dir.to_owned(), tree, meta, expiring: OnceLock::new(), fate: Mutex::new(Fate::Kept) })
    }

    pub fn meta(&self) -> &BaseMeta {
        &self.meta
    }

    /// The log id this is the state of; `None`: nothing was applied yet.
    pub fn last_applied(&self) -> Option<LogId> {
        self.meta.last_applied
    }

    /// The name of the folder, as the live base is named by.
    pub fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.tree.disk_space()
    }

    pub fn get(&self, key: &str) -> io::Result<Option<SeqV>> {
        // Nothing is stored under such a key, and the engine panics when asked for one.
        if key.len() > MAX_KEY_BYTES {
            return Ok(None);
        }
        match self.tree.get(codec::kv_key(key), ALL).map_err(|err| self.broken(&err))? {
            Some(value) => codec::decode_value(&value).map(Some),
            None => Ok(None),
        }
    }

    /// Every record under `prefix`, in key order.
    pub fn prefix(&self, prefix: &str) -> impl Iterator<Item = io::Result<(Arc<str>, Arc<SeqV>)>> + Send + use<> {
        let dir = self.dir.clone();
        // What has a longer prefix is not stored: cut, it finds at most one key, which is not under it.
        let longest = prefix.floor_char_boundary(MAX_KEY_BYTES);
        let found = self.tree.prefix(codec::kv_key(&prefix[..longest]), ALL, None);
        found.take(if longest < prefix.len() { 0 } else { usize::MAX }).map(move |item| decode(&dir, item))
    }

    /// Every record from `start` on and before `end`, in key order. Both are at most one byte longer than a key may be.
    pub fn range(
        &self,
        start: &str,
        end: &str,
    ) -> impl Iterator<Item = io::Result<(Arc<str>, Arc<SeqV>)>> + Send + use<> {
        let dir = self.dir.clone();
        self.tree.range(codec::kv_key(start)..codec::kv_key(end), ALL, None).map(move |item| decode(&dir, item))
    }

    /// Every key, in order. Holds what it reads, also where the base is retired meanwhile.
    pub fn keys(self: Arc<Self>) -> impl Iterator<Item = io::Result<Arc<str>>> + Send + use<> {
        let records = self.prefix("");
        records.map(move |record| {
            // An open table does not keep its own files from being deleted; this handle does.
            let _held = &self;
            Ok(record?.0)
        })
    }

    /// Every record, in key order.
    pub fn records(&self) -> impl Iterator<Item = io::Result<(String, SeqV)>> + Send + use<> {
        self.scan(|key, value| Ok((codec::decode_kv_key(&key)?.to_owned(), codec::decode_value(&value)?)))
    }

    /// Every record, in key order, as the table has it.
    pub fn stored(&self) -> impl Iterator<Item = io::Result<(StoredKey, StoredValue)>> + Send + use<> {
        self.scan(|key, value| Ok((StoredKey::new(key), StoredValue::new(value))))
    }

    /// Reads all records once, past the cache, which is for those who read some of them again.
    fn scan<T, F>(&self, read: F) -> impl Iterator<Item = io::Result<T>> + Send + use<T, F>
    where
        T: Send,
        F: Fn(UserKey, UserValue) -> io::Result<T> + Send,
    {
        let dir = self.dir.clone();
        let (items, failure) = match open_scan(&self.dir.join(TABLE)) {
            Ok(tree) => (Some(tree.prefix(codec::kv_key(""), ALL, None)), None),
            Err(err) => (None, Some(Err(err))),
        };
        let records = items.into_iter().flatten().map(move |item| {
            let (key, value) = item.into_inner().map_err(|err| broken(&dir, &err))?;
            read(key, value)
        });
        failure.into_iter().chain(records)
    }

    /// The expire index from the time `from` (ms) on, oldest first.
    pub fn expiries(&self, from: u64) -> impl Iterator<Item = io::Result<(ExpireKey, Arc<str>)>> + Send + use<> {
        let dir = self.dir.clone();
        self.tree.range(codec::expire_key((from, 0)).., ALL, None).map(move |item| {
            let (key, value) = item.into_inner().map_err(|err| broken(&dir, &err))?;
            Ok((codec::decode_expire_key(&key)?, Arc::from(codec::decode_str(&value)?)))
        })
    }

    /// How many records expire, which is counted once. Blocks.
    pub fn expiring(&self) -> io::Result<u64> {
        if let Some(counted) = self.expiring.get() {
            return Ok(*counted);
        }
        let counted = self.expiries(0).try_fold(0, |count, item| item.map(|_| count + 1))?;
        Ok(*self.expiring.get_or_init(|| counted))
    }

    /// Whether its folder lies in `dir`.
    pub fn lies_in(&self, dir: &Path) -> bool {
        self.dir.parent() == Some(dir)
    }

    /// Marks the folder for deletion, which happens when the last reader has gone.
    pub fn retire(&self) {
        self.decide(Fate::Deleted);
    }

    /// The same for a base that may be large, beside writers that wait for the same disk. What is not deleted yet when the process
    /// ends is swept when the store is opened next.
    pub fn retire_in_parts(&self) {
        self.decide(Fate::DeletedInParts);
    }

    /// Takes back [`Base::retire`].
    pub fn keep(&self) {
        self.decide(Fate::Kept);
    }

    fn decide(&self, fate: Fate) {
        *self.fate.lock().unwrap_or_else(PoisonError::into_inner) = fate;
    }

    fn broken(&self, err: &lsm_tree::Error) -> io::Error {
        broken(&self.dir, err)
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        match *self.fate.get_mut().unwrap_or_else(PoisonError::into_inner) {
            Fate::Kept => {}
            Fate::Deleted => delete(&self.dir, |dir| fs::remove_dir_all(dir)),
            Fate::DeletedInParts => delete_in_parts(&self.dir),
        }
    }
}

/// Deletes what is large on a thread of its own.
fn delete_in_parts(dir: &Path) {
    if erase::is_large(dir).unwrap_or(false) {
        let dir = dir.to_owned();
        let erase = move || delete(&dir, erase::erase);
        if thread::Builder::new().name("base-eraser".to_owned()).spawn(erase).is_ok() {
            return;
        }
    }
    delete(dir, |dir| fs::remove_dir_all(dir));
}

fn delete(dir: &Path, delete: impl FnOnce(&Path) -> io::Result<()>) {
    if let Err(err) = delete(dir) {
        // Whatever is left is swept when the store is opened next.
        tracing::warn!(base = %dir.display(), error = %err, "cannot delete an obsolete base");
    }
}

fn decode(dir: &Path, item: impl Guard) -> io::Result<(Arc<str>, Arc<SeqV>)> {
    let (key, value) = item.into_inner().map_err(|err| broken(dir, &err))?;
    Ok((Arc::from(codec::decode_kv_key(&key)?), Arc::new(codec::decode_value(&value)?)))
}

/// Without this file the engine would begin a new, empty table in the place of the old one.
fn check_begun(table: &Path) -> io::Result<()> {
    let version = table.join("current");
    let said = |kind, what: &dyn Display| io::Error::new(kind, format!("{} {what}", version.display()));
    match fs::metadata(&version) {
        Ok(found) if found.is_file() => Ok(()),
        Err(err) if err.kind() != ErrorKind::NotFound => {
            Err(said(err.kind(), &format_args!("can not be looked at: {err}")))
        }
        _ => Err(said(ErrorKind::NotFound, &"is missing")),
    }
}

fn open_table(dir: &Path) -> io::Result<AnyTree> {
    config(dir).open().map_err(|err| broken(dir, &err))
}

/// Opens a table that may be open already, to read it once: what is read is not kept, nor is anything to find it by.
fn open_scan(dir: &Path) -> io::Result<AnyTree> {
    check_begun(dir)?;
    config(dir)
        .use_cache(Arc::new(Cache::with_capacity_bytes(SCAN_CACHE)))
        .index_block_pinning_policy(PinningPolicy::all(false))
        .filter_block_pinning_policy(PinningPolicy::all(false))
        .open()
        .map_err(|err| broken(dir, &err))
}

fn config(dir: &Path) -> Config {
    Config::new(dir, SequenceNumberCounter::default(), SequenceNumberCounter::default())
}

/// The engine's error as an I/O error that names the table.
fn broken(dir: &Path, err: &lsm_tree::Error) -> io::Error {
    let said =
        |kind, what: &dyn Display| io::Error::new(kind, format!("cannot use the table in {}: {what}", dir.display()));
    match err {
        // The engine would show how Rust writes it.
        lsm_tree::Error::Io(err) => said(err.kind(), err),
        err => said(ErrorKind::InvalidData, err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_disk_is_told_as_people_read_it() {
        let full = rustix::io::Errno::NOSPC.into();
        let error = broken(Path::new("/m/table"), &lsm_tree::Error::Io(full));
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(error.to_string(), "cannot use the table in /m/table: No space left on device (os error 28)");
        let error = broken(Path::new("/m/table"), &lsm_tree::Error::Unrecoverable);
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
