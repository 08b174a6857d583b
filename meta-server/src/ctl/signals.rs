//! The end of a command by the operator, or by the system that stops.

use tokio::signal::unix::{SignalKind, signal};

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
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        CtlError::Interrupted
    })
}
