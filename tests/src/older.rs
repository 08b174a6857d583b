//! Exports of older versions, told in the terms of today by plain JSON: what a right import of them must come to. Shares nothing with
//! the importer.

use serde_json::{Map, Value, json};

/// The lines that V004 has for what `text` says, in no particular order but for the header, and with the expire index that the records
/// imply.
///
/// # Panics
///
/// At what only V0 of before May 2022 has.
pub fn as_of_today(text: &str) -> Vec<String> {
    let mut lines = vec![json!(["header", {"DataHeader": {"key": "header", "value": {"version": "V004"}}}])];
    let mut keys = Vec::new();
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        let (kind, record) = value[1].as_object().unwrap().iter().next().unwrap();
        let (key, value) = (&record["key"], &record["value"]);
        match kind.as_str() {
            "DataHeader" | "Expire" => {}
            "RaftStateKV" if key == "Id" => lines.push(json!(["raft_log", {"NodeId": value["NodeId"]}])),
            "RaftStateKV" if key == "HardState" => lines.push(json!(["raft_log", {"Vote": vote(&value["HardState"])}])),
            "RaftStateKV" => assert_eq!(key, "StateMachineId"),
            "Logs" => {
                let entry = json!({"log_id": log_id(&value["log_id"]), "payload": payload(&value["payload"])});
                lines.push(json!(["raft_log", {"LogEntry": entry}]));
            }
            "LogMeta" => lines.push(json!(["raft_log", {"Purged": log_id(&value["LogId"])}])),
            "LogEntry" => {
                let entry = json!({"log_id": record["log_id"], "payload": payload(&record["payload"])});
                lines.push(json!(["raft_log", {"LogEntry": entry}]));
            }
            "StateMachineMeta" if key == "Initialized" => {}
            "StateMachineMeta" if key == "LastApplied" => {
                let value = json!({"LogId": log_id(&value["LogId"])});
                lines.push(json!(["state_machine/0", {"StateMachineMeta": {"key": key, "value": value}}]));
            }
            "StateMachineMeta" => {
                let stored = &value["Membership"];
                let stored = json!({
                    "log_id": log_id(&stored["log_id"]),
                    "membership": membership(&stored["membership"]),
                });
                let meta = json!({"key": key, "value": {"Membership": stored}});
                lines.push(json!(["state_machine/0", {"StateMachineMeta": meta}]));
            }
            "Nodes" => lines.push(json!(["state_machine/0", {"Nodes": {"key": key, "value": node(value)}}])),
            "GenericKV" => keys.push((key.as_str().unwrap().to_owned(), without_nulls(value))),
            _ => lines.push(value_line(kind, record, line)),
        }
    }
    keys.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (key, record) in keys {
        if let Some(expire_at) = record["meta"]["expire_at"].as_u64() {
            let time_ms = if expire_at > 100_000_000_000 { expire_at } else { expire_at * 1000 };
            let seq = &record["seq"];
            let index = json!({"key": {"time_ms": time_ms, "seq": seq}, "value": {"seq": seq, "key": key}});
            lines.push(json!(["state_machine/0", {"Expire": index}]));
        }
        lines.push(json!(["state_machine/0", {"GenericKV": {"key": key, "value": record}}]));
    }
    lines.iter().map(Value::to_string).collect()
}

/// What has not changed since.
fn value_line(kind: &str, record: &Value, line: &str) -> Value {
    assert!(["NodeId", "Vote", "Committed", "Purged", "Sequences"].contains(&kind), "{line}");
    serde_json::from_str(line).map(|line: Value| json!([line[0], {kind: record}])).unwrap()
}

fn log_id(id: &Value) -> Value {
    match (id["term"].as_u64(), &id["leader_id"]) {
        (Some(term), _) => json!({"leader_id": {"term": term, "node_id": 0}, "index": id["index"]}),
        (None, _) => id.clone(),
    }
}

fn vote(vote: &Value) -> Value {
    match vote["current_term"].as_u64() {
        Some(term) => {
            let node_id = vote["voted_for"].as_u64().unwrap_or(0);
            json!({"leader_id": {"term": term, "node_id": node_id}, "committed": false})
        }
        None => vote.clone(),
    }
}

fn membership(membership: &Value) -> Value {
    let nodes: Map<String, Value> = match membership["all_nodes"].as_array() {
        Some(ids) => ids.iter().map(|id| (id.to_string(), json!({}))).collect(),
        None => membership["nodes"].as_object().unwrap().clone(),
    };
    json!({"configs": membership["configs"], "nodes": nodes})
}

fn node(node: &Value) -> Value {
    json!({
        "name": node["name"],
        "endpoint": node["endpoint"],
        "grpc_api_advertise_address": node["grpc_api_advertise_address"],
    })
}

fn without_nulls(record: &Value) -> Value {
    let meta = match record["meta"].as_object() {
        Some(meta) => meta.iter().filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect(),
        None => Value::Null,
    };
    json!({"seq": record["seq"], "meta": meta, "data": record["data"]})
}

fn payload(payload: &Value) -> Value {
    if let Some(found) = payload.get("Membership") {
        return json!({"Membership": membership(found)});
    }
    let mut payload = payload.clone();
    let Some(entry) = payload.get_mut("Normal").and_then(Value::as_object_mut) else { return payload };
    entry.remove("txid");
    let cmd = &mut entry["cmd"];
    if let Some(add) = cmd.get_mut("AddNode") {
        add["node"] = node(&add["node"]);
        add["overriding"] = json!(add["overriding"] == true);
    }
    if let Some(txn) = cmd.get_mut("Transaction") {
        for branch in ["if_then", "else_then"] {
            txn[branch].as_array_mut().unwrap().iter_mut().for_each(operation);
        }
    }
    payload
}

/// Without what was dropped since, and with what may be missing.
fn operation(op: &mut Value) {
    let (kind, fields) = op["request"].as_object_mut().unwrap().iter_mut().next().unwrap();
    let nulls: &[&str] = match kind.as_str() {
        "Put" => &["expire_at", "match_seq"],
        "Delete" => &["match_seq"],
        _ => &[],
    };
    let fields = fields.as_object_mut().unwrap();
    fields.remove("prev_value");
    for name in nulls {
        fields.entry(*name).or_insert(Value::Null);
    }
}
