//! An export on its way to a reader of an older version: line in, lines out. How the lines of a version look is the plugin's.

use backup_plugin::{
    codec::{DecodeError, Version},
    downgrade::{Caveats, Downgrade, DowngradeError},
    record::LogId,
    upgrade::{Decoded, decode, version_of},
};
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};

use meta_proto::Lines;

use crate::command::CommandsOf2023;

/// For whom an export is written.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct For {
    /// Write what a Databend of that data version imports: V002 is of July 2023, V003 of June 2024. Without this the
    /// version is that of the server, V004 for this one
    #[arg(long, value_name = "VERSION", value_parser = written())]
    pub(super) data_version: Option<Version>,
    /// Leave out the log that the state includes. For V002 and V003: programs of then stop at commands in it that are
    /// newer than they are
    #[arg(long, requires = "data_version")]
    pub(super) drop_applied_log: bool,
}

fn written() -> impl TypedValueParser<Value = Version> {
    PossibleValuesParser::new(["V002", "V003", "V004"]).try_map(|name| name.parse::<Version>())
}

/// Why an export can not be written for whom it is wanted.
#[derive(Debug, thiserror::Error)]
pub enum OlderError {
    #[error(
        "it is of version {found}, older than {wanted}: make it without --data-version, then `databend-metactl convert` it"
    )]
    Upgrade { found: Version, wanted: Version },
    #[error("cannot read line {line}")]
    Line { line: u64, source: DecodeError },
    #[error("line {line} holds {what}, which {wanted} has no place for")]
    Retired { line: u64, what: String, wanted: Version },
    #[error("{source}{}", if *hint { "; --drop-applied-log leaves out the log up to the state, and it with that" } else { "" })]
    Downgrade { source: DowngradeError, hint: bool },
    #[error("--drop-applied-log is for V002 and V003: a reader of V004 takes every command")]
    NothingToDrop,
    #[error("the server does not say where its state ends, so --drop-applied-log can not tell which log that includes")]
    UnknownState,
}

/// Rewrites the lines of one export.
pub(super) struct Rewriter {
    wanted: Version,
    applied: Option<LogId>,
    drop_log: bool,
    lines: u64,
    work: Work,
}

enum Work {
    /// The first line has not come yet.
    Unknown,
    /// It is of the version that is wanted.
    Nothing,
    Downgrade {
        from: Version,
        downgrade: Box<Downgrade<CommandsOf2023>>,
    },
}

impl Rewriter {
    /// `applied`: where the state of the export ends, if that is known. Gives nothing where lines may stay as they come.
    pub(super) fn new(wanted: For, applied: Option<LogId>) -> Result<Option<Rewriter>, OlderError> {
        let For { data_version: Some(version), drop_applied_log: drop_log } = wanted else { return Ok(None) };
        match (version, applied) {
            (Version::V004, _) if drop_log => Err(OlderError::NothingToDrop),
            (_, None) if drop_log => Err(OlderError::UnknownState),
            _ => Ok(Some(Rewriter { wanted: version, applied, drop_log, lines: 0, work: Work::Unknown })),
        }
    }

    /// Adds what is to be written for a line.
    pub(super) fn push(&mut self, line: &[u8], out: &mut Lines) -> Result<(), OlderError> {
        self.lines += 1;
        let number = self.lines;
        // What is no text is no record either; the sink refuses what is no record.
        let Ok(text) = str::from_utf8(line) else {
            out.push(line);
            return Ok(());
        };
        if matches!(self.work, Work::Unknown) {
            self.work = self.begin(text)?;
        }
        let (wanted, applied) = (self.wanted, self.applied);
        let Work::Downgrade { from, downgrade } = &mut self.work else {
            out.push(line);
            return Ok(());
        };
        let record = match decode(*from, text).map_err(|source| OlderError::Line { line: number, source })? {
            Decoded::Record(record) => record,
            Decoded::Ignored => return Ok(()),
            Decoded::Retired(retired) => {
                return Err(OlderError::Retired { line: number, what: retired.to_string(), wanted });
            }
        };
        let lines = downgrade.push(record);
        let lines = lines.map_err(|source| OlderError::Downgrade { hint: source.goes_with_log(applied), source })?;
        lines.iter().for_each(|line| out.push(line.as_bytes()));
        Ok(())
    }

    fn begin(&self, line: &str) -> Result<Work, OlderError> {
        let wanted = self.wanted;
        // What is no header is the sink's to refuse.
        let Ok(found) = version_of(line) else { return Ok(Work::Nothing) };
        if found < wanted {
            return Err(OlderError::Upgrade { found, wanted });
        }
        if found == wanted && !self.drop_log {
            return Ok(Work::Nothing);
        }
        let downgrade = Downgrade::new(wanted, CommandsOf2023, self.applied).without_applied_log(self.drop_log);
        Ok(Work::Downgrade { from: found, downgrade: Box::new(downgrade) })
    }

    /// The last lines, and what a reader may make of all of them.
    pub(super) fn finish(self) -> (Vec<String>, Caveats) {
        match self.work {
            Work::Downgrade { downgrade, .. } => downgrade.finish(),
            Work::Unknown | Work::Nothing => (Vec::new(), Caveats::default()),
        }
    }
}

/// What an operator has to know of what the reader makes of it.
pub(super) fn warning(caveats: Caveats) -> Option<String> {
    match caveats.millisecond_expiries {
        0 => None,
        count => Some(format!(
            "{count} records expire at a time in milliseconds; a Databend that takes every such time for seconds keeps them for ever"
        )),
    }
}
