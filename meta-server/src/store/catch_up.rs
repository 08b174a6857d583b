//! Brings the state up to what the log knows to be committed, before Raft starts. Raft would do it too, in steps of 64 entries; here one
//! thread reads and decodes what another one applies. Knows nothing of the members.

use std::{io, ops::Range, sync::mpsc, thread};

use openraft::entry::RaftEntry;

use crate::{
    log::LogDb,
    raft::{
        state_machine::change,
        types::{Entry, record_log_id},
    },
    state::StateMachine,
};

/// How many bytes of entries are applied in one go.
const BATCH: u64 = 1 << 20;
/// Batches that wait to be applied.
const AHEAD: usize = 2;

pub(super) fn catch_up(log: &LogDb, state: &StateMachine) -> io::Result<()> {
    let (Some(committed), Some(last)) = (log.state().committed, log.last_log_id()) else { return Ok(()) };
    let next = state.view().last_applied().map_or(0, |id| id.index + 1);
    let range = next..committed.index.min(last.index) + 1;
    thread::scope(|scope| {
        let (batches, read) = mpsc::sync_channel(AHEAD);
        let reader = scope.spawn(move || read_batches(log, range, &batches));
        for batch in read {
            let entry = |entry: &Entry| record_log_id(entry.log_id());
            state.apply(batch.iter().map(|e| (entry(e), change(e), false)))?;
        }
        reader.join().unwrap_or_else(|_| Err(io::Error::other("the thread that reads the log panicked")))
    })
}

/// Ends early where nobody takes them any more.
fn read_batches(log: &LogDb, mut range: Range<u64>, to: &mpsc::SyncSender<Vec<Entry>>) -> io::Result<()> {
    while !range.is_empty() {
        let batch = log.read(range.clone(), BATCH)?;
        match (batch.first(), batch.last()) {
            (Some(first), Some(last)) if first.log_id.index == range.start => range.start = last.log_id.index + 1,
            _ => return Err(io::Error::new(io::ErrorKind::NotFound, format!("log entry {} is missing", range.start))),
        }
        if to.send(batch).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::{
        log::testing::{entry, id},
        raft::types::record_log_id,
        state::StateOptions,
        store::Store,
    };

    #[test]
    fn a_store_opens_with_all_that_is_known_to_be_committed_applied() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Store::open(dir.path(), StateOptions::default()).unwrap();
        let store = open();
        store.log.append_blocking((0..3000).map(|index| entry(1, index, 1000)).collect()).unwrap();
        store.log.set_committed(Some(id(1, 2800)));
        assert_eq!(store.state.view().last_applied(), None);
        store.log.close().unwrap();
        drop(store);
        assert_eq!(open().state.view().last_applied(), Some(record_log_id(id(1, 2800))));
    }
}
