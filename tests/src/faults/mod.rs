//! Programs with a fault at one of their I/O calls: the n-th of a kind fails, or kills the program before it is done. For real:
//! `strace` does that to the program under test. Where it is not installed, or may not trace, the caller is told.
//!
//! A sweep puts the fault at call 1, 2, 3, … of each kind, and after each run asks whether the promise was kept: what was there is
//! there, or what was to be made. `works` does that to the tool, `snapshot` to a server.

mod snapshot;
mod trace;
mod works;

use std::{ffi::OsString, path::Path, process::Stdio};

pub use self::{
    snapshot::{Lagging, Survived},
    trace::Point,
    works::{Scene, WORKS, Work},
};
use crate::tool::args;

/// What is done to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails as on a full disk, and so do those after it.
    Full,
    /// It fails as on a broken one, and so do those after it.
    Broken,
    /// It alone fails: whoever tries again succeeds.
    Once,
    /// The program is killed in it.
    Kill,
}

pub const FAULTS: [Fault; 4] = [Fault::Full, Fault::Broken, Fault::Once, Fault::Kill];

impl Fault {
    /// What `strace` is told: to do this to the `n`-th of these calls in each thread, of those that it looks at.
    fn at(self, call: &str, n: u32) -> Vec<OsString> {
        let goes_on = if matches!(self, Fault::Full | Fault::Broken) { "+" } else { "" };
        self.injected(call, &format!("{n}{goes_on}"))
    }

    /// The same to that call alone, also where the disk would stay as it is.
    fn once_at(self, call: &str, n: u32) -> Vec<OsString> {
        self.injected(call, &n.to_string())
    }

    fn injected(self, call: &str, when: &str) -> Vec<OsString> {
        let injected = match self {
            Fault::Full => "error=ENOSPC",
            Fault::Broken | Fault::Once => "error=EIO",
            Fault::Kill => "signal=KILL",
        };
        args([&"-e", &format!("trace={call}"), &"-e", &format!("inject={call}:{injected}:when={when}")])
    }
}

/// The calls by which a program changes what is on disk.
pub const CHANGES: [&str; 18] = [
    "openat",
    "write",
    "pwrite64",
    "writev",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "unlink",
    "unlinkat",
    "rmdir",
    "linkat",
    "flock",
];

/// Those by which it finds out what is there.
pub const READS: [&str; 3] = ["read", "pread64", "getdents64"];

/// All of them, with what can be done to each.
pub fn calls() -> impl Iterator<Item = (&'static str, Fault)> {
    let changes = CHANGES.into_iter().flat_map(|call| FAULTS.map(|fault| (call, fault)));
    // A disk that is full can be read.
    let of_reads = FAULTS.into_iter().filter(|fault| *fault != Fault::Full);
    changes.chain(of_reads.flat_map(|fault| READS.map(|call| (call, fault))))
}

/// Stands in a trace at a call that was made to fail.
const INJECTED: &str = "(INJECTED)";

/// Whether faults can be put into programs here.
pub async fn possible() -> bool {
    let line = [strace(Path::new("/dev/null")), Fault::Once.at("fsync", 1), args([&"true"])].concat();
    let mut command = tokio::process::Command::new(&line[0]);
    command.args(&line[1..]);
    let works = command.stdout(Stdio::null()).stderr(Stdio::null()).status().await.is_ok_and(|status| status.success());
    if !works {
        eprintln!("SKIPPED: strace is not installed, or may not trace programs here");
    }
    works
}

/// How a command line under `strace` begins. The program under test is the process that is started, and the tracer beside it.
fn strace(trace: &Path) -> Vec<OsString> {
    args([&"strace", &"-D", &"-f", &"-qq", &"-y", &"-o", &trace])
}
