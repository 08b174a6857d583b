//! Where an export goes: a backup file that appears whole or not at all, or standard output. Counts what passes.

use std::{
    ffi::OsString,
    io::{self, Stdout, Write},
    path::{Path, PathBuf},
};

use backup_plugin::export::{ExportSummary, NotAnExport, file::BackupFile};

use meta_proto::Lines;

use super::{
    CtlError, note,
    older::{OlderError, Rewriter, warning},
    progress::Meter,
};

/// The path in `--db` or in its place; `None` is standard output or input.
pub(super) fn path(db: Option<&OsString>, file: Option<&OsString>) -> Option<PathBuf> {
    db.or(file).filter(|path| !path.is_empty()).map(PathBuf::from)
}

enum Place {
    File(BackupFile),
    Stdout(Stdout),
}

/// An export that is being written.
pub(super) struct Sink {
    place: Place,
    /// For a reader of another version.
    rewriter: Option<Rewriter>,
    summary: ExportSummary,
    meter: Meter,
}

/// Why a line was not written.
pub(super) enum LineError {
    NotAnExport(NotAnExport),
    Older(OlderError),
    Write(CtlError),
}

impl LineError {
    /// `from`: where the line came from.
    pub(super) fn of(self, from: &str) -> CtlError {
        let from = from.to_owned();
        match self {
            LineError::NotAnExport(source) => CtlError::NotAnExport { from, source },
            LineError::Older(source) => CtlError::Older { from, source },
            LineError::Write(error) => error,
        }
    }
}

impl Sink {
    /// `None`: standard output.
    pub(super) fn open(path: Option<&Path>) -> Result<Sink, CtlError> {
        let place = match path {
            Some(path) => Place::File(BackupFile::create(path)?),
            None => Place::Stdout(io::stdout()),
        };
        Ok(Sink { place, rewriter: None, summary: ExportSummary::default(), meter: Meter::start(None) })
    }

    /// Writes what comes from now on for another reader.
    pub(super) fn rewrite(&mut self, rewriter: Option<Rewriter>) {
        self.rewriter = rewriter;
    }

    /// Takes lines. On standard output they are out when this returns. Blocks.
    pub(super) fn write_lines(&mut self, lines: &Lines) -> Result<(), LineError> {
        let Some(rewriter) = &mut self.rewriter else { return self.put(lines) };
        let mut rewritten = Lines::default();
        lines.iter().try_for_each(|line| rewriter.push(line, &mut rewritten)).map_err(LineError::Older)?;
        self.put(&rewritten)
    }

    fn put(&mut self, lines: &Lines) -> Result<(), LineError> {
        lines.iter().try_for_each(|line| self.summary.add(line)).map_err(LineError::NotAnExport)?;
        match &mut self.place {
            Place::File(file) => file.write(lines.text()).map_err(CtlError::File),
            Place::Stdout(out) => out.write_all(lines.text()).and_then(|()| out.flush()).map_err(CtlError::Stdout),
        }
        .map_err(LineError::Write)?;
        self.meter.set(self.summary.bytes);
        Ok(())
    }

    /// What was written so far.
    pub(super) fn summary(&self) -> &ExportSummary {
        &self.summary
    }

    /// After the last line: writes what another order of lines has kept back, and says what a reader may make of it.
    pub(super) fn end_lines(&mut self) -> Result<(), LineError> {
        let Some(rewriter) = self.rewriter.take() else { return Ok(()) };
        let (lines, caveats) = rewriter.finish();
        self.put(&lines.into_iter().collect())?;
        if let Some(warning) = warning(caveats) {
            note(&format!("warning: {warning}"));
        }
        Ok(())
    }

    /// Gives a file its name; nothing of that name is touched before.
    pub(super) fn finish(self) -> Result<ExportSummary, CtlError> {
        if let Place::File(file) = self.place {
            file.publish()?;
        }
        Ok(self.summary)
    }
}
