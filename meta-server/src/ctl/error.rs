//! Why a command did not do its work, and the exit code that says so.

use std::{error::Error, io, path::PathBuf, process::ExitCode};

use backup_plugin::export::{NotAnExport, file::FileError};

use super::client::ClientError;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum CtlError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("what {from} sent is not an export")]
    NotAnExport { from: String, source: NotAnExport },
    #[error("{from} sent nothing at all, not even a header")]
    NothingSent { from: String },
    #[error("cannot read the store in {}", path.display())]
    ReadStore { path: PathBuf, source: io::Error },
    #[error("cannot write to standard output")]
    Stdout(#[source] io::Error),
    #[error("cannot write the result as JSON")]
    Json(#[source] serde_json::Error),
    #[error("cannot start the threads that talk to the server")]
    Runtime(#[source] io::Error),
}

impl CtlError {
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::FAILURE
    }
}

/// The error and its causes in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some libraries repeat their cause in their own message.
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
