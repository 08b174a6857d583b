//! Proves a seal, byte by byte: what is not exactly as it was written is refused.

use sha2::{Digest, Sha256};

use super::{DIGITS, END, HASH, START, Seal};
use crate::hex::hex;

/// Why a file that says it is sealed is not whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealFault {
    #[error(
        "the file is cut here, or was changed: its first line says that it is sealed, and this, the last line, is no seal"
    )]
    Missing,
    #[error("the seal is cut, or was changed: it does not read as one")]
    Unreadable,
    #[error("the file was changed after it was sealed: {found} lines stand before the seal, which counts {sealed}")]
    Lines { found: u64, sealed: u64 },
    #[error("the file was changed after it was sealed: its SHA-256 is {found}, and the seal says {sealed}")]
    Content { found: String, sealed: String },
    #[error("the seal is of version {sealed}, and the file of version {found}")]
    Version { found: String, sealed: String },
    #[error("this seal is not the end: something was added behind it, or two backups were joined")]
    NotLast,
    #[error(
        "a seal, in a file whose first line does not say that it is sealed: it was changed, or is two files joined"
    )]
    Unmarked,
}

/// Checks the last line of a file, newline included. `hasher` has taken every byte before it, in `lines` lines.
pub(crate) fn check(line: &[u8], mut hasher: Sha256, lines: u64, version: &str) -> Result<Seal, SealFault> {
    if !line.starts_with(START.as_bytes()) {
        return Err(SealFault::Missing);
    }
    let line = std::str::from_utf8(line).map_err(|_| SealFault::Unreadable)?;
    let hashed = line.len().checked_sub(DIGITS + END.len()).ok_or(SealFault::Unreadable)?;
    let (before, sealed) = line
        .split_at_checked(hashed)
        .and_then(|(before, rest)| Some((before, rest.strip_suffix(END)?)))
        .ok_or(SealFault::Unreadable)?;
    let value = before.strip_prefix(START).and_then(|value| value.strip_suffix(HASH)).ok_or(SealFault::Unreadable)?;
    let seal: Seal = serde_json::from_str(&format!("{value}}}")).map_err(|_| SealFault::Unreadable)?;

    hasher.update(before);
    let found = hex(&hasher.finalize());
    if seal.records != lines {
        return Err(SealFault::Lines { found: lines, sealed: seal.records });
    }
    if found != sealed {
        return Err(SealFault::Content { found, sealed: sealed.to_owned() });
    }
    if seal.version != version {
        return Err(SealFault::Version { found: version.to_owned(), sealed: seal.version });
    }
    Ok(seal)
}
