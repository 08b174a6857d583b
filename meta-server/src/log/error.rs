//! Errors of the log: what was tried, on what, with the cause in `source`. Everything leaves the log as `io::Error`, because
//! that is what Raft's storage seam speaks.

use std::{error::Error, io};

#[derive(Debug, thiserror::Error)]
#[error("cannot {tried}")]
struct Failed {
    tried: String,
    source: Box<dyn Error + Send + Sync>,
}

/// Wraps a cause with what was tried, keeping the kind of an I/O error.
pub(super) fn failed<E>(tried: impl Into<String>) -> impl FnOnce(E) -> io::Error
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let tried = tried.into();
    move |cause| {
        let source = cause.into();
        let kind = source.downcast_ref::<io::Error>().map_or(io::ErrorKind::Other, io::Error::kind);
        io::Error::new(kind, Failed { tried, source })
    }
}

/// What is left to do about a damaged log: what it lost may have been acknowledged.
pub(super) const RECOURSE: &str = "restore this node from a backup, or remove it from the cluster and let it join anew";

/// What is on disk is not what this log writes.
pub(super) fn corrupt(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// The caller asked for what would break the log; nothing was changed.
pub(super) fn refused(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.into())
}

/// The writer has ended, by `close` or by a panic.
pub(super) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the log is closed")
}
