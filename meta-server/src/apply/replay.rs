//! Replays the log of a real server, and ends in the state that the real server came to.

use serde::Deserialize;
use serde_json::Value;

use super::{StateStore, apply, memory::MemoryStore};
use crate::command::{LogCommand, fixtures};

/// The state machine of an export. Its `Expire` lines are compared with the index that the records imply.
fn state(export: &str) -> MemoryStore {
    let mut store = MemoryStore::default();
    let mut expire_lines = Vec::new();
    for line in export.lines().filter(|line| line.starts_with(r#"["state_machine/0","#)) {
        let (_, record): (String, Value) = serde_json::from_str(line).unwrap();
        let (kind, record) = record.as_object().unwrap().iter().next().unwrap();
        let (key, value) = (&record["key"], &record["value"]);
        match kind.as_str() {
            "Sequences" => store.sequence = value.as_u64().unwrap(),
            "Nodes" => store.set_node(key.as_u64().unwrap(), Some(Deserialize::deserialize(value).unwrap())),
            "GenericKV" => store.put(key.as_str().unwrap(), Deserialize::deserialize(value).unwrap()).unwrap(),
            "Expire" => {
                let position = (key["time_ms"].as_u64().unwrap(), key["seq"].as_u64().unwrap());
                expire_lines.push((position, value["key"].as_str().unwrap().to_owned()));
            }
            "StateMachineMeta" => {}
            other => panic!("{other} in {line}"),
        }
    }
    assert!(!store.records.is_empty());
    assert_eq!(store.expire.clone().into_iter().collect::<Vec<_>>(), expire_lines);
    store
}

fn replay(store: &mut MemoryStore, log: &[(u64, Option<&str>)]) {
    for (index, command) in log {
        if let Some(command) = command {
            let command = LogCommand::from_json(command).unwrap();
            apply(store, &command).unwrap_or_else(|err| panic!("{err} at log index {index}"));
        }
    }
}

/// Compares piece by piece, so that a failure shows the piece that differs and not two whole states.
fn assert_same(replayed: &MemoryStore, expected: &MemoryStore) {
    for key in replayed.records.keys().chain(expected.records.keys()) {
        assert_eq!(replayed.records.get(key), expected.records.get(key), "under {key}");
    }
    assert_eq!(replayed.expire, expected.expire);
    assert_eq!(replayed.nodes, expected.nodes);
    assert_eq!(replayed.sequence, expected.sequence);
}

#[test]
fn a_real_log_leads_to_the_state_that_databend_came_to() {
    let before = fixtures::text("v004-tail.ndjson");
    let after = state(&fixtures::text("v004-tail-applied.ndjson"));
    let log = fixtures::log(&before);
    let (through_64, tail) = log.split_at(65);
    assert_eq!((through_64[64].0, tail[0].0, tail.last().unwrap().0), (64, 65, 125));

    let mut from_64 = state(&before);
    replay(&mut from_64, tail);
    assert_same(&from_64, &after);

    let mut from_nothing = MemoryStore::default();
    replay(&mut from_nothing, through_64);
    assert_same(&from_nothing, &state(&before));
    replay(&mut from_nothing, tail);
    assert_same(&from_nothing, &after);
}

#[test]
fn a_log_of_2022_leads_to_its_state_but_for_the_times_of_proposal() {
    let export = fixtures::text("v004-reexported.ndjson");
    let mut replayed = MemoryStore::default();
    replay(&mut replayed, &fixtures::log(&export));
    let mut expected = state(&export);
    // Servers of that time did not record when a value was proposed, and wrote an empty meta in more than one way.
    for record in replayed.records.values_mut().chain(expected.records.values_mut()) {
        record.meta = record.meta.filter(|meta| meta.expire_at.is_some());
        if let Some(meta) = &mut record.meta {
            meta.proposed_at_ms = None;
        }
    }
    assert_same(&replayed, &expected);
}
