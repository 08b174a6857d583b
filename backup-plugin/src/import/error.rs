//! Why an import did not happen. Whatever the reason, the old data is live as it was.

use std::{fmt::Display, io};

use super::{Refusal, check::Fault, lines::LineError};
use crate::{record::LogId, target::RestoreError};

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The input is at fault: a line of it, or the whole when no line is.
    #[error("{name}{}: {refusal}", optional(", line ", *line))]
    Input { name: String, line: Option<u64>, refusal: Box<Refusal> },
    #[error("cannot read {name}{}", optional(" after line ", (*line > 0).then_some(*line)))]
    Read { name: String, line: u64, source: io::Error },
    /// The folder, who holds it, or its disk.
    #[error(transparent)]
    Target(RestoreError),
    /// The target broke its promise to apply the whole log.
    #[error("the log of {name} ends at {expected}, but the state made of it does not{}", optional(": it ends at ", *found))]
    StateEnds { name: String, expected: LogId, found: Option<LogId> },
}

/// Words before a value; nothing without one.
fn optional(words: &str, value: Option<impl Display>) -> String {
    value.map(|value| format!("{words}{value}")).unwrap_or_default()
}

/// Puts the name of the input to what went wrong with it.
#[derive(Clone, Copy)]
pub(super) struct InputName<'a>(pub(super) &'a str);

impl InputName<'_> {
    pub(super) fn refuse(self, line: Option<u64>, refusal: Refusal) -> ImportError {
        ImportError::Input { name: self.0.to_owned(), line, refusal: Box::new(refusal) }
    }

    pub(super) fn fault(self, fault: Fault) -> ImportError {
        self.refuse(fault.line, fault.refusal)
    }

    /// `line` is the number of the line that was refused, or of the last one before the input failed.
    pub(super) fn line(self, line: u64, error: LineError) -> ImportError {
        match error {
            LineError::Refused(refusal) => self.refuse(Some(line), refusal),
            LineError::Read(source) => ImportError::Read { name: self.0.to_owned(), line, source },
        }
    }

    pub(super) fn target(self, error: RestoreError) -> ImportError {
        match error {
            RestoreError::Input { line, reason } => self.refuse(line, Refusal::Target(reason)),
            error @ (RestoreError::Folder(_) | RestoreError::Io { .. }) => ImportError::Target(error),
        }
    }
}
