//! Seeds a stopped node's folder: the import's end of the seam. Everything happens in a new generation beside the live one,
//! until the one step that makes it live.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use backup_plugin::{
    cluster::Lineage,
    export::{MAX_LINE_BYTES, line_bytes},
    import::Refusal,
    record::{HardState, LogEntry, LogId, Payload, Record, SeqV, StateRecord, StoredMembership},
    target::{Origin, RestoreError, RestoreGeneration, RestoreTarget, RestoredState, Seed, Source},
};

use super::{
    feed::{Fed, StateFeed},
    replay::replay,
};
use crate::{
    base::{Base, BaseMeta},
    command::Limits,
    error_chain::chain,
    log::LogDb,
    raft::{
        convert,
        types::{self, Entry, EntryPayload},
    },
    state::State,
    store::{
        Found, RaftDir, Replaced, StoreError, draw_incarnation, load_ancestry, log_folder, open_log, store_source,
    },
};

/// Bytes of log lines that are written together.
const LOG_BATCH: usize = 1024 * 1024;
/// What an entry without a command counts for.
const ENTRY_BYTES: usize = 64;
/// A command of so many bytes is measured as it would be written. Nothing becomes more than ten times as long, as `{}` does where an
/// operation stands.
const MEASURED: usize = MAX_LINE_BYTES / 16;

/// A `--raft-dir` to import into.
#[derive(Debug, Clone)]
pub struct StoreTarget {
    raft_dir: PathBuf,
    replaced: Replaced,
}

impl StoreTarget {
    pub fn new(raft_dir: PathBuf) -> Self {
        StoreTarget { raft_dir, replaced: Replaced::Delete }
    }

    /// What becomes of the generation that is live now; without this it is deleted.
    #[must_use]
    pub fn replacing(mut self, replaced: Replaced) -> Self {
        self.replaced = replaced;
        self
    }

    /// What the generations were imported from that were, the live one's first.
    pub fn origins(&self) -> Result<Vec<Origin>, StoreError> {
        let origin = |found: Found| Ok(load_ancestry(&found.path)?.map(|ancestry| ancestry.source.origin));
        RaftDir::peek(&self.raft_dir)?.into_iter().filter_map(|found| origin(found).transpose()).collect()
    }
}

impl RestoreTarget for StoreTarget {
    type Generation = StoreGeneration;

    fn begin(&self) -> Result<StoreGeneration, RestoreError> {
        let created = !self.raft_dir.exists();
        let dir = RaftDir::lock(&self.raft_dir).map_err(folder)?;
        dir.sweep();
        let path = dir.begin_generation().map_err(folder)?;
        let unfinished = Unfinished { path, created_dir: created.then(|| self.raft_dir.clone()) };
        let log = open_log(&unfinished.path).map_err(folder)?;
        let feed = StateFeed::new(&unfinished.path);
        Ok(StoreGeneration {
            log,
            batch: Vec::new(),
            batch_bytes: 0,
            feed,
            meta: BaseMeta::default(),
            base: None,
            unfinished,
            dir,
            replaced: self.replaced,
        })
    }
}

/// A new generation that is being filled. Dropped before it is committed, it takes its files with it.
pub struct StoreGeneration {
    log: LogDb,
    batch: Vec<Entry>,
    batch_bytes: usize,
    feed: StateFeed,
    meta: BaseMeta,
    base: Option<Arc<Base>>,
    unfinished: Unfinished,
    dir: RaftDir,
    replaced: Replaced,
}

/// The folders that go when the import does not come to its end.
struct Unfinished {
    path: PathBuf,
    /// A raft_dir that was not there when this import began. Another one may have made a store in it since.
    created_dir: Option<PathBuf>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        let removed = fs::remove_dir_all(&self.path);
        if let (Ok(()), Some(dir)) = (removed, &self.created_dir) {
            RaftDir::remove_unused(dir);
        }
    }
}

impl RestoreGeneration for StoreGeneration {
    fn log_entry(&mut self, line: u64, entry: LogEntry) -> Result<(), RestoreError> {
        self.batch_bytes += payload_bytes(&entry.payload);
        let entry = checked_entry(line, &entry)?;
        self.batch.push(entry);
        if self.batch_bytes >= LOG_BATCH { self.write_batch() } else { Ok(()) }
    }

    fn state_record(&mut self, line: u64, record: StateRecord) -> Result<(), RestoreError> {
        match record {
            StateRecord::Sequence(sequence) => self.meta.sequence = sequence,
            StateRecord::LastApplied(log_id) => self.meta.last_applied = Some(log_id),
            StateRecord::LastMembership(membership) => self.meta.last_membership = membership,
            StateRecord::Node { id, node } => {
                self.meta.nodes.insert(id, node);
            }
            // The index is rebuilt from the records.
            StateRecord::Expire { .. } | StateRecord::Ignored => {}
            StateRecord::Kv { key, value } => return self.record(line, key, value),
        }
        Ok(())
    }

    fn finish_state(&mut self, replay_tail: bool) -> Result<RestoredState, RestoreError> {
        self.write_batch()?;
        let built = self.feed.finish(std::mem::take(&mut self.meta));
        let (mut base, mut digest) = built.map_err(disk("build the state in", &self.unfinished.path))?;
        if replay_tail && let Some(range) = tail(&self.log, base.last_applied()) {
            let apply = || {
                let state = State::of_base(Arc::new(base))?;
                let replayed = replay(state.clone(), &self.log, range, &self.unfinished.path)?;
                state.base().retire();
                replayed.build_digested(&self.feed.next_base())
            };
            (base, digest) = apply().map_err(disk("apply the log in", &self.unfinished.path))?;
        }
        let meta = base.meta();
        let restored =
            RestoredState { last_applied: meta.last_applied, sequence: meta.sequence, keys: meta.keys, digest };
        self.base = Some(Arc::new(base));
        Ok(restored)
    }

    fn commit(mut self, seed: Seed, source: Source) -> Result<(), RestoreError> {
        let base = self.base.take().ok_or_else(|| RestoreError::Folder("the state is not finished".to_owned()))?;
        let path = self.unfinished.path.clone();
        match seed {
            Seed::SameNode(hard_state) => {
                self.seed_same(hard_state, &base.name()).map_err(disk("write the log in", &path))?;
            }
            Seed::NewLineage { node_id, lineage, nodes, sequence } => {
                let meta = BaseMeta { nodes, sequence, ..base.meta().clone() };
                self.seed_lineage(node_id, lineage, meta, &base)?;
            }
        }
        drop(base);
        store_source(&path, source).map_err(folder)?;
        sync_folder(&path).map_err(disk("sync", &path))?;
        let switched = self.dir.switch_to(&path, self.replaced);
        // Also when only the last sync failed: what is live must stay.
        if !path.exists() {
            self.unfinished.path = PathBuf::new();
        }
        switched.map(|_| ()).map_err(folder)
    }
}

impl StoreGeneration {
    /// What was fed, once it is finished.
    pub(super) fn base(&self) -> Option<&Arc<Base>> {
        self.base.as_ref()
    }

    fn record(&mut self, line: u64, key: String, value: SeqV) -> Result<(), RestoreError> {
        match self.feed.record(key, value).map_err(disk("build the state in", &self.unfinished.path))? {
            Fed::Taken => Ok(()),
            Fed::Duplicate(key) => Err(key_twice(line, &key)),
        }
    }

    fn write_batch(&mut self) -> Result<(), RestoreError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        self.log.append_blocking(batch).map_err(disk("write the log in", &self.unfinished.path))
    }

    /// Log and hard state as they were fed.
    fn seed_same(&self, hard_state: HardState, base: &str) -> io::Result<()> {
        let base = base.to_owned();
        if let Some(purged) = hard_state.purged {
            self.log.purge_blocking(types::log_id(purged))?;
        }
        self.log.update_state_blocking(move |state| {
            state.node_id = hard_state.node_id;
            state.vote = hard_state.vote.map(convert::vote);
            state.committed = hard_state.committed.map(types::log_id);
            state.live_base = Some(base);
            state.incarnation = Some(draw_incarnation());
        })?;
        self.log.close()
    }

    /// A log that begins with the new membership, above a state that names the new members.
    fn seed_lineage(&self, node_id: u64, lineage: Lineage, meta: BaseMeta, base: &Base) -> Result<(), RestoreError> {
        let path = &self.unfinished.path;
        let Payload::Membership(membership) = lineage.entry.payload.clone() else {
            return Err(RestoreError::Folder("a lineage begins with a membership".to_owned()));
        };
        let meta = BaseMeta {
            last_applied: Some(lineage.log_id),
            last_membership: StoredMembership { log_id: Some(lineage.log_id), membership },
            ..meta
        };
        let entry = convert::entry(&lineage.entry).map_err(|err| RestoreError::Folder(err.to_string()))?;
        meta.store(&path.join(base.name())).map_err(disk("write the base in", path))?;

        let old_log = log_folder(path);
        self.log.close().and_then(|()| fs::remove_dir_all(&old_log)).map_err(disk("replace the log in", path))?;
        let log = open_log(path).map_err(folder)?;
        let name = base.name();
        let seed = || {
            log.purge_blocking(types::log_id(lineage.purged))?;
            log.update_state_blocking(move |state| {
                state.node_id = Some(node_id);
                state.cluster_id = Some(lineage.cluster_id);
                state.vote = Some(convert::vote(lineage.vote));
                state.committed = Some(types::log_id(lineage.log_id));
                state.live_base = Some(name);
                state.incarnation = Some(draw_incarnation());
                state.elect_on_open = true;
            })?;
            log.append_blocking(vec![entry])?;
            log.close()
        };
        seed().map_err(disk("write the log in", path))
    }
}

/// An entry with its command decoded, if it is one that could be applied, and exported again.
pub(super) fn checked_entry(line: u64, entry: &LogEntry) -> Result<Entry, RestoreError> {
    let index = entry.log_id.index;
    let refused =
        |reason: String| RestoreError::Input { line: Some(line), reason: format!("log entry {index}: {reason}") };
    let long = payload_bytes(&entry.payload) >= MEASURED;
    let entry = convert::entry(entry).map_err(|err| refused(err.to_string()))?;
    if let EntryPayload::Normal(command) = &entry.payload {
        Limits::check_imported(&command.cmd).map_err(|err| refused(err.to_string()))?;
    }
    if long {
        let written = convert::record_entry(&entry).map_err(|err| refused(err.to_string()))?;
        let bytes = line_bytes(&Record::LogEntry(written));
        if bytes > MAX_LINE_BYTES {
            return Err(refused(Refusal::NeverWritten { bytes }.to_string()));
        }
    }
    Ok(entry)
}

fn payload_bytes(payload: &Payload) -> usize {
    match payload {
        Payload::Normal(json) => json.get().len(),
        Payload::Blank | Payload::Membership(_) => ENTRY_BYTES,
    }
}

pub(super) fn key_twice(line: u64, key: &str) -> RestoreError {
    RestoreError::Input { line: Some(line), reason: format!("the key {key:?} is in the file twice") }
}

/// The log entries above what the state holds; `None`: there are none.
fn tail(log: &LogDb, applied: Option<LogId>) -> Option<Range<u64>> {
    let next = applied.map_or(0, |id| id.index + 1);
    let end = log.last_log_id()?.index() + 1;
    (next < end).then_some(next..end)
}

fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn folder(err: StoreError) -> RestoreError {
    match err {
        StoreError::Io { tried, path, source } => disk(tried, &path)(source),
        other => RestoreError::Folder(chain(&other)),
    }
}

/// For `map_err`: what was tried, and on what. Put into words only once it has failed: it stands at every record.
fn disk(tried: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RestoreError {
    move |source| RestoreError::Io { tried: format!("cannot {tried} {}", path.display()), source }
}
