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
    pb::Caller { cluster_id: OURS.into(), node_id, incarnation, target: 1, ..pb::Caller::default() }
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
    guard.inner.record.log().close().unwrap();
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
    let answer = |cluster_id: &str, incarnation| pb::Responder {
        cluster_id: cluster_id.into(),
        node_id: 2,
        incarnation,
        start: None,
    };
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
    guard.inner.record.log().close().unwrap();
    drop(guard);
    let state = LogDb::open(dir.path()).unwrap().state();
    assert_eq!((state.cluster_id.as_deref(), state.peer_incarnations), (Some(OURS), [(2, 7)].into()));
}

#[tokio::test]
async fn refusals_are_remembered_only_so_far() {
    let (_dir, guard) = guard(Some(OURS));
    for peer in 0..2 * told::MOST as u64 {
        let of_another_cluster = pb::Caller { cluster_id: "bb".into(), ..caller(peer, 7) };
        guard.admit(Some(&of_another_cluster)).await.unwrap_err();
    }
    assert!(guard.inner.told.remembered() <= told::MOST);
    assert_eq!(guard.refused(), [("other_cluster", 2 * told::MOST as u64)].into());
}

#[tokio::test]
async fn a_leaders_record_replaces_ones_own() {
    let (_dir, guard) = guard(Some(OURS));
    guard.admit(Some(&caller(2, 7))).await.unwrap();
    guard.learn(&[(1, 5), (2, 8), (3, 9)].into(), &HashMap::new()).await.unwrap();
    assert_eq!(guard.on_record().0, [(2, 8), (3, 9)].into(), "nobody tells a node who it is itself");
    guard.keep_only(&[1, 3].into(), Duration::MAX).await.unwrap();
    assert_eq!(guard.incarnation_of(2), Some(8), "one that came a moment ago may be about to join");
    let changes = guard.changes();
    guard.keep_only(&[1, 3].into(), Duration::ZERO).await.unwrap();
    assert_ne!(guard.changes(), changes);
    assert_eq!(guard.on_record().0, [(3, 9)].into());
    guard.replace(3, 10).await.unwrap();
    assert_eq!(guard.incarnation_of(3), Some(10));
}

#[tokio::test]
async fn a_node_that_was_never_led_believes_that_it_has_forgotten_and_says_no_more() {
    for (theirs, led, believes) in [(OURS, false, true), (OURS, true, false), ("bb", false, false)] {
        let (dir, guard) = guard(Some(OURS));
        guard.inner.record.log().update_state(move |state| state.elect_on_open = !led).await.unwrap();
        let meant_for_the_past = pb::Caller { cluster_id: theirs.into(), target_incarnation: Some(99), ..caller(2, 7) };
        assert_eq!(refusal(guard.admit(Some(&meant_for_the_past)).await), Refusal::Reborn { own: 1, peer: 2 });
        assert_eq!(guard.is_forgetful(), believes, "cluster {theirs}, led: {led}");
        let answer = guard.admit(Some(&caller(3, 8))).await;
        assert_eq!(answer.is_err(), believes);
        guard.inner.record.log().close().unwrap();
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
        reborn.inner.record.log().update_state(|state| state.elect_on_open = true).await.unwrap();
        assert!(reborn.hear(1, Err::<(), _>(status)).await.is_err());
        assert_eq!(reborn.is_forgetful(), believes, "cluster {theirs}");
        let answer = pb::Responder { cluster_id: theirs.into(), node_id: 3, incarnation: 9, start: None };
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

fn start(number: u64, token: u64) -> Start {
    Start { number, token }
}

fn started(node_id: u64, incarnation: u64, start: Start) -> pb::Caller {
    pb::Caller { start: Some(start.into()), ..caller(node_id, incarnation) }
}

#[tokio::test]
async fn a_store_that_shows_an_older_start_or_a_copy_of_one_is_refused_and_told() {
    let (dir, guard) = guard(Some(OURS));
    guard.admit(Some(&started(2, 7, start(4, 40)))).await.unwrap();
    guard.admit(Some(&caller(2, 7))).await.unwrap();
    for (shown, taken) in [(start(5, 50), true), (start(4, 40), false), (start(5, 51), false), (start(5, 50), true)] {
        let answer = guard.admit(Some(&started(2, 7, shown))).await;
        if taken {
            answer.unwrap();
        } else {
            let expected = Refusal::PeerWentBack { peer: 2, start: shown.number, own: 1, known: 5 };
            assert_eq!(refusal(answer), expected);
            assert_eq!(Status::from(expected).details(), YOU_WENT_BACK);
        }
    }
    assert_eq!(guard.refused(), [("older_copy", 2)].into());
    // An answer counts as little.
    let answer = pb::Responder { start: Some(start(3, 3).into()), ..responder(2, 7) };
    assert!(matches!(refusal(guard.accept(2, Some(&answer)).await), Refusal::PeerWentBack { start: 3, known: 5, .. }));
    // It is on disk, and ends with the life that it was of.
    let state = guard.inner.record.log().state();
    assert_eq!(state.peer_starts, [(2, start(5, 50))].into());
    guard.replace(2, 8).await.unwrap();
    guard.admit(Some(&started(2, 8, start(1, 10)))).await.unwrap();
    drop(dir);
}

fn responder(node_id: u64, incarnation: u64) -> pb::Responder {
    pb::Responder { cluster_id: OURS.into(), node_id, incarnation, start: None }
}

#[tokio::test]
async fn a_node_that_is_told_of_a_later_start_of_itself_believes_it_although_it_was_led() {
    for (known, believes) in [(start(2, 20), false), (start(3, 30), false), (start(3, 31), true), (start(4, 40), true)]
    {
        let (dir, guard) = guard(Some(OURS));
        guard.inner.record.log().update_state(|state| state.start = Some(start(3, 30))).await.unwrap();
        let guard = Guard::new(1, 100, guard.inner.record.log().clone());
        let from_one_that_knows =
            pb::Caller { target_incarnation: Some(100), target_start: Some(known.into()), ..caller(2, 7) };
        assert_eq!(guard.admit(Some(&from_one_that_knows)).await.is_err(), believes, "{known:?}");
        assert_eq!(guard.is_forgetful(), believes, "{known:?}");
        drop(dir);
    }
}

#[tokio::test]
async fn one_that_lacks_what_it_held_is_refused_from_then_on() {
    use crate::log::testing::id;
    let (_dir, guard) = guard(Some(OURS));
    guard.admit(Some(&caller(2, 7))).await.unwrap();
    let held = |incarnation, index| Held { peer: 2, incarnation, log_id: id(3, index) };
    guard.note_held([held(7, 20), held(7, 10), held(8, 30), Held { peer: 3, incarnation: 1, log_id: id(3, 1) }]);
    assert_eq!((guard.held_by(2), guard.held_by(3)), (Some(id(3, 20)), None), "of this life, of those on record");
    guard.write_held().await.unwrap();
    assert_eq!(guard.inner.record.log().state().peer_holds.len(), 1);
    for last in [id(3, 20), id(3, 21), id(4, 2)] {
        guard.check_log(2, Some(last)).unwrap();
        guard.check_answered_log(2, guard.held_by(2), Some(last)).await.unwrap();
    }
    // It held less when it was asked.
    guard.check_answered_log(2, Some(id(3, 10)), Some(id(3, 15))).await.unwrap();
    // It had another leader's entries there, or none.
    for last in [Some(id(2, 30)), None] {
        let guard = Guard::new(1, 100, guard.inner.record.log().clone());
        let reverted = Refusal::PeerReverted { peer: 2, had: id(3, 20), missing: id(3, 20) };
        assert_eq!(refusal(guard.check_answered_log(2, guard.held_by(2), last).await), reverted);
        assert_eq!(refusal(guard.admit(Some(&caller(2, 7))).await), Refusal::PeerReborn { peer: 2, kin: true });
        assert_eq!(guard.held_by(2), None, "what comes after it is another life");
        guard.replace(2, 7).await.unwrap();
        guard.note_held([held(7, 20)]);
        guard.write_held().await.unwrap();
    }
}

/// A message may have been under way while its sender went on: only that message is refused, and only the sender can tell.
#[tokio::test]
async fn one_that_asked_with_less_than_it_held_finds_out_itself_whether_it_went_back() {
    use crate::log::testing::{entry, id};
    let held = id(3, 20);
    for (ends, believes) in [(None, true), (Some(19), true), (Some(20), false), (Some(21), false)] {
        let (_dir, knowing) = guard(Some(OURS));
        knowing.admit(Some(&caller(2, 7))).await.unwrap();
        knowing.note_held([Held { peer: 2, incarnation: 7, log_id: held }]);
        let refused = knowing.check_log(2, Some(id(3, 10))).unwrap_err();
        assert_eq!(refused, Refusal::PeerBehind { peer: 2, had: held, last: Some(id(3, 10)) });
        knowing.admit(Some(&caller(2, 7))).await.unwrap();
        assert_eq!(knowing.held_by(2), Some(held), "nothing is held against it");

        let (_dir, asking) = guard(Some(OURS));
        if let Some(ends) = ends {
            let entries = (0..=ends).map(|index| entry(3, index, 10)).collect();
            asking.inner.record.log().append_blocking(entries).unwrap();
        }
        assert!(asking.hear(1, Err::<(), _>(Status::from(refused))).await.is_err());
        assert_eq!(asking.is_forgetful(), believes, "its log ends at {ends:?}");
    }
}

#[tokio::test]
async fn a_leader_is_right_about_copies_and_may_not_know_the_latest_start() {
    let (_dir, guard) = guard(Some(OURS));
    guard.admit(Some(&started(2, 7, start(4, 40)))).await.unwrap();
    for (theirs, ours) in [(start(3, 30), start(4, 40)), (start(4, 41), start(4, 41)), (start(5, 50), start(5, 50))] {
        guard.learn(&[(2, 7)].into(), &[(2, theirs)].into()).await.unwrap();
        assert_eq!(guard.on_record().1, [(2, ours)].into(), "{theirs:?}");
    }
    guard.learn(&[(2, 8)].into(), &HashMap::new()).await.unwrap();
    assert_eq!(guard.on_record().1, HashMap::new(), "another life");
}
