//! Programs under measurement: how long one ran, how much of a processor that took, and the most memory it had.
//!
//! Memory is the kernel's own high-water mark of the resident set (`VmHWM`), asked for while the program runs. The one that a
//! parent is told after the end (`ru_maxrss`) would not do: it starts at the size of whoever started the program.

use std::{
    io::{Read, Seek},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use integration_tests::measure::{Usage, quiet_disks, usage};

/// How often a program is looked at: what is used up in less than this before its end goes unseen.
const LOOK: Duration = Duration::from_millis(2);

/// What a program took from start to end.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    pub seconds: f64,
    pub usage: Usage,
}

/// Runs a program to its end, which must be a good one. Disks are quiet when it starts.
pub fn measure(command: &mut Command) -> Result<Taken> {
    quiet_disks();
    let mut said = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?);
    let began = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut last_seen = None;
    let status = loop {
        last_seen = usage(child.id()).or(last_seen);
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
    let usage = last_seen.with_context(|| format!("{command:?} ended before it could be looked at"))?;
    Ok(Taken { seconds, usage })
}
