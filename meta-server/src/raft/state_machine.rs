//! openraft's view of the state machine: entries in, snapshots out. A Raft snapshot is a base, and sending or installing one is
//! reading a view. Building one is compaction, which is not openraft's to do: it would stop the node where the disk is full.

use std::io;

use futures::{Stream, StreamExt};
use openraft::{
    OptionalSend, RaftSnapshotBuilder,
    entry::RaftEntry,
    storage::{EntryResponder, RaftStateMachine, Snapshot, SnapshotMeta},
};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::{block_in_place, spawn_blocking},
};

use super::{
    convert,
    types::{self, Entry, EntryPayload, LogId, StoredMembership, TypeConfig},
};
use crate::{
    apply::Applied,
    command::Command,
    state::{Change, State, StateMachine, View},
};

/// Entries that are applied in one go, at the most.
const BATCH: usize = 256;

/// A Raft snapshot: a view, and what it is the state of.
pub type SnapshotOf = openraft::type_config::alias::SnapshotOf<TypeConfig, View>;
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

/// A view as openraft wants to see it.
pub(super) fn snapshot(view: View) -> io::Result<SnapshotOf> {
    let meta = SnapshotMeta {
        last_log_id: view.last_applied().map(types::log_id),
        last_membership: stored_membership(&view)?,
    };
    Ok(Snapshot { meta, snapshot: view })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Blocks right here: whatever keeps the threads that may block busy must not hold up the entries. The other tasks of
/// this thread go on elsewhere, where there is an elsewhere.
fn blocking_here<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => block_in_place(work),
        _ => work(),
    }
}

/// Whether an entry takes about as long as a key takes to look up. To hand the other tasks of this thread to another one
/// costs more than a batch of these.
fn is_short(entry: &Entry) -> bool {
    match &entry.payload {
        EntryPayload::Blank | EntryPayload::Membership(_) => true,
        EntryPayload::Normal(command) => !matches!(command.cmd, Command::Transaction(_) | Command::KvTransaction(_)),
    }
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
            let applied = if entries.iter().all(is_short) {
                self.apply_entries(&entries, &asked)?
            } else {
                blocking_here(|| self.apply_entries(&entries, &asked))?
            };
            for (responder, applied) in responders.into_iter().zip(applied) {
                if let Some(responder) = responder {
                    responder.send(applied);
                }
            }
        }
        Ok(())
    }

    /// Unforced, as openraft asks of itself, nothing is built: the node has compacted before, and only tells of its base.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<StateMachine> {
        let machine = self.clone();
        if force && let Err(error) = blocking(move || machine.compact()).await {
            tracing::error!(%error, "cannot build a snapshot, keeping the base there is");
            return None;
        }
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> StateMachine {
        self.clone()
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMetaOf, snapshot: View) -> io::Result<()> {
        let machine = self.clone();
        blocking(move || machine.install(&snapshot)).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf>> {
        if self.view().base().last_applied().is_none() {
            return Ok(None);
        }
        self.build_snapshot().await.map(Some)
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = View;

    /// The base there is. openraft takes one that is no newer than the last for what it is, and goes on.
    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf> {
        let base = self.view().base().clone();
        blocking(move || snapshot(View::new(State::of_base(base)?))).await
    }
}

impl StateMachine {
    fn apply_entries(&self, entries: &[Entry], asked: &[bool]) -> io::Result<Vec<Applied>> {
        let changes = entries.iter().map(|entry| (types::record_log_id(entry.log_id()), change(entry)));
        self.apply(changes.zip(asked).map(|((log_id, change), asked)| (log_id, change, *asked)))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::{Arc, Mutex, mpsc},
        time::{Duration, Instant},
    };

    use backup_plugin::record;

    use super::*;
    use crate::{state::StateOptions, store::Store};

    fn blank(index: u64) -> Entry {
        Entry::new(types::log_id(log_id(index)), EntryPayload::Blank)
    }

    fn log_id(index: u64) -> record::LogId {
        record::LogId { leader_id: record::LeaderId { term: 1, node_id: 1 }, index }
    }

    async fn apply(machine: &mut StateMachine, index: u64) {
        RaftStateMachine::apply(machine, futures::stream::iter([Ok((blank(index), None))])).await.unwrap();
        assert_eq!(machine.view().last_applied(), Some(log_id(index)));
    }

    #[tokio::test]
    async fn a_base_that_cannot_be_built_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StateOptions::default()).unwrap();
        let mut machine = store.state.clone();
        apply(&mut machine, 1).await;
        let mut builder = machine.try_create_snapshot_builder(true).await.unwrap();
        assert_eq!(builder.build_snapshot().await.unwrap().meta.last_log_id.unwrap().index, 1);

        apply(&mut machine, 2).await;
        assert_eq!(machine.view().base().name(), "base-000002");
        fs::write(dir.path().join("gen-000001/base-000003"), "in the way").unwrap();
        assert!(machine.try_create_snapshot_builder(true).await.is_none());
        // What openraft asks for by itself is the base there is.
        let mut builder = machine.try_create_snapshot_builder(false).await.unwrap();
        assert_eq!(builder.build_snapshot().await.unwrap().meta.last_log_id.unwrap().index, 1);

        apply(&mut machine, 3).await;
        machine.try_create_snapshot_builder(true).await.unwrap();
        let snapshot = machine.get_current_snapshot().await.unwrap().unwrap();
        assert_eq!(snapshot.meta.last_log_id.unwrap().index, 3);
    }

    #[test]
    fn entries_are_applied_although_no_thread_that_may_block_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StateOptions::default()).unwrap();
        let mut machine = store.state.clone();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).max_blocking_threads(4).build().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        for _ in 0..8 {
            let held = held.clone();
            runtime.spawn_blocking(move || held.lock().unwrap().recv());
        }
        let began = Instant::now();
        runtime.block_on(async move { tokio::spawn(async move { apply(&mut machine, 1).await }).await }).unwrap();
        assert!(began.elapsed() < Duration::from_secs(5));
        drop(release);
    }
}
