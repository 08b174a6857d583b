//! What a process of ours asks of the system before it begins: as many open files as it may have, and errors instead of a
//! death when a file may not grow.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

use rustix::process::{Resource, getrlimit, setrlimit};

/// Call first in `main`. What the system does not grant is done without.
pub fn prepare() {
    raise_file_limit();
    if let Err(error) = fail_instead_of_dying() {
        eprintln!("warning: a file-size limit will end this program without a word: {error}");
    }
}

/// Connections must not starve the store of files.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Whoever set the limits may have forbidden it; then the lower one holds.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// A write beyond RLIMIT_FSIZE raises SIGXFSZ, which kills; with a handler it fails like any other write.
fn fail_instead_of_dying() -> io::Result<()> {
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::new(AtomicBool::new(false))).map(|_| ())
}
