//! The operator's tool.

use std::process::ExitCode;

/// Blocks of records and of text come and go by the thousand.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    meta_server::process::prepare();
    meta_server::ctl::main()
}
