//! `databend-metactl convert`: a backup of any version in, one of another version out, without a server.
//!
//! The file goes through an import into a folder of its own and comes out of that as an export does. So it is checked as an import
//! checks it, its records come sorted, its commands in their normal form, and memory stays constant; the folder takes as much room as
//! a store does.

use std::{
    ffi::OsString,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use backup_plugin::{
    codec::Version,
    export::{ExportSummary, lines},
    import::{self, ImportOptions, ImportOutcome, ImportSummary, Warning},
    source::BackupView as _,
    urgency::Urgency,
};
use clap::Args;
use meta_proto::Lines;
use serde_json::json;

use super::{
    Common, CtlError,
    input::Input,
    json, note,
    older::{For, Rewriter},
    print,
    progress::Meter,
    sink::{self, Destination, Sink},
    stopping::{Stopping, until_interrupted},
};
use crate::{
    backup::{
        offline::{OfflineBackup, PrivateCopy},
        target::StoreTarget,
    },
    store::StoreError,
};

/// Bytes of text that are written at once.
const BATCH: usize = 1024 * 1024;

const EXAMPLES: &str = "\
Examples:
  Bring a backup of an old Databend to today's version:
    databend-metactl convert --db old.ndjson --out new.ndjson

  Write a backup for a Databend of 2023:
    databend-metactl convert --db backup.ndjson --out for-2023.ndjson --data-version V002

State and log stay what they are: nothing is applied, and nothing expires. On the way the records take as much room in \
TMPDIR (/tmp without one) as a store of them does.";

/// Rewrite a backup in another version of the format, without a server
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ConvertArgs {
    /// The backup file to read, of any version; without one, or when it is "", standard input
    #[arg(long, value_name = "FILE")]
    db: Option<OsString>,
    /// The file to write; without one, or when it is "", standard output
    #[arg(long, value_name = "FILE")]
    out: Option<OsString>,
    #[command(flatten)]
    wanted: For,
    /// Which node the backup is from, if it does not say
    #[arg(long)]
    id: Option<u64>,
    /// Leave out what only servers of early 2022 could hold (databases, tables, shares), instead of refusing it
    #[arg(long)]
    drop_retired: bool,
}

pub(super) fn run(args: &ConvertArgs, common: Common) -> Result<(), CtlError> {
    let began = Instant::now();
    let out = sink::path(args.out.as_ref(), None);
    let input = Input::open(sink::path(args.db.as_ref(), None).as_deref())?;
    let name = input.name.clone();
    let mut to = Destination::new(out.as_deref(), false, None, args.wanted.data_version);
    // Where the lines come from is the input's seal to say; what is made of them says nothing.
    to.form.sealed = false;
    let sink = Sink::open(to, Urgency::Now)?;
    let (args, from) = (args.clone(), name.clone());
    let wanted = args.wanted;
    let (read, written) = until_interrupted(move |stopping| {
        let scratch = PrivateCopy::create()?;
        let store = scratch.path().join("store");
        let read = fill(&store, input, &args, stopping)?;
        let written = write(sink, &store, &scratch.path().join("copy"), &from, wanted, stopping)?;
        Ok((read, written))
    })?;

    let seconds = began.elapsed().as_secs_f64();
    let converted = Converted { name, out, version: wanted.data_version.unwrap_or_default(), read, written, seconds };
    match (common.json, &converted.out) {
        (false, _) => note(&converted.report()),
        (true, Some(_)) => print(&json(&converted.as_json())?)?,
        // Standard output is the backup, and nothing else.
        (true, None) => note(&json(&converted.as_json())?),
    }
    Ok(())
}

/// Imports the file, as the node it is from.
fn fill(store: &Path, input: Input, args: &ConvertArgs, stopping: &Stopping) -> Result<ImportSummary, CtlError> {
    let Input { name, reader, bytes } = input;
    let options = ImportOptions::new(args.id, None)?.drop_retired(args.drop_retired);
    let meter = Meter::start(bytes);
    let target = StoreTarget::new(store.to_owned());
    let reader = stopping.reader(reader);
    let outcome = import::run(reader, &name, &target, &options, &mut |progress| meter.set(progress.bytes))?;
    let (ImportOutcome::Imported(summary) | ImportOutcome::Unchanged(summary)) = outcome;
    Ok(summary)
}

/// Writes what the import made, with the state and the log as the file had them.
fn write(
    mut sink: Sink,
    store: &Path,
    copy: &Path,
    name: &str,
    wanted: For,
    stopping: &Stopping,
) -> Result<ExportSummary, CtlError> {
    fs::create_dir(copy).map_err(StoreError::io("create", copy))?;
    let backup = OfflineBackup::open_as_stored(store, copy)?;
    let older = |source| CtlError::Older { from: name.to_owned(), source };
    sink.rewrite(Rewriter::new(wanted, backup.origin().last_applied).map_err(older)?);
    let unreadable = |source| CtlError::ReadStore { path: store.to_owned(), source };
    let mut batch = Lines::default();
    for line in lines(&backup).map_err(unreadable)? {
        batch.push(line.map_err(unreadable)?.as_bytes());
        if batch.text().len() >= BATCH {
            stopping.go_on()?;
            sink.write_lines(&batch).map_err(|error| error.of(name))?;
            batch = Lines::default();
        }
    }
    sink.write_lines(&batch).and_then(|()| sink.end_lines()).map_err(|error| error.of(name))?;
    stopping.begin_last_step()?;
    sink.finish(None)
}

/// What a conversion came to.
struct Converted {
    name: String,
    out: Option<PathBuf>,
    version: Version,
    read: ImportSummary,
    written: ExportSummary,
    seconds: f64,
}

impl Converted {
    /// Of the import's, those that are about the file rather than about a node made of it.
    fn warnings(&self) -> Vec<String> {
        let of_file = |warning: &&Warning| !matches!(warning, Warning::OneOfMany { .. });
        self.read.warnings.iter().filter(of_file).map(ToString::to_string).collect()
    }

    fn report(&self) -> String {
        let Converted { name, version, written, seconds, .. } = self;
        let to = self.out.as_ref().map_or("standard output".to_owned(), |file| file.display().to_string());
        let (read, lines, bytes) = (self.read.lines, written.lines, written.bytes);
        let mut text = format!(
            "converted {name}, {read} lines, to {to}: {lines} lines, {bytes} bytes of version {version}, in {seconds:.1} s\n"
        );
        // Writing to a String does not fail.
        for count in &written.records {
            let _ = writeln!(text, "  {:<17} {:>9}", count.kind, count.lines);
        }
        for warning in self.warnings() {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }

    fn as_json(&self) -> serde_json::Value {
        json!({
            "from": self.name,
            "file": self.out,
            "data_version": self.version.name(),
            "read_lines": self.read.lines,
            "written": self.written,
            "dropped": self.read.dropped,
            "warnings": self.warnings(),
            "seconds": self.seconds,
        })
    }
}
