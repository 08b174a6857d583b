//! Builds a base from records in key order: table, expire index, then the file that says it is complete. The table is written
//! on a thread of its own, so that whoever makes the records (a decoder, a merge) runs beside it.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::mpsc::{SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use backup_plugin::{
    cluster::{ContentDigest, ContentHasher},
    record::SeqV,
};

use super::{Base, BaseMeta, Sorter, TABLE, broken, codec, open_table};

/// Records that travel to the writer's thread together.
const BATCH: usize = 256;
/// Bytes of values after which a batch travels, however few its records are.
const BATCH_BYTES: usize = 1024 * 1024;
/// Batches under way at once.
const QUEUE: usize = 4;

type Batch = Vec<(String, SeqV)>;

/// A base that is being built in `dir`. Dropped before [`BaseBuilder::finish`], it takes its folder with it.
pub struct BaseBuilder {
    dir: PathBuf,
    batch: Batch,
    batch_bytes: usize,
    /// Records so far.
    keys: u64,
    writer: Option<Writer>,
    complete: bool,
}

struct Writer {
    queue: SyncSender<Batch>,
    thread: JoinHandle<io::Result<ContentDigest>>,
}

impl BaseBuilder {
    /// Begins a base in `dir`, which must not exist.
    pub fn create(dir: &Path) -> io::Result<BaseBuilder> {
        fs::create_dir(dir)
            .map_err(|err| io::Error::new(err.kind(), format!("cannot create {}: {err}", dir.display())))?;
        let (queue, batches) = sync_channel::<Batch>(QUEUE);
        let folder = dir.to_owned();
        let thread = thread::Builder::new()
            .name("base-writer".to_owned())
            .spawn(move || write_table(&folder, batches.into_iter().flatten()))?;
        Ok(BaseBuilder {
            dir: dir.to_owned(),
            batch: Vec::with_capacity(BATCH),
            batch_bytes: 0,
            keys: 0,
            writer: Some(Writer { queue, thread }),
            complete: false,
        })
    }

    /// Adds a record; keys come in strictly ascending byte order.
    pub fn push(&mut self, key: String, value: SeqV) -> io::Result<()> {
        self.batch_bytes += value.data.len();
        self.batch.push((key, value));
        self.keys += 1;
        if self.batch.len() >= BATCH || self.batch_bytes >= BATCH_BYTES { self.send() } else { Ok(()) }
    }

    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Completes the base, on disk for good, and opens it. `meta.keys` is set here.
    pub fn finish(mut self, meta: BaseMeta) -> io::Result<(Base, ContentDigest)> {
        self.send()?;
        let digest = self.join()?;
        BaseMeta { keys: self.keys, ..meta }.store(&self.dir)?;
        if let Some(parent) = self.dir.parent() {
            File::open(parent)?.sync_all()?;
        }
        let base = Base::open(&self.dir)?;
        self.complete = true;
        Ok((base, digest))
    }

    fn send(&mut self) -> io::Result<()> {
        self.batch_bytes = 0;
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        let sent = self.writer.as_ref().is_some_and(|writer| writer.queue.send(batch).is_ok());
        if sent {
            return Ok(());
        }
        // The thread has ended early: what it says is the reason.
        self.join().and_then(|_| Err(io::Error::other("the table's writer ended early")))
    }

    fn join(&mut self) -> io::Result<ContentDigest> {
        let Some(Writer { queue, thread }) = self.writer.take() else {
            return Err(io::Error::other("the table's writer has ended"));
        };
        drop(queue);
        let result = thread.join().unwrap_or_else(|_| Err(io::Error::other("the table's writer panicked")));
        result.map_err(|err| io::Error::new(err.kind(), format!("cannot build {}: {err}", self.dir.display())))
    }
}

impl Drop for BaseBuilder {
    fn drop(&mut self) {
        if self.complete {
            return;
        }
        // The thread must be done with the folder; why it failed was told before, or no one asks.
        let _ = self.join();
        if let Err(err) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(base = %self.dir.display(), error = %err, "cannot delete an unfinished base");
        }
    }
}

/// Writes the records, and after them the expire index that they imply.
fn write_table(dir: &Path, records: impl Iterator<Item = (String, SeqV)>) -> io::Result<ContentDigest> {
    let table = dir.join(TABLE);
    let fail = |err: lsm_tree::Error| broken(&table, &err);
    let tree = open_table(&table)?;
    let mut ingestion = tree.ingestion().map_err(fail)?;
    let mut hasher = ContentHasher::new();
    let mut expiries: Option<Sorter> = None;
    let (mut stored_key, mut stored) = (Vec::new(), Vec::new());
    for (key, value) in records {
        hasher.push(&key, &value);
        stored_key.clear();
        codec::put_kv_key(&key, &mut stored_key);
        stored.clear();
        codec::put_value(&value, &mut stored);
        ingestion.write(stored_key.as_slice(), stored.as_slice()).map_err(fail)?;
        if let Some(time_ms) = value.expiry_ms() {
            let sorter = match &mut expiries {
                Some(sorter) => sorter,
                None => expiries.insert(Sorter::new(dir)?),
            };
            sorter.insert(&codec::expire_key((time_ms, value.seq)), key.as_bytes())?;
        }
    }
    if let Some(sorter) = expiries {
        for item in sorter.into_sorted() {
            let (key, value) = item?;
            ingestion.write(key, value).map_err(fail)?;
        }
    }
    ingestion.finish().map_err(fail)?;
    Ok(hasher.finish())
}
