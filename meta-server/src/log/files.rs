//! The sled database under the log: its settings, its files, and what it takes to have them on disk.
//!
//! sled 0.34 never fsyncs on `flush` (it calls `sync_file_range`), so [`Files::sync`] flushes and then calls fdatasync on a
//! handle of our own. What else it leaves out is done here: folders are fsynced, a half-written snapshot of its page table,
//! which would make it refuse to open, is removed, and `blobs/`, which it never syncs, must stay empty.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    error::{corrupt, failed},
    mark::Mark,
};

/// sled's unit of allocation and reuse. An item above a quarter of it would become a blob; a leaf has at most 17 values.
pub(super) const SEGMENT: usize = 2 << 20;

/// The name of the one file that sled writes to.
pub(super) const DATA: &str = "db";

/// sled's cache; the log is read from its tail in memory, and in order at start.
const CACHE_BYTES: u64 = 8 << 20;

/// A closed database keeps its lock until sled's own threads have let go of it.
const LOCK_RETRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Bytes at the front of a segment that sled writes first, and that are never all zero then.
const SEGMENT_HEADER: usize = 20;

const MARK_AFTER: Duration = Duration::from_millis(100);

/// Called by the writer with the folder of the log.
#[cfg(test)]
pub(super) type Hook = Box<dyn FnMut(&Path) + Send>;

/// What a test does between the flush and the fdatasync, and after it.
#[cfg(test)]
#[derive(Default)]
pub(super) struct Hooks {
    pub(super) before_sync: Option<Hook>,
    pub(super) after_sync: Option<Hook>,
}

/// The writer's hold on the files.
pub(super) struct Files {
    db: sled::Db,
    dir: PathBuf,
    /// The same file that sled writes to, opened before its first write: the kernel tells each handle of a failed write once.
    data: File,
    segment: u64,
    /// Where sled has not written yet, as far as is known: the first segment of the room that the file has beyond.
    room: u64,
    /// When `blobs/` last changed before it was found empty.
    blobs_changed: Option<SystemTime>,
    pub(super) mark: Mark,
    /// How long what was synced may be missing from the mark.
    pub(super) mark_after: Duration,
    #[cfg(test)]
    pub(super) hooks: Hooks,
}

impl Files {
    /// Opens the database in `dir`, or creates it, and makes sure that its files have durable names.
    pub(super) fn open(dir: &Path, segment: usize) -> io::Result<Self> {
        let at = |tried: &str| failed(format!("{tried} {}", dir.display()));
        fs::create_dir_all(dir).map_err(at("create"))?;
        remove_unfinished_snapshots(dir).map_err(at("remove unfinished snapshots in"))?;
        let data_path = dir.join(DATA);
        let data = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&data_path)
            .map_err(failed(format!("open {}", data_path.display())))?;
        let db = open_sled(dir, segment).map_err(failed(format!("open the log in {}", dir.display())))?;
        let mut files = Self {
            db,
            dir: dir.to_owned(),
            data,
            segment: segment as u64,
            room: 0,
            blobs_changed: None,
            mark: Mark::open(dir)?,
            mark_after: MARK_AFTER,
            #[cfg(test)]
            hooks: Hooks::default(),
        };
        files.check_blobs()?;
        sync_folder(dir).map_err(at("fsync the files of"))?;
        Ok(files)
    }

    pub(super) fn tree(&self, name: &str) -> io::Result<sled::Tree> {
        self.db.open_tree(name).map_err(failed(format!("open `{name}` of the log in {}", self.dir.display())))
    }

    pub(super) fn db(&self) -> sled::Db {
        self.db.clone()
    }

    /// The file that has everything.
    pub(super) fn data_path(&self) -> PathBuf {
        self.dir.join(DATA)
    }

    /// Puts everything that was written so far on disk. After an error nothing is known of what is there: never try again.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.db.flush().map_err(failed(format!("flush the log in {}", self.dir.display())))?;
        #[cfg(test)]
        if let Some(hook) = &mut self.hooks.before_sync {
            hook(&self.dir);
        }
        // Without room a sync only takes longer; what keeps the file from growing will be said when sled needs it to.
        let _ = self.make_room();
        self.data.sync_data().map_err(failed(format!("fdatasync {}", self.data_path().display())))?;
        self.check_blobs()?;
        #[cfg(test)]
        if let Some(hook) = &mut self.hooks.after_sync {
            hook(&self.dir);
        }
        Ok(())
    }

    /// Keeps the file longer than sled has come, by two segments: a sync of what is inside the file is one write to the disk, a
    /// sync of what made it longer is two, one after the other. sled takes a segment that it did not write for a free one. Called
    /// between a flush and its sync, when sled writes nothing.
    fn make_room(&mut self) -> io::Result<()> {
        let mut header = [0; SEGMENT_HEADER];
        if self.data.read_at(&mut header, self.room)? == header.len() && header == [0; SEGMENT_HEADER] {
            return Ok(());
        }
        // sled has come to the room, or has cut the file.
        let end = self.data.metadata()?.len();
        self.room = end.next_multiple_of(self.segment);
        while let Some(last) = self.room.checked_sub(self.segment)
            && self.data.read_at(&mut header, last)? > 0
            && header == [0; SEGMENT_HEADER]
        {
            self.room = last;
        }
        let wanted = self.room + 2 * self.segment;
        // A write makes a file longer and, unlike a change of its length, never shorter.
        if end < wanted { self.data.write_at(&[0], wanted - 1).map(drop) } else { Ok(()) }
    }

    /// sled syncs no blob: one that appears is an entry that could be lost. Looks at the folder's time of change first: that
    /// opens nothing, so a node without file descriptors left keeps its log.
    fn check_blobs(&mut self) -> io::Result<()> {
        let blobs = self.dir.join("blobs");
        let tried = || failed(format!("list {}", blobs.display()));
        let changed = Some(fs::metadata(&blobs).and_then(|blobs| blobs.modified()).map_err(tried())?);
        if changed == self.blobs_changed {
            return Ok(());
        }
        if fs::read_dir(&blobs).map_err(tried())?.next().is_some() {
            return Err(corrupt(format!("{} is not empty: what is in it may not be on disk", blobs.display())));
        }
        self.blobs_changed = changed;
        Ok(())
    }
}

fn open_sled(dir: &Path, segment: usize) -> sled::Result<sled::Db> {
    let config = sled::Config::new()
        .path(dir)
        .flush_every_ms(None)
        .cache_capacity(CACHE_BYTES)
        .mode(sled::Mode::HighThroughput)
        .segment_size(segment);
    for _ in 0..LOCK_RETRIES {
        match config.open() {
            Err(sled::Error::Io(e)) if e.to_string().starts_with("could not acquire lock") => {
                std::thread::sleep(LOCK_PAUSE);
            }
            done => return done,
        }
    }
    config.open()
}

/// sled would take one for its newest snapshot, and refuse to open when it was cut short.
fn remove_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Fsyncs every file in `dir`, `dir` itself, and its parent, which holds its name.
fn sync_folder(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(dir)?.sync_all()?;
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}
