//! The operations of a transaction, in both spellings.

use serde_json::{Value, json};

use super::{LARGEST, Model, bytes, number, u64_of, variant};

impl Model {
    pub(super) fn operation(&mut self, request: &Value) -> Value {
        if request.is_null() {
            return self.get("");
        }
        let (name, body) = variant(request);
        let text = |field: &str| body[field].as_str().unwrap_or_else(|| panic!("no {field} in {request}"));
        match name {
            "Get" => self.get(text("key")),
            "Put" => {
                let expiry = self.expiry(&body["expire_at"], &body["ttl_ms"]);
                self.put(text("key"), &body["match_seq"], bytes(&body["value"]), expiry)
            }
            "Delete" => self.delete(text("key"), &body["match_seq"]),
            "DeleteByPrefix" => self.delete_by_prefix(text("prefix")),
            "FetchIncreaseU64" | "FetchAddU64" => {
                self.increase(text("key"), &body["match_seq"], &body["delta"], &body["max_value"])
            }
            "PutSequential" => {
                let expiry = self.expiry(&body["expires_at_ms"], &body["ttl_ms"]);
                self.put_sequential(text("prefix"), text("sequence_key"), bytes(&body["value"]), expiry)
            }
            other => panic!("no such operation: {other}"),
        }
    }

    pub(super) fn kv_operation(&mut self, operation: &Value) -> Value {
        let (name, body) = variant(operation);
        let (target, payload) = (&body["target"], &body["payload"]);
        let text = |field: &Value| field.as_str().unwrap_or_else(|| panic!("no text in {operation}")).to_owned();
        let expiry = self.expiry(&payload["expire_at_ms"], &payload["ttl_ms"]);
        match name {
            "Get" => self.get(&text(&body["key"])),
            "Put" => self.put(&text(&target["key"]), &target["match_seq"], bytes(&payload["value"]), expiry),
            "Delete" => self.delete(&text(&target["key"]), &target["match_seq"]),
            "DeleteByPrefix" => self.delete_by_prefix(&text(&body["prefix"])),
            "FetchIncreaseU64" => {
                self.increase(&text(&target["key"]), &target["match_seq"], &body["delta"], &body["floor"])
            }
            "PutSequential" => {
                let (prefix, counter) = (text(&body["prefix"]), text(&body["sequence_key"]));
                self.put_sequential(&prefix, &counter, bytes(&payload["value"]), expiry)
            }
            other => panic!("no such operation: {other}"),
        }
    }

    fn get(&self, key: &str) -> Value {
        json!({ "Get": { "key": key, "value": self.found(key) } })
    }

    fn matches(&self, key: &str, seq: &Value) -> bool {
        number(seq).is_none_or(|seq| seq == self.keys.get(key).map_or(0, |stored| stored.seq))
    }

    fn put(&mut self, key: &str, seq: &Value, data: Vec<u8>, expiry: Option<i128>) -> Value {
        let prev = self.found(key);
        if self.matches(key, seq) {
            self.write(key, data, expiry);
        }
        json!({ "Put": { "key": key, "prev": prev, "current": self.found(key) } })
    }

    fn delete(&mut self, key: &str, seq: &Value) -> Value {
        let prev = self.found(key);
        let removed = if self.matches(key, seq) { self.keys.remove(key) } else { None };
        json!({ "Delete": { "key": key, "success": removed.is_some(), "prev": prev } })
    }

    fn delete_by_prefix(&mut self, prefix: &str) -> Value {
        let before = self.keys.len();
        self.keys.retain(|key, _| !key.starts_with(prefix));
        json!({ "DeleteByPrefix": { "prefix": prefix, "count": before - self.keys.len() } })
    }

    fn increase(&mut self, key: &str, seq: &Value, delta: &Value, floor: &Value) -> Value {
        let present = self.keys.get(key).cloned();
        let before = present.as_ref().map_or(0, |stored| integer(&stored.data));
        let before_seq = present.as_ref().map_or(0, |stored| stored.seq);
        let mut after = before;
        if self.matches(key, seq) {
            after = before.max(number(floor).unwrap_or(0)) + number(delta).unwrap();
            after = after.clamp(0, LARGEST);
            self.write(key, after.to_string().into_bytes(), None);
        }
        let after_seq = self.keys.get(key).map_or(0, |stored| stored.seq);
        json!({ "FetchIncreaseU64": {
            "key": key,
            "before_seq": u64_of(before_seq),
            "before": u64_of(before),
            "after_seq": u64_of(after_seq),
            "after": u64_of(after),
        } })
    }

    fn put_sequential(&mut self, prefix: &str, counter: &str, data: Vec<u8>, expiry: Option<i128>) -> Value {
        let increased = self.increase(counter, &Value::Null, &json!(1), &Value::Null);
        let digits = format!("{:021}", increased["FetchIncreaseU64"]["before"].as_u64().unwrap());
        let groups: Vec<&str> = (0..7).map(|group| &digits[3 * group..3 * group + 3]).collect();
        self.put(&format!("{prefix}{}", groups.join("_")), &Value::Null, data, expiry)
    }
}

/// The integer that a value is in JSON text; 0 if it is none, or none that a counter can have.
fn integer(data: &[u8]) -> i128 {
    let text = std::str::from_utf8(data).unwrap_or("").trim_matches([' ', '\t', '\n', '\r']);
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|number| plain && *number <= LARGEST).unwrap_or(0)
}
