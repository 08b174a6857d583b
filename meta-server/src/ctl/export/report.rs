//! What an export tells its operator: as text, as JSON, and, where it may miss something, as a warning that can not be
//! missed.

use std::{fmt::Write, path::Path};

use backup_plugin::{
    export::ExportSummary,
    provenance::{Consistency, Origin, Provenance},
    record::LogId,
};
use serde::{Serialize, Serializer};

/// What a backup came to.
#[derive(Debug, Serialize)]
pub(super) struct Exported<'a> {
    /// `None`: standard output.
    file: Option<&'a Path>,
    #[serde(flatten)]
    summary: ExportSummary,
    seconds: f64,
    /// `None` where the server did not say.
    #[serde(serialize_with = "or_unknown")]
    consistency: Option<Consistency>,
    /// What the backup may miss although it was wanted in it, and why.
    warning: Option<String>,
    /// `None` where the server did not say.
    provenance: Option<Origin>,
}

/// What an export calls what it makes.
pub(super) const THIS: &str = "this backup";

/// What an operator has to know of an export that is less than was asked for. `what`: what it calls the export.
pub(in crate::ctl) fn warning(what: &str, provenance: &Provenance) -> Option<String> {
    let reason = provenance.fallback.as_ref()?;
    let node = node(&provenance.origin);
    let applied = match provenance.origin.last_applied {
        Some(log_id) => format!("what {node} has applied, up to {log_id}"),
        None => format!("the log of {node}, which has applied nothing"),
    };
    Some(format!(
        "{what} is local, not linearizable: it is {applied}, and may miss acknowledged writes, because no leader \
         confirmed more: {reason}"
    ))
}

/// A warning as it stands out among notes.
pub(in crate::ctl) fn loud(warning: &str) -> String {
    format!("WARNING: {warning}")
}

impl Exported<'_> {
    /// `provenance`: `None` where the server sent none.
    pub(super) fn new(
        file: Option<&Path>,
        summary: ExportSummary,
        seconds: f64,
        provenance: Option<Provenance>,
    ) -> Exported<'_> {
        let consistency = provenance.as_ref().map(|known| known.consistency);
        let warning = provenance.as_ref().and_then(|provenance| warning(THIS, provenance));
        Exported { file, summary, seconds, consistency, warning, provenance: provenance.map(|known| known.origin) }
    }

    pub(super) fn report(&self) -> String {
        let to = self.file.map_or("standard output".to_owned(), |file| file.display().to_string());
        let ExportSummary { records, lines, bytes, last_applied, .. } = &self.summary;
        let mut text = format!("exported {lines} lines, {bytes} bytes, in {:.1} s to {to}\n", self.seconds);
        // Writing to a String does not fail.
        for count in records {
            let _ = writeln!(text, "  {:<17} {:>9}", count.kind, count.lines);
        }
        let _ = match last_applied {
            Some(log_id) => match self.log_after(*log_id) {
                Some(end) => writeln!(text, "state as of {log_id}, and the log after it up to {end}"),
                None => writeln!(text, "last applied: {log_id}"),
            },
            None => writeln!(text, "last applied: nothing, the log holds all there is"),
        };
        let _ = writeln!(text, "consistency: {}", self.meaning());
        if let Some(origin) = &self.provenance {
            let _ = writeln!(text, "read from {}", place(origin));
            if let tail @ 1.. = origin.tail {
                let _ = writeln!(
                    text,
                    "{tail} log entries are above the last known commit; they may have been acknowledged, \
                     so they are in"
                );
            }
        }
        if let Some(warning) = &self.warning {
            let _ = writeln!(text, "{}", loud(warning));
        }
        text
    }

    /// Where the log ends that is to be applied to the state, if there is one.
    fn log_after(&self, state: LogId) -> Option<LogId> {
        self.provenance.as_ref()?.committed.filter(|committed| committed.index > state.index)
    }

    fn meaning(&self) -> &'static str {
        match self.consistency {
            Some(Consistency::Linearizable) => "linearizable, all that was acknowledged before the export began is in",
            Some(Consistency::Local) => "local, what one node had applied; acknowledged writes may be missing",
            Some(Consistency::Offline) => "offline, what a stopped node has on disk",
            None => "unknown, the server did not say (Databend's do not); acknowledged writes may be missing",
        }
    }
}

/// `linearizable`, `local`, `offline` or `unknown`.
fn or_unknown<S: Serializer>(consistency: &Option<Consistency>, serializer: S) -> Result<S::Ok, S::Error> {
    match consistency {
        Some(consistency) => consistency.serialize(serializer),
        None => serializer.serialize_str("unknown"),
    }
}

/// The node with what it was, and its cluster.
fn place(origin: &Origin) -> String {
    let cluster = origin.cluster_id.as_ref().map_or("no cluster yet".to_owned(), |id| format!("cluster {id}"));
    format!("{}, {cluster}", node(origin))
}

/// `node 1 (Leader)`
fn node(origin: &Origin) -> String {
    let name = origin.node_id.map_or("a node without an id".to_owned(), |id| format!("node {id}"));
    match origin.role {
        Some(role) => format!("{name} ({role:?})"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use backup_plugin::{provenance::Role, record::LeaderId};

    use super::*;
    use crate::ctl::json;

    fn log_id(index: u64) -> LogId {
        LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
    }

    fn provenance(consistency: Consistency) -> Provenance {
        let origin = Origin {
            cluster_id: Some("0123abcd".to_owned()),
            node_id: Some(1),
            role: Some(Role::Candidate),
            last_applied: Some(log_id(125)),
            committed: Some(log_id(125)),
            tail: 0,
        };
        Provenance { origin, consistency, fallback: None }
    }

    fn fallen_back() -> Provenance {
        Provenance { fallback: Some("nobody leads".to_owned()), ..provenance(Consistency::Local) }
    }

    fn offline() -> Provenance {
        let mut offline = provenance(Consistency::Offline);
        (offline.origin.role, offline.origin.tail) = (None, 3);
        offline
    }

    fn exported(provenance: Option<Provenance>) -> Exported<'static> {
        let mut summary = ExportSummary::default();
        for line in include_str!("../../../../tests/fixtures/v004-tail-applied.ndjson").lines() {
            summary.add(line.as_bytes()).unwrap();
        }
        Exported::new(Some(Path::new("b.ndjson")), summary, 0.25, provenance)
    }

    #[test]
    fn the_report_says_what_the_backup_holds() {
        insta::assert_snapshot!(exported(Some(offline())).report());
    }

    #[test]
    fn the_result_as_json_is_one_object() {
        insta::assert_snapshot!(json(&exported(Some(fallen_back()))).unwrap());
    }

    #[test]
    fn the_report_says_what_the_backup_includes_and_warns_last() {
        let reports: String = [
            Some(provenance(Consistency::Linearizable)),
            Some(provenance(Consistency::Local)),
            Some(fallen_back()),
            Some(Provenance { origin: Origin::default(), ..fallen_back() }),
            None,
        ]
        .map(|provenance| {
            let report = exported(provenance).report();
            report.split_once("last applied: T1-N1.125\n").unwrap().1.to_owned() + "\n"
        })
        .concat();
        insta::assert_snapshot!(reports);
    }

    #[test]
    fn json_names_the_consistency_and_never_warns_of_what_was_asked_for() {
        for (provenance, consistency, warns) in [
            (Some(provenance(Consistency::Linearizable)), "linearizable", false),
            (Some(provenance(Consistency::Local)), "local", false),
            (Some(fallen_back()), "local", true),
            (Some(offline()), "offline", false),
            (None, "unknown", false),
        ] {
            let known = provenance.is_some();
            let result = serde_json::to_value(exported(provenance)).unwrap();
            assert_eq!(result["consistency"], consistency);
            assert_eq!(result["warning"].is_string(), warns, "{result}");
            assert_eq!(result["provenance"].is_object(), known, "{result}");
        }
    }
}
