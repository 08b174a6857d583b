//! Has a long file go to disk while it is written: the sync at its end, which somebody waits for, then finds little left to do, and
//! whoever else syncs to that disk meanwhile, as a log does, never waits for all of it.
//!
//! What is durable when is said by the sync at the end alone, never here. Knows nothing of files.

use std::{
    io,
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

/// Bytes after which the disk is told again.
pub const STEP: usize = 8 * 1024 * 1024;

/// A thread that syncs what was written so far. It ends when this is dropped, once the disk has answered.
pub struct WriteBehind {
    /// Since the disk was told last.
    written: usize,
    tell: SyncSender<()>,
}

impl WriteBehind {
    /// `sync` has the disk take what was written so far. It must go through a file that it opens itself: the kernel tells an error
    /// once to each that was opened before it, so the one that is written to hears of it too, at the end. That is where it counts;
    /// here it is not looked at.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub fn start(mut sync: impl FnMut() -> io::Result<()> + Send + 'static) -> io::Result<WriteBehind> {
        let (tell, told) = sync_channel(1);
        thread::Builder::new().name("write-behind".to_owned()).spawn(move || {
            for () in told {
                let _ = sync();
            }
        })?;
        Ok(WriteBehind { written: 0, tell })
    }

    /// So many bytes more were written. Never waits.
    pub fn add(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written >= STEP {
            self.written = 0;
            // A disk that is behind is not told twice.
            let _ = self.tell.try_send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn the_disk_is_told_once_a_step_and_errors_are_for_others() {
        let (synced, syncs) = channel();
        let mut behind = WriteBehind::start(move || {
            synced.send(()).unwrap();
            Err(io::Error::other("disk gone"))
        })
        .unwrap();
        behind.add(STEP - 1);
        for _ in 0..3 {
            assert!(syncs.try_recv().is_err());
            behind.add(1);
            syncs.recv().unwrap();
            behind.add(STEP - 1);
        }
        drop(behind);
        assert!(syncs.recv().is_err(), "the thread has not ended");
    }

    #[test]
    fn who_writes_does_not_wait_for_a_slow_disk_and_does_not_tell_it_twice() {
        let (begun, begins) = channel();
        let (go_on, wait) = channel();
        let mut behind = WriteBehind::start(move || {
            begun.send(()).unwrap();
            wait.recv().map_err(io::Error::other)
        })
        .unwrap();
        behind.add(STEP);
        begins.recv().unwrap();
        for _ in 0..100 {
            behind.add(STEP);
        }
        drop(behind);
        go_on.send(()).unwrap();
        begins.recv().unwrap();
        go_on.send(()).unwrap();
        assert!(begins.recv().is_err());
    }
}
