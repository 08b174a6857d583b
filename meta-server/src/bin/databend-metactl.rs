//! The operator's tool.

use std::process::ExitCode;

fn main() -> ExitCode {
    meta_server::process::prepare();
    meta_server::ctl::main()
}
