//! Has a long file go to disk while it is written: the sync at its end, which somebody waits for, then finds little left to do, and
//! so does whoever else syncs to that disk, as a log does.
//!
//! That a file is on disk is said by the sync at its end alone; that it can not be, here too. Knows nothing of files.

use std::{
    io,
    sync::mpsc::{SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

/// Bytes after which the disk is told again.
pub const STEP: usize = 8 * 1024 * 1024;

/// A thread that syncs what was written so far. Dropped, it ends once the disk has answered.
pub struct WriteBehind {
    /// Since the disk was told last.
    written: usize,
    tell: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl WriteBehind {
    /// `sync` has the disk take what was written so far. It must go through a file that it opens itself: an error that it is told
    /// is then told to the file that is written to as well, by a kernel that tells everybody.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub fn start(mut sync: impl FnMut() -> io::Result<()> + Send + 'static) -> io::Result<WriteBehind> {
        let (tell, told) = sync_channel(1);
        let follow = move || told.into_iter().try_for_each(|()| sync());
        let thread = thread::Builder::new().name("write-behind".to_owned()).spawn(follow)?;
        Ok(WriteBehind { written: 0, tell, thread })
    }

    /// So many bytes more were written. Never waits.
    pub fn add(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written >= STEP {
            self.written = 0;
            // A disk that is behind is not told twice, and one that failed not again.
            let _ = self.tell.try_send(());
        }
    }

    /// Waits until the disk has answered.
    ///
    /// # Errors
    ///
    /// The first that a sync met: not every file system would tell it again.
    pub fn finish(self) -> io::Result<()> {
        drop(self.tell);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that syncs panicked")))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn the_disk_is_told_once_a_step() {
        let (synced, syncs) = channel();
        let mut behind = WriteBehind::start(move || synced.send(()).map_err(io::Error::other)).unwrap();
        behind.add(STEP - 1);
        for _ in 0..3 {
            assert!(syncs.try_recv().is_err());
            behind.add(1);
            syncs.recv().unwrap();
            behind.add(STEP - 1);
        }
        behind.finish().unwrap();
        assert!(syncs.recv().is_err());
    }

    #[test]
    fn an_error_is_told_at_the_end_and_stops_nobody_before() {
        let mut behind = WriteBehind::start(|| Err(io::Error::other("disk gone"))).unwrap();
        for _ in 0..10 {
            behind.add(STEP);
        }
        assert_eq!(behind.finish().unwrap_err().to_string(), "disk gone");
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
