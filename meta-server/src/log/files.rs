//! The folder of the log: which segments there are, when a new one is begun, which can go. Makes sure that names are durable
//! before anything relies on them. Knows nothing of what records mean.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    error::failed,
    frame::{Frame, Record, Salt},
    mark::Mark,
    segment::{self, Header, NEW, Segment},
    spare::Spare,
};

/// A segment that has come to this many bytes is followed by another one.
pub(super) const SEGMENT: u64 = 4 << 20;

/// How many times a segment is made longer while it is filled, if it was not made as long as that before.
const ROOMS: u64 = 16;

/// What sled, which kept the log of builds before the first release, calls its files.
const SLED: [&str; 3] = ["conf", "db", "blobs"];

/// Called by the writer with the folder of the log.
#[cfg(test)]
pub(super) type Hook = Box<dyn FnMut(&Path) + Send>;

/// What a test does before and after each time that something is put on disk.
#[cfg(test)]
#[derive(Default)]
pub(super) struct Hooks {
    pub(super) before_sync: Option<Hook>,
    pub(super) after_sync: Option<Hook>,
}

/// The writer's hold on the files.
pub(super) struct Files {
    folder: Folder,
    salt: Salt,
    segment_bytes: u64,
    /// The numbers of the segments before the one that is written to, in order.
    older: VecDeque<u32>,
    /// The number of that one.
    last: u32,
    segment: Segment,
    /// What the next segment will be made of, once this one is half full.
    spare: Option<Spare>,
    /// The number of the next frame.
    next_frame: u64,
}

/// Where the files are, and what puts them on disk.
pub(super) struct Folder {
    path: PathBuf,
    /// Kept open: a process without file descriptors left can still put names on disk.
    dir: File,
    #[cfg(test)]
    hooks: Hooks,
}

/// The numbers of the segments in `dir`, in order. Fails where the log is not one of these.
pub(super) fn segments(dir: &Path) -> io::Result<Vec<u32>> {
    let tried = || failed(format!("list {}", dir.display()));
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(tried())? {
        let name = entry.map_err(tried())?.file_name();
        let name = name.to_string_lossy();
        if SLED.contains(&&*name) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "{} holds {name:?}: the log of a build from before the first release, which this one cannot read; \
                     export the folder with the build that wrote it, and import that into a new one",
                    dir.display()
                ),
            ));
        }
        numbers.extend(segment::parse_name(&name));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

impl Folder {
    /// Makes the folder where there is none.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let open = || {
            fs::create_dir_all(path)?;
            File::open(path)
        };
        Ok(Self {
            path: path.to_owned(),
            dir: open().map_err(failed(format!("open {}", path.display())))?,
            #[cfg(test)]
            hooks: Hooks::default(),
        })
    }

    #[cfg(test)]
    pub(super) fn hooked(path: &Path, hooks: Hooks) -> io::Result<Self> {
        Ok(Self { hooks, ..Self::open(path)? })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives a new segment its name, once what is in it is on disk.
    fn publish(&mut self, segment: &mut Segment, number: u32) -> io::Result<()> {
        self.synced(|_| segment.sync())?;
        let path = segment::path(&self.path, number);
        fs::rename(self.path.join(NEW), &path).map_err(failed(format!("name {}", path.display())))?;
        segment.renamed(path);
        self.sync_names()
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.synced(|folder| folder.dir.sync_all().map_err(failed(format!("fsync {}", folder.path.display()))))
    }

    fn synced(&mut self, sync: impl FnOnce(&Self) -> io::Result<()>) -> io::Result<()> {
        #[cfg(test)]
        if let Some(hook) = &mut self.hooks.before_sync {
            hook(&self.path);
        }
        sync(self)?;
        #[cfg(test)]
        if let Some(hook) = &mut self.hooks.after_sync {
            hook(&self.path);
        }
        Ok(())
    }
}

impl Files {
    /// Begins a log, with `header` as its first segment's.
    pub(super) fn create(mut folder: Folder, header: &Header, segment_bytes: u64) -> io::Result<Self> {
        let mut segment = Segment::create(folder.path.join(NEW), header, room(segment_bytes))?;
        folder.publish(&mut segment, header.segment)?;
        // The folder may be as new as what is in it.
        let parent = folder.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.map_or(Ok(()), |parent| File::open(parent)?.sync_all()).map_err(failed("fsync the log's folder"))?;
        let older = VecDeque::new();
        Ok(Self::new(folder, header.salt, segment_bytes, (older, header.segment), segment, header.first_frame))
    }

    /// Goes on with a log that was found: its older segments, and the number of `segment`, which is the last one.
    pub(super) fn resume(
        folder: Folder,
        salt: u64,
        segment_bytes: u64,
        numbers: (VecDeque<u32>, u32),
        segment: Segment,
        next_frame: u64,
    ) -> io::Result<Self> {
        // What a killed process has begun, or made ready. The next one is made over what can not be removed.
        let _ = fs::remove_file(folder.path.join(NEW));
        let mut files = Self::new(folder, salt, segment_bytes, numbers, segment, next_frame);
        // What a killed process wrote last may not be on disk yet, and nothing may be written behind it before it is.
        files.sync()?;
        files.folder.sync_names()?;
        Ok(files)
    }

    fn new(
        folder: Folder,
        salt: u64,
        segment_bytes: u64,
        (older, last): (VecDeque<u32>, u32),
        segment: Segment,
        next_frame: u64,
    ) -> Self {
        Self { folder, salt: Salt(salt), segment_bytes, older, last, segment, spare: None, next_frame }
    }

    pub(super) fn salt(&self) -> Salt {
        self.salt
    }

    /// The number of the segment that is written to, and its file.
    pub(super) fn current(&self) -> (u32, Arc<File>) {
        (self.last, self.segment.file())
    }

    /// How long the file is that is written to.
    pub(super) fn current_len(&self) -> u64 {
        self.segment.len()
    }

    pub(super) fn segment_is_full(&self) -> bool {
        self.segment.end() >= self.segment_bytes
    }

    /// Writes a frame and puts it on disk; returns where it lies in the current segment. After an error nothing is known of what is
    /// there: never try again.
    pub(super) fn write(&mut self, frame: &mut Frame) -> io::Result<u64> {
        let at = self.segment.append(frame.finish(self.next_frame)?)?;
        self.sync()?;
        self.next_frame += 1;
        let half = self.segment_bytes / 2;
        if at < half && self.segment.end() >= half {
            self.spare = Spare::prepare(&self.folder.path, self.last + 1, self.spare_bytes());
        }
        Ok(at)
    }

    /// The last frame goes beyond what makes a segment full.
    fn spare_bytes(&self) -> u64 {
        self.segment_bytes + room(self.segment_bytes)
    }

    /// Begins a new segment; `header` is told its number and that of its first frame. Goes on with the full one where a file can not
    /// be made, as in a process without file descriptors left: what keeps entries from the disk will be said by their own write.
    pub(super) fn begin_segment(&mut self, header: impl FnOnce(u32, u64) -> Header) -> io::Result<()> {
        // The seal takes a number of its own.
        let header = header(self.last + 1, self.next_frame + 1);
        let Some(next) = self.next_segment(&header)? else { return Ok(()) };
        // Only now: a seal promises that the next segment is there.
        let mut seal = Frame::new(self.salt);
        seal.push(&Record::Sealed)?;
        self.write(&mut seal)?;
        self.older.push_back(self.last);
        (self.segment, self.last) = (next, header.segment);
        Ok(())
    }

    /// The next segment, with its header, under its name and on disk; `None` where it can not be made.
    fn next_segment(&mut self, header: &Header) -> io::Result<Option<Segment>> {
        let room = room(self.segment_bytes);
        if let Some(file) = self.spare.take().and_then(Spare::take) {
            let path = segment::path(&self.folder.path, header.segment);
            let Ok(next) = Segment::begin(file, path, header, self.spare_bytes(), room) else { return Ok(None) };
            self.folder.synced(|_| next.sync())?;
            return Ok(Some(next));
        }
        let Ok(mut next) = Segment::create(self.folder.path.join(NEW), header, room) else { return Ok(None) };
        self.folder.publish(&mut next, header.segment)?;
        Ok(Some(next))
    }

    /// Deletes the segments before `oldest`; returns which. Nobody waits until that is on disk: any of them may be found again after a
    /// crash, and goes then.
    pub(super) fn remove_before(&mut self, oldest: u32) -> io::Result<Vec<u32>> {
        let mut gone = Vec::new();
        while let Some(number) = self.older.front().copied().filter(|number| *number < oldest) {
            let path = segment::path(&self.folder.path, number);
            fs::remove_file(&path).map_err(failed(format!("delete {}", path.display())))?;
            self.older.pop_front();
            gone.push(number);
        }
        Ok(gone)
    }

    /// Notes that everything before the log's `end` is on disk.
    pub(super) fn mark(&mut self, end: u64) -> io::Result<()> {
        self.segment.mark(Mark { frame: self.next_frame - 1, end })
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.folder.synced(|_| self.segment.sync())
    }
}

/// How much longer a segment is made at a time.
pub(super) fn room(segment_bytes: u64) -> u64 {
    segment_bytes / ROOMS
}
