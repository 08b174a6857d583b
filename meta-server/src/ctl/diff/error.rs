//! Why two sides could not be compared, where that is about comparing them.

use std::path::PathBuf;

use backup_plugin::{
    diff::OutOfOrder,
    record::{EndpointError, LogId},
};

use crate::{ctl::client::ClientError, store::StoreError};

#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    #[error("both sides are standard input: name a file, a folder or a server for one of them")]
    BothStdin,
    #[error("a running server is compared by its gRPC address, not by its folder")]
    Running { source: StoreError },
    #[error("both sides are the folder {}", .0.display())]
    SameFolder(PathBuf),
    #[error("there is no file and no folder {given:?}, and it is no gRPC address <host>:<port> either")]
    NoSide { given: String, source: EndpointError },
    #[error("there is no file and no folder {given:?}, so it was taken for a server's gRPC address")]
    NoServer { given: String, source: ClientError },
    #[error("{name} can not be compared")]
    OutOfOrder { name: String, source: OutOfOrder },
    #[error(
        "{name} holds log entries up to {last}, and did not say so before its state: save it to a file, and compare that"
    )]
    LateLog { name: String, last: LogId },
    #[error("{name} was changed while it was being compared: compare it again, or a copy of it")]
    Changed { name: String },
    #[error("nothing came of importing {name}, although no error was told")]
    NoState { name: String },
    #[error("the thread that reads {name} ended early")]
    ThreadEnded { name: String },
}
