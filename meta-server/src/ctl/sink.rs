//! Where an export goes: a backup file that appears whole or not at all, or standard output. Counts what passes.

use std::{
    ffi::OsString,
    io::{self, BufWriter, Stdout},
    path::{Path, PathBuf},
};

use backup_plugin::{
    codec::Version,
    export::{
        BackupWriter, ExportSummary, Form, NotAnExport,
        file::{BackupFile, FileError},
    },
    input::Compression,
    provenance::Provenance,
    urgency::{Steps, Urgency},
};
use meta_proto::Lines;

use super::{
    CtlError, note,
    older::{OlderError, Rewriter, warning},
    progress::Meter,
};

/// What a seal says of the program that wrote it.
const PROGRAM: &str = concat!("databend-metactl ", env!("CARGO_PKG_VERSION"));

/// The path in `--db` or in its place; `None` is standard output or input.
pub(super) fn path(db: Option<&OsString>, file: Option<&OsString>) -> Option<PathBuf> {
    db.or(file).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Where an export is to go, and in what form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Destination<'a> {
    /// `None`: standard output.
    pub(super) file: Option<&'a Path>,
    pub(super) form: Form,
}

impl<'a> Destination<'a> {
    /// A file of the current version is always sealed, everything else where `seal` says so: older programs were not tried on seals.
    /// `compression`: `None` goes by the file's name. `version`: `None` is the current one.
    pub(super) fn new(
        file: Option<&'a Path>,
        seal: bool,
        compression: Option<Compression>,
        version: Option<Version>,
    ) -> Self {
        let by_name = || match file.and_then(Path::extension).and_then(|extension| extension.to_str()) {
            Some("zst") => Compression::Zstd,
            Some("gz") => Compression::Gzip,
            _ => Compression::None,
        };
        let current = version.is_none_or(|version| version == Version::V004);
        let form = Form { sealed: seal || file.is_some() && current, compression: compression.unwrap_or_else(by_name) };
        Destination { file, form }
    }
}

enum Place {
    File { writer: BackupWriter<BackupFile>, temp: PathBuf },
    Stdout(BackupWriter<BufWriter<Stdout>>),
}

/// An export that is being written.
pub(super) struct Sink {
    place: Place,
    sealed: bool,
    /// For a reader of another version.
    rewriter: Option<Rewriter>,
    summary: ExportSummary,
    meter: Meter,
    steps: Steps,
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
    pub(super) fn open(destination: Destination<'_>, urgency: Urgency) -> Result<Sink, CtlError> {
        let Destination { file, form } = destination;
        let place = match file {
            Some(path) => {
                let file = BackupFile::create(path)?;
                let temp = file.temp_path().to_owned();
                let writer = BackupWriter::new(file, form).map_err(|source| unwritable(&temp, source))?;
                Place::File { writer, temp }
            }
            None => {
                let stdout = BufWriter::with_capacity(256 * 1024, io::stdout());
                Place::Stdout(BackupWriter::new(stdout, form).map_err(CtlError::Stdout)?)
            }
        };
        let (summary, meter) = (ExportSummary::default(), Meter::start(None));
        Ok(Sink { place, sealed: form.sealed, rewriter: None, summary, meter, steps: urgency.steps() })
    }

    /// Writes what comes from now on for another reader.
    pub(super) fn rewrite(&mut self, rewriter: Option<Rewriter>) {
        self.rewriter = rewriter;
    }

    /// Takes lines. On standard output they are out when this returns, unless they are compressed. Blocks.
    pub(super) fn write_lines(&mut self, lines: &Lines) -> Result<(), LineError> {
        let Some(rewriter) = &mut self.rewriter else { return self.put(lines) };
        let mut rewritten = Lines::default();
        lines.iter().try_for_each(|line| rewriter.push(line, &mut rewritten)).map_err(LineError::Older)?;
        self.put(&rewritten)
    }

    fn put(&mut self, lines: &Lines) -> Result<(), LineError> {
        lines.iter().try_for_each(|line| self.summary.add(line)).map_err(LineError::NotAnExport)?;
        let (text, count) = (lines.text(), lines.len() as u64);
        match &mut self.place {
            Place::File { writer, temp } => writer.write(text, count).map_err(|source| unwritable(temp, source)),
            Place::Stdout(out) => out.write(text, count).and_then(|()| out.flush()).map_err(CtlError::Stdout),
        }
        .map_err(LineError::Write)?;
        self.meter.set(self.summary.bytes);
        self.steps.did(text.len());
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

    /// Seals what is to be sealed, and gives a file its name; nothing of that name is touched before. `provenance`: `None` where
    /// the server sent none.
    pub(super) fn finish(mut self, provenance: Option<&Provenance>) -> Result<ExportSummary, CtlError> {
        let (lines, bytes) = match self.place {
            Place::File { writer, temp } => {
                let (file, lines, bytes) =
                    writer.finish(provenance, PROGRAM).map_err(|source| unwritable(&temp, source))?;
                file.publish()?;
                (lines, bytes)
            }
            Place::Stdout(writer) => {
                let (_, lines, bytes) = writer.finish(provenance, PROGRAM).map_err(CtlError::Stdout)?;
                (lines, bytes)
            }
        };
        self.summary.written(lines, bytes, self.sealed);
        Ok(self.summary)
    }
}

fn unwritable(temp: &Path, source: io::Error) -> CtlError {
    CtlError::File(FileError::Io { tried: "write", path: temp.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_sealed_and_compressed_by_its_name() {
        use Compression::{Gzip, None as Plain, Zstd};
        for (file, seal, compression, version, expected) in [
            (Some("b.ndjson"), false, None, None, (true, Plain)),
            (Some("b.ndjson.zst"), false, None, Some(Version::V004), (true, Zstd)),
            (Some("b.ndjson.zst"), false, None, Some(Version::V002), (false, Zstd)),
            (Some("b.gz"), true, None, Some(Version::V003), (true, Gzip)),
            (Some("b.gz"), false, Some(Plain), None, (true, Plain)),
            (Some("b"), false, Some(Zstd), None, (true, Zstd)),
            (None, false, None, None, (false, Plain)),
            (None, true, Some(Gzip), None, (true, Gzip)),
        ] {
            let form = Destination::new(file.map(Path::new), seal, compression, version).form;
            assert_eq!((form.sealed, form.compression), expected, "{file:?}");
        }
    }
}
