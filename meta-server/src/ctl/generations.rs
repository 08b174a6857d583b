//! `databend-metactl generations`: which generations a stopped server's folder holds, and the removal of those that are kept.

use std::{fmt::Write as _, path::PathBuf};

use backup_plugin::clock;
use clap::Args;
use serde_json::{Value, json};

use super::{Common, CtlError, json, note, print};
use crate::{
    backup::facts::{GenerationFacts, folder_bytes},
    error_chain::chain,
    store::{Ancestry, Found, RaftDir, StoreError, load_ancestry},
};

const HELP: &str = "\
A generation is one whole store. An import builds a new one beside the live one, and with --keep-old the one that it replaced \
stays. `rollback` switches between them.

Examples:
  See what there is:
    databend-metactl generations --raft-dir /var/lib/databend-meta

  Delete all that are kept, or one of them:
    databend-metactl generations --raft-dir /var/lib/databend-meta --prune
    databend-metactl generations --raft-dir /var/lib/databend-meta --prune gen-000001

The server must be stopped. The live generation is never deleted.";

/// List the generations in the folder of a stopped server, or delete those that an import has kept
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct GenerationsArgs {
    /// The folder of the server
    #[arg(long, value_name = "FOLDER")]
    raft_dir: PathBuf,
    /// Delete the kept generations, all of them or those that are named, instead of listing them
    #[arg(long, value_name = "NAME", num_args = 0..)]
    prune: Option<Vec<String>>,
}

pub(super) fn run(args: &GenerationsArgs, common: Common) -> Result<(), CtlError> {
    match &args.prune {
        None => list(args, common),
        Some(names) => prune(args, names, common),
    }
}

fn list(args: &GenerationsArgs, common: Common) -> Result<(), CtlError> {
    let dir = RaftDir::lock_to_read(&args.raft_dir)?;
    let listed: Vec<Described> = dir.generations()?.into_iter().map(Described::of).collect::<Result<_, _>>()?;
    if common.json {
        let generations: Vec<Value> = listed.iter().map(Described::as_json).collect();
        return print(&json(&json!({"raft_dir": args.raft_dir, "generations": generations}))?);
    }
    print(&listed.iter().map(Described::as_text).collect::<String>())
}

fn prune(args: &GenerationsArgs, names: &[String], common: Common) -> Result<(), CtlError> {
    let dir = RaftDir::lock_store(&args.raft_dir)?;
    // What a killed command has left goes too.
    dir.sweep();
    let kept: Vec<Found> = dir.generations()?.into_iter().filter(|found| !found.live).collect();
    // All names are looked up before anything is deleted.
    let pruned: Vec<&Found> = if names.is_empty() {
        kept.iter().collect()
    } else {
        names.iter().map(|name| find(&kept, name, &args.raft_dir)).collect::<Result<_, _>>()?
    };
    let mut deleted = Vec::new();
    for found in pruned {
        let bytes = folder_bytes(&found.path).map_err(StoreError::io("read", &found.path))?;
        dir.prune(found)?;
        deleted.push((found, bytes));
    }
    if common.json {
        let deleted: Vec<Value> =
            deleted.iter().map(|(found, bytes)| json!({"name": found.name, "bytes": bytes})).collect();
        return print(&json(&json!({"raft_dir": args.raft_dir, "deleted": deleted}))?);
    }
    if deleted.is_empty() {
        note(&format!("nothing to delete: no generation is kept in {}", args.raft_dir.display()));
    }
    for (found, bytes) in deleted {
        note(&format!("deleted {}, {bytes} bytes", found.name));
    }
    Ok(())
}

/// The kept generation of this name.
pub(super) fn find<'a>(kept: &'a [Found], name: &str, raft_dir: &std::path::Path) -> Result<&'a Found, CtlError> {
    kept.iter().find(|found| found.name == name).ok_or_else(|| CtlError::NoSuchGeneration {
        name: name.to_owned(),
        raft_dir: raft_dir.to_owned(),
        kept: kept.iter().map(|found| found.name.clone()).collect(),
    })
}

/// A generation, with what can be told of it. One that can not be read is listed all the same, with the reason.
pub(super) struct Described {
    pub(super) found: Found,
    bytes: u64,
    ancestry: Option<Ancestry>,
    pub(super) facts: Result<GenerationFacts, StoreError>,
}

impl Described {
    pub(super) fn of(found: Found) -> Result<Described, StoreError> {
        let bytes = folder_bytes(&found.path).map_err(StoreError::io("read", &found.path))?;
        let facts = GenerationFacts::read(&found.path);
        let (ancestry, facts) = match (load_ancestry(&found.path), facts) {
            (Ok(ancestry), facts) => (ancestry, facts),
            (Err(error), _) => (None, Err(error)),
        };
        Ok(Described { found, bytes, ancestry, facts })
    }

    /// Two to four lines.
    pub(super) fn as_text(&self) -> String {
        let kind = if self.found.live { "live" } else { "kept" };
        let mut text = format!("{}  {kind}  {} bytes\n", self.found.name, self.bytes);
        // Writing to a String does not fail.
        let _ = match &self.facts {
            Ok(facts) => writeln!(text, "  {}", brief(facts)),
            Err(error) => writeln!(text, "  can not be read: {}", chain(error)),
        };
        if let Ok(GenerationFacts { cluster_id: Some(cluster_id), .. }) = &self.facts {
            let _ = writeln!(text, "  cluster {cluster_id}");
        }
        let _ = match &self.ancestry {
            Some(Ancestry { made_at_ms, source }) => {
                writeln!(text, "  imported at {} from {}", clock::rfc3339(*made_at_ms), source.input)
            }
            None => writeln!(text, "  not imported: a server began it"),
        };
        if let Some(replaced_at_ms) = self.found.replaced_at_ms {
            let _ = writeln!(text, "  replaced at {}", clock::rfc3339(replaced_at_ms));
        }
        text
    }

    pub(super) fn as_json(&self) -> Value {
        json!({
            "name": self.found.name,
            "live": self.found.live,
            "bytes": self.bytes,
            "replaced_at": self.found.replaced_at_ms.map(clock::rfc3339),
            "imported_at": self.ancestry.as_ref().map(|ancestry| clock::rfc3339(ancestry.made_at_ms)),
            "source": self.ancestry.as_ref().map(|ancestry| json!({
                "input": ancestry.source.input,
                "sha256": ancestry.source.sha256,
                "content": ancestry.source.content,
            })),
            "holds": self.facts.as_ref().ok(),
            "error": self.facts.as_ref().err().map(|error| chain(error)),
        })
    }
}

/// Whose store it is, and how far it goes.
pub(super) fn brief(facts: &GenerationFacts) -> String {
    let node = facts.node_id.map_or_else(|| "no node".to_owned(), |id| format!("node {id}"));
    let applied = facts.last_applied.map_or_else(|| "nothing applied".to_owned(), |id| format!("applied up to {id}"));
    let log = match facts.last_log_id {
        Some(last) if facts.last_applied.is_none_or(|applied| last.index > applied.index) => {
            format!(", log up to {last}")
        }
        _ => String::new(),
    };
    format!("{node}, {applied}{log}, {} keys", facts.keys)
}
