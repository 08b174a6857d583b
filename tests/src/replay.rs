//! What a store must hold at each entry of its log, worked out from the upserts in the entries alone. Knows what upserts
//! mean, and of no other command that writes keys.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{export::Export, writer::State};

/// The state after one entry of the log.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    /// The index of the entry.
    pub applied: u64,
    /// The last seq given out.
    pub sequence: u64,
    pub keys: State,
}

impl Replay {
    /// Begins with the state of an export.
    pub fn of(export: &Export) -> Replay {
        let applied = export.applied.expect("a LastApplied");
        Replay { applied, sequence: export.sequence, keys: export.all() }
    }

    /// Applies the entries up to `index`; says which one is missing.
    pub fn go_on(&mut self, index: u64, payloads: &BTreeMap<u64, Value>) -> Result<(), u64> {
        while self.applied < index {
            let next = self.applied + 1;
            let payload = payloads.get(&next).ok_or(next)?;
            self.apply(&payload["Normal"]["cmd"]);
            self.applied = next;
        }
        Ok(())
    }

    fn apply(&mut self, command: &Value) {
        assert!(command["Transaction"].is_null(), "transactions are not replayed: {command}");
        let upsert = &command["UpsertKV"];
        let Some(key) = upsert["key"].as_str() else { return };
        let present = self.keys.get(key).map_or(0, |(seq, _)| *seq);
        let condition = &upsert["seq"];
        let matches = match (condition["Exact"].as_u64(), condition["GE"].as_u64()) {
            (Some(seq), _) => present == seq,
            (None, Some(seq)) => present >= seq,
            (None, None) => *condition == "Any",
        };
        if !matches {
            return;
        }
        if let Some(data) = upsert["value"]["Update"].as_array() {
            let byte = |byte: &Value| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()).expect("a byte");
            self.sequence += 1;
            self.keys.insert(key.to_owned(), (self.sequence, data.iter().map(byte).collect()));
        } else {
            assert_eq!(upsert["value"], "Delete", "{command}");
            self.keys.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn upsert(seq: Value, value: Value) -> Value {
        json!({"Normal": {"time_ms": 1, "cmd": {"UpsertKV": {"key": "k", "seq": seq, "value": value, "value_meta": null}}}})
    }

    #[test]
    fn upserts_are_done_where_their_condition_holds() {
        let put = |seq, byte: u8| upsert(seq, json!({"Update": [byte]}));
        let payloads = [
            json!("Blank"),
            put(json!("Any"), 1),
            put(json!({"Exact": 7}), 2),
            put(json!({"Exact": 11}), 3),
            put(json!({"GE": 13}), 4),
            upsert(json!({"GE": 0}), json!("Delete")),
            put(json!({"Exact": 0}), 5),
        ];
        let payloads: BTreeMap<u64, Value> = (21..).zip(payloads).collect();
        let mut replay = Replay { applied: 20, sequence: 10, keys: State::new() };
        let mut seen = Vec::new();
        for index in 21..28 {
            replay.go_on(index, &payloads).unwrap();
            seen.push(replay.keys.get("k").map(|(seq, data)| (*seq, data[0])));
        }
        let expected = [None, Some((11, 1)), Some((11, 1)), Some((12, 3)), Some((12, 3)), None, Some((13, 5))];
        assert_eq!(seen, expected);
        assert_eq!(replay.go_on(30, &payloads), Err(28));
    }
}
