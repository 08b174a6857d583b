//! openraft's view of the state machine: entries in, snapshots out. A Raft snapshot is a base: building one is compaction, and
//! sending or installing one is reading a view.

use std::io;

use futures::{Stream, StreamExt};
use openraft::{
    OptionalSend, RaftSnapshotBuilder,
    entry::RaftEntry,
    storage::{EntryResponder, RaftStateMachine, Snapshot, SnapshotMeta},
};
use tokio::task::spawn_blocking;

use super::{
    convert,
    types::{self, Entry, EntryPayload, LogId, StoredMembership, TypeConfig},
};
use crate::{
    apply::Applied,
    state::{Change, State, StateMachine, View},
};

/// Entries that are applied in one go, at the most.
const BATCH: usize = 256;

type SnapshotOf = openraft::type_config::alias::SnapshotOf<TypeConfig, View>;
type SnapshotMetaOf = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;

/// What an entry of the log asks of the state machine.
pub fn change(entry: &Entry) -> Change<'_> {
    match &entry.payload {
        EntryPayload::Blank => Change::Nothing,
        EntryPayload::Membership(membership) => {
            let stored = StoredMembership::new(Some(entry.log_id()), membership.clone());
            Change::Membership(convert::record_stored_membership(&stored))
        }
        EntryPayload::Normal(command) => Change::Command(command),
    }
}

fn stored_membership(state: &State) -> io::Result<StoredMembership> {
    let stored = state.last_membership();
    if stored.log_id.is_none() && stored.membership.configs.is_empty() {
        return Ok(StoredMembership::default());
    }
    let membership = convert::membership(&stored.membership).map_err(io::Error::other)?;
    Ok(StoredMembership::new(stored.log_id.map(types::log_id), membership))
}

fn snapshot(view: View) -> io::Result<SnapshotOf> {
    let meta = SnapshotMeta {
        last_log_id: view.last_applied().map(types::log_id),
        last_membership: stored_membership(&view)?,
    };
    Ok(Snapshot { meta, snapshot: view })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = View;
    type SnapshotBuilder = StateMachine;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let view = self.view();
        Ok((view.last_applied().map(types::log_id), stored_membership(&view)?))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut batches = entries.ready_chunks(BATCH);
        while let Some(batch) = batches.next().await {
            let batch = batch.into_iter().collect::<io::Result<Vec<_>>>()?;
            let (entries, responders): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            let asked: Vec<bool> = responders.iter().map(Option::is_some).collect();
            let machine = self.clone();
            let applied = blocking(move || machine.apply_entries(&entries, &asked)).await?;
            for (responder, applied) in responders.into_iter().zip(applied) {
                if let Some(responder) = responder {
                    responder.send(applied);
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> StateMachine {
        self.clone()
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMetaOf, snapshot: View) -> io::Result<()> {
        let machine = self.clone();
        blocking(move || machine.install(&snapshot)).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf>> {
        let base = self.view().base().clone();
        if base.last_applied().is_none() {
            return Ok(None);
        }
        blocking(move || snapshot(View::new(State::of_base(base)?))).await.map(Some)
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = View;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf> {
        let machine = self.clone();
        blocking(move || snapshot(machine.compact()?)).await
    }
}

impl StateMachine {
    fn apply_entries(&self, entries: &[Entry], asked: &[bool]) -> io::Result<Vec<Applied>> {
        let changes = entries.iter().map(|entry| (types::record_log_id(entry.log_id()), change(entry)));
        self.apply(changes.zip(asked).map(|((log_id, change), asked)| (log_id, change, *asked)))
    }
}
