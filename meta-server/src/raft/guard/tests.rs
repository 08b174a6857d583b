//! What a guard lets in and what it refuses, and what of that is on disk.

use std::pin::pin;

use tempfile::TempDir;

use super::*;

const OURS: &str = "aa";

fn guard(cluster_id: Option<&str>) -> (TempDir, Guard) {
    let dir = tempfile::tempdir().unwrap();
    let log = LogDb::open(dir.path()).unwrap();
    log.update_state_blocking(|state| state.cluster_id = cluster_id.map(str::to_owned)).unwrap();
    (dir, Guard::new(1, 100, log))
}

fn caller(node_id: u64, incarnation: u64) -> pb::Caller {
    pb::Caller { cluster_id: OURS.into(), node_id, incarnation, target: 1, target_incarnation: None }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, GuardError>) -> Refusal {
    match result.unwrap_err() {
        GuardError::Refused(refusal) => refusal,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_peer_is_taken_at_its_first_word_and_no_other_in_its_place() {
    let (dir, guard) = guard(Some(OURS));
    guard.admit(Some(&caller(2, 7))).await.unwrap();
    guard.admit(Some(&caller(2, 7))).await.unwrap();
    assert_eq!(refusal(guard.admit(Some(&caller(2, 8))).await), Refusal::PeerReborn { peer: 2, kin: true });
    assert_eq!(guard.refused(), [("other_incarnation", 1)].into());
    guard.inner.log.close().unwrap();
    drop(guard);
    // It is on disk.
    assert_eq!(LogDb::open(dir.path()).unwrap().state().peer_incarnations, [(2, 7)].into());
}

#[tokio::test]
async fn messages_that_do_not_fit_are_refused() {
    let (_dir, guard) = guard(Some(OURS));
    let meant_for_another = pb::Caller { target: 3, ..caller(2, 7) };
    let meant_for_the_past = pb::Caller { target_incarnation: Some(99), ..caller(2, 7) };
    let of_another_cluster = pb::Caller { cluster_id: "bb".into(), ..caller(2, 7) };
    let of_none = pb::Caller { cluster_id: String::new(), ..caller(2, 7) };
    for (caller, expected) in [
        (meant_for_another, Refusal::OtherNode { meant: 3, own: 1 }),
        (meant_for_the_past, Refusal::Reborn { own: 1, peer: 2 }),
        (of_another_cluster, Refusal::OtherCluster { peer: 2, theirs: "bb".into(), own: 1, ours: OURS.into() }),
        (of_none, Refusal::NoCluster { peer: 2, own: 1, ours: OURS.into() }),
    ] {
        assert_eq!(refusal(guard.admit(Some(&caller)).await), expected);
    }
    assert!(matches!(guard.admit(None).await, Err(GuardError::Anonymous)));
    assert_eq!(guard.incarnation_of(2), None, "one that was refused is not on record");
}

#[tokio::test]
async fn answers_are_checked_as_messages_are() {
    let (_dir, guard) = guard(Some(OURS));
    let answer =
        |cluster_id: &str, incarnation| pb::Responder { cluster_id: cluster_id.into(), node_id: 2, incarnation };
    guard.accept(2, Some(&answer("", 7))).await.unwrap();
    guard.accept(2, Some(&answer(OURS, 7))).await.unwrap();
    assert_eq!(refusal(guard.accept(2, Some(&answer(OURS, 8))).await), Refusal::PeerReborn { peer: 2, kin: true });
    assert_eq!(refusal(guard.accept(3, Some(&answer(OURS, 7))).await), Refusal::OtherNode { meant: 3, own: 2 });
    assert!(matches!(refusal(guard.accept(2, Some(&answer("bb", 7))).await), Refusal::OtherCluster { .. }));
}

#[tokio::test]
async fn a_node_without_a_cluster_listens_to_members_alone_and_takes_one_id_for_good() {
    let (_dir, guard) = guard(None);
    assert_eq!(refusal(guard.admit(Some(&caller(2, 7))).await), Refusal::Stranger { peer: 2, own: 1 });
    guard.adopt_cluster("").await.unwrap();
    assert_eq!(guard.cluster_id(), None);
    guard.adopt_cluster(OURS).await.unwrap();
    guard.adopt_cluster("bb").await.unwrap();
    guard.mint_cluster().await.unwrap();
    assert_eq!(guard.cluster_id().as_deref(), Some(OURS));
}

#[tokio::test]
async fn what_a_caller_that_has_gone_was_writing_stays() {
    let (dir, guard) = guard(None);
    // Each call is dropped when it has been handed to the log, and before that has answered.
    assert!(futures::poll!(pin!(guard.adopt_cluster(OURS))).is_pending());
    assert_eq!(guard.cluster_id(), None, "nobody is told before it is on disk");
    assert!(futures::poll!(pin!(guard.replace(2, 7))).is_pending());
    guard.mint_cluster().await.unwrap();
    assert_eq!(guard.cluster_id().as_deref(), Some(OURS));
    assert_eq!(refusal(guard.admit(Some(&caller(2, 8))).await), Refusal::PeerReborn { peer: 2, kin: true });
    guard.inner.log.close().unwrap();
    drop(guard);
    let state = LogDb::open(dir.path()).unwrap().state();
    assert_eq!((state.cluster_id.as_deref(), state.peer_incarnations), (Some(OURS), [(2, 7)].into()));
}

#[tokio::test]
async fn refusals_are_remembered_only_so_far() {
    let (_dir, guard) = guard(Some(OURS));
    for peer in 0..2 * TOLD as u64 {
        let of_another_cluster = pb::Caller { cluster_id: "bb".into(), ..caller(peer, 7) };
        guard.admit(Some(&of_another_cluster)).await.unwrap_err();
    }
    assert!(guard.inner.told.lock().unwrap().len() <= TOLD);
    assert_eq!(guard.refused(), [("other_cluster", 2 * TOLD as u64)].into());
}

#[tokio::test]
async fn a_leaders_record_replaces_ones_own() {
    let (_dir, guard) = guard(Some(OURS));
    guard.admit(Some(&caller(2, 7))).await.unwrap();
    guard.learn(&[(1, 5), (2, 8), (3, 9)].into()).await.unwrap();
    assert_eq!(guard.incarnations(), [(2, 8), (3, 9)].into(), "nobody tells a node who it is itself");
    guard.keep_only(&[1, 3].into(), Duration::MAX).await.unwrap();
    assert_eq!(guard.incarnation_of(2), Some(8), "one that came a moment ago may be about to join");
    let changes = guard.changes();
    guard.keep_only(&[1, 3].into(), Duration::ZERO).await.unwrap();
    assert_ne!(guard.changes(), changes);
    assert_eq!(guard.incarnations(), [(3, 9)].into());
    guard.replace(3, 10).await.unwrap();
    assert_eq!(guard.incarnation_of(3), Some(10));
}

#[tokio::test]
async fn a_node_that_was_never_led_believes_that_it_has_forgotten_and_says_no_more() {
    for (theirs, led, believes) in [(OURS, false, true), (OURS, true, false), ("bb", false, false)] {
        let (dir, guard) = guard(Some(OURS));
        guard.inner.log.update_state(move |state| state.elect_on_open = !led).await.unwrap();
        let meant_for_the_past = pb::Caller { cluster_id: theirs.into(), target_incarnation: Some(99), ..caller(2, 7) };
        assert_eq!(refusal(guard.admit(Some(&meant_for_the_past)).await), Refusal::Reborn { own: 1, peer: 2 });
        assert_eq!(guard.is_forgetful(), believes, "cluster {theirs}, led: {led}");
        let answer = guard.admit(Some(&caller(3, 8))).await;
        assert_eq!(answer.is_err(), believes);
        guard.inner.log.close().unwrap();
        drop(guard);
        assert_eq!(LogDb::open(dir.path()).unwrap().state().reborn, believes);
    }
}

#[tokio::test]
async fn a_refusal_tells_a_member_that_it_has_forgotten_and_nobody_else() {
    for (theirs, believes) in [(OURS, true), ("bb", false)] {
        let (_dir, other) = guard(Some(OURS));
        other.admit(Some(&caller(2, 7))).await.unwrap();
        let reborn = pb::Caller { cluster_id: theirs.into(), ..caller(2, 8) };
        let status = Status::from(other.admit(Some(&reborn)).await.unwrap_err());

        let (_dir, reborn) = guard(Some(theirs));
        reborn.inner.log.update_state(|state| state.elect_on_open = true).await.unwrap();
        assert!(reborn.hear(1, Err::<(), _>(status)).await.is_err());
        assert_eq!(reborn.is_forgetful(), believes, "cluster {theirs}");
        let answer = pb::Responder { cluster_id: theirs.into(), node_id: 3, incarnation: 9 };
        assert_eq!(reborn.accept(3, Some(&answer)).await.is_err(), believes, "no vote counts for it");
    }
}

#[test]
fn a_cluster_id_is_64_hex_digits_and_never_the_same() {
    let id = random_cluster_id();
    assert_eq!(id.len(), 64);
    assert!(id.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')));
    assert_ne!(id, random_cluster_id());
}
