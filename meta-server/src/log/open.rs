//! Opening the log: recover what a crash may have left half done, learn the bounds, start the writer.

use std::{
    io,
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::{Arc, Mutex, RwLock, mpsc},
    thread,
};

use sled::Tree;

use super::{
    Disk, Inner, LogDb, Shared, codec,
    error::{RECOURSE, corrupt, failed},
    files::{DATA, Files},
    pieces,
    state::RaftState,
    view::View,
    writer::Writer,
};

/// `prepare` is given the files before the writer has them.
pub(super) fn open(dir: &Path, segment: usize, prepare: impl FnOnce(&mut Files)) -> io::Result<LogDb> {
    // sled panics over some damage.
    panic::catch_unwind(AssertUnwindSafe(|| open_files(dir, segment, prepare))).unwrap_or_else(|_| {
        let data = dir.join(DATA);
        Err(corrupt(format!("the log's file {} is damaged: sled cannot read it; {RECOURSE}", data.display())))
    })
}

fn open_files(dir: &Path, segment: usize, prepare: impl FnOnce(&mut Files)) -> io::Result<LogDb> {
    let mut files = Files::open(dir, segment)?;
    let log = files.tree("raft_log")?;
    let state_tree = files.tree("raft_state")?;
    let state = RaftState::in_tree(&state_tree)?;
    // What a killed process wrote last may not be on disk yet, and nothing may be written over before it is.
    files.sync()?;
    prepare(&mut files);

    let disk = Disk { db: files.db(), log: log.clone() };
    let (requests, received) = mpsc::channel();
    let shared = Arc::new(Shared {
        view: Mutex::default(),
        requests: Mutex::new(Some(requests)),
        disk: RwLock::new(Some(disk)),
    });
    let mut writer = Writer::new(files, log.clone(), state_tree, segment, Box::new(Arc::clone(&shared)));
    let view = recover(&mut writer, &log, state).map_err(failed(format!("open the log in {}", dir.display())))?;
    *shared.view() = view;
    let writer = thread::Builder::new()
        .name("raft-log".to_owned())
        .spawn(move || writer.run(&received))
        .map_err(failed("start the log's thread"))?;
    Ok(LogDb { inner: Arc::new(Inner { shared, writer: Mutex::new(Some(writer)) }) })
}

/// Finishes a purge and drops an entry that is not whole at the end of the log, once it is known that the rest has no hole and
/// lacks nothing that was on disk. A purge may have left far more than one sync may cover, so the writer removes it.
fn recover(writer: &mut Writer, log: &Tree, state: RaftState) -> io::Result<View> {
    let mut first = 0;
    if let Some(purged) = state.purged {
        first = purged.index + 1;
    }
    let mut before = state.purged.map(|purged| purged.index);
    let mut last = None;
    let mut torn = None;
    for found in pieces::walk(log, first..=u64::MAX) {
        let found = found?;
        if let Some(torn) = torn {
            return Err(corrupt(format!("log entry {torn} is not whole, and the log goes on after it")));
        }
        match before.replace(found.index) {
            Some(before) if before + 1 != found.index => {
                let missing = before + 1;
                return Err(corrupt(format!(
                    "log entry {missing} is missing, and the log goes on with {}",
                    found.index
                )));
            }
            Some(_) => {}
            None => first = found.index,
        }
        if found.whole {
            last = Some(found);
        } else {
            torn = Some(found.index);
        }
    }
    let last = last.map(|last| codec::decode(last.index, &last.bytes)).transpose()?;
    let last = last.map(|entry| entry.log_id).or(state.purged);
    writer.begin(last, &state)?;
    if let Some(purged) = state.purged {
        writer.remove(0..=purged.index, false)?;
    }
    if let Some(torn) = torn {
        tracing::info!(index = torn, "the last log entry was never written whole, dropping it");
        writer.remove(torn..=torn, true)?;
    }
    writer.sync()?;
    Ok(View { first, last, state, ..View::default() })
}
