//! The same command as another writer might spell it: nulls left out, old names, fields that nobody knows, numbers out of range.

use serde_json::{Map, Value, json};

/// Spells `command` anew, as `seed` decides at each place where there is a choice. What it means stays.
pub(crate) fn respell(command: &Value, mut seed: u64) -> Value {
    // A step of a linear congruential generator for each choice; its upper bits are good enough to choose by.
    let mut choose = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33).is_multiple_of(3)
    };
    spell(command, &mut choose)
}

fn spell(value: &Value, choose: &mut dyn FnMut() -> bool) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| spell(item, choose)).collect(),
        Value::Object(fields) => Value::Object(spell_fields(fields, choose)),
        other => other.clone(),
    }
}

fn spell_fields(fields: &Map<String, Value>, choose: &mut dyn FnMut() -> bool) -> Map<String, Value> {
    // The names of kinds begin with a capital, the names of fields do not.
    let is_kind = fields.keys().any(|name| name.starts_with(|first: char| first.is_ascii_uppercase()));
    let mut spelled = Map::new();
    for (name, value) in fields {
        let choice = choose();
        let unset = value.is_null() || (name == "max_value" && *value == json!(0));
        let no_request = name == "request" && *value == json!({ "Get": { "key": "" } });
        match name.as_str() {
            _ if unset && choice => {}
            "operations" if !is_kind && fields.contains_key("if_then") && choice && *value == json!([]) => {}
            "overriding" if choice && *value == json!(false) => {}
            "request" if no_request && choice => _ = spelled.insert(name.clone(), Value::Null),
            "expected" if choice && *value == json!(0) => _ = spelled.insert(name.clone(), json!(99)),
            "FetchIncreaseU64" if choice && value.get("target").is_none() => {
                spelled.insert("FetchAddU64".to_owned(), spell(value, choose));
            }
            _ => _ = spelled.insert(name.clone(), spell(value, choose)),
        }
    }
    if !is_kind && choose() {
        spelled.insert("prev_value".to_owned(), json!(true));
        spelled.insert("from_tomorrow".to_owned(), json!({ "any": [null, "thing"] }));
    }
    spelled
}
