//! A fault at the I/O calls of an import, a rollback, an export and an installed snapshot, a part of them; `faults -- io` of the
//! benches takes all.

use integration_tests::faults::{CHANGES, FAULTS, Fault, Lagging, Scene, Survived, WORKS, Work, possible};

/// Of a snapshot's calls.
const POINTS: usize = 6;

#[tokio::test]
async fn whatever_call_fails_there_is_all_of_the_old_data_or_all_of_the_new() {
    if !possible().await {
        return;
    }
    let scene = Scene::prepare(200).await;
    let mut points = 0;
    // Each kind of call is met by each work, and the faults take turns.
    for (turn, work) in WORKS.into_iter().enumerate() {
        for (kind, call) in CHANGES.into_iter().enumerate().filter(|(_, call)| Scene::has(work, call)) {
            let n = 1 + u32::try_from((turn + kind) % 3).unwrap();
            points += u32::from(scene.run(work, FAULTS[(turn + kind) % FAULTS.len()], call, n).await.is_some());
        }
    }
    assert!(points >= 15, "only {points} of the calls were ever made");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_call_fails_a_follower_has_its_old_state_or_its_leaders_and_catches_up() {
    if !possible().await {
        return;
    }
    let mut scene = Lagging::prepare().await;
    let calls = scene.calls().await;
    let mut points = 0;
    // From start to end, and the faults take turns.
    for (turn, call) in calls.iter().step_by(calls.len().div_ceil(POINTS)).enumerate() {
        points += u32::from(scene.run(FAULTS[turn % FAULTS.len()], call).await != Survived::NotMet);
    }
    assert!(points >= 4, "only {points} of {} calls were ever made again", calls.len());
}

#[tokio::test]
async fn a_folder_is_not_called_damaged_because_a_disk_failed_while_it_was_opened() {
    if !possible().await {
        return;
    }
    let scene = Scene::prepare(20).await;
    for (fault, reason) in [(Fault::Broken, "Input/output error"), (Fault::Full, "No space left on device")] {
        // Of the copy of the log that an export opens: its last frame, and its folder.
        for call in ["fdatasync", "fsync"] {
            let ran = scene.run(Work::Export, fault, call, 1).await.expect("an export syncs");
            assert!(ran.stderr.starts_with("error: cannot open a copy of "), "{call}: {}", ran.stderr);
            assert!(ran.stderr.contains(reason) && !ran.stderr.contains("damaged"), "{call}: {}", ran.stderr);
        }
    }
}
