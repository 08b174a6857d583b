//! Snapshots from one state machine into another, whole and spoiled on the way.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use backup_plugin::{
    export,
    import::{self, ImportOptions},
    record::{self, LeaderId, LogId, NoAddress, StateRecord},
};
use futures::{StreamExt, stream};
use meta_proto::raft::{self as pb, snapshot_chunk::Part};
use openraft::{StorageHelper, storage::RaftLogStorage};
use tempfile::TempDir;
use tonic::Status;

use super::{Chunks, MESSAGE_BYTES, ReceiveError, SendError, chunks, header, receive};
use crate::{
    backup::{
        offline::{OfflineBackup, PrivateCopy},
        target::StoreTarget,
    },
    command::{Command, LogCommand, MatchSeq, MetaSpec, UpsertKv, ValueOp},
    log::testing,
    raft::{log_store::LogStore, state_machine::SnapshotOf, types},
    state::{Change, State, StateMachine, StateOptions, View},
    store::Store,
};

const IDLE: Duration = Duration::from_secs(10);

pub(super) fn opened() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StateOptions::default()).unwrap();
    (dir, store)
}

fn log_id(index: u64) -> LogId {
    LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
}

pub(super) fn put(key: String, bytes: usize) -> LogCommand {
    let value = ValueOp::Update(vec![b'x'; bytes]);
    let expires = MetaSpec { expire_at: Some(4_000_000_000), ttl: None };
    let upsert = UpsertKv { key, seq: MatchSeq::Any, value, value_meta: Some(expires) };
    LogCommand { time_ms: Some(1_700_000_000_000), cmd: Command::UpsertKV(upsert) }
}

/// Members, a node's addresses, and `count` records of `bytes` bytes, compacted.
fn filled(machine: &StateMachine, count: u64, bytes: usize) -> View {
    let membership = record::Membership {
        configs: vec![BTreeSet::from([1, 2])],
        nodes: [(1, NoAddress {}), (2, NoAddress {})].into(),
    };
    let members = Change::Membership(record::StoredMembership { log_id: Some(log_id(1)), membership });
    machine.apply([(log_id(1), members, false)].into_iter()).unwrap();
    let node = record::Node { name: "n1".to_owned(), ..record::Node::default() };
    let command = LogCommand { time_ms: None, cmd: Command::AddNode { node_id: 1, node, overriding: true } };
    machine.apply([(log_id(2), Change::Command(&command), false)].into_iter()).unwrap();
    for index in 0..count {
        let command = put(format!("k{index:06}"), bytes);
        machine.apply([(log_id(3 + index), Change::Command(&command), false)].into_iter()).unwrap();
    }
    machine.compact().unwrap()
}

fn sent(view: &View) -> Chunks {
    chunks(header(pb::Caller::default(), pb::Ballot::default(), view), view.clone())
}

/// Everything that is sent, the header apart.
async fn messages(view: &View) -> (pb::SnapshotHeader, Vec<pb::SnapshotChunk>) {
    let mut all: Vec<_> = sent(view).collect().await;
    let Some(Part::Header(header)) = all.remove(0).part else { panic!("the header comes first") };
    (header, all)
}

async fn arrive(
    store: &Store,
    header: pb::SnapshotHeader,
    messages: Vec<pb::SnapshotChunk>,
) -> Result<SnapshotOf, ReceiveError> {
    receive(header, stream::iter(messages.into_iter().map(Ok)), &store.state, IDLE).await
}

pub(super) fn records(state: &State) -> Vec<StateRecord> {
    state.records().map(Result::unwrap).collect()
}

pub(super) fn bases(dir: &TempDir) -> Vec<String> {
    let generation = dir.path().join("gen-000001");
    let names = fs::read_dir(generation).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("base-")).collect();
    names.sort();
    names
}

pub(super) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "not so in 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_is_what_is_installed() {
    // Nothing, what fits into one message, many messages, and records that are larger than a message.
    for (count, bytes) in [(0, 0), (10, 100), (5_000, 300), (3, MESSAGE_BYTES * 2)] {
        let (_leader_dir, leader) = opened();
        let view = filled(&leader.state, count, bytes);
        let (header, messages) = messages(&view).await;
        assert_eq!(header.sequence, count);
        for message in &messages {
            let Some(Part::Records(records)) = &message.part else { continue };
            let size = prost::Message::encoded_len(message);
            assert!(size <= MESSAGE_BYTES + 100_000 || records.records.len() == 1, "{size} bytes");
        }

        let (dir, follower) = opened();
        let snapshot = arrive(&follower, header, messages).await.unwrap();
        assert_eq!(snapshot.meta.last_log_id.unwrap().index, 2 + count);
        assert_eq!(snapshot.meta.last_membership.membership().voter_ids().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(follower.state.view().last_applied(), None, "nothing is installed yet");
        follower.state.install(&snapshot.snapshot).unwrap();
        drop(snapshot);
        assert_eq!(records(&follower.state.view()), records(&view));
        assert_eq!(bases(&dir), ["base-000002"]);

        follower.log.close().unwrap();
        drop(follower);
        let follower = Store::open(dir.path(), StateOptions::default()).unwrap();
        assert_eq!(records(&follower.state.view()), records(&view), "after a restart");
    }
}

/// What spoils a stream, and what is said of it.
type Spoiled = (fn(&mut Vec<pb::SnapshotChunk>), &'static str);

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_whole_and_right_is_refused_and_leaves_nothing() {
    fn first(messages: &mut [pb::SnapshotChunk]) -> &mut Vec<pb::SnapshotRecord> {
        let Some(Part::Records(records)) = &mut messages[0].part else { panic!("records come first") };
        &mut records.records
    }
    fn end(messages: &mut [pb::SnapshotChunk]) -> &mut pb::SnapshotEnd {
        let Some(Part::End(end)) = &mut messages.last_mut().unwrap().part else { panic!("the end comes last") };
        end
    }
    let cases: [Spoiled; 11] = [
        (|m| m.truncate(0), "the snapshot ended before its end"),
        (|m| m.truncate(m.len() - 1), "the snapshot ended before its end"),
        (|m| m[1].part = None, "`part` is missing"),
        (|m| first(m)[3].value = None, "`records.value` is missing"),
        (|m| first(m).clear(), "`records.records` is missing"),
        (|m| m[1].part = Some(Part::Header(pb::SnapshotHeader::default())), "`header` can not be: "),
        (|m| first(m).swap(1, 2), "the key of record 3 does not come after the one before it"),
        (|m| drop(first(m).pop()), "1999 records arrived and 2000 were sent"),
        (|m| first(m)[7].value.as_mut().unwrap().data[0] ^= 1, "the records that arrived have the digest "),
        (|m| end(m).records += 1, "2000 records arrived and 2001 were sent"),
        (|m| end(m).digest.truncate(31), "`end.digest` can not be: it has 31 bytes, not 32"),
    ];
    let (_leader_dir, leader) = opened();
    let (header, messages) = messages(&filled(&leader.state, 2_000, 300)).await;
    assert!(messages.len() > 2);
    let (dir, follower) = opened();
    let before = records(&filled(&follower.state, 3, 10));
    let bases_before = bases(&dir);
    for (spoil, expected) in cases {
        let mut messages = messages.clone();
        spoil(&mut messages);
        let error = arrive(&follower, header.clone(), messages).await.err().unwrap().to_string();
        let said = error.strip_prefix("cannot understand a message of another member: ").unwrap_or(&error);
        assert!(said.starts_with(expected), "{error}");
        assert_eq!(bases(&dir), bases_before, "{expected}");
        assert_eq!(records(&follower.state.view()), before, "{expected}");
    }
    let broken = stream::iter(messages.into_iter().take(2).map(Ok).chain([Err(Status::unavailable("cut"))]));
    let error = receive(header, broken, &follower.state, IDLE).await.err().unwrap();
    assert!(matches!(&error, ReceiveError::Broken(status) if status.message() == "cut"), "{error}");
    assert_eq!(bases(&dir), bases_before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_stalls_is_given_up() {
    let (_leader_dir, leader) = opened();
    let (header, messages) = messages(&filled(&leader.state, 2_000, 300)).await;
    let (dir, follower) = opened();
    let stalls = stream::iter(messages.into_iter().take(1).map(Ok)).chain(stream::pending());
    let idle = Duration::from_millis(100);
    let error = receive(header, stalls, &follower.state, idle).await.err().unwrap();
    assert_eq!(error.to_string(), "the snapshot did not go on for 100 ms");
    assert_eq!(Status::from(error).code(), tonic::Code::DeadlineExceeded);
    assert_eq!(bases(&dir), ["base-000001"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_nobody_waits_for_any_more_leaves_nothing() {
    let (_leader_dir, leader) = opened();
    let (header, messages) = messages(&filled(&leader.state, 2_000, 300)).await;
    let (dir, follower) = opened();
    let machine = follower.state.clone();
    let stalls = stream::iter(messages.into_iter().take(1).map(Ok)).chain(stream::pending());
    let receiving = tokio::spawn(async move { receive(header, stalls, &machine, IDLE).await.map(drop) });
    until("a base is begun", || bases(&dir).len() == 2).await;
    receiving.abort();
    until("it is gone", || bases(&dir) == ["base-000001"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_is_held_while_it_is_sent_and_let_go_with_the_stream() {
    let (dir, leader) = opened();
    let view = filled(&leader.state, 5_000, 300);
    let mut chunks = sent(&view);
    drop(view);
    assert!(matches!(chunks.next().await.unwrap().part, Some(Part::Header(_))));
    let later = put("later".to_owned(), 1);
    leader.state.apply([(log_id(6_000), Change::Command(&later), false)].into_iter()).unwrap();
    leader.state.compact().unwrap();
    assert_eq!(bases(&dir), ["base-000002", "base-000003"], "the old base is still being sent");
    drop(chunks);
    until("the old base is gone", || bases(&dir) == ["base-000003"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
    let (_dir, leader) = opened();
    let view = filled(&leader.state, 5_000, 300);
    let (idle, settle) = (Duration::from_secs(1), Duration::from_millis(500));

    let mut chunks = sent(&view);
    let sending = tokio::spawn(chunks.sending().stalled(idle, settle));
    assert!(chunks.next().await.is_some());
    assert_eq!(sending.await.unwrap(), SendError::Stalled(idle));

    let mut chunks = sent(&view);
    let sending = tokio::spawn(chunks.sending().stalled(idle, settle));
    let began = Instant::now();
    let mut count = 0;
    while chunks.next().await.is_some() {
        count += 1;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(count > 5 && began.elapsed() > idle, "{count} messages");
    assert_eq!(sending.await.unwrap(), SendError::NoAnswer(settle));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_can_not_be_read_is_not_sent_as_a_whole_one() {
    let (dir, leader) = opened();
    let view = filled(&leader.state, 5_000, 300);
    spoil_table(&dir.path().join("gen-000001").join(view.base().name()).join("table"));
    // Another handle: this one may have the table in memory.
    let base = crate::base::Base::open(&dir.path().join("gen-000001").join(view.base().name())).unwrap();
    let view = View::new(State::of_base(Arc::new(base)).unwrap());
    let mut chunks = sent(&view);
    let sending = chunks.sending();
    let mut last = None;
    while let Some(chunk) = chunks.next().await {
        last = chunk.part;
    }
    assert!(!matches!(last, Some(Part::End(_))), "{last:?}");
    assert!(matches!(sending.stalled(IDLE, IDLE).await, SendError::Read(_)));
}

/// A follower that crashed after the base of a snapshot was named, and before the log behind it was purged.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_log_is_purged_leaves_a_store_that_starts_from_the_snapshot() {
    let (_leader_dir, leader) = opened();
    let (header, messages) = messages(&filled(&leader.state, 100, 10)).await;
    let base = types::log_id(log_id(102));
    // Entries of the same leader, and of a later one, which lost: by Raft's order they come after the snapshot.
    for term in [1, 5] {
        let (dir, follower) = opened();
        follower.log.update_state(|state| state.node_id = Some(2)).await.unwrap();
        follower.log.append_blocking((0..50).map(|index| testing::entry(term, index, 10)).collect()).unwrap();
        let snapshot = arrive(&follower, header.clone(), messages.clone()).await.unwrap();
        follower.state.install(&snapshot.snapshot).unwrap();
        drop(snapshot);
        follower.log.close().unwrap();
        drop(follower);

        let copy = PrivateCopy::create().unwrap();
        let backup = OfflineBackup::open(dir.path(), copy.path()).unwrap();
        let lines: Vec<String> = export::lines(&backup).unwrap().map(Result::unwrap).collect();
        drop(backup);
        let restored = tempfile::tempdir().unwrap();
        let target = StoreTarget::new(restored.path().to_owned());
        let options = ImportOptions::new(None, None).unwrap();
        import::run((lines.join("\n") + "\n").as_bytes(), "its backup", &target, &options, &mut |_| {}).unwrap();

        for _start in 1..=2 {
            let store = Store::open(dir.path(), StateOptions::default()).unwrap();
            let (mut log, mut machine) = (LogStore::new(store.log.clone()), store.state.clone());
            let state = StorageHelper::new(&mut log, &mut machine).with_id(2).get_initial_state().await.unwrap();
            assert_eq!(RaftLogStorage::get_log_state(&mut log).await.unwrap().last_log_id, Some(base), "term {term}");
            assert_eq!(state.snapshot_meta.last_log_id, Some(base));
            assert_eq!((store.log.last_log_id(), store.log.purged()), (Some(base), Some(base)));
            assert_eq!(store.log.first_index(), None);
            store.log.close().unwrap();
        }
        let store = Store::open(dir.path(), StateOptions::default()).unwrap();
        store.log.append_blocking(vec![testing::entry(6, 103, 10)]).unwrap();
        assert_eq!(store.log.first_index(), Some(103), "the leader's next entry follows the snapshot");
    }
}

/// Overwrites the records of a table, and leaves the rest of its file, which comes after them.
fn spoil_table(table: &Path) {
    let files = fs::read_dir(table.join("tables")).unwrap().map(|entry| entry.unwrap().path());
    for path in files {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].fill(0xa5);
        fs::write(&path, bytes).unwrap();
    }
}
