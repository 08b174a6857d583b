//! `databend-metactl import`, and the same run for `databend-meta --import`: seeds the folder of a stopped server from a backup.
//!
//! Opens the input and tells how it goes; what is read, checked and made of it is the plugin's.

use std::{
    ffi::OsString,
    fmt::Write,
    path::{Path, PathBuf},
    time::Instant,
};

use backup_plugin::{
    clock,
    cluster::{Member, MemberList},
    import::{self, ImportError, ImportOptions, ImportOutcome, ImportSummary, Stop},
    target::RestoreError,
};
use clap::Args;
use serde_json::{Value, json};

use super::{
    CtlError,
    checked::{Checked, check},
    input::Input,
    json, note,
    plan::{self, Plan, Present},
    print,
    progress::Meter,
    room::check_room,
    sink,
    stopping::{Stopping, until_interrupted},
};
use crate::{
    backup::target::StoreTarget,
    store::{Replaced, StoreError},
};

const EXAMPLES: &str = "\
Examples:
  Restore a node as it was:
    databend-metactl import --raft-dir /var/lib/databend-meta backup.ndjson

  Start a new cluster of three from one backup; on each node with its own --id, the same file and the same list:
    databend-metactl import backup.ndjson --raft-dir /var/lib/databend-meta --id 1 \\
        --initial-cluster 1=db-1:28004 2=db-2:28004 3=db-3:28004

  See first what it would replace and write:
    databend-metactl import --plan --raft-dir /var/lib/databend-meta backup.ndjson

  Go back to a moment, with a backup of `export --with-history`, and keep the present store to be able to undo that:
    databend-metactl import --raft-dir /var/lib/databend-meta --keep-old --to-time 2026-11-22T12:08:45Z backup.ndjson

  From standard input; compressed with gzip or zstd or not, as files may be too:
    ssh backups cat backup.ndjson.zst | databend-metactl import --raft-dir /var/lib/databend-meta

The server must be stopped. What the folder holds is replaced in one step, when all of the backup has been read, checked \
and written; until then, and on any error, it stays as it is.";

/// Seed the folder of a stopped server from a backup
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct ImportArgs {
    /// The folder to seed
    #[arg(long, value_name = "FOLDER")]
    pub raft_dir: PathBuf,
    #[command(flatten)]
    pub restored: Restored,
    #[command(flatten)]
    pub how: ImportHow,
}

/// What is restored, and as whom.
#[derive(Debug, Clone, Default, Args)]
pub struct Restored {
    /// The backup file to read; without one, or when it is "", standard input
    #[arg(long, value_name = "FILE")]
    pub db: Option<OsString>,
    /// The same as --db
    #[arg(value_name = "FILE", conflicts_with = "db")]
    pub file: Option<OsString>,
    /// Which node this is: needed with --initial-cluster, and for a backup that does not say
    #[arg(long)]
    pub id: Option<u64>,
    /// The members of a new cluster: ID=HOST:PORT for a voter, ID=HOST:PORT,learner for a learner
    #[arg(long, value_name = "MEMBER", num_args = 1..)]
    pub initial_cluster: Vec<Member>,
    #[command(flatten)]
    pub rules: Rules,
}

/// What else decides whether a backup is restored, and to what: both programs take it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Rules {
    /// Leave out what only servers of early 2022 could hold (databases, tables, shares), instead of refusing it
    #[arg(long)]
    pub drop_retired: bool,
    /// Refuse a backup without a seal: a cut at the end of a line can not be seen in one
    #[arg(long)]
    pub require_seal: bool,
    /// Apply the log in the backup up to this index, and drop the rest. `export --with-history` makes backups that can stop
    /// anywhere; so can those whose log goes on after their state
    #[arg(long, value_name = "INDEX", conflicts_with = "to_time")]
    pub to_index: Option<u64>,
    /// The same by the time of the entries: the state before the first entry that is stamped later than this moment. Entries
    /// without a time belong to the one before them
    #[arg(long, value_name = "RFC3339", value_parser = clock::parse)]
    pub to_time: Option<u64>,
    /// Give out no sequence number of the next N, which clients may have seen after the backup was made: for a new cluster, the
    /// same on all of its members
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub bump_seq: u64,
    /// Begin a new cluster with this term or a later one: the same on all of its members
    #[arg(long, value_name = "TERM", default_value_t = 0, hide_default_value = true)]
    pub min_term: u64,
}

/// What both programs take of how an import is done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct ImportHow {
    /// Keep what the import replaces, so that `databend-metactl rollback` can switch back to it
    #[arg(long)]
    pub keep_old: bool,
    /// Say what would be replaced and what would be written, and change nothing
    #[arg(long)]
    pub plan: bool,
}

impl Restored {
    /// The backup; `None`: standard input.
    pub(super) fn path(&self) -> Option<PathBuf> {
        sink::path(self.db.as_ref(), self.file.as_ref())
    }

    /// The same as options of an import, if they fit each other.
    pub(super) fn options(&self) -> Result<ImportOptions, CtlError> {
        let members = &self.initial_cluster;
        let members = if members.is_empty() { None } else { Some(MemberList::new(members.iter().cloned())?) };
        Ok(ImportOptions::new(self.id, members)?
            .drop_retired(self.rules.drop_retired)
            .requiring_seal(self.rules.require_seal)
            .until(self.rules.stop())
            .bumping_seq(self.rules.bump_seq)?
            .min_term(self.rules.min_term)?)
    }
}

impl Rules {
    fn stop(&self) -> Option<Stop> {
        self.to_index.map(Stop::Index).or(self.to_time.map(Stop::Time))
    }

    /// Whether not all of a backup may be restored.
    fn drop_some(&self) -> bool {
        self.drop_retired || self.stop().is_some()
    }
}

/// What to do when the folder was already imported from this very input, with the same id and list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Import it again: what was written since is replaced.
    Import,
    /// Change nothing, and say so.
    LeaveAlone,
}

/// Runs an import and tells the result: on standard error, or as JSON on standard output. A signal ends it. Not to be called on a
/// runtime.
///
/// # Errors
///
/// Whatever the error, the folder holds what it held.
pub fn run(args: &ImportArgs, again: Again, as_json: bool) -> Result<(), CtlError> {
    let began = Instant::now();
    let options = args.restored.options()?;
    if args.how.plan {
        return tell_plan(args, &options, as_json);
    }
    let of_thread = args.clone();
    let outcome = match until_interrupted(move |stopping| seed(&of_thread, again, options, stopping)) {
        Ok(Seeded::Ended(outcome)) => *outcome,
        Ok(Seeded::Known { node_id }) => return tell_unchanged(&args.raft_dir, node_id, as_json),
        Err(CtlError::Interrupted) => return Err(CtlError::ImportInterrupted { raft_dir: args.raft_dir.clone() }),
        Err(error) => return Err(error),
    };

    let imported = Imported { outcome, raft_dir: args.raft_dir.clone(), seconds: began.elapsed().as_secs_f64() };
    if as_json {
        return print(&json(&imported.as_json())?);
    }
    note(&imported.report());
    Ok(())
}

/// What became of a folder.
enum Seeded {
    Ended(Box<ImportOutcome>),
    /// It was imported from this input already, as this node.
    Known {
        node_id: u64,
    },
}

fn seed(args: &ImportArgs, again: Again, mut options: ImportOptions, stopping: &Stopping) -> Result<Seeded, CtlError> {
    let target = StoreTarget::new(args.raft_dir.clone()).replacing(replaced(args));
    let path = args.restored.path();
    let input = Input::open(path.as_deref())?;
    if again == Again::LeaveAlone {
        let known = target.origins()?;
        // A kept one counts too: whoever has switched back from an import does not want it again. A file is read once more rather
        // than built in vain; a pipe can not be.
        for origin in known.iter().filter(|_| input.is_file()) {
            let reader = stopping.reader(Input::open(path.as_deref())?.reader);
            if let Some(node_id) = import::is_origin(*origin, reader, &options) {
                return Ok(Seeded::Known { node_id });
            }
        }
        options = options.unless_from(known);
    }
    // What is dropped takes no room.
    if let (Some(bytes), false) = (input.bytes, args.restored.rules.drop_some()) {
        check_room(&input.name, bytes, &args.raft_dir)?;
    }
    let Input { name, reader, bytes } = input;
    let (reader, target) = (stopping.reader(reader), stopping.target(target));
    let meter = Meter::start(bytes);
    import::run(reader, &name, &target, &options, &mut |progress| meter.set(progress.bytes))
        .map(|outcome| Seeded::Ended(Box::new(outcome)))
        .map_err(|error| failed(error, &args.raft_dir))
}

/// Says of an error of the disk, which might have hit anything, what it has not.
fn failed(error: ImportError, raft_dir: &Path) -> CtlError {
    match error {
        // Only one that comes after the step that makes a store live leaves a doubt, and that is of another kind.
        source @ ImportError::Target(RestoreError::Io { .. }) => {
            CtlError::NotImported { raft_dir: raft_dir.to_owned(), source }
        }
        other => other.into(),
    }
}

/// Reads and checks the input as an import does, and tells the plan that an import would execute.
fn tell_plan(args: &ImportArgs, options: &ImportOptions, as_json: bool) -> Result<(), CtlError> {
    let present = Present::of(&args.raft_dir)?;
    let Checked { input, planned } = check(args.restored.path().as_deref(), options)?;
    let raft_dir = args.raft_dir.clone();
    let free_bytes =
        plan::free_bytes(&raft_dir).map_err(|error| StoreError::io("ask for the free space of", &raft_dir)(error))?;
    let plan = Plan { input, raft_dir, replaced: replaced(args), planned, present, free_bytes };
    print(&if as_json { json(&plan.as_json())? } else { plan.as_text() })
}

fn replaced(args: &ImportArgs) -> Replaced {
    if args.how.keep_old { Replaced::Keep } else { Replaced::Delete }
}

fn tell_unchanged(raft_dir: &Path, node_id: u64, as_json: bool) -> Result<(), CtlError> {
    if as_json {
        return print(&json(&json!({"raft_dir": raft_dir, "changed": false, "node_id": node_id}))?);
    }
    note(&nothing_to_do(raft_dir, node_id));
    Ok(())
}

fn nothing_to_do(raft_dir: &Path, node_id: u64) -> String {
    format!("nothing to do: {} was already imported from this backup as node {node_id}\n", raft_dir.display())
}

/// What became of an import, to be told.
struct Imported {
    outcome: ImportOutcome,
    raft_dir: PathBuf,
    seconds: f64,
}

impl Imported {
    fn report(&self) -> String {
        let ImportSummary { node_id, lines, bytes, records, warnings, .. } = self.summary();
        let folder = self.raft_dir.display();
        let seconds = self.seconds;
        let mut text = match self.outcome {
            ImportOutcome::Imported(_) => {
                format!("imported {lines} lines, {bytes} bytes, in {seconds:.1} s into {folder} as node {node_id}\n")
            }
            ImportOutcome::Unchanged(_) => nothing_to_do(&self.raft_dir, *node_id),
        };
        let kinds = [
            ("log entries", records.log_entries),
            ("nodes", records.nodes),
            ("expiries", records.expires),
            ("keys", records.keys),
            ("others", records.others),
        ];
        // Writing to a String does not fail.
        for (kind, count) in kinds {
            let _ = writeln!(text, "  {kind:<17} {count:>9}");
        }
        let _ = writeln!(text, "content digest: {}", self.summary().content);
        let _ = match self.summary().last_applied {
            Some(log_id) => writeln!(text, "last applied: {log_id}"),
            None => writeln!(text, "last applied: nothing, the log holds all there is"),
        };
        if let Some(cluster_id) = &self.summary().cluster_id {
            let _ = writeln!(text, "new cluster: {cluster_id}");
        }
        if let Some(seal) = &self.summary().seal {
            let _ = writeln!(text, "sealed: {seal}");
        }
        for warning in warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }

    fn as_json(&self) -> Value {
        let mut told = summary_as_json(self.summary());
        told["raft_dir"] = json!(self.raft_dir);
        told["changed"] = matches!(self.outcome, ImportOutcome::Imported(_)).into();
        told["seconds"] = self.seconds.into();
        told
    }

    fn summary(&self) -> &ImportSummary {
        match &self.outcome {
            ImportOutcome::Imported(summary) | ImportOutcome::Unchanged(summary) => summary,
        }
    }
}

/// What is told of a backup that was read to its end, and of what is made of it.
pub(super) fn summary_as_json(summary: &ImportSummary) -> Value {
    let records = &summary.records;
    json!({
        "data_version": summary.version.name(),
        "compression": summary.compression.to_string(),
        "node_id": summary.node_id,
        "cluster_id": summary.cluster_id,
        "last_applied": summary.last_applied,
        "tail": summary.tail,
        "keys": summary.keys,
        "sequence": summary.sequence,
        "records": {
            "log_entries": records.log_entries,
            "nodes": records.nodes,
            "expires": records.expires,
            "keys": records.keys,
            "others": records.others,
        },
        "dropped": summary.dropped,
        "lines": summary.lines,
        "bytes": summary.bytes,
        "sha256": summary.sha256,
        "seal": summary.seal,
        "content": summary.content,
        "warnings": summary.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use backup_plugin::{
        codec::Version,
        import::{RecordCounts, Warning},
        input::Compression,
        record::{LeaderId, LogId},
    };

    use super::*;
    use crate::store::RaftDir;

    const BACKUP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/v004.ndjson");

    fn summary() -> ImportSummary {
        ImportSummary {
            node_id: 2,
            cluster_id: Some("ab".repeat(32)),
            last_applied: Some(LogId { leader_id: LeaderId { term: 3, node_id: 1 }, index: 126 }),
            tail: 7,
            keys: 64,
            sequence: 159,
            version: Version::V004,
            compression: Compression::None,
            lines: 206,
            bytes: 45123,
            sha256: "cd".repeat(32),
            content: "ef".repeat(32),
            records: RecordCounts { log_entries: 120, nodes: 3, expires: 12, keys: 63, others: 8 },
            dropped: BTreeMap::from([("Databases".to_owned(), 2), ("DropTable".to_owned(), 1)]),
            seal: None,
            warnings: vec![Warning::Unsealed, Warning::OneOfMany { node_id: 2, voters: BTreeSet::from([1, 2, 3]) }],
        }
    }

    fn imported(outcome: fn(ImportSummary) -> ImportOutcome) -> Imported {
        Imported { outcome: outcome(summary()), raft_dir: "/var/lib/meta".into(), seconds: 0.25 }
    }

    #[test]
    fn the_report_says_what_was_made() {
        insta::assert_snapshot!(imported(ImportOutcome::Imported).report());
    }

    #[test]
    fn a_repeated_import_says_that_it_changed_nothing() {
        let text = imported(ImportOutcome::Unchanged).report();
        assert!(text.starts_with("nothing to do: /var/lib/meta was already imported from this backup as node 2\n"));
        assert_eq!(imported(ImportOutcome::Unchanged).as_json()["changed"], false);
    }

    #[test]
    fn a_second_import_does_what_it_was_told() {
        let folder = tempfile::TempDir::new().unwrap();
        let args = ImportArgs {
            raft_dir: folder.path().to_owned(),
            restored: Restored { file: Some(BACKUP.into()), ..Restored::default() },
            how: ImportHow::default(),
        };
        let live = |again| {
            run(&args, again, false).unwrap();
            std::fs::read_to_string(folder.path().join("CURRENT")).unwrap()
        };
        let first = live(Again::LeaveAlone);
        assert_eq!(live(Again::LeaveAlone), first);
        assert_ne!(live(Again::Import), first);
    }

    #[test]
    fn a_repeated_import_of_a_file_builds_nothing() {
        let folder = tempfile::TempDir::new().unwrap();
        let args = ImportArgs {
            raft_dir: folder.path().to_owned(),
            restored: Restored { db: Some(BACKUP.into()), ..Restored::default() },
            how: ImportHow::default(),
        };
        run(&args, Again::LeaveAlone, false).unwrap();
        // To build anything takes the lock.
        let _held = RaftDir::lock(folder.path()).unwrap();
        run(&args, Again::LeaveAlone, false).unwrap();
        assert!(run(&args, Again::Import, false).is_err());
    }

    #[test]
    fn the_result_as_json_is_one_object() {
        insta::assert_snapshot!(json(&imported(ImportOutcome::Imported).as_json()).unwrap());
    }
}
