//! Programs under measurement: how long one ran, and the most memory it had.
//!
//! Memory is the kernel's own high-water mark of the resident set (`VmHWM`), asked for while the program runs. The one that a
//! parent is told after the end (`ru_maxrss`) would not do: it starts at the size of whoever started the program.

use std::{
    fs,
    io::{Read, Seek},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// How often a program is looked at: what is used up in less than this before its end goes unseen.
const LOOK: Duration = Duration::from_millis(2);

/// What a program took.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    pub seconds: f64,
    /// The most resident memory, in KiB.
    pub peak_kib: u64,
}

/// Resident memory of a running program, in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    pub now_kib: u64,
    pub peak_kib: u64,
}

/// Runs a program to its end, which must be a good one. Disks are quiet when it starts.
pub fn measure(command: &mut Command) -> Result<Taken> {
    rustix::fs::sync();
    let mut said = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?);
    let began = Instant::now();
    let mut child = spawn(command)?;
    let mut peak_kib = 0;
    let status = loop {
        peak_kib = peak_kib.max(memory(&child).peak_kib);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        thread::sleep(LOOK);
    };
    let seconds = began.elapsed().as_secs_f64();
    if !status.success() {
        let mut text = String::new();
        said.rewind()?;
        said.read_to_string(&mut text)?;
        bail!("{command:?} ended with {status}:\n{text}");
    }
    ensure!(peak_kib > 0, "{command:?} ended before its memory could be seen");
    Ok(Taken { seconds, peak_kib })
}

pub fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().with_context(|| format!("cannot start {command:?}"))
}

/// What the program has now and had at most; nothing once it has ended.
pub fn memory(child: &Child) -> Memory {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    Memory { now_kib: kib("VmRSS:").unwrap_or(0), peak_kib: kib("VmHWM:").unwrap_or(0) }
}
