//! Why an import did not happen. Whatever the reason, the old data is live as it was.

use super::{Refusal, check::Fault};
use crate::{
    input::{InputError, optional},
    record::LogId,
    target::RestoreError,
};

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The input can not be read as an export.
    #[error(transparent)]
    Read(#[from] InputError),
    /// What it says can not be imported: a line of it, or the whole when no line is.
    #[error("{name}{}: {refusal}", optional(", line ", *line))]
    Input { name: String, line: Option<u64>, refusal: Box<Refusal> },
    /// The folder, who holds it, or its disk.
    #[error(transparent)]
    Target(RestoreError),
    /// The target broke its promise to apply the whole log.
    #[error("the log of {name} ends at {expected}, but the state made of it does not{}", optional(": it ends at ", *found))]
    StateEnds { name: String, expected: LogId, found: Option<LogId> },
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

    pub(super) fn target(self, error: RestoreError) -> ImportError {
        match error {
            RestoreError::Input { line, reason } => self.refuse(line, Refusal::Target(reason)),
            error @ (RestoreError::Folder(_) | RestoreError::Io { .. }) => ImportError::Target(error),
        }
    }
}
