//! Applies a part of a stopped node's log to its state.

use std::{io, ops::Range, path::Path, sync::Arc};

use openraft::entry::RaftEntry;

use crate::{
    log::LogDb,
    raft::{state_machine::change, types},
    state::State,
};

/// Bytes of changes held in memory before they are put into a base of their own.
pub(super) const MEMORY: usize = 32 * 1024 * 1024;

/// Applies the entries in `range` to `state`. Bases that are needed on the way lie in `scratch`, and go when they are no
/// longer read.
pub fn replay(mut state: State, log: &LogDb, range: Range<u64>, scratch: &Path) -> io::Result<State> {
    let mut bases = 0;
    for entry in log.iter(range) {
        let entry = entry?;
        state.apply(types::record_log_id(entry.log_id()), change(&entry))?;
        if state.overlay_bytes() > MEMORY {
            bases += 1;
            let base = state.build_base(&scratch.join(format!("replay-{bases}")))?;
            base.retire();
            state = State::of_base(Arc::new(base))?;
        }
    }
    Ok(state)
}
