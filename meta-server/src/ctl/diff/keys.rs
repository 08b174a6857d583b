//! A difference as a line: for people, or as JSON. Values are not shown, only how large they are.

use std::fmt::Write;

use backup_plugin::{clock, diff::Pair, record::SeqV};
use serde_json::{Value, json};

use crate::ctl::escape::escaped;

/// `+ key  12 bytes, seq 7`, with `-` for what only A has and `~` for what both have.
pub(super) fn as_text(pair: &Pair) -> String {
    let key = escaped(&pair.key);
    match (&pair.a, &pair.b) {
        (Some(a), Some(b)) => format!("~ {key}  {}", changes(pair, a, b).join(", ")),
        (Some(a), None) => format!("- {key}  {}", record(a)),
        (None, Some(b)) => format!("+ {key}  {}", record(b)),
        (None, None) => key,
    }
}

pub(super) fn as_json(pair: &Pair) -> Value {
    let side = |record: &Option<SeqV>| {
        record.as_ref().map(|record| {
            json!({"bytes": record.data.len(), "seq": record.seq, "expires_at": record.expiry_ms().map(clock::rfc3339)})
        })
    };
    let change = match (&pair.a, &pair.b) {
        (Some(_), Some(_)) => "changed",
        (Some(_), None) => "removed",
        (None, _) => "added",
    };
    let mut line = json!({"key": pair.key, "change": change, "a": side(&pair.a), "b": side(&pair.b)});
    if change == "changed" {
        let differs = [("data", pair.data_differs()), ("expiry", pair.expiry_differs()), ("seq", pair.seq_differs())];
        let differing: Vec<&str> = differs.iter().filter(|(_, differs)| *differs).map(|(what, _)| *what).collect();
        line["differs"] = json!(differing);
    }
    line
}

fn record(record: &SeqV) -> String {
    let mut text = format!("{} bytes, seq {}", record.data.len(), record.seq);
    if record.expiry_ms().is_some() {
        // Writing to a String does not fail.
        let _ = write!(text, ", expires {}", expiry(record));
    }
    text
}

fn changes(pair: &Pair, a: &SeqV, b: &SeqV) -> Vec<String> {
    let mut changes = Vec::new();
    if pair.data_differs() {
        let (a, b) = (a.data.len(), b.data.len());
        changes.push(if a == b { format!("other data of {a} bytes") } else { format!("{a} -> {b} bytes") });
    }
    if pair.expiry_differs() {
        changes.push(format!("expires {} -> {}", expiry(a), expiry(b)));
    }
    if pair.seq_differs() {
        changes.push(format!("seq {} -> {}", a.seq, b.seq));
    }
    changes
}

fn expiry(record: &SeqV) -> String {
    record.expiry_ms().map_or_else(|| "never".to_owned(), clock::rfc3339)
}

#[cfg(test)]
mod tests {
    use backup_plugin::record::KvMeta;

    use super::*;

    fn record(seq: u64, data: &[u8], expire_at: Option<u64>) -> Option<SeqV> {
        let meta = expire_at.map(|at| KvMeta { expire_at: Some(at), proposed_at_ms: None });
        Some(SeqV { seq, meta, data: data.to_vec() })
    }

    #[test]
    fn a_line_says_what_became_of_a_key() {
        let lines: Vec<String> = [
            (None, record(7, b"abc", None)),
            (record(7, b"abc", Some(1_800_000_000)), None),
            (record(7, b"abc", None), record(9, b"abcd", None)),
            (record(7, b"abc", None), record(7, b"abd", Some(1_800_000_000_500))),
            (record(7, b"abc", None), record(8, b"abc", None)),
        ]
        .into_iter()
        .map(|(a, b)| Pair { key: "tables/1\nb\u{1b}[2J/é".to_owned(), a, b })
        .flat_map(|pair| [as_text(&pair), as_json(&pair).to_string()])
        .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
