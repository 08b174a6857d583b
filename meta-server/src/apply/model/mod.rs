//! A second interpreter of the rules, for tests: plain, slow, and written from the page of the format alone. Commands, replies and
//! state are the JSON of an export, numbers are `i128`, and every question is answered by looking at everything.
//!
//! Shares no code with the state machine, not even the types: where both agree, they agree on what the page says.

mod conditions;
mod operations;
mod respell;
mod tests;

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub(crate) use respell::respell;

const LARGEST: i128 = u64::MAX as i128;

/// What a store holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Model {
    counter: i128,
    nodes: BTreeMap<u64, Value>,
    keys: BTreeMap<String, Stored>,
    /// The time of the entry that is applied; 0 if it has none.
    now: i128,
}

#[derive(Debug, Clone, PartialEq)]
struct Stored {
    seq: i128,
    expire_at: Option<i128>,
    proposed_at: i128,
    data: Vec<u8>,
}

impl Stored {
    fn expiry_in_ms(&self) -> Option<i128> {
        self.expire_at.map(|at| if at > 100_000_000_000 { at } else { at * 1000 })
    }

    fn json(&self) -> Value {
        let mut meta = json!({ "proposed_at_ms": u64_of(self.proposed_at) });
        if let Some(at) = self.expire_at {
            meta["expire_at"] = json!(u64_of(at));
        }
        json!({ "seq": u64_of(self.seq), "meta": meta, "data": self.data })
    }
}

impl Model {
    /// Applies the JSON of a log entry's command; answers what the state machine does.
    pub(crate) fn apply(&mut self, entry: &Value) -> Value {
        let time = number(&entry["time_ms"]);
        if let Some(time) = time {
            self.keys.retain(|_, stored| stored.expiry_in_ms().is_none_or(|expiry| expiry >= time));
        }
        self.now = time.unwrap_or(0);
        let (name, body) = variant(&entry["cmd"]);
        match name {
            "AddNode" => self.add_node(body),
            "RemoveNode" => {
                let prev = self.nodes.remove(&body["node_id"].as_u64().unwrap());
                json!({ "Node": { "prev": prev, "result": null } })
            }
            "SetFeature" => json!("None"),
            "UpsertKV" => self.upsert(body),
            "Transaction" => json!({ "Txn": self.transaction(body) }),
            "KvTransaction" => json!({ "KvTxn": self.kv_transaction(body) }),
            other => panic!("no such command: {other}"),
        }
    }

    /// The state as the lines of an export tell it: counter, nodes, expire index, records.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let line = |record: Value| json!(["state_machine/0", record]);
        let mut lines = vec![line(json!({ "Sequences": { "key": "generic-kv", "value": u64_of(self.counter) } }))];
        lines.extend(self.nodes.iter().map(|(id, node)| line(json!({ "Nodes": { "key": id, "value": node } }))));
        let mut expiring: Vec<(i128, i128, &String)> = Vec::new();
        for (key, stored) in &self.keys {
            expiring.extend(stored.expiry_in_ms().map(|at| (at, stored.seq, key)));
        }
        expiring.sort_unstable();
        lines.extend(expiring.into_iter().map(|(at, seq, key)| {
            let (at, seq) = (u64_of(at), u64_of(seq));
            line(json!({ "Expire": { "key": { "time_ms": at, "seq": seq }, "value": { "seq": seq, "key": key } } }))
        }));
        lines.extend(
            self.keys.iter().map(|(key, stored)| line(json!({ "GenericKV": { "key": key, "value": stored.json() } }))),
        );
        lines
    }

    fn add_node(&mut self, body: &Value) -> Value {
        let id = body["node_id"].as_u64().unwrap();
        let given = &body["node"];
        let node = json!({
            "name": given["name"],
            "endpoint": { "addr": given["endpoint"]["addr"], "port": given["endpoint"]["port"] },
            "grpc_api_advertise_address": given["grpc_api_advertise_address"],
        });
        let prev = self.nodes.get(&id).cloned();
        if prev.is_none() || body["overriding"] == json!(true) {
            self.nodes.insert(id, node);
        }
        json!({ "Node": { "prev": prev, "result": self.nodes.get(&id) } })
    }

    fn upsert(&mut self, body: &Value) -> Value {
        let key = body["key"].as_str().unwrap();
        let prev = self.keys.get(key).cloned();
        let present = prev.as_ref().map_or(0, |stored| stored.seq);
        let matches = match variant(&body["seq"]) {
            ("Any", _) => true,
            ("Exact", n) => present == number(n).unwrap(),
            ("GE", n) => present >= number(n).unwrap(),
            (other, _) => panic!("no such match: {other}"),
        };
        let meta = &body["value_meta"];
        let expiry = self.expiry(&meta["expire_at"], &meta["ttl"]["millis"]);
        match (variant(&body["value"]), &prev) {
            _ if !matches => {}
            (("Update", data), _) => self.write(key, bytes(data), expiry),
            (("AsIs", _), Some(stored)) => self.write(key, stored.data.clone(), expiry),
            (("AsIs", _), None) => {}
            (("Delete", _), _) => _ = self.keys.remove(key),
            ((other, _), _) => panic!("no such write: {other}"),
        }
        json!({ "Kv": { "prev": optional(prev.as_ref()), "result": self.found(key) } })
    }

    /// What a write stores as its expiry, from the time it was given and the time to live it was given.
    fn expiry(&self, at: &Value, ttl_ms: &Value) -> Option<i128> {
        match number(ttl_ms) {
            Some(ttl_ms) => Some((self.now + ttl_ms).min(LARGEST)),
            None => number(at),
        }
    }

    fn write(&mut self, key: &str, data: Vec<u8>, expire_at: Option<i128>) {
        self.counter += 1;
        let stored = Stored { seq: self.counter, expire_at, proposed_at: self.now, data };
        let expired = stored.expiry_in_ms().is_some_and(|expiry| expiry < self.now);
        self.keys.insert(key.to_owned(), stored);
        if expired {
            self.keys.remove(key);
        }
    }

    fn found(&self, key: &str) -> Value {
        optional(self.keys.get(key))
    }
}

fn optional(stored: Option<&Stored>) -> Value {
    stored.map_or(Value::Null, Stored::json)
}

/// The name of a JSON enum, and what it holds.
fn variant(value: &Value) -> (&str, &Value) {
    match value {
        Value::String(name) => (name, &Value::Null),
        Value::Object(fields) if fields.len() == 1 => {
            let (name, held) = fields.iter().next().unwrap();
            (name, held)
        }
        other => panic!("not one of several kinds: {other}"),
    }
}

fn number(value: &Value) -> Option<i128> {
    value.as_u64().map(i128::from).or_else(|| value.as_i64().map(i128::from))
}

fn u64_of(number: i128) -> u64 {
    u64::try_from(number).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn bytes(value: &Value) -> Vec<u8> {
    value.as_array().unwrap().iter().map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap()).collect()
}
