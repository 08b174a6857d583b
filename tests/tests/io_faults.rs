//! A fault at the I/O calls of an import, a rollback and an export, a part of them; `faults -- io` of the benches takes all.

use integration_tests::faults::{CALLS, FAULTS, Scene, WORKS, possible};

#[tokio::test]
async fn whatever_call_fails_there_is_all_of_the_old_data_or_all_of_the_new() {
    if !possible().await {
        return;
    }
    let scene = Scene::prepare(200).await;
    let mut points = 0;
    // Each kind of call is met by each work, and the faults take turns.
    for (turn, work) in WORKS.into_iter().enumerate() {
        for (kind, call) in CALLS.into_iter().enumerate().filter(|(_, call)| Scene::has(work, call)) {
            let n = 1 + u32::try_from((turn + kind) % 3).unwrap();
            points += u32::from(scene.run(work, FAULTS[(turn + kind) % FAULTS.len()], call, n).await.is_some());
        }
    }
    assert!(points >= 15, "only {points} of the calls were ever made");
}
