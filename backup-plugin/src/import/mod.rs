//! The import: records in, checked, planned, and a new generation out.
//!
//! ```text
//! read -> check -> plan -> build the new generation -> commit
//! ```
//! Nothing is committed before the last check of the last line; on any error the generation is dropped and the old data
//! stays live. Knows nothing of how the target keeps what it is given, or of what commands mean.

mod check;
mod error;
mod length;
mod log;
mod once;
mod options;
mod origin;
mod plan;
mod planned;
mod refusal;
mod retired;
mod room;
mod state;
mod stop;
mod summary;

#[cfg(test)]
mod older_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::io::Read;

use check::{Checks, Facts};
use error::InputName;
use once::{At, Once};
use origin::origin;
use planned::Size;

pub use error::ImportError;
pub use options::{ImportOptions, OptionsError};
pub use origin::is_origin;
pub use plan::ImportPlan;
pub use planned::{OldCluster, PlannedImport};
pub use refusal::Refusal;
pub use stop::{Reach, Stop};
pub use summary::{ImportOutcome, ImportSummary, Progress, RecordCounts, Warning};

use crate::{
    hex::hex,
    input::Reader,
    record::Record,
    target::{Origin, RestoreError, RestoreGeneration, RestoreTarget, Seed, Source},
};

/// Progress is told about once for so many bytes.
const PROGRESS_STEP: u64 = 1024 * 1024;

/// Imports `input` into `target`. `name` is what errors call the input: its path, or "standard input".
///
/// Blocks until the new generation is live, or until it is clear that it will not be.
pub fn run<T: RestoreTarget>(
    input: impl Read + Send,
    name: &str,
    target: &T,
    options: &ImportOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<ImportOutcome, ImportError> {
    let Prepared { generation, planned, seed, origin } = prepare(input, name, target, options, progress)?;
    let summary = planned.summary;
    if options.known.contains(&origin) {
        return Ok(ImportOutcome::Unchanged(summary));
    }
    let source = Source {
        origin,
        input: name.to_owned(),
        sha256: summary.sha256.clone(),
        content: summary.content.clone(),
        cluster_id: summary.cluster_id.clone(),
    };
    generation.commit(seed, source).map_err(|error| InputName(name).target(error))?;
    Ok(ImportOutcome::Imported(summary))
}

/// What [`run`] would do: all of it but the last step, the commit. What `target` made on the way is dropped.
///
/// # Errors
///
/// Those of [`run`], but for what only a commit can tell.
pub fn plan<T: RestoreTarget>(
    input: impl Read + Send,
    name: &str,
    target: &T,
    options: &ImportOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<PlannedImport, ImportError> {
    prepare(input, name, target, options, progress).map(|prepared| prepared.planned)
}

/// An import before its last step.
struct Prepared<G> {
    generation: G,
    planned: PlannedImport,
    seed: Seed,
    origin: Origin,
}

/// Reads `input` to its end, checks it, and fills a new generation with it.
fn prepare<T: RestoreTarget>(
    input: impl Read + Send,
    name: &str,
    target: &T,
    options: &ImportOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Prepared<T::Generation>, ImportError> {
    let mut reader = Reader::open(input, name)?;
    if options.require_seal {
        reader.require_seal()?;
    }
    let name = InputName(name);
    let mut checks = Checks::new(reader.version(), options.drop_retired).stopping_at(options.stop);
    // Nothing is begun for a file that is not of a version that is read.
    let first = next(&mut reader, &mut checks, name)?;

    let mut generation = target.begin().map_err(|error| name.target(error))?;
    let mut size = Size::default();
    let mut take = |line, record| {
        size.add(&record);
        hand_on(&mut generation, line, record)
    };
    if let Some((line, Some(record))) = first {
        take(line, record).map_err(|error| name.target(error))?;
    }
    feed(&mut reader, &mut checks, take, name, progress)?;
    let facts = checks.finish().map_err(|fault| name.fault(fault))?;
    let plan = ImportPlan::new(&facts, options).map_err(|fault| name.fault(fault))?;
    complete(&reader, facts, plan, size, generation, name, options)
}

/// The next line, checked: its number, and the record in it if that is to be handed on. `None` at the end.
fn next(
    reader: &mut Reader<'_>,
    checks: &mut Checks,
    name: InputName<'_>,
) -> Result<Option<(u64, Option<Record>)>, ImportError> {
    let Some((line, decoded)) = reader.next_record()? else { return Ok(None) };
    let record = checks.push(line, decoded).map_err(|refusal| name.refuse(Some(line), refusal))?;
    Ok(Some((line, record)))
}

/// Every line that is left: checked, handed on.
fn feed(
    reader: &mut Reader<'_>,
    checks: &mut Checks,
    mut take: impl FnMut(u64, Record) -> Result<(), RestoreError>,
    name: InputName<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), ImportError> {
    let mut told = 0;
    reader.for_each(|line, bytes, decoded| {
        let record = checks.push(line, decoded).map_err(|refusal| name.refuse(Some(line), refusal))?;
        if let Some(record) = record {
            take(line, record).map_err(|error| name.target(error))?;
        }
        if bytes - told >= PROGRESS_STEP {
            told = bytes;
            progress(Progress { lines: line, bytes });
        }
        Ok::<(), ImportError>(())
    })?;
    progress(Progress { lines: reader.lines(), bytes: reader.read_bytes() });
    Ok(())
}

fn hand_on(generation: &mut impl RestoreGeneration, line: u64, record: Record) -> Result<(), RestoreError> {
    match record {
        Record::LogEntry(entry) => generation.log_entry(line, entry),
        Record::State(record) => generation.state_record(line, record),
        _ => Ok(()),
    }
}

/// Ends the feeding, and says what came of it.
fn complete<G: RestoreGeneration>(
    reader: &Reader<'_>,
    facts: Facts,
    plan: ImportPlan,
    size: Size,
    mut generation: G,
    name: InputName<'_>,
    options: &ImportOptions,
) -> Result<Prepared<G>, ImportError> {
    let replay_to = plan.replay_to();
    let state = generation.finish_state(replay_to.is_some()).map_err(|error| name.target(error))?;
    if let Some(expected) = replay_to
        && state.last_applied != Some(expected)
    {
        return Err(ImportError::StateEnds { name: name.0.to_owned(), expected, found: state.last_applied });
    }

    let node_id = plan.node_id();
    let origin = origin(reader.sha256(), node_id, plan.members(), &options.variant());
    let seed = plan.seed(&state).map_err(|refusal| name.refuse(None, refusal))?;
    let (cluster_id, last_applied, sequence) = match &seed {
        Seed::SameNode(_) => (None, state.last_applied, state.sequence),
        Seed::NewLineage { lineage, sequence, .. } => {
            (Some(lineage.cluster_id.clone()), Some(lineage.log_id), *sequence)
        }
    };
    let summary = ImportSummary {
        node_id,
        cluster_id,
        last_applied,
        tail: facts.tail,
        keys: state.keys,
        sequence,
        version: reader.version(),
        compression: reader.compression(),
        lines: reader.lines(),
        bytes: reader.bytes(),
        sha256: hex(&reader.sha256()),
        content: state.digest.to_string(),
        records: facts.counts,
        warnings: plan.warnings(&facts, reader.seal().is_some()),
        dropped: facts.retired.clone(),
        seal: reader.seal().cloned(),
    };
    let planned = PlannedImport::new(plan, facts, summary, size);
    Ok(Prepared { generation, planned, seed, origin })
}
