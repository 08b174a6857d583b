//! One history, however it comes back: applied in one piece, or cut into a snapshot and a tail, or all of it as a log, and
//! imported from a file. It always ends in the same state, and in the one that the rules' model comes to.

use std::{path::Path, sync::Arc};

use backup_plugin::{
    cluster::MemberList,
    codec,
    import::ImportOptions,
    record::{Header, LeaderId, LogEntry, LogId, Membership, NoAddress, Payload, Record, Vote},
};
use openraft::entry::RaftEntry as _;
use proptest::{collection::vec, prelude::*};
use serde_json::Value;

use super::{
    replay::{MEMORY, replay},
    tests::{exported, faithful, import_into},
};
use crate::{
    apply::model::{Model, respell},
    base::{BaseBuilder, BaseMeta},
    command::{Command, LogCommand, MatchSeq, UpsertKv, ValueOp, arbitrary},
    raft::{
        convert,
        state_machine::change,
        types::{self, Entry, EntryPayload},
    },
    state::State,
    store::open_log,
};

/// An entry of a history.
#[derive(Debug, Clone)]
enum Event {
    Command(Box<LogCommand>, u64),
    Blank,
    Membership(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (arbitrary::log_command(), any::<u64>())
            .prop_map(|(command, spelling)| Event::Command(Box::new(command), spelling)),
        1 => Just(Event::Blank),
        1 => (2..4u64).prop_map(Event::Membership),
    ]
}

/// Node 1 is the one voter; `learner` is there too.
fn membership(learner: u64) -> Payload {
    let nodes = [1, learner].map(|id| (id, NoAddress {}));
    Payload::Membership(Membership { configs: vec![[1].into()], nodes: nodes.into() })
}

fn log_id(index: u64) -> LogId {
    LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
}

/// The history as a log from index 0 on. A Raft log begins with a membership.
fn log(events: &[Event]) -> Vec<LogEntry> {
    let payloads = events.iter().map(|event| match event {
        Event::Command(command, spelling) => {
            let json: Value = serde_json::from_str(command.to_json().unwrap().get()).unwrap();
            Payload::Normal(serde_json::value::to_raw_value(&respell(&json, *spelling)).unwrap())
        }
        Event::Blank => Payload::Blank,
        Event::Membership(learner) => membership(*learner),
    });
    let payloads = std::iter::once(membership(1)).chain(payloads);
    (0..).zip(payloads).map(|(index, payload)| LogEntry { log_id: log_id(index), payload }).collect()
}

fn empty_state(dir: &Path) -> State {
    let (base, _) = BaseBuilder::create(&dir.join("base")).unwrap().finish(BaseMeta::default()).unwrap();
    State::of_base(Arc::new(base)).unwrap()
}

fn apply(state: &mut State, log: &[LogEntry]) {
    for entry in log {
        let entry = convert::entry(entry).unwrap();
        state.apply(types::record_log_id(entry.log_id), change(&entry)).unwrap();
    }
}

/// An export file that holds `log`, and `state` if there is one, as Databend writes one.
fn file(log: &[LogEntry], state: Option<&State>) -> String {
    let last = log.last().map(|entry| entry.log_id);
    let hard_state = [
        Record::Header(Header { version: "V004".to_owned(), sealed: false }),
        Record::NodeId(Some(1)),
        Record::Vote(Some(Vote { leader_id: log_id(0).leader_id, committed: true })),
        Record::Committed(last),
        Record::Purged(log.first().and_then(|entry| entry.log_id.index.checked_sub(1)).map(log_id)),
    ];
    let entries = log.iter().cloned().map(Record::LogEntry);
    let state = state.into_iter().flat_map(State::records).map(|record| Record::State(record.unwrap()));
    let mut text = Vec::new();
    for record in hard_state.into_iter().chain(entries).chain(state) {
        codec::encode(&record, &mut text);
        text.push(b'\n');
    }
    String::from_utf8(text).unwrap()
}

fn state_lines(state: &State) -> Vec<String> {
    let mut lines = Vec::new();
    for record in state.records() {
        let mut line = Vec::new();
        codec::encode(&Record::State(record.unwrap()), &mut line);
        lines.push(String::from_utf8(line).unwrap());
    }
    lines
}

/// The state that a restored node holds once it has applied its log, as its own export tells it.
fn restored(text: &str, options: &ImportOptions) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    import_into(dir.path(), text, options);
    exported(dir.path()).into_iter().filter(|line| line.starts_with("[\"state_machine")).collect()
}

/// Without what a new cluster has of its own: where its log begins, its members and their addresses.
fn of_users(lines: &[String]) -> Vec<&String> {
    lines.iter().filter(|line| !line.contains("{\"StateMachineMeta\":") && !line.contains("{\"Nodes\":")).collect()
}

proptest! {
    #![proptest_config(arbitrary::cases(8))]

    #[test]
    fn a_history_ends_in_the_same_state_wherever_it_is_cut(
        events in vec(event(), 1..50),
        cut in any::<prop::sample::Index>(),
        purged in any::<prop::sample::Index>(),
    ) {
        let log = log(&events);
        let dir = tempfile::tempdir().unwrap();
        let mut state = empty_state(dir.path());
        // The snapshot covers at least the first entry, and may cover all; the log may reach back before it.
        let cut = 1 + cut.index(log.len());
        let kept = purged.index(cut + 1);
        apply(&mut state, &log[..cut]);
        let with_tail = file(&log[kept..], Some(&state));
        apply(&mut state, &log[cut..]);
        let expected = state_lines(&state);

        let mut model = Model::default();
        for entry in &log {
            if let Payload::Normal(command) = &entry.payload {
                model.apply(&serde_json::from_str(command.get()).unwrap());
            }
        }
        let told: Vec<Value> = expected
            .iter()
            .filter(|line| !line.contains("StateMachineMeta"))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        prop_assert_eq!(told, model.lines());

        let log_alone = file(&log, None);
        let members = MemberList::new(["7=127.0.0.1:28007".parse().unwrap()]).unwrap();
        let new_cluster = ImportOptions::new(Some(7), Some(members)).unwrap();
        for (name, text) in [("cut", with_tail), ("a log alone", log_alone)] {
            prop_assert_eq!(&restored(&text, &faithful()), &expected, "{}, the same node", name);
            let new = restored(&text, &new_cluster);
            prop_assert_eq!(of_users(&new), of_users(&expected), "{}, a new cluster", name);
        }
    }
}

proptest! {
    #![proptest_config(arbitrary::cases(8))]

    #[test]
    fn what_is_restored_from_a_file_exports_that_file_again(
        commands in vec(arbitrary::log_command(), 1..50),
        purged in any::<prop::sample::Index>(),
    ) {
        let plain = |command: &LogCommand| Payload::Normal(command.to_json().unwrap());
        let payloads = std::iter::once(membership(2)).chain(commands.iter().map(plain));
        let log: Vec<_> = (0..).zip(payloads).map(|(index, payload)| LogEntry { log_id: log_id(index), payload }).collect();
        let dir = tempfile::tempdir().unwrap();
        let mut state = empty_state(dir.path());
        apply(&mut state, &log);
        // From the whole log to the last entry of it, which Raft needs to find where it ends.
        let text = file(&log[purged.index(log.len())..], Some(&state));
        let restored = tempfile::tempdir().unwrap();
        import_into(restored.path(), &text, &faithful());
        prop_assert_eq!(exported(restored.path()), text.lines().collect::<Vec<_>>());
    }
}

/// More changes than are held in memory: they go through a base on the way.
#[test]
fn a_tail_larger_than_memory_is_applied_too() {
    let value = vec![7; 1024 * 1024];
    let puts = MEMORY / value.len() + 4;
    let key = |index: usize| format!("k{:04}", index % (puts - 3));
    let put = |index: usize| {
        let upsert =
            UpsertKv { key: key(index), seq: MatchSeq::Any, value: ValueOp::Update(value.clone()), value_meta: None };
        LogCommand { time_ms: None, cmd: Command::UpsertKV(upsert) }
    };
    let dir = tempfile::tempdir().unwrap();
    let db = open_log(dir.path()).unwrap();
    for index in 0..puts {
        let id = types::log_id(log_id(index as u64));
        db.append_blocking(vec![Entry::new(id, EntryPayload::Normal(put(index)))]).unwrap();
    }
    let state = replay(empty_state(dir.path()), &db, 0..puts as u64, dir.path()).unwrap();
    assert!(state.base().meta().keys > 0, "no base was built on the way");
    assert_eq!(state.sequence(), puts as u64);
    let found: Vec<(String, u64)> =
        state.prefix("").map(|item| item.map(|(key, record)| (key.to_string(), record.seq)).unwrap()).collect();
    // The last three overwrote the first three.
    let seq = |index: usize| if index < 3 { puts - 2 + index } else { index + 1 } as u64;
    assert_eq!(found, (0..puts - 3).map(|index| (key(index), seq(index))).collect::<Vec<_>>());
}
