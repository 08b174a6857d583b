//! The mark of a generation that stays when another one replaces it: a file in its folder, written before the switch, so that there
//! is no moment at which a generation that is to be kept could be taken for garbage. Knows nothing of which generation is live.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::Path,
};

use backup_plugin::clock;
use serde::{Deserialize, Serialize};

use super::StoreError;

const KEPT: &str = "KEPT";

#[derive(Serialize, Deserialize)]
struct Mark {
    replaced_at_ms: u64,
}

/// Marks the generation in `dir`, durably: it is replaced now. What counts is that the file is there: one that was not written to
/// its end keeps the generation too.
pub(super) fn mark(dir: &Path) -> io::Result<()> {
    let mut file = File::create(dir.join(KEPT))?;
    file.write_all(&serde_json::to_vec(&Mark { replaced_at_ms: clock::now_ms() })?)?;
    file.sync_all()?;
    File::open(dir)?.sync_all()
}

/// Takes the mark away. It may come back after a power cut, which costs disk space and nothing else.
pub(super) fn unmark(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(KEPT)) {
        Err(err) if err.kind() != ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

/// Whether the generation in `dir` has a mark, or may have one.
pub(super) fn is_marked(dir: &Path) -> bool {
    dir.join(KEPT).try_exists().unwrap_or(true)
}

/// When a marked generation was replaced, in ms since 1970; `None`: it has no mark.
pub(super) fn replaced_at_ms(dir: &Path) -> Result<Option<u64>, StoreError> {
    let path = dir.join(KEPT);
    match fs::read(&path) {
        // A mark that can not be read is a mark.
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).map_or(0, |mark: Mark| mark.replaced_at_ms))),
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(err) => Err(StoreError::io("read", &path)(err)),
    }
}
