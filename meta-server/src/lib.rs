//! databend-meta: a small Raft metadata server that hosts `backup-plugin`, as a library. The binaries only parse and report.

pub mod admin;
pub mod apply;
pub mod backup;
pub mod base;
pub mod command;
pub mod config;
pub mod ctl;
pub mod error_chain;
pub mod grpc;
pub mod log;
pub mod logging;
pub mod metrics;
pub mod node;
pub mod process;
pub mod raft;
pub mod server;
pub mod state;
pub mod store;
pub mod watch;
