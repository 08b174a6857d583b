//! Running a program where the system refuses something to it: a folder it may not write to, a disk that is full.
//!
//! Uses user namespaces, which need no rights of their own. Where the machine has none, the test says so and is
//! skipped.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::tool::{self, Ran};

/// Runs a program as somebody whom the mode of a file binds, as it does not bind root. `None`: this machine can not do
/// that.
pub async fn without_privileges(program: &Path, args: &[OsString]) -> Option<Ran> {
    if !modes_are_ignored() {
        return Some(tool::run(program, args).await);
    }
    if !works(&["--user"]).await {
        eprintln!("SKIPPED: run as root, and this machine has no user namespaces to give that up in");
        return None;
    }
    let mut line = vec!["--user".into(), program.into()];
    line.extend(args.iter().cloned());
    Some(tool::run(Path::new("unshare"), &line).await)
}

/// Runs a shell script that may mount file systems of its own. `None`: this machine can not do that.
pub async fn with_own_mounts(script: &str, args: &[OsString]) -> Option<Ran> {
    if !works(&["--user", "--map-root-user", "--mount"]).await {
        eprintln!("SKIPPED: this machine has no user namespaces to mount a small file system in");
        return None;
    }
    let mut line: Vec<OsString> =
        ["--user", "--map-root-user", "--mount", "sh", "-eu", "-c", script, "sh"].map(Into::into).into();
    line.extend(args.iter().cloned());
    Some(tool::run(Path::new("unshare"), &line).await)
}

/// The command line of a program that can write no file of more than `kib` KiB.
pub fn small_files(kib: u64, program: &Path, args: &[OsString]) -> (PathBuf, Vec<OsString>) {
    // The unit of `ulimit -f` is 512 bytes in a POSIX shell.
    let script = format!("ulimit -f {}; ulimit -c 0; exec \"$@\"", kib * 2);
    let mut line: Vec<OsString> = ["-c".into(), script.into(), "sh".into(), program.into()].into();
    line.extend(args.iter().cloned());
    ("sh".into(), line)
}

async fn works(unshare: &[&str]) -> bool {
    let mut command = tokio::process::Command::new("unshare");
    let status = command.args(unshare).arg("true").stderr(Stdio::null()).status().await;
    status.is_ok_and(|status| status.success())
}

/// Whether this process writes where it has no permission to.
fn modes_are_ignored() -> bool {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    fs::write(folder.path().join("probe"), "").is_ok()
}
