//! How the result of a verification looks: on a terminal of 80 columns, its last line the answer; and as JSON.

use std::{fmt::Write, time::Duration};

use backup_plugin::{import::ImportSummary, input::Compression, provenance::Consistency, record::LogId, seal::Seal};
use serde_json::{Value, json};

use super::drill::Drill;
use crate::ctl::import::summary_as_json;

/// Columns of a terminal.
const WIDTH: usize = 80;
/// Where what a line says begins.
const INDENT: usize = 15;

/// A backup that could be imported.
pub(super) struct Verified {
    pub(super) input: String,
    pub(super) summary: ImportSummary,
    pub(super) drilled: Option<Drill>,
    pub(super) seconds: f64,
}

impl Verified {
    pub(super) fn as_text(&self) -> String {
        let ImportSummary { version, compression, lines, bytes, records, tail, keys, sequence, .. } = &self.summary;
        let compressed = match compression {
            Compression::None => String::new(),
            how => format!(", in {how}"),
        };
        let mut text = format!("{}\n", self.input);
        let mut line = |name: &str, says: &str| text.push_str(&wrapped(name, says));
        line("format", &format!("{version}, {lines} lines, {bytes} bytes{compressed}"));
        match &self.summary.seal {
            Some(seal) => {
                line("sealed", &format!("whole and unchanged, written {} by {}", seal.written_at, seal.program));
                line("from", &origin(seal));
                if let Some(cluster_id) = &seal.cluster_id {
                    line("of cluster", cluster_id);
                }
                line("consistency", freshness(seal));
            }
            None => line("sealed", "no"),
        }
        match self.summary.last_applied {
            Some(log_id) => line("state", &format!("{keys} keys as of {log_id}, last sequence number {sequence}")),
            None => line("state", "nothing is applied, the log holds all there is"),
        }
        line("content", &self.summary.content);
        let after = match (tail, &self.summary.cluster_id) {
            (0, _) => "none of them after the state".to_owned(),
            (_, None) => format!("{tail} of them after the state"),
            (_, Some(_)) => format!("{tail} of them applied to the state in the file"),
        };
        line("log", &format!("{} entries, {after}", records.log_entries));
        line("nodes", &records.nodes.to_string());
        if let Some(cluster_id) = &self.summary.cluster_id {
            line("new cluster", cluster_id);
        }
        if let Some(drill) = &self.drilled {
            line("drill", &steps(drill));
        }
        for warning in &self.summary.warnings {
            text.push_str(&wrapped("warning:", &warning.to_string()));
        }
        // Writing to a String does not fail.
        let _ = writeln!(text, "restorable: {}", self.answer());
        text
    }

    fn answer(&self) -> String {
        let ImportSummary { node_id, cluster_id, .. } = &self.summary;
        let who = match cluster_id {
            Some(_) => format!("as node {node_id} of a new cluster"),
            None => format!("as node {node_id} as it was"),
        };
        let how = if self.drilled.is_some() { "restored and compared" } else { "checked" };
        format!("{who} ({how} in {:.1} s)", self.seconds)
    }

    pub(super) fn as_json(&self) -> Value {
        let drill = self.drilled.as_ref().map(|drill| {
            json!({
                "opened_at": drill.opened_at,
                "check_seconds": drill.check.map(|took| took.as_secs_f64()),
                "import_seconds": drill.import.as_secs_f64(),
                "open_seconds": drill.open.as_secs_f64(),
                "export_seconds": drill.export.as_secs_f64(),
            })
        });
        let mut told = summary_as_json(&self.summary);
        told["input"] = self.input.as_str().into();
        told["restorable"] = true.into();
        told["drill"] = drill.into();
        told["seconds"] = self.seconds.into();
        told
    }
}

fn origin(seal: &Seal) -> String {
    let node = seal.node_id.map_or_else(|| "a node that did not say".to_owned(), |id| format!("node {id}"));
    let role = seal.role.map(|role| format!(" ({role:?})")).unwrap_or_default();
    let applied = at("applied", seal.last_applied);
    let committed = at("committed", seal.committed);
    format!("{node}{role}{applied}{committed}")
}

fn at(what: &str, log_id: Option<LogId>) -> String {
    log_id.map(|log_id| format!(", {what} {log_id}")).unwrap_or_default()
}

/// What the backup includes.
fn freshness(seal: &Seal) -> &'static str {
    match seal.consistency {
        Some(Consistency::Linearizable) => "linearizable: all that was acknowledged before the export is in",
        Some(Consistency::Local) => "local: what one node had applied; acknowledged writes may be missing",
        Some(Consistency::Offline) => "offline: what a stopped node had on disk",
        None => "unknown: the server did not say; acknowledged writes may be missing",
    }
}

/// How long each step took.
fn steps(drill: &Drill) -> String {
    let check = drill.check.map(|took| format!("checked in {}, ", seconds(took))).unwrap_or_default();
    let (import, open, export) = (seconds(drill.import), seconds(drill.open), seconds(drill.export));
    let opened_at = drill.opened_at.map(|log_id| format!(" at {log_id}")).unwrap_or_default();
    format!("{check}imported in {import}, opened{opened_at} in {open}, exported and compared in {export}")
}

/// Without a space, at which a line could end.
fn seconds(took: Duration) -> String {
    format!("{:.2}s", took.as_secs_f64())
}

/// A line, or as many as its words take.
fn wrapped(name: &str, says: &str) -> String {
    let mut text = format!("  {name:<width$}", width = INDENT - 2);
    let mut column = INDENT;
    for word in says.split(' ') {
        let len = word.chars().count();
        if column > INDENT && column + 1 + len > WIDTH {
            text.push('\n');
            text.push_str(&" ".repeat(INDENT));
            column = INDENT;
        } else if column > INDENT {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += len;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use backup_plugin::{
        codec::Version,
        import::{RecordCounts, Warning},
        input::Compression,
        provenance::Role,
        record::LeaderId,
    };

    use super::*;
    use crate::ctl::json as one_line;

    fn log_id(index: u64) -> Option<LogId> {
        Some(LogId { leader_id: LeaderId { term: 3, node_id: 1 }, index })
    }

    fn summary() -> ImportSummary {
        ImportSummary {
            node_id: 2,
            cluster_id: None,
            last_applied: log_id(126),
            tail: 7,
            keys: 64,
            sequence: 159,
            version: Version::V004,
            compression: Compression::Zstd,
            lines: 207,
            bytes: 45123,
            sha256: "cd".repeat(32),
            content: "ef".repeat(32),
            records: RecordCounts { log_entries: 120, nodes: 3, expires: 12, keys: 64, others: 8 },
            dropped: [].into(),
            seal: Some(Seal {
                version: "V004".to_owned(),
                records: 206,
                cluster_id: Some("ab".repeat(32)),
                node_id: Some(2),
                role: Some(Role::Follower),
                last_applied: log_id(126),
                committed: log_id(133),
                tail: Some(0),
                consistency: Some(Consistency::Linearizable),
                written_at: "2026-11-22T12:08:45.325Z".to_owned(),
                program: "databend-metactl 0.1.0".to_owned(),
            }),
            warnings: vec![Warning::OneOfMany { node_id: 2, voters: BTreeSet::from([1, 2, 3]) }],
        }
    }

    fn verified(summary: ImportSummary, drilled: bool) -> Verified {
        let ms = Duration::from_millis;
        let drill = Drill {
            summary: summary.clone(),
            opened_at: log_id(133),
            check: Some(ms(410)),
            import: ms(1380),
            open: ms(30),
            export: ms(1020),
        };
        let seconds = if drilled { 2.84 } else { 0.41 };
        Verified { input: "backup.ndjson.zst".to_owned(), summary, drilled: drilled.then_some(drill), seconds }
    }

    #[test]
    fn a_sealed_backup_says_what_it_is_and_the_last_line_is_the_answer() {
        insta::assert_snapshot!(verified(summary(), false).as_text());
    }

    #[test]
    fn an_unsealed_one_of_an_old_version_for_a_new_cluster_that_was_drilled() {
        let of_old = ImportSummary {
            seal: None,
            version: Version::V002,
            compression: Compression::None,
            cluster_id: Some("12".repeat(32)),
            warnings: vec![Warning::Unsealed],
            ..summary()
        };
        insta::assert_snapshot!(verified(of_old, true).as_text());
    }

    #[test]
    fn every_line_fits_a_terminal() {
        for seal in [summary().seal, None] {
            let said = verified(ImportSummary { seal, ..summary() }, true).as_text();
            for line in said.lines() {
                assert!(line.chars().count() <= WIDTH, "{line}");
            }
        }
    }

    #[test]
    fn the_result_as_json_is_one_object() {
        insta::assert_snapshot!(one_line(&verified(summary(), true).as_json()).unwrap());
    }
}
