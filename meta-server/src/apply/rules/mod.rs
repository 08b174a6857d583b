//! Every rule of applying a command, as tables of cases. Here: the ways to run a command that the tables share.

// Commands are written where they are run, as `json!` values.
#![allow(clippy::needless_pass_by_value)]

mod conditions;
mod invariants;
mod operations;
mod upserts;

use backup_plugin::record::{KvMeta, SeqV};
use serde_json::{Value, json};

use super::{Applied, Change, ExecutedPath, OpResponse, TxnReply, apply, memory::MemoryStore};
use crate::command::LogCommand;

/// The time of the entries, unless a case says otherwise.
const NOW: u64 = 1_700_000_000_000;

fn run_at(store: &mut MemoryStore, time_ms: Option<u64>, cmd: Value) -> Applied {
    let entry = json!({ "time_ms": time_ms, "cmd": cmd });
    apply(store, &LogCommand::from_json(&entry.to_string()).unwrap()).unwrap()
}

fn upsert(store: &mut MemoryStore, key: &str, seq: Value, value: Value, meta: Value) -> Change {
    let cmd = json!({"UpsertKV": {"key": key, "seq": seq, "value": value, "value_meta": meta}});
    match run_at(store, Some(NOW), cmd) {
        Applied::Kv(change) => change,
        other => panic!("{other}"),
    }
}

/// Writes `value` under `key`, to have something to work on.
fn given(store: &mut MemoryStore, key: &str, value: &str, expire_at: Option<u64>) {
    upsert(store, key, json!("Any"), json!({"Update": value.as_bytes()}), json!({"expire_at": expire_at}));
}

fn transaction(store: &mut MemoryStore, txn: &Value) -> TxnReply {
    match run_at(store, Some(NOW), json!({ "Transaction": txn })) {
        Applied::Txn(reply) => reply,
        other => panic!("{other}"),
    }
}

/// Runs operations that nothing stands in the way of.
fn then(store: &mut MemoryStore, operations: &[Value]) -> Vec<OpResponse> {
    let if_then: Vec<_> = operations.iter().map(|op| json!({ "request": op })).collect();
    let reply = transaction(store, &json!({"condition": [], "if_then": if_then, "else_then": []}));
    assert_eq!((reply.path, reply.success()), (ExecutedPath::Then, true));
    reply.responses
}

fn record(seq: u64, data: &str, expire_at: Option<u64>) -> SeqV {
    SeqV { seq, meta: Some(KvMeta { expire_at, proposed_at_ms: Some(NOW) }), data: data.into() }
}
