//! Runs `databend-metactl`, and the server where it is to end by itself, as an operator does.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{binaries, wait::DEADLINE};

/// A command line that has run.
#[derive(Debug)]
pub struct Ran {
    /// `None`: a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// # Panics
    ///
    /// When the exit code is another one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// The lines on standard output.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

/// The arguments of a command line.
pub fn args<const N: usize>(args: [&(dyn AsRef<OsStr> + Sync); N]) -> Vec<OsString> {
    args.iter().map(|arg| arg.as_ref().to_owned()).collect()
}

/// Runs the tool to its end, with nothing on standard input.
pub async fn metactl<const N: usize>(args: [&(dyn AsRef<OsStr> + Sync); N]) -> Ran {
    run(&binaries::tool(), &self::args(args)).await
}

/// Imports a backup that must import, as the node it was made of.
pub async fn import(raft_dir: &Path, backup: &Path) -> Ran {
    metactl([&"import", &"--raft-dir", &raft_dir, &"--db", &backup]).await.expect(0)
}

/// The export of a stopped server's folder.
pub async fn export_folder(raft_dir: &Path) -> String {
    metactl([&"export", &"--raft-dir", &raft_dir]).await.expect(0).stdout
}

/// Runs the tool with `input` on its standard input.
pub async fn metactl_reading<const N: usize>(input: &str, args: [&(dyn AsRef<OsStr> + Sync); N]) -> Ran {
    let mut child = command(&binaries::tool(), &self::args(args)).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let feed = tokio::spawn(async move {
        // A tool that refuses what it has read closes its input.
        let _ = stdin.write_all(input.as_bytes()).await;
    });
    let ran = ended(child).await;
    feed.await.unwrap();
    ran
}

/// Runs a program to its end.
pub async fn run(program: &Path, args: &[OsString]) -> Ran {
    ended(command(program, args).spawn().unwrap()).await
}

/// Starts the tool, with its standard input open, and killed on drop.
pub fn start_metactl<const N: usize>(args: [&(dyn AsRef<OsStr> + Sync); N]) -> Child {
    command(&binaries::tool(), &self::args(args)).stdin(Stdio::piped()).spawn().unwrap()
}

/// A program whose output is kept.
pub fn command(program: &Path, args: &[OsString]) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Waits for the end of a program.
///
/// # Panics
///
/// When it runs for much longer than any test asks of it.
pub async fn ended(child: Child) -> Ran {
    let output = timeout(4 * DEADLINE, child.wait_with_output()).await.expect("the program ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("programs write UTF-8");
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs the tool, and gives the most memory that was resident at a time, in bytes.
pub async fn metactl_measured<const N: usize>(args: [&(dyn AsRef<OsStr> + Sync); N]) -> (Ran, u64) {
    let child = command(&binaries::tool(), &self::args(args)).spawn().unwrap();
    let status = PathBuf::from(format!("/proc/{}/status", child.id().unwrap()));
    let sampler = tokio::spawn(async move {
        let mut peak = 0;
        // The kernel keeps the peak, so that only what is used in the last moment can be missed. It is gone with the
        // process.
        while let Some(seen) = peak_memory(&status) {
            peak = peak.max(seen);
            sleep(Duration::from_millis(2)).await;
        }
        peak
    });
    let ran = ended(child).await;
    (ran, sampler.await.unwrap())
}

/// `VmHWM` of a process, in bytes.
pub fn peak_memory(status: &Path) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    Some(kib.parse::<u64>().ok()? * 1024)
}
