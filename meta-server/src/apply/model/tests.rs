//! The state machine and the model, command by command: the same replies and the same state.

use backup_plugin::{codec, record::Record};
use proptest::{collection::vec, prelude::*};
use serde_json::Value;

use super::{Model, respell};
use crate::{
    apply::{Applied, StateStore, apply, memory::MemoryStore},
    command::{LogCommand, arbitrary, fixtures},
};

fn json(command: &LogCommand) -> Value {
    serde_json::from_str(command.to_json().unwrap().get()).unwrap()
}

fn reply(applied: &Applied) -> Value {
    serde_json::to_value(applied).unwrap()
}

/// Applies one command to both, and compares what they answer.
fn step(store: &mut impl StateStore, model: &mut Model, entry: &Value) -> Result<(), TestCaseError> {
    let command = LogCommand::from_json(&entry.to_string()).unwrap();
    let applied = apply(store, &command).unwrap();
    prop_assert_eq!(reply(&applied), model.apply(entry), "to {}", entry);
    Ok(())
}

/// What the plain store holds, as the lines of an export.
fn lines(store: &MemoryStore) -> Vec<Value> {
    let mut text = Vec::new();
    for record in store.state_records() {
        codec::encode(&Record::State(record), &mut text);
        text.push(b'\n');
    }
    serde_json::Deserializer::from_slice(&text).into_iter().map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(arbitrary::cases(256))]

    #[test]
    fn the_rules_are_those_of_the_page(
        commands in vec((arbitrary::log_command(), any::<u64>()), 1..60),
    ) {
        let (mut store, mut model) = (MemoryStore::default(), Model::default());
        for (command, spelling) in commands {
            step(&mut store, &mut model, &respell(&json(&command), spelling))?;
            prop_assert_eq!(lines(&store), model.lines(), "after {}", command);
        }
    }

    #[test]
    fn another_spelling_is_the_same_command(command in arbitrary::log_command(), spelling in any::<u64>()) {
        let spelled = respell(&json(&command), spelling);
        prop_assert_eq!(LogCommand::from_json(&spelled.to_string()).unwrap(), command, "{}", spelled);
    }
}

/// The model itself, against what a real server came to.
#[test]
fn the_model_leads_to_the_state_that_databend_came_to() {
    let mut model = Model::default();
    for (_, command) in fixtures::log(&fixtures::text("v004-tail.ndjson")) {
        if let Some(command) = command {
            model.apply(&serde_json::from_str(command).unwrap());
        }
    }
    let expected: Vec<Value> = fixtures::text("v004-tail-applied.ndjson")
        .lines()
        .filter(|line| line.starts_with("[\"state_machine") && !line.contains("StateMachineMeta"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(model.lines(), expected);
}
