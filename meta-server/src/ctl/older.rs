//! An export on its way to a reader of an older version: line in, lines out. How the lines of a version look is the plugin's.

use backup_plugin::{
    codec::{DecodeError, Version},
    downgrade::{Caveats, Downgrade, DowngradeError},
    record::LogId,
    upgrade::{Decoded, decode, head_of},
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
    #[error("{error}{}", if *hint { "; --drop-applied-log leaves out the log up to the state, and it with that" } else { "" })]
    Downgrade { error: DowngradeError, hint: bool },
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
        let written = downgrade.push(record);
        let written = written.map_err(|error| OlderError::Downgrade { hint: error.goes_with_log(applied), error })?;
        written.iter().for_each(|line| out.push(line.as_bytes()));
        Ok(())
    }

    fn begin(&self, line: &str) -> Result<Work, OlderError> {
        let wanted = self.wanted;
        // What is no header is the sink's to refuse.
        let Ok(found) = head_of(line).map(|head| head.version) else { return Ok(Work::Nothing) };
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

#[cfg(test)]
mod tests {
    use backup_plugin::record::LeaderId;

    use super::*;
    use crate::error_chain::chain;

    const TAIL: &str = include_str!("../../../tests/fixtures/v004-tail-applied.ndjson");
    const V002: &str = include_str!("../../../tests/fixtures/v002.ndjson");

    fn rewritten(wanted: For, applied: Option<LogId>, text: &str) -> Result<Vec<String>, String> {
        let rewrite = || {
            let Some(mut rewriter) = Rewriter::new(wanted, applied)? else { panic!("nothing to do") };
            let mut out = Lines::default();
            text.lines().try_for_each(|line| rewriter.push(line.as_bytes(), &mut out))?;
            let (rest, _) = rewriter.finish();
            let lines = out.iter().map(|line| String::from_utf8_lossy(line).into_owned());
            Ok(lines.chain(rest).collect())
        };
        rewrite().map_err(|error: OlderError| chain(&error))
    }

    #[test]
    fn lines_of_the_version_that_is_wanted_stay_as_they_are() {
        for (version, text) in [(Version::V002, V002), (Version::V004, TAIL)] {
            let wanted = For { data_version: Some(version), drop_applied_log: false };
            assert!(rewritten(wanted, None, text).unwrap() == text.lines().collect::<Vec<_>>());
        }
        assert!(Rewriter::new(For::default(), None).unwrap().is_none());
    }

    #[test]
    fn what_can_not_be_written_is_said_once_with_what_to_do() {
        let applied = Some(LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index: 125 });
        let unreadable = "log entry T1-N1.23 holds a condition on `KeysWithPrefix`, which no program of V003 can read";
        let hint = "; --drop-applied-log leaves out the log up to the state, and it with that";
        let cut = "[\"header\",{\"DataHeader\":{\"key\":\"header\",\"value\":{\"version\":\"V004\"}}}]\n[\"raft_log\"";
        for (version, drop, applied, text, expected) in [
            (
                Version::V003,
                false,
                None,
                TAIL,
                "log entry T1-N1.15 holds an `UpsertKV` with a `ttl`, which a program".to_owned(),
            ),
            (Version::V003, false, applied, TAIL, format!("{unreadable}{hint}")),
            (Version::V003, true, None, TAIL, "the server does not say where its state ends".to_owned()),
            (Version::V004, true, applied, TAIL, "--drop-applied-log is for V002 and V003".to_owned()),
            (Version::V003, false, None, V002, "it is of version V002, older than V003: ".to_owned()),
            (Version::V003, false, None, cut, "cannot read line 2: EOF while parsing".to_owned()),
        ] {
            let error =
                rewritten(For { data_version: Some(version), drop_applied_log: drop }, applied, text).unwrap_err();
            assert!(error.starts_with(&expected), "{error}");
            assert_eq!(error.matches("log entry").count(), expected.matches("log entry").count(), "{error}");
        }
        let wanted = For { data_version: Some(Version::V003), drop_applied_log: true };
        let lines = rewritten(wanted, applied, TAIL).unwrap();
        assert!(lines.iter().all(|line| !line.contains("\"Logs\"")));
        assert!(lines[4].contains("LastPurged") && lines[4].contains("125"), "{}", lines[4]);
    }
}
