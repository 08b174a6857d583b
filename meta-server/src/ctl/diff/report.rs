//! What a comparison came to, for people on 80 columns and as JSON. Knows nothing of how it was made.

use std::{collections::BTreeSet, fmt::Write};

use backup_plugin::{
    diff::{Amount, Beside, Compared, MAX_PREFIXES, Seen, Tally},
    record::{LogId, Node},
};
use indicatif::BinaryBytes;
use serde_json::{Value, json};

use super::source::Facts;
use crate::ctl::escape::escaped;

pub(super) struct Report {
    pub(super) a: Facts,
    pub(super) b: Facts,
    pub(super) compared: Compared,
    pub(super) seconds: f64,
}

impl Report {
    pub(super) fn differs(&self) -> bool {
        self.compared.total.differences() > 0
    }

    pub(super) fn as_text(&self) -> String {
        let Report { a, b, compared, seconds } = self;
        let mut text = String::new();
        side(&mut text, "A", a, compared.a);
        side(&mut text, "B", b, compared.b);
        text.push('\n');
        if self.differs() {
            table(&mut text, compared);
        }
        let Tally { seq_only, same, .. } = compared.total;
        // Writing to a String does not fail.
        let _ = match (self.differs(), same + seq_only) {
            (true, equal) => writeln!(text, "the other {equal} keys are the same{}", renumbered(seq_only)),
            (false, equal) => writeln!(text, "no difference: all {equal} keys are the same{}", renumbered(seq_only)),
        };
        let beside = differences(&a.beside, &b.beside);
        if !beside.is_empty() {
            text.push_str("beside the keys, which makes no difference here\n");
        }
        for Item { what, a, b } in beside {
            let _ = writeln!(text, "  {what:<13} {a} in A, {b} in B");
        }
        let _ = writeln!(text, "compared in {seconds:.1} s");
        text
    }

    pub(super) fn as_json(&self) -> Value {
        let Report { a, b, compared, seconds } = self;
        let beside = differences(&a.beside, &b.beside);
        json!({
            "a": side_as_json(a, compared.a),
            "b": side_as_json(b, compared.b),
            "differ": self.differs(),
            "keys": compared.total,
            "prefixes": compared.prefixes.prefixes,
            "prefixes_left_out": compared.prefixes.left_out,
            "beside_the_keys": beside.into_iter().map(|item| item.what).collect::<Vec<_>>(),
            "seconds": seconds,
        })
    }
}

fn side(text: &mut String, label: &str, facts: &Facts, seen: Seen) {
    let _ = writeln!(text, "{label}  {}", facts.name);
    for line in facts.whence.lines() {
        let _ = writeln!(text, "   {line}");
    }
    let expired = match seen.expired {
        0 => String::new(),
        n => format!("; {n} more have expired, and are passed over"),
    };
    let _ = writeln!(text, "   {} keys{expired}", seen.keys);
    for note in &facts.notes {
        let _ = writeln!(text, "   note: {note}");
    }
}

fn side_as_json(facts: &Facts, seen: Seen) -> Value {
    let Beside { last_applied, sequence, membership, nodes } = &facts.beside;
    json!({
        "name": facts.name,
        "from": facts.whence,
        "notes": facts.notes,
        "keys": seen.keys,
        "expired": seen.expired,
        "last_applied": last_applied,
        "sequence": sequence,
        "voters": membership.voters(),
        "learners": membership.learners(),
        "nodes": nodes,
    })
}

/// A row for each prefix, and one for all keys.
fn table(text: &mut String, compared: &Compared) {
    let _ = writeln!(text, "   added       bytes  removed       bytes  changed       bytes  under");
    for row in &compared.prefixes.prefixes {
        let _ = writeln!(text, "{}  {}/", columns(&row.tally), escaped(&row.prefix));
    }
    if let left_out @ 1.. = compared.prefixes.left_out {
        let _ = writeln!(text, "  ({left_out} more prefixes, with no more differences than these {MAX_PREFIXES})");
    }
    let _ = writeln!(text, "{}  all keys\n", columns(&compared.total));
}

fn columns(tally: &Tally) -> String {
    let changed = Amount { keys: tally.changed.keys, bytes: tally.changed.bytes_b };
    let amount = |Amount { keys, bytes }| format!("{keys:>8} {:>11}", BinaryBytes(bytes).to_string());
    [tally.added, tally.removed, changed].map(amount).join(" ")
}

fn renumbered(seq_only: u64) -> String {
    match seq_only {
        0 => String::new(),
        n => format!(" ({n} with another seq)"),
    }
}

/// Something beside the keys that is not the same.
struct Item {
    what: String,
    a: String,
    b: String,
}

fn differences(a: &Beside, b: &Beside) -> Vec<Item> {
    let applied = |id: Option<LogId>| id.map_or_else(|| "nothing".to_owned(), |id| id.to_string());
    let ids = |ids: BTreeSet<u64>| {
        let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
        if ids.is_empty() { "none".to_owned() } else { ids.join(" ") }
    };
    let mut items = vec![
        item("last applied", applied(a.last_applied), applied(b.last_applied)),
        item("sequence", a.sequence.to_string(), b.sequence.to_string()),
        item("voters", ids(a.membership.voters()), ids(b.membership.voters())),
        item("learners", ids(a.membership.learners()), ids(b.membership.learners())),
    ];
    let nodes: BTreeSet<u64> = a.nodes.keys().chain(b.nodes.keys()).copied().collect();
    for id in nodes {
        let (a, b) = (a.nodes.get(&id), b.nodes.get(&id));
        let moved = item(&format!("node {id}"), raft_address(a), raft_address(b));
        items.push(moved.or_else(|| item(&format!("node {id} gRPC"), grpc_address(a), grpc_address(b))));
    }
    items.into_iter().flatten().collect()
}

/// `None` where both are the same.
fn item(what: &str, a: String, b: String) -> Option<Item> {
    (a != b).then(|| Item { what: what.to_owned(), a, b })
}

fn raft_address(node: Option<&Node>) -> String {
    node.map_or_else(|| "none".to_owned(), |node| node.endpoint.to_string())
}

fn grpc_address(node: Option<&Node>) -> String {
    node.and_then(|node| node.grpc_api_advertise_address.clone()).unwrap_or_else(|| "none".to_owned())
}

#[cfg(test)]
mod tests {
    use backup_plugin::{
        diff::{Changed, PrefixTable, PrefixTally},
        provenance::{Consistency, Role},
        record::{Endpoint, LeaderId, Membership, NoAddress},
    };

    use super::*;
    use crate::ctl::{diff::whence::Whence, json};

    fn facts(name: &str, node: u64, voters: &[u64]) -> Facts {
        let addressed = |id: u64| Node {
            name: id.to_string(),
            endpoint: Endpoint { addr: format!("db-{id}"), port: 28004 },
            grpc_api_advertise_address: (id == 3).then(|| format!("db-{node}:9191")),
        };
        Facts {
            name: name.to_owned(),
            whence: Whence {
                node_id: Some(node),
                role: Some(Role::Leader),
                cluster_id: Some("ab".repeat(32)),
                consistency: Some(Consistency::Linearizable),
                written_at: (node == 1).then(|| "2026-11-22T12:08:45.325Z".to_owned()),
            },
            notes: if node == 1 {
                vec!["7 log entries after its state are applied to it".to_owned()]
            } else {
                Vec::new()
            },
            beside: Beside {
                last_applied: Some(LogId { leader_id: LeaderId { term: node, node_id: node }, index: 120 + node }),
                sequence: 159,
                membership: Membership {
                    configs: vec![voters.iter().copied().collect()],
                    nodes: voters.iter().map(|id| (*id, NoAddress {})).collect(),
                },
                nodes: voters.iter().map(|id| (*id, addressed(*id))).collect(),
            },
        }
    }

    fn tally(added: u64, removed: u64, changed: u64) -> Tally {
        Tally {
            added: Amount { keys: added, bytes: added * 1000 },
            removed: Amount { keys: removed, bytes: removed * 99 },
            changed: Changed { keys: changed, bytes_a: changed * 10, bytes_b: changed * 1_000_000 },
            ..Tally::default()
        }
    }

    fn differing() -> Report {
        let row = |prefix: &str, tally| PrefixTally { prefix: prefix.to_owned(), tally };
        let prefixes =
            vec![row("databases", tally(12_345_678, 0, 17)), row("sys\ntem/of a rather long name", tally(1, 2, 3))];
        Report {
            a: facts("backup.ndjson.zst", 1, &[1, 2, 3]),
            b: facts("db-3:9191", 3, &[2, 3]),
            compared: Compared {
                total: Tally { seq_only: 5, same: 1_000_000, ..tally(12_345_680, 2, 20) },
                prefixes: PrefixTable { prefixes, left_out: 12 },
                a: Seen { keys: 1_000_027, expired: 4 },
                b: Seen { keys: 13_345_705, expired: 0 },
            },
            seconds: 1.26,
        }
    }

    fn same() -> Report {
        let seen = Seen { keys: 71, expired: 0 };
        let compared =
            Compared { total: Tally { same: 71, ..Tally::default() }, a: seen, b: seen, ..Compared::default() };
        let mut report = Report { a: facts("a", 1, &[1]), b: facts("b", 1, &[1]), compared, seconds: 0.0 };
        (report.a.whence, report.b.whence) = (Whence::default(), Whence::default());
        report
    }

    #[test]
    fn the_report_is_readable_at_a_glance() {
        let text = differing().as_text();
        // A prefix may be of any length, and what it takes is at the end of its line.
        for line in text.lines().filter(|line| !line.contains("rather long")) {
            assert!(line.len() <= 80, "{} columns: {line}", line.len());
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn sides_that_are_the_same_take_few_lines() {
        insta::assert_snapshot!(same().as_text());
        assert!(!same().differs());
    }

    #[test]
    fn the_report_as_json_is_one_object() {
        insta::assert_snapshot!(json(&differing().as_json()).unwrap());
    }
}
