//! What an export says, read as plain JSON.

use std::collections::BTreeMap;

use serde_json::Value;

/// The text of a sealed backup as the bare stream that it was made of.
///
/// # Panics
///
/// When it is not sealed.
#[track_caller]
pub fn bare(sealed: &str) -> String {
    let (lines, seal) = sealed.trim_end().rsplit_once('\n').expect("a header and a seal");
    assert!(is_seal(seal), "{seal}");
    lines.replacen(",\"sealed\":true", "", 1) + "\n"
}

fn is_seal(line: &str) -> bool {
    line.starts_with(r#"["header",{"DataHeader":{"key":"seal","#)
}

/// The state machine of an export, and where its log ends.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Export {
    pub node_id: Option<u64>,
    pub committed: Option<u64>,
    pub purged: Option<u64>,
    /// The indexes of the log entries, in the order of the lines.
    pub log: Vec<u64>,
    /// What each of them asks for.
    pub payloads: BTreeMap<u64, Value>,
    /// The index of LastApplied.
    pub applied: Option<u64>,
    /// `{"configs":…,"nodes":…}` of LastMembership.
    pub membership: Value,
    pub sequence: u64,
    pub nodes: BTreeMap<u64, Value>,
    /// Each key with its record: `{"seq":…,"meta":…,"data":…}`.
    pub keys: BTreeMap<String, Value>,
    /// Expiry in milliseconds and seq, to the key.
    pub expires: BTreeMap<(u64, u64), String>,
}

impl Export {
    /// # Panics
    ///
    /// At a line that is no record, at one that no export has, at a key that is there twice or out of order, and at an
    /// expire index that is not what the records imply.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Export {
        let mut export = Export::default();
        for (number, line) in lines.into_iter().enumerate() {
            let value: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("line {}: {error}: {line}", number + 1));
            if is_seal(line) {
                continue;
            }
            let (tree, record) = (value[0].as_str().expect(line), value[1].as_object().expect(line));
            assert_eq!(tree == "header", number == 0, "line {}: {line}", number + 1);
            let (kind, record) = record.iter().next().expect(line);
            export.push(kind, record);
        }
        assert_eq!(export.expires, export.implied_expires());
        export
    }

    fn push(&mut self, kind: &str, record: &Value) {
        let (key, value) = (&record["key"], &record["value"]);
        let number = |value: &Value| value.as_u64().expect("a number");
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        match kind {
            "DataHeader" => assert_eq!(value["version"], "V004"),
            "NodeId" => self.node_id = record.as_u64(),
            "Committed" => self.committed = record["index"].as_u64(),
            "Purged" => self.purged = record["index"].as_u64(),
            "Vote" => {}
            "LogEntry" => {
                let index = number(&record["log_id"]["index"]);
                self.log.push(index);
                self.payloads.insert(index, record["payload"].clone());
            }
            "Sequences" => self.sequence = number(value),
            "StateMachineMeta" if key == "LastApplied" => self.applied = Some(number(&value["LogId"]["index"])),
            "StateMachineMeta" => {
                assert_eq!(key, "LastMembership");
                self.membership = value["Membership"]["membership"].clone();
            }
            "Nodes" => assert_eq!(self.nodes.insert(number(key), value.clone()), None),
            "Expire" => {
                self.expires.insert((number(&key["time_ms"]), number(&key["seq"])), text(&value["key"]));
            }
            "GenericKV" => {
                let key = text(key);
                let last = self.keys.last_key_value().map(|(last, _)| last);
                assert!(last.is_none_or(|last| *last < key), "{key:?} comes after {last:?}");
                self.keys.insert(key, value.clone());
            }
            other => panic!("no export has a record `{other}`"),
        }
    }

    fn implied_expires(&self) -> BTreeMap<(u64, u64), String> {
        let expiring = self.keys.iter().filter_map(|(key, record)| Some((expiry_ms(record)?, record, key)));
        expiring.map(|(expiry, record, key)| ((expiry, seq_and_data(record).0), key.clone())).collect()
    }

    /// The keys whose records have not expired at `now_ms`, with seq and data.
    pub fn present_at(&self, now_ms: u64) -> BTreeMap<String, (u64, Vec<u8>)> {
        let present = self.keys.iter().filter(|(_, record)| expiry_ms(record).is_none_or(|expiry| expiry >= now_ms));
        present.map(|(key, record)| (key.clone(), seq_and_data(record))).collect()
    }

    /// Every key, with seq and data.
    pub fn all(&self) -> BTreeMap<String, (u64, Vec<u8>)> {
        self.keys.iter().map(|(key, record)| (key.clone(), seq_and_data(record))).collect()
    }
}

/// `expire_at` is in seconds unless it is too large for that.
fn expiry_ms(record: &Value) -> Option<u64> {
    let expire_at = record["meta"]["expire_at"].as_u64()?;
    Some(if expire_at > 100_000_000_000 { expire_at } else { expire_at * 1000 })
}

fn seq_and_data(record: &Value) -> (u64, Vec<u8>) {
    let data = record["data"].as_array().expect("data is an array");
    let bytes = data.iter().map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()).expect("a byte"));
    (record["seq"].as_u64().expect("a seq"), bytes.collect())
}
