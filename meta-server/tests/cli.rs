//! The real programs, at their simplest. That these tests are here makes `cargo test --workspace` build both, for the integration
//! tests to find.

use std::process::{Command, Output};

const PROGRAMS: [&str; 2] = [env!("CARGO_BIN_EXE_databend-meta"), env!("CARGO_BIN_EXE_databend-metactl")];

fn run(program: &str, arg: &str) -> Output {
    Command::new(program).arg(arg).output().unwrap_or_else(|error| panic!("cannot run {program}: {error}"))
}

#[test]
fn both_programs_tell_their_version_and_their_flags() {
    for program in PROGRAMS {
        let version = run(program, "--version");
        assert!(version.status.success(), "{program}");
        assert!(String::from_utf8_lossy(&version.stdout).contains(env!("CARGO_PKG_VERSION")), "{program}: {version:?}");
        let help = run(program, "--help");
        assert!(help.status.success(), "{program}");
        assert!(String::from_utf8_lossy(&help.stdout).contains("Usage: "), "{program}: {help:?}");
    }
}

#[test]
fn a_flag_that_does_not_exist_is_a_usage_error() {
    for program in PROGRAMS {
        let output = run(program, "--no-such-flag");
        assert_eq!(output.status.code(), Some(2), "{program}");
        assert!(output.stdout.is_empty(), "{program}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("--no-such-flag"), "{program}: {output:?}");
    }
}
