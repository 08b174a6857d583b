//! What a bad disk or a careless hand does to the files of a log: whatever is missing is refused by name, and what is not needed is
//! not missed.

use std::{fs, io, sync::Arc};

use tempfile::TempDir;

use super::{
    files::Hooks,
    image::{Answered, Image, MARKS, open},
    segment::NEW,
    testing::{entry, id},
};
use crate::{error_chain::chain, raft::types::Vote};

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
    // What stands before one that was made ahead is what is missing.
    let mut without = image.clone();
    without.0.remove(&last);
    without.0.insert(format!("{:010}.wal", number + 1), Arc::new(vec![0; 5000]));
    let text = chain(&without.open(TINY_SEGMENT).err().unwrap());
    assert!(text.contains(&format!("{last} is missing")), "{text}");
}
