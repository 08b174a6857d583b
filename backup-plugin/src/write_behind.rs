//! Has a long file go to disk while it is written: the sync at its end, which somebody waits for, then finds little left to do, and
//! so does whoever else syncs to that disk, as a log does.
//!
//! That a file is on disk is said by the sync at its end alone; that it can not be, here too. Knows nothing of files.

use std::{
    io,
    sync::mpsc::{SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

/// How far who writes may be ahead of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// By two steps, so that whoever else syncs to that disk waits for no more than these.
    TwoSteps,
    /// By all of it: nothing waits before the end.
    Any,
}

impl Ahead {
    /// Bytes after which the disk is told again.
    const fn step(self) -> usize {
        match self {
            Ahead::TwoSteps => 4 * 1024 * 1024,
            Ahead::Any => 8 * 1024 * 1024,
        }
    }
}

/// A thread that syncs what was written so far. Dropped, it ends once the disk has answered.
pub struct WriteBehind {
    ahead: Ahead,
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
    pub fn start(ahead: Ahead, mut sync: impl FnMut() -> io::Result<()> + Send + 'static) -> io::Result<WriteBehind> {
        // One step goes to disk. The next one is told once that is done, or waits in the channel until it is.
        let (tell, told) = sync_channel(usize::from(ahead == Ahead::Any));
        let follow = move || told.into_iter().try_for_each(|()| sync());
        let thread = thread::Builder::new().name("write-behind".to_owned()).spawn(follow)?;
        Ok(WriteBehind { ahead, written: 0, tell, thread })
    }

    /// So many bytes more were written.
    pub fn add(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written < self.ahead.step() {
            return;
        }
        self.written = 0;
        // A disk that failed is not told again: nobody is there to be told.
        let _ = match self.ahead {
            Ahead::TwoSteps => self.tell.send(()).is_ok(),
            // Nor is one twice that is behind.
            Ahead::Any => self.tell.try_send(()).is_ok(),
        };
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
    use std::{
        sync::mpsc::{Receiver, Sender, channel},
        time::Duration,
    };

    use super::*;

    const BOTH: [Ahead; 2] = [Ahead::TwoSteps, Ahead::Any];

    #[test]
    fn the_disk_is_told_once_a_step() {
        for ahead in BOTH {
            let (synced, syncs) = channel();
            let mut behind = WriteBehind::start(ahead, move || synced.send(()).map_err(io::Error::other)).unwrap();
            behind.add(ahead.step() - 1);
            for _ in 0..3 {
                assert!(syncs.try_recv().is_err());
                behind.add(1);
                syncs.recv().unwrap();
                behind.add(ahead.step() - 1);
            }
            behind.finish().unwrap();
            assert!(syncs.recv().is_err());
        }
    }

    #[test]
    fn an_error_is_told_at_the_end_and_stops_nobody_before() {
        for ahead in BOTH {
            let mut behind = WriteBehind::start(ahead, || Err(io::Error::other("disk gone"))).unwrap();
            for _ in 0..10 {
                behind.add(ahead.step());
            }
            assert_eq!(behind.finish().unwrap_err().to_string(), "disk gone");
        }
    }

    /// A disk that says when it begins to sync, and waits to be told to go on.
    fn slow(ahead: Ahead) -> (WriteBehind, Receiver<()>, Sender<()>) {
        let (begun, begins) = channel();
        let (go_on, wait) = channel();
        let sync = move || {
            begun.send(()).unwrap();
            wait.recv().map_err(io::Error::other)
        };
        (WriteBehind::start(ahead, sync).unwrap(), begins, go_on)
    }

    #[test]
    fn who_may_be_ahead_does_not_wait_for_a_slow_disk_and_does_not_tell_it_twice() {
        let (mut behind, begins, go_on) = slow(Ahead::Any);
        behind.add(Ahead::Any.step());
        begins.recv().unwrap();
        for _ in 0..100 {
            behind.add(Ahead::Any.step());
        }
        drop(behind);
        go_on.send(()).unwrap();
        begins.recv().unwrap();
        go_on.send(()).unwrap();
        assert!(begins.recv().is_err());
    }

    #[test]
    fn who_may_not_waits_for_a_slow_disk() {
        let (mut behind, begins, go_on) = slow(Ahead::TwoSteps);
        let (wrote, writes) = channel();
        let writer = thread::spawn(move || {
            for _ in 0..3 {
                behind.add(Ahead::TwoSteps.step());
                wrote.send(()).unwrap();
            }
            behind.finish()
        });
        for _ in 0..2 {
            writes.recv().unwrap();
            begins.recv().unwrap();
            assert!(writes.recv_timeout(Duration::from_millis(50)).is_err(), "ahead of the disk");
            go_on.send(()).unwrap();
        }
        writes.recv().unwrap();
        go_on.send(()).unwrap();
        writer.join().unwrap().unwrap();
    }
}
