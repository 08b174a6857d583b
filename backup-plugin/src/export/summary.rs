//! What an export came to: its lines counted by kind, as they are written or received.
//!
//! Looks at the start of a line only, so that a gigabyte costs nothing; whether a record is sound is the import's to say.

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    codec,
    record::{LogId, Record, StateRecord},
};

/// Lines of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindCount {
    /// As the format names it: `LogEntry`, `GenericKV`…
    pub kind: String,
    pub lines: u64,
}

/// The sum of an export.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ExportSummary {
    /// In the order of writing.
    #[serde(serialize_with = "as_map")]
    pub records: Vec<KindCount>,
    pub lines: u64,
    /// Newlines included, before any compression.
    pub bytes: u64,
    /// The log id the state machine is exported at; `None` where the export holds no state but its log.
    pub last_applied: Option<LogId>,
    /// How the line before began, up to the end of its kind's name, and where that kind is counted: most lines begin as the one
    /// before them.
    #[serde(skip)]
    last: Option<(Vec<u8>, usize)>,
}

/// A line that no export has at this place.
#[derive(Debug, thiserror::Error)]
#[error("line {line} is not {expected} of an export: {start}")]
pub struct NotAnExport {
    pub line: u64,
    pub expected: &'static str,
    /// How the line starts.
    pub start: String,
}

impl ExportSummary {
    /// Counts one line, given without its newline.
    ///
    /// # Errors
    ///
    /// A first line that is no header, or a later one that is no record.
    pub fn add(&mut self, line: &[u8]) -> Result<(), NotAnExport> {
        match &self.last {
            Some((beginning, count)) if line.starts_with(beginning) => self.records[*count].lines += 1,
            _ => self.add_other(line)?,
        }
        self.lines += 1;
        self.bytes += line.len() as u64 + 1;
        Ok(())
    }

    /// Counts a line that does not begin as the one before it.
    fn add_other(&mut self, line: &[u8]) -> Result<(), NotAnExport> {
        let kind = match kind(line) {
            Some("DataHeader") => "DataHeader",
            Some(kind) if self.lines > 0 => kind,
            _ => return Err(self.unexpected(line)),
        };
        let at = self.records.iter().rposition(|count| count.kind == kind).unwrap_or(self.records.len());
        match self.records.get_mut(at) {
            Some(count) => count.lines += 1,
            None => self.records.push(KindCount { kind: kind.to_owned(), lines: 1 }),
        }
        self.last = None;
        if kind == "StateMachineMeta" {
            if let Ok(text) = std::str::from_utf8(line)
                && let Ok(Record::State(StateRecord::LastApplied(log_id))) = codec::decode(text)
            {
                self.last_applied = Some(log_id);
            }
        } else {
            self.last = beginning(line, kind).map(|beginning| (beginning.to_owned(), at));
        }
        Ok(())
    }

    /// The lines are out, and were so many and so long as they were written, with a seal among them or not.
    pub fn written(&mut self, lines: u64, bytes: u64, sealed: bool) {
        (self.lines, self.bytes) = (lines, bytes);
        if sealed {
            self.records.push(KindCount { kind: "Seal".to_owned(), lines: 1 });
        }
    }

    fn unexpected(&self, line: &[u8]) -> NotAnExport {
        let expected = if self.lines == 0 { "the header" } else { "a record" };
        NotAnExport { line: self.lines + 1, expected, start: String::from_utf8_lossy(line).chars().take(60).collect() }
    }
}

/// The name of the record in `["<tree>",{"<name>":…`.
fn kind(line: &[u8]) -> Option<&str> {
    // Long enough for both names; what is no text behind them does not matter.
    let start = line[..line.len().min(80)].utf8_chunks().next()?.valid();
    let (tree, record) = start.strip_prefix("[\"")?.split_once("\",{\"")?;
    let (kind, _) = record.split_once('"')?;
    let plain = |name: &str| name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_/".contains(&b));
    (plain(tree) && plain(kind)).then_some(kind)
}

/// The line up to the end of its kind's name and the quote behind it: what else begins so is of the same kind.
fn beginning<'l>(line: &'l [u8], kind: &str) -> Option<&'l [u8]> {
    let named = format!("{{\"{kind}\"");
    let at = line.windows(named.len()).position(|window| window == named.as_bytes())?;
    line.get(..at + named.len())
}

/// `{"GenericKV":7,…}`, in order.
fn as_map<S: Serializer>(records: &[KindCount], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(records.len()))?;
    for count in records {
        map.serialize_entry(&count.kind, &count.lines)?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL_APPLIED: &str = include_str!("../../../tests/fixtures/v004-tail-applied.ndjson");

    #[test]
    fn a_real_export_is_counted_by_kind_in_its_order() {
        let mut summary = ExportSummary::default();
        for line in TAIL_APPLIED.lines() {
            summary.add(line.as_bytes()).unwrap();
        }
        assert_eq!(summary.bytes, TAIL_APPLIED.len() as u64);
        assert_eq!(summary.lines, summary.records.iter().map(|count| count.lines).sum::<u64>());
        assert_eq!(summary.records[0], KindCount { kind: "DataHeader".to_owned(), lines: 1 });
        assert_eq!(summary.records.last().unwrap().kind, "GenericKV");
        assert!(summary.last_applied.is_some());
        let json = serde_json::to_string(&summary).unwrap();
        assert!(json.starts_with(r#"{"records":{"DataHeader":1,"NodeId":1,"#), "{json}");
    }

    #[test]
    fn a_line_that_begins_as_another_kind_is_not_taken_for_it() {
        let mut summary = ExportSummary::default();
        let lines = [
            r#"["header",{"DataHeader":1}]"#,
            r#"["s",{"Kv":1}]"#,
            r#"["s",{"Kv":2}]"#,
            r#"["s",{"KvMore":1}]"#,
            r#"["s",{"Kv":3}]"#,
            r#"["t",{"Kv":4}]"#,
            r#"["t",{"Kv":5}]"#,
        ];
        lines.iter().for_each(|line| summary.add(line.as_bytes()).unwrap());
        let counts: Vec<_> = summary.records.iter().map(|count| (count.kind.as_str(), count.lines)).collect();
        assert_eq!(counts, [("DataHeader", 1), ("Kv", 5), ("KvMore", 1)]);
        let error = summary.add(br#"["s",{"Kv"#).unwrap_err();
        assert_eq!(error.line, 8);
        assert_eq!(summary.lines, 7);
    }

    #[test]
    fn what_is_no_export_is_refused_by_line() {
        let header = r#"["header",{"DataHeader":{"key":"header","value":{"version":"V004"}}}]"#;
        let cases: [(&[&str], &str); 5] = [
            (&[""], "line 1 is not the header of an export: "),
            (&["<html>"], "line 1 is not the header of an export: <html>"),
            (&[r#"["raft_log",{"NodeId":1}]"#], r#"line 1 is not the header of an export: ["raft_log",{"NodeId":1}]"#),
            (&[header, "{}"], "line 2 is not a record of an export: {}"),
            (&[header, r#"["raft_log"]"#], r#"line 2 is not a record of an export: ["raft_log"]"#),
        ];
        for (lines, expected) in cases {
            let mut summary = ExportSummary::default();
            let error = lines.iter().find_map(|line| summary.add(line.as_bytes()).err()).unwrap();
            assert_eq!(error.to_string(), expected);
        }
    }
}
