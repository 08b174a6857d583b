//! `import --plan`: what an import would replace and what it would write, for an operator to read before it is done. Changes
//! nothing, not even a missing folder.

use std::{
    collections::BTreeSet,
    fmt::Write,
    io,
    path::{Path, PathBuf},
};

use backup_plugin::{
    cluster::Role,
    import::{ImportPlan, ImportSummary, OldCluster, PlannedImport},
};
use serde_json::{Value, json};

use super::generations::brief;
use crate::{
    backup::facts::GenerationFacts,
    store::{RaftDir, Replaced, StoreError},
};

/// A plan, and the folder that it is for.
pub(super) struct Plan {
    pub(super) input: String,
    pub(super) raft_dir: PathBuf,
    pub(super) replaced: Replaced,
    pub(super) planned: PlannedImport,
    /// What is live now.
    pub(super) present: Present,
    /// Bytes that are free where the folder is, or will be.
    pub(super) free_bytes: u64,
}

/// What an import would replace.
pub(super) enum Present {
    /// There is no folder, or none with a store in it.
    Nothing {
        folder_exists: bool,
    },
    Store {
        generation: String,
        facts: GenerationFacts,
    },
}

impl Present {
    /// Looks into a folder that no server runs on.
    pub(super) fn of(raft_dir: &Path) -> Result<Present, StoreError> {
        match RaftDir::lock_to_read(raft_dir) {
            Ok(dir) => match dir.current() {
                Some(live) => Ok(Present::Store {
                    generation: live.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                    facts: GenerationFacts::read(&live)?,
                }),
                None => Ok(Present::Nothing { folder_exists: true }),
            },
            Err(StoreError::Missing(_)) => Ok(Present::Nothing { folder_exists: false }),
            Err(StoreError::Empty(_)) => Ok(Present::Nothing { folder_exists: true }),
            Err(error) => Err(error),
        }
    }
}

/// Bytes that are free in a folder, or in the one that it would be made in.
pub(super) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let existing = folder.ancestors().find(|folder| folder.exists()).filter(|folder| !folder.as_os_str().is_empty());
    let found = rustix::fs::statvfs(existing.unwrap_or(Path::new(".")))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

impl Plan {
    pub(super) fn as_text(&self) -> String {
        let folder = self.raft_dir.display();
        let mut text = format!("plan of importing {} into {folder}; nothing was changed\n\nreplaced\n", self.input);
        // Writing to a String does not fail.
        let _ = match &self.present {
            Present::Nothing { folder_exists: false } => writeln!(text, "  nothing: the folder is made"),
            Present::Nothing { folder_exists: true } => writeln!(text, "  nothing: there is no store in the folder"),
            Present::Store { generation, facts } => {
                let _ = writeln!(text, "  {generation}: {}", brief(facts));
                if let Some(cluster_id) = &facts.cluster_id {
                    let _ = writeln!(text, "  of cluster {cluster_id}");
                }
                match self.replaced {
                    Replaced::Delete => writeln!(text, "  it is deleted: --keep-old would keep it"),
                    Replaced::Keep => writeln!(text, "  it is kept: `rollback` makes it live again"),
                }
            }
        };
        let PlannedImport { plan, from, summary, disk_bytes, .. } = &self.planned;
        let ImportSummary { tail, records, .. } = summary;
        text.push_str("\nwritten\n");
        let _ = match plan {
            ImportPlan::SameNode { node_id, .. } => writeln!(
                text,
                "  node {node_id} as it was, up to {}: {} keys in its state, and {tail} log entries after it",
                from.last, records.keys
            ),
            ImportPlan::NewLineage { node_id, first, bump_seq, .. } => {
                let _ = writeln!(
                    text,
                    "  node {node_id} of a new cluster, of what {} held up to {}: {} keys, and {tail} log entries that \
                     are applied to them",
                    from.node_id.map_or_else(|| "a node".to_owned(), |id| format!("node {id}")),
                    from.last,
                    records.keys
                );
                if *bump_seq > 0 {
                    let _ = writeln!(text, "  sequence numbers go on {bump_seq} further");
                }
                let (term, leader) = (first.leader_id.term, first.leader_id.node_id);
                writeln!(text, "  it begins with term {term}, index {}, and node {leader} leads", first.index)
            }
        };
        members(&mut text, plan, from);
        let _ = write!(text, "\ndisk\n  about {disk_bytes} bytes are needed, {} are free\n", self.free_bytes);
        for warning in self.warnings() {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }

    fn warnings(&self) -> Vec<String> {
        let PlannedImport { summary, disk_bytes, .. } = &self.planned;
        let too_small = "the disk looks too small; an import that fills it fails, and leaves what is there";
        let too_small = (*disk_bytes > self.free_bytes).then(|| too_small.to_owned());
        summary.warnings.iter().map(ToString::to_string).chain(too_small).collect()
    }

    pub(super) fn as_json(&self) -> Value {
        let PlannedImport { plan, from, summary, disk_bytes, .. } = &self.planned;
        let ImportSummary { tail, records, .. } = summary;
        let replaced = match &self.present {
            Present::Nothing { .. } => Value::Null,
            Present::Store { generation, facts } => {
                json!({"generation": generation, "holds": facts, "kept": self.replaced == Replaced::Keep})
            }
        };
        let (first, members) = match plan {
            ImportPlan::SameNode { .. } => (None, Vec::new()),
            ImportPlan::NewLineage { first, members, .. } => {
                (Some(*first), members.iter().map(ToString::to_string).collect())
            }
        };
        json!({
            "raft_dir": self.raft_dir,
            "input": self.input,
            "replaced": replaced,
            "node_id": plan.node_id(),
            "from": {
                "node_id": from.node_id,
                "last": from.last,
                "voters": from.voters,
                "learners": from.learners,
                "nodes": from.nodes,
            },
            "new_log_id": first,
            "members": members,
            "tail": tail,
            "keys": records.keys,
            "log_entries": records.log_entries,
            "disk_bytes": disk_bytes,
            "free_bytes": self.free_bytes,
            "warnings": self.warnings(),
        })
    }
}

/// Who is a member before, and after.
fn members(text: &mut String, plan: &ImportPlan, from: &OldCluster) {
    let ids: BTreeSet<u64> = from.voters.iter().chain(&from.learners).chain(from.nodes.keys()).copied().collect();
    text.push_str("  members before\n");
    for id in ids {
        let address =
            from.nodes.get(&id).map_or_else(|| "address not known".to_owned(), |node| node.endpoint.to_string());
        let role = match (from.voters.contains(&id), from.learners.contains(&id)) {
            (true, _) => "voter",
            (false, true) => "learner",
            (false, false) => "no member",
        };
        let _ = writeln!(text, "    {id:>4}  {address:<24}  {role}");
    }
    let ImportPlan::NewLineage { members, .. } = plan else {
        text.push_str("  members after: the same\n");
        return;
    };
    text.push_str("  members after\n");
    for member in members.iter() {
        let role = match member.role() {
            Role::Voter => "voter",
            Role::Learner => "learner",
        };
        let _ = writeln!(text, "    {:>4}  {:<24}  {role}", member.id(), member.endpoint().to_string());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use backup_plugin::{
        import::{self, ImportOptions},
        record::{LeaderId, LogId},
    };

    use super::*;
    use crate::backup::check::CheckTarget;

    const BACKUP: &[u8] = include_bytes!("../../../tests/fixtures/v004-tail.ndjson");

    fn plan(options: &ImportOptions, present: Present, replaced: Replaced) -> Plan {
        let planned = import::plan(BACKUP, "b.ndjson", &CheckTarget::default(), options, &mut |_| ()).unwrap();
        let (input, raft_dir) = ("b.ndjson".to_owned(), "/var/lib/meta".into());
        Plan { input, raft_dir, replaced, planned, present, free_bytes: 1_000_000_000 }
    }

    #[test]
    fn the_plan_of_a_new_cluster_says_what_goes_and_what_comes() {
        let list = ["7=db-7:28004", "8=db-8:28004", "9=[::1]:28004,learner"].map(|entry| entry.parse().unwrap());
        let list = backup_plugin::cluster::MemberList::new(list).unwrap();
        let options = ImportOptions::new(Some(8), Some(list)).unwrap().bumping_seq(1000).unwrap();
        let log_id = |index| Some(LogId { leader_id: LeaderId { term: 3, node_id: 2 }, index });
        let facts = GenerationFacts {
            node_id: Some(2),
            cluster_id: Some("ab".repeat(32)),
            voters: [1, 2, 3].into(),
            last_applied: log_id(120),
            last_log_id: log_id(123),
            keys: 64,
            sequence: 200,
        };
        let present = Present::Store { generation: "gen-000001".to_owned(), facts };
        insta::assert_snapshot!(plan(&options, present, Replaced::Keep).as_text());
    }

    #[test]
    fn the_plan_of_the_same_node_says_so() {
        let options = ImportOptions::new(Some(1), None).unwrap();
        let mut plan = plan(&options, Present::Nothing { folder_exists: false }, Replaced::Delete);
        plan.free_bytes = 17;
        plan.planned.from.nodes = BTreeMap::new();
        insta::assert_snapshot!(plan.as_text());
        let json = plan.as_json();
        assert_eq!(json["new_log_id"], Value::Null);
        let warnings = json["warnings"].as_array().unwrap();
        assert!(warnings.last().unwrap().as_str().unwrap().starts_with("the disk looks too small"), "{warnings:?}");
    }

    #[test]
    fn free_space_is_known_before_the_folder_is_there() {
        let temp = tempfile::tempdir().unwrap();
        assert!(free_bytes(&temp.path().join("a/b/c")).unwrap() > 0);
        assert!(free_bytes(Path::new("none")).unwrap() > 0);
        assert!(std::fs::read_dir(temp.path()).unwrap().next().is_none());
    }
}
