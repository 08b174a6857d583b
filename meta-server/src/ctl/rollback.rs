//! `databend-metactl rollback`: makes a kept generation the live one again, in the one step by which an import makes its own.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{
    Common, CtlError,
    generations::{Described, brief, find},
    json, note, print,
};
use crate::{
    backup::facts::GenerationFacts,
    error_chain::chain,
    store::{Found, RaftDir},
};

const HELP: &str = "\
An import with --keep-old keeps the generation that it replaces. This makes it the live one again, and keeps the one that was: \
the same command once more switches forward. Nothing is written into either.

A generation is one life of a node, and holds all that the node acknowledged in it. So a member that was imported over by \
mistake is after this the member it was, as if it had been down meanwhile. Of a cluster whose members were all imported over, roll \
back all members: the old cluster and the new one refuse each other.

Examples:
  Undo an import:
    databend-metactl rollback --raft-dir /var/lib/databend-meta

  Go to one of several:
    databend-metactl generations --raft-dir /var/lib/databend-meta
    databend-metactl rollback --raft-dir /var/lib/databend-meta --to gen-000001

The server must be stopped.";

/// Switch the folder of a stopped server back to a generation that an import has kept
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct RollbackArgs {
    /// The folder of the server
    #[arg(long, value_name = "FOLDER")]
    raft_dir: PathBuf,
    /// The generation to switch to; without one, the one that was replaced last
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
}

pub(super) fn run(args: &RollbackArgs, common: Common) -> Result<(), CtlError> {
    let mut dir = RaftDir::lock_store(&args.raft_dir)?;
    let generations = dir.generations()?;
    let target = choose(&generations, args.to.as_deref(), &args.raft_dir)?.clone();
    // What can not be opened must not become live. The one that is live now may be why this is done.
    let facts = GenerationFacts::read(&target.path)?;
    let old = generations.into_iter().find(|found| found.live).map(Described::of).transpose()?;
    dir.switch_back(&target)?;

    let warning = one_of_many(&facts);
    if common.json {
        let old = old.as_ref().map(Described::as_json);
        let result =
            json!({"raft_dir": args.raft_dir, "live": target.name, "holds": facts, "was": old, "warning": warning});
        return print(&json(&result)?);
    }
    note(&format!("{} is at {} again: {}", args.raft_dir.display(), target.name, brief(&facts)));
    if let Some(Described { found, facts, .. }) = &old {
        let held = facts.as_ref().map_or_else(|error| format!("can not be read: {}", chain(error)), brief);
        note(&format!("{} is kept: {held}", found.name));
        note("the same command again switches forward");
    }
    if let Some(warning) = warning {
        note(&format!("warning: {warning}"));
    }
    Ok(())
}

/// The kept generation to switch to.
fn choose<'a>(generations: &'a [Found], to: Option<&str>, raft_dir: &Path) -> Result<&'a Found, CtlError> {
    match to {
        Some(name) if generations.iter().any(|found| found.live && found.name == name) => {
            Err(CtlError::IsLive { name: name.to_owned() })
        }
        Some(name) => {
            let kept = generations.iter().position(|found| !found.live).unwrap_or(generations.len());
            find(&generations[kept..], name, raft_dir)
        }
        // The one that was replaced last comes first.
        None => generations
            .iter()
            .find(|found| !found.live)
            .ok_or_else(|| CtlError::NothingKept { raft_dir: raft_dir.to_owned() }),
    }
}

fn one_of_many(facts: &GenerationFacts) -> Option<String> {
    let id = facts.node_id?;
    (facts.voters.len() > 1).then(|| {
        format!(
            "node {id} is one of {} voters: if the others were imported over too, roll back all of them, or none; if they \
             live on, it joins them as the member it was",
            facts.voters.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, live: bool) -> Found {
        Found { name: name.to_owned(), path: PathBuf::new(), live, replaced_at_ms: (!live).then_some(1) }
    }

    #[test]
    fn the_last_one_that_was_replaced_is_chosen_or_the_one_that_is_named() {
        let all = [found("gen-000004", true), found("gen-000003", false), found("gen-000001", false)];
        let choose = |generations: &[Found], to| {
            super::choose(generations, to, Path::new("/d"))
                .map(|found| found.name.clone())
                .map_err(|err| err.to_string())
        };
        assert_eq!(choose(&all, None).as_deref(), Ok("gen-000003"));
        assert_eq!(choose(&all, Some("gen-000001")).as_deref(), Ok("gen-000001"));
        for (generations, to, expected) in [
            (&all[..1], None, "no generation is kept in /d: an import keeps the one it replaces with --keep-old"),
            (&all[..], Some("gen-000004"), "gen-000004 is the live generation already"),
            (&all[..], Some("gen-9"), "no generation gen-9 is kept in /d, only [gen-000003 gen-000001]"),
            (&all[..1], Some("gen-9"), "no generation gen-9 is kept in /d, only []"),
        ] {
            assert_eq!(choose(generations, to).unwrap_err(), expected);
        }
    }
}
