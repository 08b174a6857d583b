//! A restore for real, in a folder that goes again: imported, opened as a server does, exported, and compared with what
//! was imported.

use std::{
    fs,
    io::{self, Read},
    path::Path,
    time::{Duration, Instant},
};

use backup_plugin::{
    export::lines,
    import::{self, ImportOptions, ImportOutcome, ImportSummary},
    record::LogId,
    source::BackupView as _,
};

use crate::{
    backup::{check::CheckTarget, offline::OfflineBackup, target::StoreTarget},
    ctl::{CtlError, input::Input, progress::Meter, scratch::Scratch},
    state::StateOptions,
    store::{Store, StoreError},
};

/// What a restore came to, and how long each step took.
#[derive(Debug, Clone)]
pub(super) struct Drill {
    /// What the import said.
    pub(super) summary: ImportSummary,
    /// Where the state stood once the store was open: the log that is known to be committed is applied by then.
    pub(super) opened_at: Option<LogId>,
    /// Of the reading before it; `None`: the input can be read only once.
    pub(super) check: Option<Duration>,
    pub(super) import: Duration,
    pub(super) open: Duration,
    pub(super) export: Duration,
}

/// Restores a backup into the folder of the work.
pub(super) fn drill(input: Input, scratch: &Scratch, options: &ImportOptions) -> Result<Drill, CtlError> {
    let Input { name, reader, bytes } = input;
    let store = scratch.path().join("store");
    let meter = Meter::start(bytes);
    let (import, outcome) = timed(|| {
        let target = StoreTarget::new(store.clone());
        import::run(scratch.reader(reader), &name, &target, options, &mut |at| meter.set(at.bytes))
    });
    let (ImportOutcome::Imported(summary) | ImportOutcome::Unchanged(summary)) = outcome?;
    let (open, opened_at) = timed(|| opened_at(&store));
    let opened_at = opened_at?;
    let copy = scratch.path().join("copy");
    let (export, exported) = timed(|| exported(&store, &copy, scratch, &name));
    let (exported, committed) = exported?;
    compare(&name, &summary, &exported, committed, opened_at)?;
    Ok(Drill { summary, opened_at, check: None, import, open, export })
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let began = Instant::now();
    let result = work();
    (began.elapsed(), result)
}

/// Opens the store as a server does, and says where its state is then.
fn opened_at(store: &Path) -> Result<Option<LogId>, CtlError> {
    let opened = Store::open(store, StateOptions::default())?;
    let applied = opened.state.view().last_applied();
    opened.log.close().map_err(StoreError::io("close the log in", store))?;
    Ok(applied)
}

/// Exports the store with the state that the import made, and reads that as any backup is read. Also tells up to where its
/// log is known to be committed.
fn exported(
    store: &Path,
    copy: &Path,
    scratch: &Scratch,
    name: &str,
) -> Result<(ImportSummary, Option<LogId>), CtlError> {
    fs::create_dir(copy).map_err(StoreError::io("create", copy))?;
    let backup = OfflineBackup::open_as_stored(store, copy)?;
    let committed = backup.origin().committed;
    let lines = lines(&backup).map_err(|source| CtlError::ReadStore { path: store.to_owned(), source })?;
    let input = scratch.reader(LinesReader { lines, line: Vec::new(), at: 0 });
    let options = ImportOptions::new(None, None)?;
    let target = CheckTarget::default();
    let planned = import::plan(input, &format!("the export of {name}"), &target, &options, &mut |_| ())?;
    Ok((planned.summary, committed))
}

/// Whether what came out of the store is what went in.
fn compare(
    name: &str,
    imported: &ImportSummary,
    exported: &ImportSummary,
    committed: Option<LogId>,
    opened_at: Option<LogId>,
) -> Result<(), CtlError> {
    // The log of a new cluster holds nothing of the old one.
    let tail = if imported.cluster_id.is_some() { 0 } else { imported.tail };
    let text = |at: Option<LogId>| at.map_or_else(|| "nothing".to_owned(), |at| at.to_string());
    let facts = [
        ("the content digest", imported.content.clone(), exported.content.clone()),
        ("the number of keys", imported.keys.to_string(), exported.keys.to_string()),
        ("the last sequence number", imported.sequence.to_string(), exported.sequence.to_string()),
        ("the node", imported.node_id.to_string(), exported.node_id.to_string()),
        ("what is applied", text(imported.last_applied), text(exported.last_applied)),
        ("the number of log entries that follow", tail.to_string(), exported.tail.to_string()),
        ("where it is once it is open", text(committed.max(imported.last_applied)), text(opened_at)),
    ];
    match facts.into_iter().find(|(_, expected, found)| expected != found) {
        None => Ok(()),
        Some((what, expected, found)) => Err(CtlError::DrillDiffers { input: name.to_owned(), what, expected, found }),
    }
}

/// Lines without newlines, as text.
struct LinesReader<I> {
    lines: I,
    line: Vec<u8>,
    at: usize,
}

impl<I: Iterator<Item = io::Result<String>>> Read for LinesReader<I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.at == self.line.len() {
                let Some(line) = self.lines.next() else { break };
                self.line = line?.into_bytes();
                self.line.push(b'\n');
                self.at = 0;
            }
            let rest = &self.line[self.at..];
            let len = rest.len().min(buffer.len() - filled);
            buffer[filled..filled + len].copy_from_slice(&rest[..len]);
            (self.at, filled) = (self.at + len, filled + len);
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use backup_plugin::record::LeaderId;

    use super::*;
    use crate::command::fixtures;

    #[test]
    fn a_store_that_opens_before_where_it_is_committed_is_no_restore() {
        let text = fixtures::text("v004-tail.ndjson");
        let options = ImportOptions::new(None, None).unwrap();
        let target = CheckTarget::default();
        let planned = import::plan(text.as_bytes(), "b", &target, &options, &mut |_| ()).unwrap();
        let at = |index| Some(LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index });
        let compared = |committed, opened_at| compare("b", &planned.summary, &planned.summary, committed, opened_at);
        assert!(compared(at(125), at(125)).is_ok());
        assert!(compared(None, planned.summary.last_applied).is_ok());
        for behind in [None, planned.summary.last_applied, at(124)] {
            let error = compared(at(125), behind).unwrap_err().to_string();
            assert!(error.contains("where it is once it is open"), "{error}");
        }
    }

    #[test]
    fn lines_are_read_as_the_text_that_they_are() {
        let texts = ["", "a", "bcd", "éé"];
        let lines = || texts.iter().map(|line| Ok((*line).to_owned()));
        for size in 1..20 {
            let mut reader = LinesReader { lines: lines(), line: Vec::new(), at: 0 };
            let (mut found, mut buffer) = (Vec::new(), vec![0; size]);
            loop {
                match reader.read(&mut buffer).unwrap() {
                    0 => break,
                    len => found.extend_from_slice(&buffer[..len]),
                }
            }
            assert_eq!(String::from_utf8(found).unwrap(), texts.join("\n") + "\n");
        }
    }
}
