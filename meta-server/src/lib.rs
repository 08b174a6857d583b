//! databend-meta: a small Raft metadata server that hosts `backup-plugin`, as a library. The binaries only parse and report.

pub mod apply;
pub mod backup;
pub mod base;
pub mod command;
pub mod ctl;
pub mod grpc;
pub mod log;
pub mod raft;
pub mod state;
pub mod store;
