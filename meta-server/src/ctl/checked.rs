//! What an import of a backup would come to, without a folder to import into: by reading it where that is enough, and
//! by filling a store that is thrown away where it is not.

use std::path::Path;

use backup_plugin::import::{self, ImportOptions, PlannedImport};

use super::{CtlError, input::Input, progress::Meter, scratch::in_scratch};
use crate::backup::{
    check::{CheckTarget, Doubt},
    target::StoreTarget,
};

/// A backup that could be imported.
pub(super) struct Checked {
    /// What errors call it.
    pub(super) input: String,
    pub(super) planned: PlannedImport,
}

/// Reads a backup, to the end or to what is wrong with it, as an import with these options would. `None`: standard
/// input, which can be read only once, and so goes into a store at once.
pub(super) fn check(path: Option<&Path>, options: &ImportOptions) -> Result<Checked, CtlError> {
    let mut input = Input::open(path)?;
    let mut needed = 0;
    if input.is_file() {
        let (name, again) = (input.name.clone(), Input::open(path)?);
        let (planned, doubt) = read(input, options);
        if doubt.is_none() {
            return Ok(Checked { input: name, planned: planned? });
        }
        needed = planned.map_or(0, |planned| room(&planned, doubt));
        input = again;
    }
    let options = options.clone();
    in_scratch(move |scratch| {
        let Input { name, reader, bytes } = input;
        scratch.check_room(&name, needed)?;
        let meter = Meter::start(bytes);
        let target = StoreTarget::new(scratch.path().join("store"));
        let planned = import::plan(scratch.reader(reader), &name, &target, &options, &mut |at| meter.set(at.bytes))
            .map_err(|error| scratch.failed(&name, error.into()))?;
        Ok(Checked { input: name, planned })
    })
}

/// Reads a backup and keeps nothing. With a doubt, a store has the last word.
pub(super) fn read(input: Input, options: &ImportOptions) -> (Result<PlannedImport, CtlError>, Option<Doubt>) {
    let Input { name, reader, bytes } = input;
    let meter = Meter::start(bytes);
    let target = CheckTarget::default();
    let planned = import::plan(reader, &name, &target, options, &mut |at| meter.set(at.bytes));
    (planned.map_err(CtlError::from), target.doubt())
}

/// Roughly the bytes that a store takes while it is made.
pub(super) fn room(planned: &PlannedImport, doubt: Option<Doubt>) -> u64 {
    // What comes unsorted is written twice.
    let times = if doubt == Some(Doubt::Unsorted) { 2 } else { 1 };
    planned.disk_bytes.saturating_mul(times)
}
