//! What a crash leaves: the files as they were at the last fdatasync, with any part of what was written since. Whatever was
//! answered must be there, and nothing may be torn.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use futures::FutureExt;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

use super::{
    LogDb,
    files::{Folder, Hooks, SEGMENT},
    mark::{SLOT, SLOTS},
    open,
    segment::NEW,
    testing::{all_entries, copy_folder, entry, id, truncate_after},
};
use crate::{
    error_chain::chain,
    raft::types::{Entry, LogId, Vote},
};

/// Small, so that segments follow each other often.
const SMALL_SEGMENT: u64 = 64 << 10;

/// How often the power fails while a log is opened.
const POWER_CUTS: usize = 12;

/// Where a segment's header is.
const MARKS: usize = SLOT * SLOTS;

/// The first segment, which nothing was made for ahead.
const FIRST: &str = "0000000001.wal";

/// The unit that a disk writes whole.
const SECTOR: usize = 512;

fn open(dir: &Path, segment: u64, hooks: Hooks) -> io::Result<LogDb> {
    open::open(Folder::hooked(dir, hooks)?, segment, Duration::ZERO)
}

/// The files of a log at one moment.
#[derive(Clone, Default)]
struct Image(BTreeMap<String, Arc<Vec<u8>>>);

impl Image {
    /// A file may get its name, or go, meanwhile.
    fn take(dir: &Path) -> Self {
        let files = fs::read_dir(dir).unwrap().map(Result::unwrap);
        let read =
            |file: fs::DirEntry| Some((file.file_name().into_string().unwrap(), Arc::new(fs::read(file.path()).ok()?)));
        Self(files.filter_map(read).collect())
    }

    /// The last segment that is more than made ahead.
    fn last_begun(&self) -> Option<String> {
        let begun = |bytes: &[u8]| bytes.get(..MARKS + 4).is_some_and(|bytes| bytes[MARKS..] != [0; 4]);
        self.0.iter().rfind(|(name, bytes)| *name != NEW && begun(bytes)).map(|(name, _)| name.clone())
    }

    /// Without what was made ahead.
    fn only_begun(mut self) -> Image {
        let last = self.last_begun().unwrap();
        self.0.retain(|name, _| *name <= last);
        self
    }

    fn unpack(&self) -> TempDir {
        let dir = TempDir::new().unwrap();
        for (name, bytes) in &self.0 {
            fs::write(dir.path().join(name), &**bytes).unwrap();
        }
        dir
    }

    fn open(&self, segment: u64) -> io::Result<(TempDir, LogDb)> {
        let dir = self.unpack();
        open(dir.path(), segment, Hooks::default()).map(|log| (dir, log))
    }

    /// This image with a random part of the sectors that `later` wrote, one of the two lengths, and the names of either.
    fn torn(&self, later: &Image, random: &mut StdRng) -> Image {
        let names = if random.random_bool(0.5) { &self.0 } else { &later.0 };
        let share = random.random_range(0.0..1.0);
        let torn = |name: &String| match (self.0.get(name), later.0.get(name)) {
            (Some(synced), Some(later)) if synced != later => tear(synced, later, share, random),
            (Some(synced), _) => Arc::clone(synced),
            (None, Some(later)) if name == NEW => tear(&[], later, share, random),
            // Its name is as new as that. It got it once it was on disk, as zeros where it was made ahead.
            (None, Some(later)) if name != FIRST => tear(&vec![0; later.len()], later, share, random),
            (None, later) => Arc::clone(later.unwrap()),
        };
        Image(names.keys().cloned().zip(names.keys().map(torn)).collect())
    }

    /// This image with zeroes, or now and then garbage, behind the end of the last segment.
    fn longer(&self, random: &mut StdRng) -> Image {
        let mut image = self.clone();
        let last = image.0.get_mut(&image.last_begun().unwrap()).unwrap();
        let zeroes = random.random_bool(0.5);
        let more = (0..random.random_range(1..100_000)).map(|_| if zeroes { 0 } else { random.random::<u8>() });
        Arc::make_mut(last).extend(more);
        image
    }

    /// This image with one file changed.
    fn damaged(&self, name: &str, damage: impl FnOnce(&mut Vec<u8>)) -> Image {
        let mut image = self.clone();
        let mut bytes = image.0[name].to_vec();
        damage(&mut bytes);
        image.0.insert(name.to_owned(), Arc::new(bytes));
        image
    }
}

fn tear(synced: &[u8], later: &[u8], share: f64, random: &mut StdRng) -> Arc<Vec<u8>> {
    let mut bytes = synced.to_vec();
    bytes.resize(synced.len().max(later.len()), 0);
    for (start, sector) in (0..).step_by(SECTOR).zip(later.chunks(SECTOR)) {
        if random.random_bool(share) {
            bytes[start..start + sector.len()].copy_from_slice(sector);
        }
    }
    if random.random_bool(0.5) {
        bytes.truncate(synced.len());
    }
    Arc::new(bytes)
}

/// What the files were at the last time that something was put on disk, and each time before the pair of that and of what was
/// written since.
#[derive(Default)]
struct Trail {
    synced: Image,
    written: Vec<(Image, Image)>,
}

fn recorded(trail: &Arc<Mutex<Trail>>) -> Hooks {
    let (before, after) = (Arc::clone(trail), Arc::clone(trail));
    Hooks {
        before_sync: Some(Box::new(move |dir| {
            let mut trail = before.lock().unwrap();
            let synced = trail.synced.clone();
            trail.written.push((synced, Image::take(dir)));
        })),
        after_sync: Some(Box::new(move |dir| after.lock().unwrap().synced = Image::take(dir))),
    }
}

/// What was answered.
#[derive(Clone, Default)]
struct Answered {
    entries: BTreeMap<u64, Entry>,
    purged: Option<LogId>,
    vote: Option<Vote>,
}

impl Answered {
    fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, entry)| entry.log_id).or(self.purged)
    }

    /// One random request, waited for.
    fn step(&mut self, log: &LogDb, term: u64, random: &mut StdRng) {
        match random.random_range(0..10) {
            0 => {
                self.vote = Some(Vote::new(term, 1));
                log.update_state_blocking(|state| state.vote = self.vote).unwrap();
            }
            1 => {
                for _ in 0..random.random_range(0..40) {
                    self.entries.pop_last();
                }
                truncate_after(log, self.last()).unwrap();
            }
            2 if !self.entries.is_empty() => {
                let purged = self.entries.values().nth(random.random_range(0..self.entries.len())).unwrap().log_id;
                self.entries = self.entries.split_off(&(purged.index + 1));
                self.purged = Some(purged);
                log.purge_blocking(purged).unwrap();
            }
            _ => {
                let start = self.last().map_or(0, |last| last.index + 1);
                // Now and then far more than one sync may cover.
                let most = if random.random_bool(0.1) { 800 } else { 60 };
                let count = random.random_range(1..most);
                let entries: Vec<_> =
                    (start..start + count).map(|index| entry(term, index, random.random_range(0..400))).collect();
                self.entries.extend(entries.iter().map(|entry| (entry.log_id.index, entry.clone())));
                log.append_blocking(entries).unwrap();
            }
        }
    }

    fn check_equal(&self, log: &LogDb) {
        assert!(all_entries(log).iter().eq(self.entries.values()));
        assert_eq!((log.last_log_id(), log.purged(), log.state().vote), (self.last(), self.purged, self.vote));
    }
}

/// A crash between two answers: what both have must be there, and nothing that neither has.
fn check_between(log: &LogDb, before: &Answered, after: &Answered) {
    let found: BTreeMap<_, _> = all_entries(log).into_iter().map(|e| (e.log_id.index, e)).collect();
    for (index, entry) in &before.entries {
        if after.entries.get(index) == Some(entry) {
            assert_eq!(found.get(index), Some(entry), "an answered entry is lost");
        }
    }
    for (index, entry) in &found {
        assert!([before, after].iter().any(|side| side.entries.get(index) == Some(entry)), "an entry nobody wrote");
    }
    assert!([before.vote, after.vote].contains(&log.state().vote), "a vote is lost");
    assert!([before.purged, after.purged].contains(&log.purged()), "a purge is lost");
}

#[test]
fn everything_answered_is_in_the_files_as_of_the_last_fdatasync() {
    let trail = Arc::new(Mutex::new(Trail::default()));
    let dir = TempDir::new().unwrap();
    let log = open(dir.path(), SMALL_SEGMENT, recorded(&trail)).unwrap();
    let mut random = StdRng::seed_from_u64(1);
    let mut answered = Answered::default();
    for term in 1..60 {
        answered.step(&log, term, &mut random);
        let synced = trail.lock().unwrap().synced.clone();
        let (_dir, copy) = synced.open(SMALL_SEGMENT).unwrap();
        answered.check_equal(&copy);
        let (_dir, copy) = synced.longer(&mut random).open(SMALL_SEGMENT).unwrap();
        answered.check_equal(&copy);
    }
}

#[test]
fn any_part_of_what_was_written_later_takes_nothing_that_was_answered() {
    let mut segments = 0;
    for seed in 0..2 {
        let trail = Arc::new(Mutex::new(Trail::default()));
        let dir = TempDir::new().unwrap();
        let mut log = open(dir.path(), SMALL_SEGMENT, recorded(&trail)).unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        let mut answered = Answered::default();
        for term in 1..50 {
            let before = answered.clone();
            answered.step(&log, term, &mut random);
            let written = std::mem::take(&mut trail.lock().unwrap().written);
            let begins = |(synced, later): &&(Image, Image)| synced.last_begun() < later.last_begun();
            segments += written.iter().filter(begins).count();
            for (synced, later) in written.iter().step_by(written.len().div_ceil(8).max(1)) {
                for _ in 0..2 {
                    let (_dir, copy) = synced.torn(later, &mut random).open(SMALL_SEGMENT).unwrap();
                    check_between(&copy, &before, &answered);
                }
            }
            if random.random_bool(0.05) {
                log.close().unwrap();
                log = open(dir.path(), SMALL_SEGMENT, recorded(&trail)).unwrap();
                *trail.lock().unwrap() = Trail { synced: Image::take(dir.path()), written: Vec::new() };
            }
        }
    }
    assert!(segments > 5, "the power also failed while a segment was begun: {segments}");
}

#[test]
fn a_power_cut_while_a_torn_log_is_opened_takes_nothing_that_was_answered() {
    let trail = Arc::new(Mutex::new(Trail::default()));
    let dir = TempDir::new().unwrap();
    let log = open(dir.path(), SMALL_SEGMENT, recorded(&trail)).unwrap();
    let mut random = StdRng::seed_from_u64(3);
    let kept: Vec<_> = (0..500).map(|index| entry(1, index, random.random_range(0..400))).collect();
    log.append_blocking(kept.clone()).unwrap();
    trail.lock().unwrap().written.clear();
    log.append_blocking((500..600).map(|index| entry(1, index, 200)).collect()).unwrap();
    let (synced, later) = trail.lock().unwrap().written[0].clone();
    for _ in 0..POWER_CUTS {
        let torn = synced.torn(&later, &mut random);
        let dir = torn.unpack();
        *trail.lock().unwrap() = Trail { synced: torn, written: Vec::new() };
        let log = open(dir.path(), SMALL_SEGMENT, recorded(&trail)).unwrap();
        // What is written next is shorter than what was torn.
        log.append_blocking(vec![entry(2, log.last_log_id().unwrap().index + 1, 10)]).unwrap();
        drop(log);
        for (synced, later) in &trail.lock().unwrap().written {
            let (_dir, copy) = synced.torn(later, &mut random).open(SMALL_SEGMENT).unwrap();
            assert!(all_entries(&copy).starts_with(&kept));
        }
    }
}

#[test]
fn a_kill_while_requests_wait_loses_nothing_that_was_answered_and_tears_nothing() {
    let dir = TempDir::new().unwrap();
    let slow =
        Hooks { before_sync: Some(Box::new(|_| std::thread::sleep(Duration::from_millis(5)))), after_sync: None };
    let log = open(dir.path(), SEGMENT, slow).unwrap();
    let (answer, answered) = mpsc::channel();
    let mut copies = Vec::new();
    let mut last_answered = None;
    for start in (0..1000).step_by(10) {
        let answer = answer.clone();
        let entries = (start..start + 10).map(|index| entry(1, index, 3000)).collect();
        log.append(entries, move |result| {
            result.and_then(|()| answer.send(start + 9).map_err(io::Error::other)).unwrap();
        });
        std::thread::sleep(Duration::from_millis(1));
        last_answered = answered.try_iter().last().or(last_answered);
        if start % 100 == 0 {
            let copy = TempDir::new().unwrap();
            copy_folder(dir.path(), copy.path());
            copies.push((copy, last_answered));
        }
    }
    assert!(copies.iter().any(|(_, answered)| answered.is_some()));
    for (copy, answered) in copies {
        let log = LogDb::open(copy.path()).unwrap();
        assert!(log.last_log_id() >= answered.map(|index| id(1, index)), "{answered:?}: {:?}", log.last_log_id());
        for found in all_entries(&log) {
            assert_eq!(found, entry(1, found.log_id.index, 3000));
        }
    }
}

#[test]
fn after_a_failure_every_request_fails_and_names_it() {
    let dir = TempDir::new().unwrap();
    // A segment that is begun can not be given its name.
    let in_the_way = Hooks {
        before_sync: Some(Box::new(|dir| fs::create_dir_all(dir.join("0000000002.wal/in the way")).unwrap())),
        after_sync: None,
    };
    let log = open(dir.path(), SMALL_SEGMENT, in_the_way).unwrap();
    assert_eq!(log.failed().now_or_never(), None);
    log.append_blocking((0..100).map(|index| entry(1, index, 1000)).collect()).unwrap();
    for index in 100..103 {
        let error = log.append_blocking(vec![entry(1, index, 10)]).unwrap_err().to_string();
        assert!(error.starts_with("the log stopped at a failure: cannot name "), "{error}");
    }
    let told = log.failed().now_or_never().expect("it is known by then");
    assert!(told.starts_with("cannot name "), "{told}");
    assert!(log.close().is_err());
}

/// The segments of a log that is damaged.
const TINY_SEGMENT: u64 = 3000;

/// A log of three segments that was closed or killed, with what it had.
fn synced_log(closed: bool) -> (Image, Answered) {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path(), TINY_SEGMENT, Hooks::default()).unwrap();
    let mut answered = Answered { vote: Some(Vote::new(7, 1)), ..Answered::default() };
    log.update_state_blocking(|state| state.vote = answered.vote).unwrap();
    for index in 0..24 {
        answered.entries.insert(index, entry(1, index, 60));
        log.append_blocking(vec![entry(1, index, 60)]).unwrap();
    }
    if closed {
        log.close().unwrap();
    }
    // Whether something was made ahead depends on how full the last segment is, and that on the log's random number.
    let image = Image::take(dir.path()).only_begun();
    assert!(image.0.len() >= 3, "{:?}", image.0.keys());
    (image, answered)
}

#[test]
fn every_flipped_byte_of_what_was_on_disk_is_an_error_or_changes_nothing() {
    let (image, answered) = synced_log(true);
    let mut dir = image.unpack();
    let (mut refused, mut harmless) = (0, 0);
    for (name, bytes) in &image.0 {
        for at in 0..bytes.len() {
            // Every byte of headers and frames; of what fills the marks and the room, where bytes are alike, some.
            if [0, b' '].contains(&bytes[at]) && at % 61 != 0 {
                continue;
            }
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1 << (at % 8);
            fs::write(dir.path().join(name), damaged).unwrap();
            match open(dir.path(), TINY_SEGMENT, Hooks::default()) {
                Ok(log) => {
                    answered.check_equal(&log);
                    drop(log);
                    dir = image.unpack();
                    harmless += 1;
                }
                Err(error) => {
                    let text = chain(&error);
                    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{text}");
                    assert!(text.contains(name.as_str()), "{name}: {text}");
                    fs::write(dir.path().join(name), &**bytes).unwrap();
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 3000 && harmless > 30, "{refused} {harmless}");
}

#[test]
fn a_log_that_lost_its_end_or_a_file_says_what_is_missing() {
    for closed in [false, true] {
        let (image, _) = synced_log(closed);
        let (last, bytes) = image.0.last_key_value().unwrap();
        let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        // Of a log that was killed, the last frame may be missing in the mark, and is all that may.
        let cuts = if closed { vec![written, written - 50] } else { vec![written - 600] };
        for len in cuts.into_iter().chain([1200, 100, 0]) {
            let error = image.damaged(last, |bytes| bytes.truncate(len)).open(TINY_SEGMENT).err();
            let text = chain(&error.unwrap_or_else(|| panic!("cut to {len} of {written}")));
            assert!(text.contains(last.as_str()), "{text}");
        }
        for name in image.0.keys().skip(1) {
            let mut without = image.clone();
            without.0.remove(name);
            let text = chain(&without.open(TINY_SEGMENT).err().unwrap());
            assert!(text.contains(name.as_str()) && text.contains("missing"), "{text}");
        }
        let mut without = image.clone();
        without.0.pop_first();
        let text = chain(&without.open(TINY_SEGMENT).err().unwrap());
        assert!(text.contains("log entry 0 is missing"), "{text}");
        let mut swapped = image.clone();
        swapped.0.insert(last.clone(), Arc::clone(image.0.first_key_value().unwrap().1));
        let text = chain(&swapped.open(TINY_SEGMENT).err().unwrap());
        assert!(text.contains(last.as_str()), "{text}");
    }
}

#[test]
fn a_refused_log_is_left_as_it_is() {
    let (image, _) = synced_log(true);
    let name = image.0.keys().nth(1).unwrap();
    let damaged = image.damaged(name, |bytes| bytes[2000] ^= 1);
    let dir = damaged.unpack();
    for _ in 0..2 {
        assert!(open(dir.path(), TINY_SEGMENT, Hooks::default()).is_err());
        assert_eq!(Image::take(dir.path()).0, damaged.0);
    }
}

/// Nobody waits until a segment that is not needed any more is gone from the disk: a crash leaves any of them.
#[test]
fn whichever_segments_a_crash_leaves_of_those_that_were_purged_the_log_is_the_same() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path(), TINY_SEGMENT, Hooks::default()).unwrap();
    let mut answered = Answered::default();
    for index in 0..60 {
        answered.entries.insert(index, entry(1, index, 60));
        log.append_blocking(vec![entry(1, index, 60)]).unwrap();
    }
    let before = Image::take(dir.path());
    let purged = id(1, 50);
    log.purge_blocking(purged).unwrap();
    (answered.entries, answered.purged) = (answered.entries.split_off(&51), Some(purged));
    let after = Image::take(dir.path()).only_begun();
    let gone: Vec<_> = before.0.into_iter().filter(|(name, _)| !after.0.contains_key(name) && name != NEW).collect();
    assert!((4..10).contains(&gone.len()), "{}", gone.len());
    for left in 0..1 << gone.len() {
        let mut image = after.clone();
        image.0.extend((0..).zip(&gone).filter(|(at, _)| left >> at & 1 == 1).map(|(_, file)| file.clone()));
        let (dir, copy) = image.open(TINY_SEGMENT).unwrap();
        answered.check_equal(&copy);
        copy.close().unwrap();
        let names: Vec<_> = Image::take(dir.path()).0.into_keys().collect();
        assert!(names.iter().eq(after.0.keys()), "{names:?}");
    }
}

/// Made ahead, it has its name before there is anything in it.
#[test]
fn a_segment_that_was_made_ahead_is_not_missed_and_one_that_lost_its_header_is() {
    let (image, answered) = synced_log(false);
    let last = image.last_begun().unwrap();
    let number: u32 = last.trim_end_matches(".wal").parse().unwrap();
    for (written, bytes) in [(0, 5000), (0, 0), (40, 5000)] {
        let mut ahead = image.clone();
        let mut blank = vec![0; bytes];
        // A header that came to the disk in part.
        blank[MARKS.min(bytes)..(MARKS + written).min(bytes)].copy_from_slice(&image.0[&last][MARKS..MARKS + written]);
        ahead.0.insert(format!("{:010}.wal", number + 1), Arc::new(blank));
        let (dir, log) = ahead.open(TINY_SEGMENT).unwrap();
        answered.check_equal(&log);
        log.close().unwrap();
        assert!(Image::take(dir.path()).0.keys().eq(image.0.keys()));
    }
    let text = chain(&image.damaged(&last, |bytes| bytes.fill(0)).open(TINY_SEGMENT).err().unwrap());
    assert!(text.contains(&last) && text.contains("no header"), "{text}");
}
