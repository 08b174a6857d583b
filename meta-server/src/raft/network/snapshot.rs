//! Sending a snapshot: the present base, record by record, for as long as the member takes it and openraft wants it sent. The
//! log that follows it is kept meanwhile, and a moment longer, so that the member can go on from it.

use std::{future::Future, time::Duration};

use openraft::{
    errors::{ReplicationClosed, StreamingError},
    raft::SnapshotResponse,
};

use super::{Peer, unreachable};
use crate::raft::{
    snapshot,
    state_machine::SnapshotOf,
    types::{TypeConfig, Vote},
    wire,
};

/// How long a member may take to put on disk what it was sent.
const SETTLE: Duration = Duration::from_secs(120);
/// After this the leader knows how far the member has the log, and keeps it for that.
const HOLD_ON: Duration = Duration::from_secs(10);

impl Peer {
    /// `idle`: how long the member may take nothing.
    pub(super) async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: SnapshotOf,
        cancelled: impl Future<Output = ReplicationClosed> + Send,
        idle: Duration,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let hold = snapshot.meta.last_log_id.map(|last| self.pins.hold_above(last));
        let sent = self.send_all(vote, snapshot, cancelled, idle).await;
        if sent.is_ok() {
            tokio::spawn(async move {
                tokio::time::sleep(HOLD_ON).await;
                drop(hold);
            });
        }
        sent
    }

    async fn send_all(
        &self,
        vote: Vote,
        snapshot: SnapshotOf,
        cancelled: impl Future<Output = ReplicationClosed> + Send,
        idle: Duration,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let caller = self.guard.caller(self.target);
        let header = snapshot::header(caller, wire::vote_to_pb(&vote), &snapshot.snapshot);
        let chunks = snapshot::chunks(header, snapshot.snapshot);
        let sending = chunks.sending();
        let mut client = self.client(self.lane).map_err(StreamingError::Unreachable)?;
        let reply = tokio::select! {
            reply = client.install_snapshot(chunks) => reply,
            stalled = sending.stalled(idle, SETTLE) => {
                tracing::warn!(error = %stalled, to = self.target, "giving up a snapshot that is on its way, trying again");
                return Err(failed(&stalled));
            }
            closed = cancelled => return Err(StreamingError::Closed(closed)),
        };
        let reply = self.guard.hear(self.target, reply).await.map_err(|status| failed(&status))?.into_inner();
        self.guard.accept(self.target, reply.responder.as_ref()).await.map_err(|error| failed(&error))?;
        Ok(SnapshotResponse::new(wire::vote(reply.vote).map_err(|error| failed(&error))?))
    }
}

fn failed(error: &(impl std::error::Error + 'static)) -> StreamingError<TypeConfig> {
    StreamingError::Unreachable(unreachable(error))
}
