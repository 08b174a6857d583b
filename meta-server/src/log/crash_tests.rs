//! What a crash leaves: the files as they were at the last fdatasync, with any part of what was written since. Whatever was
//! answered must be there, and nothing may be torn.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

use super::{
    LogDb,
    files::{Hooks, SEGMENT},
    open,
    testing::{all_entries, copy_folder, entry, id, truncate_after},
};
use crate::raft::types::{Entry, LogId, Vote};

/// Small, so that segments are reused often. A leaf of 17 small entries is far below a quarter of it.
const SMALL_SEGMENT: usize = 64 << 10;

/// How often the power fails while a log is opened.
const POWER_CUTS: usize = 12;

/// The unit that a disk writes whole.
const SECTOR: usize = 512;

fn open(dir: &Path, segment: usize, hooks: Hooks) -> io::Result<LogDb> {
    open::open(dir, segment, |files| {
        files.hooks = hooks;
        files.mark_after = Duration::ZERO;
    })
}

/// The files of a log at one moment; `db` apart from the others, which only opening changes.
#[derive(Clone, Default)]
struct Image {
    db: Arc<Vec<u8>>,
    others: Arc<Vec<(String, Vec<u8>)>>,
}

impl Image {
    fn take(dir: &Path) -> Self {
        let files = fs::read_dir(dir).unwrap().map(Result::unwrap).filter(|file| file.file_type().unwrap().is_file());
        let (db, others): (Vec<_>, Vec<_>) = files
            .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
            .partition(|(name, _)| name == "db");
        Self { db: Arc::new(db.into_iter().next().unwrap().1), others: Arc::new(others) }
    }

    fn unpack(&self) -> TempDir {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("db"), &*self.db).unwrap();
        for (name, bytes) in self.others.iter() {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        dir
    }

    fn open(&self, segment: usize) -> io::Result<(TempDir, LogDb)> {
        let dir = self.unpack();
        open(dir.path(), segment, Hooks::default()).map(|log| (dir, log))
    }

    /// This image with a random part of the sectors that `later` wrote, and one of the two lengths.
    fn torn(&self, later: &Image, random: &mut StdRng) -> Image {
        let mut db = self.db.to_vec();
        let share = random.random_range(0.0..1.0);
        db.resize(db.len().max(later.db.len()), 0);
        for (start, sector) in (0..).step_by(SECTOR).zip(later.db.chunks(SECTOR)) {
            if random.random_bool(share) {
                db[start..start + sector.len()].copy_from_slice(sector);
            }
        }
        if random.random_bool(0.5) {
            db.truncate(self.db.len());
        }
        // The mark is synced before a change that it must not outlive: here it is as of the later moment, or torn in part.
        let mut others = later.others.to_vec();
        if let Some((_, mark)) = others.iter_mut().find(|(name, bytes)| name == "MARK" && bytes.len() > SECTOR) {
            let slot = random.random_range(0..3) * SECTOR;
            mark.iter_mut().skip(slot + SECTOR / 8).take(SECTOR / 8).for_each(|byte| *byte = 0);
        }
        Image { db: Arc::new(db), others: Arc::new(others) }
    }

    /// This image with garbage or zeroes behind its end.
    fn longer(&self, random: &mut StdRng) -> Image {
        let mut db = self.db.to_vec();
        let zeroes = random.random_bool(0.5);
        let extra = random.random_range(1..100_000);
        db.extend((0..extra).map(|_| if zeroes { 0 } else { random.random::<u8>() }));
        Image { db: Arc::new(db), others: Arc::clone(&self.others) }
    }
}

/// What the files were at the last fdatasync, and at each flush the pair of that and of what was flushed since.
#[derive(Default)]
struct Trail {
    synced: Image,
    flushed: Vec<(Image, Image)>,
}

fn recorded(trail: &Arc<Mutex<Trail>>) -> Hooks {
    let (before, after) = (Arc::clone(trail), Arc::clone(trail));
    Hooks {
        before_sync: Some(Box::new(move |dir| {
            let mut trail = before.lock().unwrap();
            let synced = trail.synced.clone();
            trail.flushed.push((synced, Image::take(dir)));
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
    for term in 1..40 {
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
    for seed in 0..2 {
        let trail = Arc::new(Mutex::new(Trail::default()));
        let dir = TempDir::new().unwrap();
        let mut log = open(dir.path(), SMALL_SEGMENT, recorded(&trail)).unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        let mut answered = Answered::default();
        trail.lock().unwrap().synced = Image::take(dir.path());
        for term in 1..40 {
            let before = answered.clone();
            answered.step(&log, term, &mut random);
            let flushed = std::mem::take(&mut trail.lock().unwrap().flushed);
            for (synced, flushed) in flushed.iter().step_by(flushed.len().div_ceil(3).max(1)) {
                for _ in 0..2 {
                    let (_dir, copy) = synced.torn(flushed, &mut random).open(SMALL_SEGMENT).unwrap();
                    check_between(&copy, &before, &answered);
                }
            }
            if random.random_bool(0.05) {
                log.close().unwrap();
                log = open(dir.path(), SMALL_SEGMENT, recorded(&trail)).unwrap();
                *trail.lock().unwrap() = Trail { synced: Image::take(dir.path()), flushed: Vec::new() };
            }
        }
    }
}

#[test]
fn a_power_cut_while_a_killed_purge_is_finished_takes_nothing_that_was_answered() {
    let trail = Arc::new(Mutex::new(Trail::default()));
    let dir = TempDir::new().unwrap();
    let log = open(dir.path(), SMALL_SEGMENT, Hooks::default()).unwrap();
    let mut random = StdRng::seed_from_u64(3);
    let entries: Vec<_> = (0..3000).map(|index| entry(1, index, random.random_range(0..400))).collect();
    let kept = entries[2950..].to_vec();
    let vote = Some(Vote::new(7, 1));
    log.append_blocking(entries).unwrap();
    log.update_state_blocking(|state| state.vote = vote).unwrap();
    log.close().unwrap();
    let log = open(dir.path(), SMALL_SEGMENT, recorded(&trail)).unwrap();
    log.purge_blocking(id(1, 2949)).unwrap();
    let purge = std::mem::take(&mut trail.lock().unwrap().flushed);
    let (_, killed) = &purge[purge.len() / 10];

    let killed = killed.unpack();
    let reopened = open::open(killed.path(), SMALL_SEGMENT, |files| {
        trail.lock().unwrap().synced = Image::take(killed.path());
        files.hooks = recorded(&trail);
    });
    reopened.unwrap().close().unwrap();
    let flushed = std::mem::take(&mut trail.lock().unwrap().flushed);
    assert!(!flushed.is_empty());
    for cut in 0..POWER_CUTS {
        let (synced, flushed) = &flushed[cut * flushed.len() / POWER_CUTS];
        let (_dir, copy) = synced.torn(flushed, &mut random).open(SMALL_SEGMENT).unwrap();
        assert_eq!(all_entries(&copy), kept);
        assert_eq!((copy.state().vote, copy.purged()), (vote, Some(id(1, 2949))));
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
    for start in (0..2000).step_by(10) {
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
    let stray = Hooks {
        before_sync: None,
        after_sync: Some(Box::new(|dir| fs::write(dir.join("blobs").join("1"), "").unwrap())),
    };
    let log = open(dir.path(), SEGMENT, stray).unwrap();
    log.append_blocking(vec![entry(1, 0, 10)]).unwrap();
    for index in 1..4 {
        let error = log.append_blocking(vec![entry(1, index, 10)]).unwrap_err().to_string();
        assert!(error.starts_with("the log stopped at a failure: ") && error.contains("blobs is not empty"), "{error}");
    }
    assert!(log.close().is_err());
}

#[test]
fn a_snapshot_of_sled_that_was_cut_short_is_no_obstacle() {
    let dir = TempDir::new().unwrap();
    let log = LogDb::open(dir.path()).unwrap();
    log.append_blocking(vec![entry(1, 0, 10)]).unwrap();
    log.close().unwrap();
    fs::write(dir.path().join("snap.7FFFFFFFFFFFFFFF.generating"), "half").unwrap();
    assert_eq!(LogDb::open(dir.path()).unwrap().last_log_id(), Some(id(1, 0)));
}

/// Flips a bit, cuts the file, or writes zeroes over a page.
fn damaged(db: &[u8], at: usize, kind: usize) -> Vec<u8> {
    let mut db = db.to_vec();
    match kind {
        0 => db[at] ^= 4,
        1 => db.truncate(at),
        _ => db.iter_mut().skip(at).take(4096).for_each(|byte| *byte = 0),
    }
    db
}

#[test]
fn damage_is_refused_or_takes_nothing() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path(), SMALL_SEGMENT, Hooks::default()).unwrap();
    let mut answered = Answered::default();
    for index in 0..600 {
        answered.entries.insert(index, entry(1, index, 200));
        log.append_blocking(vec![entry(1, index, 200)]).unwrap();
    }
    log.close().unwrap();
    let image = Image::take(dir.path());
    let size = image.db.len();
    let mut refused = 0;
    for (at, kind) in (0..40).flat_map(|step| (0..3).map(move |kind| (step * size / 40 + 7, kind))) {
        let copy = Image { db: Arc::new(damaged(&image.db, at, kind)), others: Arc::clone(&image.others) };
        match copy.open(SMALL_SEGMENT) {
            Ok((_dir, log)) => answered.check_equal(&log),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn a_log_that_lost_its_end_says_what_is_missing() {
    let dir = TempDir::new().unwrap();
    let log = LogDb::open(dir.path()).unwrap();
    for start in (0..600).step_by(10) {
        log.append_blocking((start..start + 10).map(|index| entry(1, index, 200)).collect()).unwrap();
    }
    log.close().unwrap();
    let db = dir.path().join("db");
    let written = fs::read(&db).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    fs::File::options().write(true).open(&db).unwrap().set_len(written as u64 / 2).unwrap();
    for _ in 0..2 {
        let error = LogDb::open(dir.path()).err().unwrap();
        let text = crate::error_chain::chain(&error);
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{text}");
        assert!(text.contains("but T1-N1.599 (vote none, sync 60) was on disk: its file "), "{text}");
    }
}

#[test]
fn a_log_without_a_mark_opens_and_is_marked_from_then_on() {
    let dir = TempDir::new().unwrap();
    let log = LogDb::open(dir.path()).unwrap();
    log.append_blocking((0..9).map(|index| entry(1, index, 200)).collect()).unwrap();
    log.close().unwrap();
    fs::remove_file(dir.path().join("MARK")).unwrap();
    LogDb::open(dir.path()).unwrap().close().unwrap();
    fs::write(dir.path().join("db"), "").unwrap();
    assert!(LogDb::open(dir.path()).is_err());
}
