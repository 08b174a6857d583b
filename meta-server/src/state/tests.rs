//! The state machine against a plain map: whatever is compacted when, nothing is lost, and a view stays as it was.

use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use backup_plugin::record::{LeaderId, LogId, StateRecord};
use proptest::{collection::vec, prelude::*};
use rand::{RngExt, SeedableRng, distr::Alphanumeric, rngs::StdRng};

use super::{BaseNames, Change, State, StateMachine, StateOptions, View, base_name};
use crate::{
    apply::{self, memory::MemoryStore},
    base::{Base, BaseBuilder, BaseMeta},
    command::{Command, LogCommand, MatchSeq, UpsertKv, ValueOp, arbitrary},
};

#[derive(Clone, Default)]
pub(super) struct Names(pub(super) Arc<Mutex<Option<String>>>);

impl BaseNames for Names {
    fn name(&self, base: &str) -> io::Result<()> {
        *self.0.lock().unwrap() = Some(base.to_owned());
        Ok(())
    }
}

pub(super) fn machine(dir: &Path) -> (StateMachine, Names) {
    let (base, _) = BaseBuilder::create(&dir.join(base_name(1))).unwrap().finish(BaseMeta::default()).unwrap();
    let names = Names::default();
    (StateMachine::new(base, dir, names.clone(), StateOptions::default()).unwrap(), names)
}

pub(super) fn log_id(index: u64) -> LogId {
    LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
}

pub(super) fn apply(machine: &StateMachine, index: u64, command: &LogCommand) -> apply::Applied {
    machine.apply([(log_id(index), Change::Command(command), true)].into_iter()).unwrap().remove(0)
}

pub(super) fn put(key: &str, value: &str) -> LogCommand {
    let value = ValueOp::Update(value.as_bytes().to_vec());
    let upsert = UpsertKv { key: key.to_owned(), seq: MatchSeq::Any, value, value_meta: None };
    LogCommand { time_ms: Some(1_700_000_000_000), cmd: Command::UpsertKV(upsert) }
}

pub(super) fn records(state: &State) -> Vec<StateRecord> {
    state.records().map(Result::unwrap).filter(|record| !matches!(record, StateRecord::LastApplied(_))).collect()
}

/// What the plain map holds, as an export would write it.
fn model_records(model: &MemoryStore) -> Vec<StateRecord> {
    let mut records = model.state_records();
    records.insert(1, StateRecord::LastMembership(Default::default()));
    records
}

pub(super) fn bases(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[derive(Debug, Clone)]
enum Step {
    Apply(Box<LogCommand>),
    Compact,
    Reopen,
    KeepView,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => arbitrary::log_command().prop_map(|command| Step::Apply(Box::new(command))),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
        1 => Just(Step::KeepView),
    ]
}

proptest! {
    #![proptest_config(arbitrary::cases(48))]

    #[test]
    fn equals_a_plain_map_whatever_is_compacted_when(steps in vec(step(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let (mut machine, names) = machine(dir.path());
        let mut model = MemoryStore::default();
        let mut kept: Vec<(View, Vec<StateRecord>)> = Vec::new();
        for (index, step) in (1..).zip(steps) {
            match step {
                Step::Apply(command) => {
                    let expected = apply::apply(&mut model, &command).unwrap();
                    prop_assert_eq!(apply(&machine, index, &command), expected);
                }
                Step::Compact => {
                    let before = records(&machine.view());
                    let compacted = machine.compact().unwrap();
                    prop_assert_eq!(records(&compacted), before.clone());
                    prop_assert_eq!(records(&machine.view()), before);
                }
                Step::Reopen => {
                    // What is on disk is the state as of the base; bring it up to date first.
                    machine.compact().unwrap();
                    // No view outlives the process that reads it.
                    for (view, expected) in kept.drain(..) {
                        prop_assert_eq!(records(&view), expected);
                    }
                    let name = names.0.lock().unwrap().clone().unwrap_or_else(|| base_name(1));
                    let base = Base::open(&dir.path().join(name)).unwrap();
                    machine = StateMachine::new(base, dir.path(), names.clone(), StateOptions::default()).unwrap();
                }
                Step::KeepView => kept.push((machine.view(), records(&machine.view()))),
            }
        }
        prop_assert_eq!(records(&machine.view()), model_records(&model));
        for (view, expected) in kept {
            prop_assert_eq!(records(&view), expected);
        }
    }
}

#[test]
fn an_old_base_goes_with_its_last_view() {
    let dir = tempfile::tempdir().unwrap();
    let (machine, names) = machine(dir.path());
    apply(&machine, 1, &put("a", "1"));
    let old_view = machine.view();
    machine.compact().unwrap();
    apply(&machine, 2, &put("b", "2"));
    machine.compact().unwrap();
    assert_eq!(names.0.lock().unwrap().as_deref(), Some("base-000003"));
    assert_eq!(bases(dir.path()), ["base-000001", "base-000003"], "the first is still read, the second is not");
    assert_eq!(old_view.get("a").unwrap().unwrap().data, b"1");
    assert!(old_view.get("b").unwrap().is_none());
    drop(old_view);
    assert_eq!(bases(dir.path()), ["base-000003"]);
}

/// All at once it would keep some disks from whoever writes.
#[test]
fn a_large_old_base_goes_in_parts() {
    const PART: u64 = 4 << 20;
    let dir = tempfile::tempdir().unwrap();
    let (machine, _) = machine(dir.path());
    let mut random = StdRng::seed_from_u64(1);
    for index in 1..=20 {
        let value: String = (0..600_000).map(|_| random.sample(Alphanumeric) as char).collect();
        apply(&machine, index, &put(&format!("k{index}"), &value));
    }
    machine.compact().unwrap();
    let tables = dir.path().join("base-000002/table/tables");
    let table = fs::read_dir(tables).unwrap().map(|file| File::open(file.unwrap().path()).unwrap());
    let table = table.max_by_key(|file| file.metadata().unwrap().len()).unwrap();
    assert!(table.metadata().unwrap().len() > 2 * PART);
    apply(&machine, 21, &put("a", "1"));
    machine.compact().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while bases(dir.path()) != ["base-000003"] {
        assert!(Instant::now() < deadline, "{:?}", bases(dir.path()));
        std::thread::sleep(Duration::from_millis(5));
    }
    // What whoever has it open still sees is its first part.
    assert!(table.metadata().unwrap().len() <= PART);
}

#[test]
fn an_old_base_stays_while_it_is_iterated() {
    let dir = tempfile::tempdir().unwrap();
    let (machine, _) = machine(dir.path());
    apply(&machine, 1, &put("a", "1"));
    machine.compact().unwrap();
    let (records, expiries) = (machine.view().prefix(""), machine.view().expiries());
    apply(&machine, 2, &put("b", "2"));
    machine.compact().unwrap();
    assert_eq!(bases(dir.path()), ["base-000002", "base-000003"]);
    drop(expiries);
    assert_eq!(records.map(|item| item.unwrap().0.to_string()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(bases(dir.path()), ["base-000003"]);
}

#[test]
fn writes_during_a_compaction_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (machine, _) = machine(dir.path());
    for index in 1..=2_000 {
        apply(&machine, index, &put(&format!("k{index:05}"), "before"));
    }
    let compacting = machine.clone();
    let thread = std::thread::spawn(move || compacting.compact().unwrap());
    let mut index = 2_001;
    while !thread.is_finished() {
        apply(&machine, index, &put(&format!("k{:05}", index % 3_000), "meanwhile"));
        index += 1;
    }
    let compacted = thread.join().unwrap();
    assert!(compacted.last_applied().unwrap().index >= 2_000);
    let view = machine.view();
    assert_eq!(view.last_applied(), Some(log_id(index - 1)));
    assert_eq!(view.sequence(), index - 1);
    for written in 2_001..index {
        let record = view.get(&format!("k{:05}", written % 3_000)).unwrap().unwrap();
        assert_eq!(record.data, b"meanwhile");
    }
    assert_eq!(view.prefix("").count(), view.prefix("k").count());
    assert!(view.base().last_applied().unwrap().index >= 2_000);
}

#[test]
fn nothing_is_built_when_nothing_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (machine, names) = machine(dir.path());
    machine.compact().unwrap();
    assert_eq!(*names.0.lock().unwrap(), None);
    apply(&machine, 1, &put("a", "1"));
    machine.compact().unwrap();
    machine.compact().unwrap();
    assert_eq!(bases(dir.path()), ["base-000002"]);
}

#[test]
fn when_naming_a_base_fails_both_bases_stay() {
    struct Failing;

    impl BaseNames for Failing {
        fn name(&self, _base: &str) -> io::Result<()> {
            Err(io::Error::other("the disk is gone"))
        }
    }

    let dir = tempfile::tempdir().unwrap();
    let (base, _) = BaseBuilder::create(&dir.path().join(base_name(1))).unwrap().finish(BaseMeta::default()).unwrap();
    let machine = StateMachine::new(base, dir.path(), Failing, StateOptions::default()).unwrap();
    apply(&machine, 1, &put("a", "1"));
    assert!(machine.compact().is_err());
    assert_eq!(bases(dir.path()), ["base-000001", "base-000002"], "either may be the one that is named on disk");
    apply(&machine, 2, &put("a", "2"));
    apply(&machine, 3, &put("b", "3"));
    assert!(machine.compact().is_err());
    let view = machine.view();
    assert_eq!(view.layers.len(), 1, "failures do not pile up layers");
    assert_eq!(view.get("a").unwrap().unwrap().data, b"2");
    assert_eq!(view.get("b").unwrap().unwrap().data, b"3");
}

#[test]
fn a_base_that_could_not_be_deleted_is_not_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(base_name(2))).unwrap();
    let (machine, names) = machine(dir.path());
    apply(&machine, 1, &put("a", "1"));
    machine.compact().unwrap();
    assert_eq!(names.0.lock().unwrap().as_deref(), Some("base-000003"));
}

/// A log that is applied again at a start: hundreds of large replies would be held at once.
#[test]
fn an_entry_that_nobody_waits_for_has_its_effect_and_keeps_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (machine, _) = machine(dir.path());
    let puts = [put("a", "1"), put("a", "2")];
    let entries = puts.iter().zip(1..).map(|(put, index)| (log_id(index), Change::Command(put), index == 1));
    let applied = machine.apply(entries).unwrap();
    assert!(matches!(applied[..], [apply::Applied::Kv(_), apply::Applied::None]), "{applied:?}");
    assert_eq!(machine.view().get("a").unwrap().unwrap().data, b"2");
}

/// A read that must not block may trust what the overlay says, and must ask the base about the rest.
#[test]
fn what_was_written_lately_is_known_without_the_base() {
    let dir = tempfile::tempdir().unwrap();
    let (machine, _) = machine(dir.path());
    apply(&machine, 1, &put("in the base", "1"));
    apply(&machine, 2, &put("deleted", "2"));
    machine.compact().unwrap();
    apply(&machine, 3, &put("new", "3"));
    let delete = UpsertKv { key: "deleted".into(), seq: MatchSeq::Any, value: ValueOp::Delete, value_meta: None };
    apply(&machine, 4, &LogCommand { time_ms: None, cmd: Command::UpsertKV(delete) });
    let view = machine.view();
    let recent = |key| view.recent(key).map(|found| found.map(|record| record.seq));
    assert_eq!([recent("new"), recent("deleted"), recent("in the base")], [Some(Some(3)), Some(None), None]);
    assert_eq!(view.get("in the base").unwrap().map(|record| record.seq), Some(1));
}
