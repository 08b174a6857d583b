//! Why an input can not be read as an export: its name, the line, the reason.

use std::{fmt::Display, io};

use super::Compression;
use crate::{
    codec::DecodeError,
    seal::{EnvelopeFault, SealFault},
};

#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The input is at fault: a line of it, or the whole when no line is.
    #[error("{name}{}: {reason}", optional(", line ", *line))]
    Refused { name: String, line: Option<u64>, reason: Reason },
    /// What it is read from is.
    #[error("cannot read {name}{}", optional(" after line ", (*line > 0).then_some(*line)))]
    Read { name: String, line: u64, source: io::Error },
}

/// What is wrong with a line, or with an input as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    #[error("the line is empty")]
    EmptyLine,
    #[error("the line is longer than {max} bytes")]
    LineTooLong { max: usize },
    #[error("byte {byte} of the line is not UTF-8")]
    NotUtf8 { byte: usize },
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Seal(#[from] SealFault),
    #[error("it has no seal, and --require-seal takes no file without one")]
    Unsealed,
    #[error("the input is empty")]
    Empty,
    /// Where the file is of another version, this is the first line that shows it.
    #[error("no header line, so it is read as version V0: {0}")]
    NoHeader(DecodeError),
    #[error("its {compression} data ends in the middle, after line {lines}: the file is cut")]
    CompressedCut { compression: Compression, lines: u64 },
    #[error("its {compression} data is not whole: {fault}")]
    Envelope { compression: Compression, fault: EnvelopeFault },
    #[error("its {compression} data is damaged after line {lines}: {error}")]
    CompressedDamaged { compression: Compression, lines: u64, error: String },
}

/// Words before a value; nothing without one.
pub(crate) fn optional(words: &str, value: Option<impl Display>) -> String {
    value.map(|value| format!("{words}{value}")).unwrap_or_default()
}
