//! One side, ready to be compared: its records in the order of their keys, then what it is. A file is read to its end
//! before, so that one that is not whole is told of at once; it is read again for the comparison unless it had to be
//! imported into a scratch folder.

use std::{
    fs::File,
    io::{Read, Seek},
    path::{Path, PathBuf},
};

use backup_plugin::{
    cluster::{Member, MemberList},
    diff::{Beside, KeyRecord},
    import::{self, ImportError, ImportOptions, ImportOutcome, ImportSummary, Warning},
    input::Reader,
    provenance::Provenance,
};
use tokio::runtime::Handle;

use super::{DiffError, Side, server, stream::Stream, whence::Whence};
use crate::{
    backup::{
        check::CheckTarget,
        offline::PrivateCopy,
        scratch::{Scratch, ScratchState},
        whole::WholeState,
    },
    ctl::{
        Common, CtlError,
        client::Client,
        export::report::{loud, warning},
        input::Input,
        note,
        progress::Meter,
    },
    state::State,
    store::StoreError,
};

/// A side that is there: a file is open, a folder locked, a server connected.
pub(super) enum Opened {
    File {
        path: PathBuf,
        file: File,
        bytes: u64,
    },
    /// What can be read only once.
    Once(Input),
    Folder(Box<Source>),
    Server(Client),
}

impl Opened {
    /// `runtime`: where the connection to a server lives.
    pub(super) fn of(side: Side, common: Common, runtime: &Handle) -> Result<Opened, CtlError> {
        match side {
            Side::Stdin => Input::open(None).map(Opened::Once),
            Side::File(path) => {
                let unreadable = |source| CtlError::OpenInput { path: path.clone(), source };
                let file = File::open(&path).map_err(unreadable)?;
                let found = file.metadata().map_err(unreadable)?;
                if !found.is_file() {
                    let name = path.display().to_string();
                    return Ok(Opened::Once(Input { name, reader: Box::new(file), bytes: None }));
                }
                Ok(Opened::File { path, file, bytes: found.len() })
            }
            Side::Folder(path) => Source::of_folder(&path).map(|source| Opened::Folder(Box::new(source))),
            Side::Server(address) => runtime
                .block_on(Client::connect(&address, common.timeout()))
                .map(Opened::Server)
                .map_err(|source| DiffError::NoServer { given: address, source }.into()),
        }
    }

    pub(super) fn is_server(&self) -> bool {
        matches!(self, Opened::Server(_))
    }

    /// Proves what can be proved before the comparison, and begins to read.
    pub(super) fn ready(self, runtime: &Handle) -> Result<Source, CtlError> {
        match self {
            Opened::File { path, file, bytes } => Source::of_file(&path, file, bytes),
            Opened::Once(Input { name, reader, bytes }) => Source::of_import(&name, reader, bytes, Whence::default()),
            Opened::Folder(source) => Ok(*source),
            Opened::Server(client) => Source::of_server(client, runtime),
        }
    }
}

/// A side whose records can be read.
pub(super) struct Source {
    name: String,
    whence: Whence,
    notes: Vec<String>,
    records: Records,
    /// Where what is read lies; it goes last.
    _copy: Option<PrivateCopy>,
}

enum Records {
    Stream(Box<Stream>),
    Folder(Box<WholeState>),
    Imported(Box<ScratchState>),
}

/// What a side is, beside its keys.
pub(super) struct Facts {
    /// As it was given.
    pub(super) name: String,
    pub(super) whence: Whence,
    /// What an operator should know of it.
    pub(super) notes: Vec<String>,
    pub(super) beside: Beside,
}

impl Source {
    fn of_folder(path: &Path) -> Result<Source, CtlError> {
        let copy = PrivateCopy::create()?;
        let whole = WholeState::open(path, copy.path()).map_err(|error| match error {
            source @ StoreError::Locked { .. } => DiffError::Running { source }.into(),
            error => CtlError::Store(error),
        })?;
        let whence = Whence { node_id: Some(whole.node_id), cluster_id: whole.cluster_id.clone(), ..Whence::default() };
        let notes = match whole.uncommitted {
            0 => Vec::new(),
            n => vec![format!("{n} log entries above the last known commit are in; they may have been acknowledged")],
        };
        let name = path.display().to_string();
        Ok(Source { name, whence, notes, records: Records::Folder(Box::new(whole)), _copy: Some(copy) })
    }

    fn of_file(path: &Path, mut file: File, bytes: u64) -> Result<Source, CtlError> {
        let name = path.display().to_string();
        let meter = Meter::start(Some(bytes));
        let target = CheckTarget::default();
        let planned = import::plan(&file, &name, &target, &options()?, &mut |progress| meter.set(progress.bytes));
        drop(meter);
        file.rewind().map_err(|source| CtlError::OpenInput { path: path.to_owned(), source })?;
        if target.doubt().is_some() {
            let node_id = planned.ok().and_then(|planned| planned.from.node_id);
            return Source::of_import(&name, file, Some(bytes), Whence { node_id, ..Whence::default() });
        }
        let planned = planned?;
        let whence = Whence { node_id: planned.from.node_id, ..Whence::default() };
        let notes = planned.summary.warnings.iter().map(ToString::to_string).collect();
        let stream =
            Stream::start(Reader::open(file, &name).map_err(ImportError::Read)?, Some(planned.summary.sha256))?;
        Ok(Source { name, whence, notes, records: Records::Stream(Box::new(stream)), _copy: None })
    }

    fn of_server(client: Client, runtime: &Handle) -> Result<Source, CtlError> {
        let name = client.address().to_owned();
        let (provenance, received) = server::export(client, runtime)?;
        let whence = provenance.as_ref().map(Whence::of).unwrap_or_default();
        let mut notes: Vec<String> = match &provenance {
            Some(provenance) => warning(&name, provenance).into_iter().collect(),
            None => vec![format!("{name} does not say how fresh its export is; acknowledged writes may be missing")],
        };
        for warning in &notes {
            // Already now: the operator may be able to do something about it.
            note(&loud(warning));
        }
        if provenance.is_some_and(|Provenance { origin, .. }| origin.last_applied.is_some()) {
            let stream = Stream::start(Reader::open(received, &name).map_err(ImportError::Read)?, None)?;
            return Ok(Source { name, whence, notes, records: Records::Stream(Box::new(stream)), _copy: None });
        }
        // Others may send a log that goes on after the state, and a node that has applied nothing sends nothing else.
        let Imported { state, copy, summary } = Imported::of(&name, received, None)?;
        notes.extend(notes_of(&summary));
        Ok(Source { name, whence, notes, records: Records::Imported(Box::new(state)), _copy: Some(copy) })
    }

    fn of_import(name: &str, input: impl Read + Send, bytes: Option<u64>, whence: Whence) -> Result<Source, CtlError> {
        let Imported { state, copy, summary } = Imported::of(name, input, bytes)?;
        let whence = summary.seal.as_ref().map_or(whence, Whence::sealed);
        let unsealed = summary.warnings.iter().filter(|warning| **warning == Warning::Unsealed);
        let notes = unsealed.map(ToString::to_string).chain(notes_of(&summary)).collect();
        let records = Records::Imported(Box::new(state));
        Ok(Source { name: name.to_owned(), whence, notes, records, _copy: Some(copy) })
    }

    /// In the order of the keys.
    pub(super) fn records(&mut self) -> Box<dyn Iterator<Item = Result<KeyRecord, CtlError>> + '_> {
        let state = match &mut self.records {
            Records::Stream(stream) => return Box::new(stream.records()),
            Records::Folder(whole) => &whole.state,
            Records::Imported(imported) => &imported.state,
        };
        let path = PathBuf::from(&self.name);
        let unreadable = move |source| CtlError::ReadStore { path: path.clone(), source };
        Box::new(state.all().map(move |record| record.map_err(&unreadable)))
    }

    /// What is known once all records were read.
    pub(super) fn into_facts(self) -> Facts {
        let Source { name, mut whence, notes, records, .. } = self;
        let beside = match records {
            Records::Stream(stream) => {
                let end = stream.into_end();
                whence = end.seal.as_ref().map_or(whence, Whence::sealed);
                end.beside
            }
            Records::Folder(whole) => beside(&whole.state),
            Records::Imported(imported) => beside(&imported.state),
        };
        Facts { name, whence, notes, beside }
    }
}

/// A backup with all of its log applied, in a scratch folder.
struct Imported {
    state: ScratchState,
    copy: PrivateCopy,
    summary: ImportSummary,
}

impl Imported {
    fn of(name: &str, input: impl Read + Send, bytes: Option<u64>) -> Result<Imported, CtlError> {
        let copy = PrivateCopy::create()?;
        let scratch = Scratch::new(copy.path().join("store"));
        let meter = Meter::start(bytes);
        let outcome = import::run(input, name, &scratch, &options()?, &mut |progress| meter.set(progress.bytes))?;
        let (ImportOutcome::Imported(summary) | ImportOutcome::Unchanged(summary)) = outcome;
        let state = scratch.into_state().map_err(StoreError::io("read", copy.path()))?;
        let state = state.ok_or_else(|| DiffError::NoState { name: name.to_owned() })?;
        Ok(Imported { state, copy, summary })
    }
}

/// A node of a new cluster: its log is applied, and nothing is asked of who the backup was made of.
fn options() -> Result<ImportOptions, CtlError> {
    let list = MemberList::new("1=localhost:1".parse::<Member>().ok())?;
    Ok(ImportOptions::new(Some(1), Some(list))?.drop_retired(true))
}

/// What was done to a backup, whether or not it could have been sealed.
fn notes_of(summary: &ImportSummary) -> Vec<String> {
    let done = summary.warnings.iter().filter(|warning| **warning != Warning::Unsealed);
    let mut notes: Vec<String> = done.map(ToString::to_string).collect();
    match (summary.records.keys, summary.tail) {
        (_, 0) => {}
        (0, tail) => notes.push(format!("there are no keys in its state; its {tail} log entries are applied")),
        (_, tail) => notes.push(format!("{tail} log entries after its state are applied to it")),
    }
    notes
}

fn beside(state: &State) -> Beside {
    Beside {
        last_applied: state.last_applied(),
        sequence: state.sequence(),
        membership: state.last_membership().membership.clone(),
        nodes: state.nodes().clone(),
    }
}
