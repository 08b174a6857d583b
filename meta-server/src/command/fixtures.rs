//! The real exports under `tests/fixtures`, line by line, for tests of commands and of applying them.

use std::{fs, path::Path};

/// The whole text of one fixture.
pub(crate) fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name);
    fs::read_to_string(&path).unwrap_or_else(|err| panic!("cannot read {}: {err}", path.display()))
}

/// The log entries of a V004 export: the index of each, and its command as text; `None` for an entry without one.
pub(crate) fn log(text: &str) -> Vec<(u64, Option<&str>)> {
    text.lines().filter(|line| line.starts_with(r#"["raft_log",{"LogEntry":"#)).map(entry).collect()
}

fn entry(line: &str) -> (u64, Option<&str>) {
    let (_, rest) = line.split_once(r#""index":"#).unwrap();
    let (index, payload) = rest.split_once("},\"payload\":").unwrap();
    let payload = payload.strip_suffix("}}]").unwrap();
    let command = payload.strip_prefix(r#"{"Normal":"#).map(|rest| rest.strip_suffix('}').unwrap());
    (index.parse().unwrap(), command)
}
