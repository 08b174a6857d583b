//! What a crash leaves: the files as they were at the last fdatasync, with any part of what was written since. Whatever was
//! answered must be there, and nothing may be torn.

use std::{
    collections::BTreeMap,
    fs, io,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use futures::FutureExt;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

use super::{
    LogDb,
    files::{Hooks, SEGMENT},
    image::{Answered, Image, open},
    segment::NEW,
    testing::{all_entries, copy_folder, entry, id},
};

/// Small, so that segments follow each other often.
const SMALL_SEGMENT: u64 = 64 << 10;

/// How often the power fails while a log is opened.
const POWER_CUTS: usize = 12;

/// The first segment, which nothing was made for ahead.
const FIRST: &str = "0000000001.wal";

/// The unit that a disk writes whole.
const SECTOR: usize = 512;

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

impl Image {
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

    /// This image with zeroes, or garbage, behind the end of the last segment. To one that has its header and no more nothing was written
    /// that could be garbage.
    fn longer(&self, random: &mut StdRng) -> Image {
        let mut image = self.clone();
        let last = image.last_begun().unwrap();
        let zeroes = random.random_bool(0.5) || !image.has_frames(&last);
        let last = image.0.get_mut(&last).unwrap();
        let more = (0..random.random_range(1..100_000)).map(|_| if zeroes { 0 } else { random.random::<u8>() });
        Arc::make_mut(last).extend(more);
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
