//! `databend-metactl verify`: whether a backup could be imported, without importing it.
//!
//! What is checked is an import's to say; `--drill` restores the backup for real, in a folder that goes again. How the
//! result looks is `report`'s.

mod drill;
mod report;

use std::time::Instant;

use backup_plugin::import::ImportOptions;
use clap::Args;

use self::{
    drill::{Drill, drill},
    report::Verified,
};
use super::{
    Common, CtlError,
    checked::{Checked, check, read, room},
    import::Restored,
    input::Input,
    json, print,
    scratch::in_scratch,
};

const EXAMPLES: &str = "\
Examples:
  See whether a backup could be imported; every line and the seal are checked, and nothing is written:
    databend-metactl verify backup.ndjson.zst

  The same for the cluster that it is to become; with the options that the import will have:
    databend-metactl verify backup.ndjson --id 1 \\
        --initial-cluster 1=db-1:28004 2=db-2:28004 3=db-3:28004

  Restore it for real, into a folder in TMPDIR (/tmp without one): import, start, export, compare; then remove it all:
    databend-metactl verify --drill backup.ndjson

  In a script that keeps backups, only sealed ones pass:
    databend-metactl verify --require-seal --json backup.ndjson || alert

Exit code 0: an import of this file with these options would succeed. 1: it would not, and the error is that of the \
import, with the line; or that could not be found out, and the error is about this machine. Without --drill, room in \
TMPDIR is needed only for keys that do not come in order, for a log that the options have applied, and for standard \
input.";

/// Check that a backup could be imported, without importing it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    restored: Restored,
    /// Restore it for real, in a folder in TMPDIR: import it, open it as a server does, export it, and compare that
    /// with the backup. The folder is removed
    #[arg(long)]
    drill: bool,
}

pub(super) fn run(args: &VerifyArgs, common: Common) -> Result<(), CtlError> {
    let began = Instant::now();
    let options = args.restored.options()?;
    let (input, summary, drilled) = if args.drill {
        let (input, drilled) = drilled(&args.restored, options)?;
        (input, drilled.summary.clone(), Some(drilled))
    } else {
        let Checked { input, planned } = check(args.restored.path().as_deref(), &options)?;
        (input, planned.summary, None)
    };
    let verified = Verified { input, summary, drilled, seconds: began.elapsed().as_secs_f64() };
    print(&if common.json { json(&verified.as_json())? } else { verified.as_text() })
}

/// Restores a backup for real. A file is read first, so that what is wrong with it, or too large, is told before
/// anything is written.
fn drilled(restored: &Restored, options: ImportOptions) -> Result<(String, Drill), CtlError> {
    let path = restored.path();
    let mut input = Input::open(path.as_deref())?;
    let mut needed = 0;
    let mut checked = None;
    if input.is_file() {
        let again = Input::open(path.as_deref())?;
        let began = Instant::now();
        let (planned, doubt) = read(input, &options);
        needed = match planned {
            // The export of the store works on a copy of its log.
            Ok(planned) => room(&planned, doubt).saturating_add(planned.log_bytes),
            Err(error) if doubt.is_none() => return Err(error),
            // The import says what is wrong.
            Err(_) => 0,
        };
        checked = Some(began.elapsed());
        input = again;
    }
    in_scratch(move |scratch| {
        let name = input.name.clone();
        scratch.check_room(&name, needed)?;
        let drill = drill(input, scratch, &options).map_err(|error| scratch.failed(&name, error))?;
        Ok((name, Drill { check: checked, ..drill }))
    })
}
