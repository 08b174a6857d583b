//! `databend-metactl diff`: what is different between two sides, each a backup file, the folder of a stopped node or
//! a running server.
//!
//! A side is what a new cluster that is made of it would hold: its state with all of its log applied. Comparing is
//! the plugin's; here is where the sides come from, and how the result is told. Every error has exit code 2, because
//! 1 is an answer.

mod error;
mod keys;
mod report;
mod server;
mod side;
mod source;
mod stream;
mod whence;

#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    io::{self, BufWriter, Write},
    process::ExitCode,
    time::Instant,
};

use backup_plugin::{
    clock,
    diff::{self, DiffOptions, Pair},
};
use clap::Args;

pub use error::DiffError;
use report::Report;
use side::Side;
use source::{Opened, Source};

use super::{Common, CtlError, json, print, runtime, stopping::until_interrupted};

const HELP: &str = "\
A side is a backup file (of any version, compressed or not; - is standard input), the folder of a stopped server, \
or the gRPC address of a running one. What is there under that name wins; where nothing is, it is taken for an \
address. Of each side the state is compared that a new cluster made of it would hold: with all of its log applied, \
also of a backup that is a log alone. A server is asked as `export` asks it by default, and a warning says where \
that was not linearizable.

+ added: only B has it. - removed: only A has it. ~ changed: data or expiry differ; its bytes are those of B. A \
key with another seq and nothing else is the same, and counted apart; with --strict-seq it is changed. When a \
record was proposed is not compared. Records that have expired are passed over on both sides, as reads pass over \
them; with --expired they are compared too. The id of the cluster, last applied, sequence, members and addresses \
are told where they differ, and make no difference.

Prefixes are those of `keys-layout`: they end before a slash, and count everything under them; all keys are in the \
last row. The 100 prefixes with most differences are told.

With --json the result is one object; with --keys, an object on a line for each key comes before it.

Exit code: 0 no key differs, 1 keys differ, 2 trouble: a side could not be read to its end, or wrong usage.

Examples:
  Is the backup still what the cluster holds?
    databend-metactl diff backup.ndjson db-1:9191

  What was lost between two backups, key by key?
    databend-metactl diff --keys old.ndjson.zst new.ndjson.zst | grep '^-'

  Does a dead node hold something that the cluster lacks?
    databend-metactl diff db-2:9191 /var/lib/databend-meta

A file is read twice: to its end, to prove that it is whole, and for the comparison. Standard input, files whose \
keys are out of order, and backups with a log after their state are imported into TMPDIR (/tmp without one) first, \
which takes as much room as a store of them.";

/// Compare two backups, folders or servers, key by key
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP)]
pub(super) struct DiffArgs {
    /// A file, a folder, HOST:PORT of a server, or - for standard input: what was before
    #[arg(value_name = "A")]
    a: OsString,
    /// The same: what is there now
    #[arg(value_name = "B")]
    b: OsString,
    /// List every key that differs, before the table
    #[arg(long)]
    keys: bool,
    /// Leave out prefixes of more parts than this
    #[arg(long, value_name = "PARTS", default_value_t = 1)]
    depth: usize,
    /// Take a key that has another seq for changed, also where nothing else differs
    #[arg(long)]
    strict_seq: bool,
    /// Compare records that have expired as well
    #[arg(long)]
    expired: bool,
}

/// Compares, and tells whether keys differ by the exit code.
///
/// # Errors
///
/// Always with the exit code of trouble.
pub(super) fn run(args: &DiffArgs, common: Common) -> Result<ExitCode, CtlError> {
    let args = args.clone();
    let differs = until_interrupted(move |_| compare(&args, common));
    let differs = differs.map_err(|error| CtlError::NoAnswer(Box::new(error)))?;
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn compare(args: &DiffArgs, common: Common) -> Result<bool, CtlError> {
    let began = Instant::now();
    let (a, b) = (Side::of(&args.a)?, Side::of(&args.b)?);
    Side::check(&a, &b)?;
    let runtime = runtime()?;
    let handle = runtime.handle();
    // All that can be told early is: before a long file is read.
    let (a, b) = (Opened::of(a, common, handle)?, Opened::of(b, common, handle)?);
    // A server is asked last, so that its export does not wait for what the other side takes.
    let (mut a, mut b) = if a.is_server() {
        let b = b.ready(handle)?;
        (a.ready(handle)?, b)
    } else {
        (a.ready(handle)?, b.ready(handle)?)
    };

    let compared = read_in_step(&mut a, &mut b, args, common)?;
    let seconds = began.elapsed().as_secs_f64();
    let report = Report { a: a.into_facts(), b: b.into_facts(), compared, seconds };
    let listed = if args.keys && report.differs() { "\n" } else { "" };
    print(&if common.json { json(&report.as_json())? } else { format!("{listed}{}", report.as_text()) })?;
    Ok(report.differs())
}

fn read_in_step(a: &mut Source, b: &mut Source, args: &DiffArgs, common: Common) -> Result<diff::Compared, CtlError> {
    let options = DiffOptions {
        depth: args.depth,
        strict_seq: args.strict_seq,
        // Both sides are pinned by now: what a server has removed as expired is expired here too.
        expired_at: (!args.expired).then(clock::now_ms),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let tell = |pair: &Pair| {
        if !args.keys {
            return Ok(());
        }
        let line = if common.json { json(&keys::as_json(pair))? } else { keys::as_text(pair) };
        writeln!(out, "{line}").map_err(CtlError::Stdout)
    };
    let compared = diff::compare(a.records(), b.records(), options, tell);
    // What was told before an error is true.
    let flushed = out.flush().map_err(CtlError::Stdout);
    let compared = compared?;
    flushed.map(|()| compared)
}
