//! The end of a command by the operator, or by the system that stops.

use std::{fs, future::pending};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::CtlError;

/// Waits until the operator, or the system that stops, wants no more of this.
pub(super) async fn interrupted() -> CtlError {
    match interruption() {
        Ok(interruption) => interruption.await,
        Err(error) => error,
    }
}

/// The same, from now on: a signal that comes before this is waited for ends nothing, and is not lost.
pub(super) fn interruption() -> Result<impl Future<Output = CtlError>, CtlError> {
    let on = |kind| signal(kind).map_err(CtlError::Runtime);
    let (mut interrupt, mut terminate) = (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    let mut hangup = if hangup_is_ours() { Some(on(SignalKind::hangup())?) } else { None };
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = received(&mut hangup) => {}
        }
        CtlError::Interrupted
    })
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => pending().await,
    }
}

/// Whether the end of the terminal is to end this: whoever has it ignored at the start, as `nohup` does, wants it to go on. Where
/// that can not be asked, the signal stays what it was.
fn hangup_is_ours() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, SignalKind::hangup()) == Some(false))
}

/// What `/proc/PID/status` says of a signal: one bit for each, from 1.
fn ignores(status: &str, kind: SignalKind) -> Option<bool> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some((mask >> (kind.as_raw_value() - 1)) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_told_by_its_bit() {
        let status =
            |mask| format!("Name:\tcat\nSigBlk:\tffffffffffffffff\nSigIgn:\t{mask}\nSigCgt:\t0000000000000001\n");
        for (mask, hangup, terminate) in [
            ("0000000000000000", false, false),
            ("0000000000000001", true, false),
            ("0000000000005001", true, true),
            ("0000000000004000", false, true),
        ] {
            let of = |kind| ignores(&status(mask), kind);
            assert_eq!(of(SignalKind::hangup()), Some(hangup), "{mask}");
            assert_eq!(of(SignalKind::terminate()), Some(terminate), "{mask}");
        }
        assert_eq!(ignores("Name:\tcat\n", SignalKind::hangup()), None);
    }
}
