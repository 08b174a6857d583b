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
    cluster::ContentDigest,
    record::SeqV,
    urgency::{Steps, Urgency},
    write_behind::{Ahead, WriteBehind},
};

use super::{
    Base, BaseMeta, Sorter, TABLE, TABLE_FILES, broken, codec, open_table,
    stored::{Item, StoredKey, StoredValue},
};

/// Records that travel to the writer's thread together.
const BATCH: usize = 1024;
/// Bytes of values after which a batch travels, however few its records are.
const BATCH_BYTES: usize = 1024 * 1024;
/// Batches under way at once.
const QUEUE: usize = 4;

/// A base that is being built in `dir` of records, or of what a table has of them. Dropped before it is finished, it takes its
/// folder with it.
pub struct BaseBuilder<I: Item = (String, SeqV)> {
    dir: PathBuf,
    batch: Vec<I>,
    batch_bytes: usize,
    /// Records so far.
    keys: u64,
    steps: Steps,
    writer: Option<Writer<I>>,
    complete: bool,
}

struct Writer<I: Item> {
    queue: SyncSender<Vec<I>>,
    thread: JoinHandle<io::Result<I::Digest>>,
}

impl BaseBuilder {
    /// Begins a base in `dir`, which must not exist.
    pub fn create(dir: &Path) -> io::Result<BaseBuilder> {
        BaseBuilder::begin(dir, Urgency::Now)
    }

    /// Adds a record; keys come in strictly ascending byte order.
    pub fn push(&mut self, key: String, value: SeqV) -> io::Result<()> {
        self.add((key, value))
    }

    /// Completes the base, on disk for good, and opens it. `meta.keys` is set here.
    pub fn finish(self, meta: BaseMeta) -> io::Result<(Base, ContentDigest)> {
        let (base, hasher) = self.complete(meta)?;
        Ok((base, hasher.finish()))
    }
}

/// Builds a base in `dir`, which must not exist, of what a table has of records, in key order, beside other work. `meta.keys` is set
/// here.
pub fn build_stored(
    dir: &Path,
    meta: BaseMeta,
    records: impl Iterator<Item = io::Result<(StoredKey, StoredValue)>>,
) -> io::Result<Base> {
    let mut builder = BaseBuilder::begin(dir, Urgency::Background)?;
    for record in records {
        builder.add(record?)?;
    }
    builder.complete(meta).map(|(base, ())| base)
}

impl<I: Item> BaseBuilder<I> {
    fn begin(dir: &Path, urgency: Urgency) -> io::Result<Self> {
        fs::create_dir(dir)
            .map_err(|err| io::Error::new(err.kind(), format!("cannot create {}: {err}", dir.display())))?;
        let (queue, batches) = sync_channel::<Vec<I>>(QUEUE);
        let folder = dir.to_owned();
        let thread = thread::Builder::new()
            .name("base-writer".to_owned())
            .spawn(move || write_table(&folder, batches.into_iter().flatten(), urgency.steps()))?;
        Ok(BaseBuilder {
            dir: dir.to_owned(),
            batch: Vec::with_capacity(BATCH),
            batch_bytes: 0,
            keys: 0,
            steps: urgency.steps(),
            writer: Some(Writer { queue, thread }),
            complete: false,
        })
    }

    pub fn keys(&self) -> u64 {
        self.keys
    }

    fn add(&mut self, item: I) -> io::Result<()> {
        self.batch_bytes += item.bytes();
        self.steps.did(item.bytes());
        self.batch.push(item);
        self.keys += 1;
        if self.batch.len() >= BATCH || self.batch_bytes >= BATCH_BYTES { self.send() } else { Ok(()) }
    }

    fn complete(mut self, meta: BaseMeta) -> io::Result<(Base, I::Digest)> {
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

    fn join(&mut self) -> io::Result<I::Digest> {
        let Some(Writer { queue, thread }) = self.writer.take() else {
            return Err(io::Error::other("the table's writer has ended"));
        };
        drop(queue);
        let result = thread.join().unwrap_or_else(|_| Err(io::Error::other("the table's writer panicked")));
        result.map_err(|err| io::Error::new(err.kind(), format!("cannot build {}: {err}", self.dir.display())))
    }
}

impl<I: Item> Drop for BaseBuilder<I> {
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
fn write_table<I: Item>(dir: &Path, records: impl Iterator<Item = I>, mut steps: Steps) -> io::Result<I::Digest> {
    let table = dir.join(TABLE);
    let fail = |err: lsm_tree::Error| broken(&table, &err);
    let tree = open_table(&table)?;
    let mut ingestion = tree.ingestion().map_err(fail)?;
    let mut behind = {
        let files = table.join(TABLE_FILES);
        WriteBehind::start(Ahead::Any, move || newest(&files)?.map_or(Ok(()), |file| file.sync_data()))?
    };
    let mut digest = I::Digest::default();
    let mut expiries: Option<Sorter> = None;
    let mut scratch = Vec::new();
    for record in records {
        record.digest(&mut digest);
        if let Some((at, key)) = record.expires()? {
            let sorter = match &mut expiries {
                Some(sorter) => sorter,
                None => expiries.insert(Sorter::new(dir)?),
            };
            sorter.insert(&codec::expire_key(at), key)?;
        }
        let (key, value) = record.stored(&mut scratch);
        behind.add(key.len() + value.len());
        steps.did(key.len() + value.len());
        ingestion.write(key, value).map_err(fail)?;
    }
    if let Some(sorter) = expiries {
        for item in sorter.into_sorted() {
            let (key, value) = item?;
            steps.did(key.len() + value.len());
            ingestion.write(key, value).map_err(fail)?;
        }
    }
    ingestion.finish().map_err(fail)?;
    behind.finish().map_err(|err| io::Error::new(err.kind(), format!("cannot sync {}: {err}", table.display())))?;
    Ok(digest)
}

/// The file that is being written: the engine numbers them.
fn newest(files: &Path) -> io::Result<Option<File>> {
    let mut newest: Option<u64> = None;
    for entry in fs::read_dir(files)? {
        newest = newest.max(entry?.file_name().to_str().and_then(|name| name.parse().ok()));
    }
    newest.map(|number| File::open(files.join(number.to_string()))).transpose()
}

#[cfg(test)]
mod tests {
    use backup_plugin::record::KvMeta;

    use super::*;

    fn record(key: &str) -> (StoredKey, StoredValue) {
        (StoredKey::of(key), StoredValue::of(&SeqV { seq: 1, meta: None, data: b"data".to_vec() }))
    }

    /// Why no base came of these records, of which there are more than fit between the two threads.
    fn failure(records: impl Iterator<Item = io::Result<(StoredKey, StoredValue)>>) -> String {
        let dir = tempfile::tempdir().unwrap();
        let keys = (0..20 * BATCH).map(|n| Ok(record(&format!("l{n:09}"))));
        let error = build_stored(&dir.path().join("base"), BaseMeta::default(), records.chain(keys)).err();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "an unfinished base is left");
        error.expect("no base comes of it").to_string()
    }

    #[test]
    fn whichever_thread_fails_the_base_fails_with_its_reason_and_leaves_nothing() {
        let unreadable = || Err(io::Error::other("disk gone"));
        assert_eq!(failure([Ok(record("a")), unreadable()].into_iter()), "disk gone");
        let no_value = (StoredKey::of("b"), StoredValue::new(b"".into()));
        let error = failure([Ok(record("a")), Ok(no_value)].into_iter());
        assert!(error.contains("cannot build") && error.contains("a record that ends early"), "{error}");
        // The engine panics where keys do not ascend.
        let error = failure([Ok(record("b")), Ok(record("a"))].into_iter());
        assert!(error.contains("the table's writer panicked"), "{error}");
    }

    #[test]
    fn what_goes_from_one_table_into_the_next_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let value = |seq, expire_at| SeqV {
            seq,
            meta: Some(KvMeta { expire_at, proposed_at_ms: Some(seq) }),
            data: vec![7; seq as usize],
        };
        let records: Vec<(String, SeqV)> = (0..3 * BATCH as u64)
            .map(|n| (format!("k{n:06}"), value(n, (n % 3 == 0).then_some(1_700_000_000 + n))))
            .collect();
        let mut builder = BaseBuilder::create(&dir.path().join("1")).unwrap();
        records.iter().for_each(|(key, value)| builder.push(key.clone(), value.clone()).unwrap());
        let (first, _) = builder.finish(BaseMeta::default()).unwrap();
        let second = build_stored(&dir.path().join("2"), first.meta().clone(), first.stored()).unwrap();
        let all = |base: &Base| base.records().collect::<io::Result<Vec<_>>>().unwrap();
        assert_eq!(all(&first), records);
        assert_eq!(all(&second), records);
        let index = |base: &Base| base.expiries(0).collect::<io::Result<Vec<_>>>().unwrap();
        assert_eq!(index(&second), index(&first));
        assert_eq!(index(&second).len(), BATCH);
        assert_eq!(second.meta(), first.meta());
    }

    /// The engine makes a new table where there is none.
    #[test]
    fn a_table_that_is_gone_is_an_error_to_who_reads_all_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = BaseBuilder::create(&dir.path().join("1")).unwrap();
        builder.push("a".to_owned(), SeqV::default()).unwrap();
        let (base, _) = builder.finish(BaseMeta::default()).unwrap();
        let current = dir.path().join("1").join(TABLE).join("current");
        fs::remove_file(&current).unwrap();
        let read: Vec<_> = base.records().collect();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].as_ref().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!current.exists());
    }

    #[test]
    fn the_file_that_is_being_written_has_the_highest_number() {
        let dir = tempfile::tempdir().unwrap();
        assert!(newest(dir.path()).unwrap().is_none());
        for (name, content) in [("9", "old"), ("10", "new"), ("LOCK", "no table"), ("1", "oldest")] {
            fs::write(dir.path().join(name), content).unwrap();
        }
        assert_eq!(io::read_to_string(newest(dir.path()).unwrap().unwrap()).unwrap(), "new");
        // As the engine really names them.
        let table = tempfile::tempdir().unwrap();
        let mut builder = BaseBuilder::create(&table.path().join("1")).unwrap();
        builder.push("a".to_owned(), SeqV::default()).unwrap();
        builder.finish(BaseMeta::default()).unwrap();
        assert!(newest(&table.path().join("1").join(TABLE).join(TABLE_FILES)).unwrap().is_some());
    }
}
