//! The log from its door: refusals, bounds in memory and on disk, and what closing does.

use std::{io, sync::mpsc, time::Duration};

use tempfile::TempDir;

use super::{
    LogDb,
    files::SEGMENT,
    image::Image,
    testing::{entry, id, truncate_after},
};
use crate::raft::types::{Entry, Vote};

fn opened() -> (TempDir, LogDb) {
    let dir = TempDir::new().unwrap();
    let log = LogDb::open(dir.path()).unwrap();
    (dir, log)
}

fn entries(range: std::ops::Range<u64>, size: usize) -> Vec<Entry> {
    range.map(|index| entry(1, index, size)).collect()
}

#[test]
fn what_would_break_the_log_is_refused_and_changes_nothing() {
    let (_dir, log) = opened();
    log.append_blocking(entries(1..4, 10)).unwrap();
    log.update_state_blocking(|state| state.vote = Some(Vote::new(5, 1))).unwrap();
    let cases = [
        (log.append_blocking(entries(5..6, 10)), "cannot append log entry T1-N1.5 after T1-N1.3"),
        (log.append_blocking(entries(3..4, 10)), "cannot append log entry T1-N1.3 after T1-N1.3"),
        (truncate_after(&log, Some(id(7, 2))), "cannot truncate the log after T7-N1.2: it has T1-N1.2 there"),
        (
            log.update_state_blocking(|state| state.vote = Some(Vote::new(4, 1))),
            "cannot save vote <T4-N1:->: it is behind <T5-N1:->, which was saved before",
        ),
        (
            log.update_state_blocking(|state| state.purged = Some(id(1, 2))),
            "cannot set the purged log id: it moves with a purge",
        ),
    ];
    for (result, message) in cases {
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::InvalidInput, message));
    }
    assert_eq!(log.read(0..9, u64::MAX).unwrap(), entries(1..4, 10));
    assert_eq!(log.state().vote, Some(Vote::new(5, 1)));
}

#[test]
fn entries_are_readable_before_they_are_on_disk() {
    let (_dir, log) = opened();
    let (answer, answered) = mpsc::channel();
    log.append(entries(0..3, 10), move |result| answer.send(result).unwrap());
    assert_eq!(log.read_cached(0..3, u64::MAX), Some(entries(0..3, 10)));
    answered.recv().unwrap().unwrap();
}

#[test]
fn the_tail_in_memory_is_bounded_and_what_left_it_is_read_from_disk() {
    let (dir, log) = opened();
    for start in (0..3000).step_by(100) {
        log.append_blocking(entries(start..start + 100, 10_000)).unwrap();
    }
    let stats = log.stats().unwrap();
    assert!(stats.cached_bytes <= 8 << 20, "{stats:?}");
    assert_eq!(log.read_cached(0..1, u64::MAX), None);
    assert_eq!(log.read(0..3, 15_000).unwrap(), entries(0..1, 10_000));
    assert_eq!(log.read(0..2, u64::MAX).unwrap(), entries(0..2, 10_000));
    assert!(log.iter(0..3000).map(Result::unwrap).eq(entries(0..3000, 10_000)));
    log.purge_blocking(id(1, 2500)).unwrap();
    assert!(log.stats().unwrap().disk_bytes < 20 << 20, "{:?}", log.stats());
    log.close().unwrap();
    let log = LogDb::open(dir.path()).unwrap();
    assert!(log.iter(2501..3000).map(Result::unwrap).eq(entries(2501..3000, 10_000)));
}

#[test]
fn entries_are_not_given_from_behind_a_hole() {
    let (_dir, log) = opened();
    log.append_blocking(entries(0..9, 10)).unwrap();
    log.purge_blocking(id(1, 4)).unwrap();
    let message = "log entry 4 is not in the log, which starts at 5";
    for range in [4..9, 4..5, 4..u64::MAX] {
        let given: Vec<_> = log.iter(range.clone()).map(|entry| entry.map_err(|error| error.to_string())).collect();
        assert_eq!(given, [Err(message.to_owned())], "{range:?}");
    }
    assert!(log.iter(5..u64::MAX).map(Result::unwrap).eq(entries(5..9, 10)));
    assert!(log.iter(4..4).chain(log.iter(9..20)).next().is_none());

    let running = log.iter(5..9);
    log.purge_blocking(id(1, 12)).unwrap();
    let given: Vec<_> = running.map(|entry| entry.map_err(|error| error.to_string())).collect();
    assert_eq!(given, [Err("log entry 5 is not in the log, which starts at 13".to_owned())]);
}

#[test]
fn purging_frees_the_disk() {
    let (_dir, log) = opened();
    let mut largest = 0;
    for start in (0..30_000).step_by(100) {
        log.append_blocking(entries(start..start + 100, 160)).unwrap();
        if start % 1000 == 0 && start > 0 {
            log.purge_blocking(id(1, start - 1)).unwrap();
        }
        largest = largest.max(log.stats().unwrap().disk_bytes);
    }
    assert!(largest <= 24 << 20, "{largest} bytes on disk for at most 1100 entries");
}

#[test]
fn a_segment_that_follows_another_is_as_long_as_it_will_be_from_the_start() {
    let (dir, log) = opened();
    let mut last = 0;
    while Image::take(dir.path()).last_begun().as_deref() != Some("0000000003.wal") {
        log.append_blocking(entries(last..last + 10, 10_000)).unwrap();
        last += 10;
    }
    let lengths = || -> Vec<(String, u64)> {
        let files = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
        let mut lengths: Vec<_> =
            files.map(|file| (file.file_name().into_string().unwrap(), file.metadata().unwrap().len())).collect();
        lengths.sort();
        lengths
    };
    let whole = SEGMENT + super::files::room(SEGMENT);
    let followed = lengths()[1..].to_vec();
    assert_eq!(followed, [("0000000002.wal".to_owned(), whole), ("0000000003.wal".to_owned(), whole)]);
    // Half full, so that another one is made, which nobody needs in the end.
    log.append_blocking(entries(last..last + 250, 10_000)).unwrap();
    log.close().unwrap();
    assert_eq!(lengths()[1..], followed);
    // Nor does one stay that a killed process has made.
    std::fs::write(dir.path().join("new.wal"), "made ready").unwrap();
    let log = LogDb::open(dir.path()).unwrap();
    assert_eq!(lengths()[1..], followed);
    assert!(log.iter(0..u64::MAX).map(Result::unwrap).eq(entries(0..last + 250, 10_000)));
}

#[test]
fn a_hint_reaches_the_disk_by_itself() {
    let (dir, log) = opened();
    log.append_blocking(entries(0..2, 10)).unwrap();
    log.set_committed(Some(id(1, 1)));
    std::thread::sleep(Duration::from_millis(500));
    let copy = TempDir::new().unwrap();
    super::testing::copy_folder(dir.path(), copy.path());
    assert_eq!(LogDb::open(copy.path()).unwrap().state().committed, Some(id(1, 1)));
}

#[test]
fn every_value_beside_the_log_comes_back() {
    let (dir, log) = opened();
    let update = |state: &mut super::RaftState| {
        state.node_id = Some(7);
        state.vote = Some(Vote::new_committed(3, 7));
        state.cluster_id = Some("abc".to_owned());
        state.incarnation = Some(u64::MAX);
        state.peer_incarnations.extend([(1, 11), (2, 22)]);
        state.live_base = Some("base-000002".to_owned());
        state.elect_on_open = true;
    };
    log.update_state_blocking(update).unwrap();
    log.update_state_blocking(|state| state.peer_incarnations.retain(|id, _| *id != 1)).unwrap();
    let state = log.state();
    assert_eq!(state.peer_incarnations.len(), 1);
    log.close().unwrap();
    assert_eq!(LogDb::open(dir.path()).unwrap().state(), state);
}

#[test]
fn a_closed_log_says_so() {
    let (_dir, log) = opened();
    log.append_blocking(entries(0..1, 10)).unwrap();
    log.close().unwrap();
    log.close().unwrap();
    assert_eq!(log.append_blocking(entries(1..2, 10)).unwrap_err().to_string(), "the log is closed");
    assert_eq!(log.stats().unwrap_err().to_string(), "the log is closed");
}

#[test]
fn an_answer_may_drop_the_last_handle() {
    let (dir, log) = opened();
    let (answer, answered) = mpsc::channel();
    let handle = log.clone();
    log.append(entries(0..1, 10), move |result| {
        while std::sync::Arc::strong_count(&handle.inner) > 1 {
            std::thread::yield_now();
        }
        drop(handle);
        answer.send(result).unwrap();
    });
    drop(log);
    answered.recv().unwrap().unwrap();
    assert_eq!(LogDb::open(dir.path()).unwrap().last_log_id(), Some(id(1, 0)));
}

#[test]
fn a_log_of_sled_is_refused_by_name_and_left_as_it_is() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("db"), "sled").unwrap();
    let error = LogDb::open(dir.path()).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("holds \"db\": the log of a build from before the first release"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// Says that the test runs again, in a process of its own.
const FEW_FILES: &str = "TEST_WITH_FEW_FILES";

#[test]
fn a_process_without_file_descriptors_left_keeps_its_log() {
    if std::env::var_os(FEW_FILES).is_none() {
        let name = "log::tests::a_process_without_file_descriptors_left_keeps_its_log";
        let limited = std::process::Command::new("sh")
            .args(["-c", "ulimit -n 64 && exec \"$0\" --exact \"$1\""])
            .args([std::env::current_exe().unwrap().as_os_str(), name.as_ref()])
            .env(FEW_FILES, "1")
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&limited.stdout);
        assert!(limited.status.success() && output.contains("1 passed"), "{output}");
        return;
    }
    let (dir, log) = opened();
    log.append_blocking(entries(0..1, 10)).unwrap();
    let taken: Vec<_> = std::iter::from_fn(|| std::fs::File::open(dir.path()).ok()).collect();
    log.append_blocking(entries(1..3, 10)).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    // More than a segment has.
    log.append_blocking(entries(3..900, 9000)).unwrap();
    log.purge_blocking(id(1, 800)).unwrap();
    log.close().unwrap();
    drop(taken);
    let log = LogDb::open(dir.path()).unwrap();
    assert_eq!((log.purged(), log.last_log_id()), (Some(id(1, 800)), Some(id(1, 899))));
}
