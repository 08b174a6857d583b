//! Which part of a transaction runs, and whether conditions hold.

use serde_json::{Value, json};

use super::{Model, bytes, list, number, u64_of, variant};

impl Model {
    pub(super) fn transaction(&mut self, body: &Value) -> Value {
        let reply = |path: Value, responses: Vec<Value>| json!({ "path": path, "responses": responses });
        for (position, branch) in list(&body["operations"]).iter().enumerate() {
            if self.expression_holds(&branch["predicate"]) {
                let responses = self.run(list(&branch["operations"]));
                return reply(json!({ "Operation": position }), responses);
            }
        }
        let (conditions, then, other) = (list(&body["condition"]), list(&body["if_then"]), list(&body["else_then"]));
        if conditions.is_empty() && then.is_empty() {
            return reply(json!("Nothing"), vec![]);
        }
        if conditions.iter().all(|condition| self.condition_holds(condition)) {
            return reply(json!("Then"), self.run(then));
        }
        if other.is_empty() {
            return reply(json!("Nothing"), vec![]);
        }
        reply(json!("Else"), self.run(other))
    }

    pub(super) fn kv_transaction(&mut self, body: &Value) -> Value {
        for (position, branch) in list(&body["branches"]).iter().enumerate() {
            if self.predicate_holds(&branch["predicate"]) {
                let responses: Vec<Value> =
                    list(&branch["operations"]).iter().map(|operation| self.kv_operation(operation)).collect();
                return json!({ "executed_branch": position, "responses": responses });
            }
        }
        json!({ "executed_branch": null, "responses": [] })
    }

    fn run(&mut self, operations: &[Value]) -> Vec<Value> {
        operations.iter().map(|operation| self.operation(&operation["request"])).collect()
    }

    fn expression_holds(&self, expression: &Value) -> bool {
        if expression.is_null() {
            return true;
        }
        let subs = list(&expression["sub_expressions"]).iter().map(|sub| self.expression_holds(sub));
        let conditions = list(&expression["conditions"]).iter().map(|condition| self.condition_holds(condition));
        let holds: Vec<bool> = subs.chain(conditions).collect();
        let or = expression["operator"] == json!(1);
        if or { holds.is_empty() || holds.contains(&true) } else { !holds.contains(&false) }
    }

    fn predicate_holds(&self, predicate: &Value) -> bool {
        match variant(predicate) {
            ("And", parts) => list(parts).iter().all(|part| self.predicate_holds(part)),
            ("Or", parts) => list(parts).is_empty() || list(parts).iter().any(|part| self.predicate_holds(part)),
            ("Leaf", leaf) => {
                let operator = match leaf["op"].as_str().unwrap() {
                    "Eq" => 0,
                    "Gt" => 1,
                    "Ge" => 2,
                    "Lt" => 3,
                    "Le" => 4,
                    "Ne" => 5,
                    other => panic!("no such comparison: {other}"),
                };
                self.compare(leaf["key"].as_str().unwrap(), operator, &leaf["target"])
            }
            (other, _) => panic!("no such predicate: {other}"),
        }
    }

    fn condition_holds(&self, condition: &Value) -> bool {
        let key = condition["key"].as_str().unwrap();
        self.compare(key, condition["expected"].as_i64().unwrap(), &condition["target"])
    }

    fn compare(&self, key: &str, operator: i64, target: &Value) -> bool {
        if target.is_null() {
            return false;
        }
        let present = self.keys.get(key);
        // Both sides as text that sorts like what it stands for.
        let sortable = |number: i128| format!("{:020}", u64_of(number)).into_bytes();
        let (left, right) = match variant(target) {
            ("Seq", n) => (sortable(present.map_or(0, |stored| stored.seq)), sortable(number(n).unwrap())),
            ("KeysWithPrefix", n) => {
                let count = self.keys.keys().filter(|other| other.starts_with(key)).count();
                (sortable(count as i128), sortable(number(n).unwrap()))
            }
            ("Value", value) => match present {
                Some(stored) => (stored.data.clone(), bytes(value)),
                None => return false,
            },
            (other, _) => panic!("no such target: {other}"),
        };
        match operator {
            1 => left > right,
            2 => left >= right,
            3 => left < right,
            4 => left <= right,
            5 => left != right,
            _ => left == right,
        }
    }
}
