//! The Raft log on disk: entries, vote, and what else a node must not forget, each durable when its request is answered.
//!
//! [`LogDb`] is the door: it checks a request, makes it readable at once in `view`, and hands it to the one thread in
//! `writer`. That puts what waits into one `frame`, writes it to the current `segment`, syncs it, notes in `index` where each
//! entry lies, and answers. `open` walks the segments again at start. Knows nothing of openraft's traits or of the state machine.

mod codec;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
mod error;
mod files;
mod frame;
#[cfg(test)]
mod image;
mod index;
mod mark;
#[cfg(test)]
mod model_tests;
mod open;
mod read;
mod segment;
mod spare;
mod state;
mod tail;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod view;
mod writer;

use std::{
    future, io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        mpsc::{self, Sender},
    },
    thread::{JoinHandle, Thread},
};

use error::closed;
use files::{Folder, SEGMENT};
use read::Disk;
use tokio::sync::watch;
use view::View;
use writer::{Done, Op, Readers, Request};

pub use self::{
    read::LogIter,
    state::{RaftState, Role},
};
use crate::raft::types::{Entry, LogId, Vote};

/// The log in a directory. A clone is another handle on the same log; it is closed with the last one, or by [`LogDb::close`].
#[derive(Clone)]
pub struct LogDb {
    inner: Arc<Inner>,
}

/// Sizes, for a node's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogStats {
    /// Size of its files.
    pub disk_bytes: u64,
    /// Entries that are held in memory.
    pub cached_items: u64,
    /// Their encoded size.
    pub cached_bytes: u64,
}

struct Inner {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

/// What handles and the writer's answers share.
struct Shared {
    view: Mutex<View>,
    /// `None` once closed. Sending happens under the lock of `view`, so requests arrive in the order they became readable.
    requests: Mutex<Option<Requests>>,
    /// `None` once closed, so that files are let go of while handles are still around.
    disk: Arc<RwLock<Option<Disk>>>,
    /// Why nothing is written any more.
    failure: watch::Sender<Option<String>>,
}

/// The way to the writer, which sleeps until it is woken.
struct Requests {
    sender: Sender<Request>,
    writer: Thread,
}

impl LogDb {
    /// Opens the log in `dir`, or creates an empty one. What was not whole on disk at its end, and so was never answered, is
    /// dropped; anything else that is damaged or missing is an error that names the file, and changes nothing.
    pub fn open(dir: &Path) -> io::Result<Self> {
        open::open(Folder::open(dir)?, SEGMENT, open::MARK_AFTER)
    }

    /// Whether there is a log in `dir`.
    pub fn is_in(dir: &Path) -> io::Result<bool> {
        Ok(!files::segments(dir)?.is_empty())
    }

    /// Appends entries, which must follow the last one. They can be read when this returns; `done` is called, on the log's
    /// own thread, once they are on disk, or with the error that kept them from it.
    pub fn append(&self, entries: Vec<Entry>, done: impl FnOnce(io::Result<()>) + Send + 'static) {
        self.submit_append(entries, Done::new(done));
    }

    /// Appends entries and waits until they are on disk.
    pub fn append_blocking(&self, entries: Vec<Entry>) -> io::Result<()> {
        wait(|done| self.submit_append(entries, done))
    }

    /// Removes every entry after `last`; `None` removes all. Returns once that is on disk.
    pub async fn truncate_after(&self, last: Option<LogId>) -> io::Result<()> {
        wait_async(|done| self.submit_truncate(last, done)).await
    }

    /// Removes every entry up to `upto` and its space on disk; the log then starts after it, even when it never had it.
    pub async fn purge(&self, upto: LogId) -> io::Result<()> {
        wait_async(|done| self.submit_purge(upto, done)).await
    }

    /// [`LogDb::purge`] for a thread that may block.
    pub fn purge_blocking(&self, upto: LogId) -> io::Result<()> {
        wait(|done| self.submit_purge(upto, done))
    }

    /// All values beside the log, as they were last set.
    pub fn state(&self) -> RaftState {
        self.view().state.clone()
    }

    /// The vote of [`LogDb::state`], without a copy of the rest.
    pub fn vote(&self) -> Option<Vote> {
        self.view().state.vote
    }

    /// Changes values beside the log; what changed is on disk when this returns. Refuses a vote that goes back.
    pub async fn update_state(&self, update: impl FnOnce(&mut RaftState) + Send) -> io::Result<()> {
        wait_async(|done| self.submit_state(update, done)).await
    }

    /// [`LogDb::update_state`] for a thread that may block.
    pub fn update_state_blocking(&self, update: impl FnOnce(&mut RaftState) + Send) -> io::Result<()> {
        wait(|done| self.submit_state(update, done))
    }

    /// Sets the hint of what is committed. It reaches the disk with the next change, or soon by itself.
    pub fn set_committed(&self, committed: Option<LogId>) {
        let mut view = self.view();
        if view.state.committed != committed {
            view.state.committed = committed;
            if !view.hint_is_seen {
                view.hint_is_seen = true;
                self.submit(view, Op::Committed, Done::nobody());
            }
        }
    }

    /// The id of the last entry; without entries, that of the last purged one.
    pub fn last_log_id(&self) -> Option<LogId> {
        self.view().last
    }

    /// The index of the first entry; `None` without entries.
    pub fn first_index(&self) -> Option<u64> {
        let view = self.view();
        (view.first < view.end()).then_some(view.first)
    }

    /// The id of the last entry that was purged.
    pub fn purged(&self) -> Option<LogId> {
        self.view().state.purged
    }

    /// Where the log ends: the index after its last entry, and the encoded bytes of all entries that were appended since it was
    /// opened.
    pub fn growth(&self) -> (u64, u64) {
        let view = self.view();
        (view.end(), view.appended)
    }

    pub fn stats(&self) -> io::Result<LogStats> {
        let disk_bytes = self.inner.shared.with_disk(Disk::bytes)?;
        let view = self.view();
        Ok(LogStats { disk_bytes, cached_items: view.tail.len(), cached_bytes: view.tail.bytes() })
    }

    /// Waits until nothing can be written any more, and returns why: every request since then is refused, and a node that goes on
    /// serves nobody.
    pub async fn failed(&self) -> String {
        let mut failure = self.inner.shared.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(failure) => failure.clone().unwrap_or_default(),
            // The sender is held by this handle too.
            Err(_) => future::pending().await,
        }
    }

    /// Puts everything on disk and lets go of the files. Every other handle is closed too. Returns the error that kept
    /// something from the disk, if there was one; closing twice is fine.
    pub fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.inner.shared.view()
    }

    fn submit_append(&self, entries: Vec<Entry>, done: Done) {
        let encoded: Vec<_> = match entries.iter().map(codec::encode).collect() {
            Ok(encoded) => encoded,
            Err(error) => return done.answer(Err(error)),
        };
        let sized = |(entry, bytes): (Entry, &Vec<u8>)| (entry, bytes.len() as u64);
        let ids: Vec<LogId> = entries.iter().map(|entry| entry.log_id).collect();
        let entries = entries.into_iter().zip(&encoded).map(sized).collect();
        let mut view = self.view();
        view.request += 1;
        match view.append(entries) {
            Ok(()) => self.submit(view, Op::Append(ids.into_iter().zip(encoded).collect()), done),
            Err(error) => refuse(view, done, error),
        }
    }

    fn submit_truncate(&self, last: Option<LogId>, done: Done) {
        let mut view = self.view();
        view.request += 1;
        match view.truncate_after(last) {
            Ok(dropped) => {
                let op = dropped.map_or(Op::Nothing, |end| Op::Truncate { end });
                self.submit(view, op, done);
            }
            Err(error) => refuse(view, done, error),
        }
    }

    fn submit_purge(&self, upto: LogId, done: Done) {
        let mut view = self.view();
        view.request += 1;
        let op = if view.state.purged.is_some_and(|purged| purged.index >= upto.index) {
            Op::Nothing
        } else {
            view.purge(upto);
            Op::Purge { upto }
        };
        self.submit(view, op, done);
    }

    fn submit_state(&self, update: impl FnOnce(&mut RaftState), done: Done) {
        let mut view = self.view();
        view.request += 1;
        let mut state = view.state.clone();
        update(&mut state);
        let op = if state == view.state { Op::Nothing } else { Op::State(Box::new(state.clone())) };
        match view.set_state(state) {
            Ok(()) => self.submit(view, op, done),
            Err(error) => refuse(view, done, error),
        }
    }

    /// Hands a request to the writer while `view`, which shows it already, is locked.
    fn submit(&self, view: MutexGuard<'_, View>, op: Op, done: Done) {
        let request = Request { op, number: view.request, done };
        let (unsent, writer) = match &*lock(&self.inner.shared.requests) {
            Some(Requests { sender, writer }) => {
                (sender.send(request).err().map(|unsent| unsent.0), Some(writer.clone()))
            }
            None => (Some(request), None),
        };
        drop(view);
        // Not before: the view is the first thing it looks at.
        if let Some(writer) = writer {
            writer.unpark();
        }
        // Nobody is there to write it: dropping it says so.
        drop(unsent);
    }
}

impl Shared {
    fn view(&self) -> MutexGuard<'_, View> {
        lock(&self.view)
    }

    fn with_disk<T>(&self, read: impl FnOnce(&Disk) -> T) -> io::Result<T> {
        let disk = self.disk.read().unwrap_or_else(PoisonError::into_inner);
        disk.as_ref().map(read).ok_or_else(closed)
    }
}

impl Readers for Arc<Shared> {
    fn durable(&self, request: u64) {
        self.view().tail.evict(request);
    }

    fn committed(&self) -> Option<LogId> {
        self.view().state.committed
    }

    fn rest(&self, written: Option<LogId>) -> bool {
        let mut view = self.view();
        view.hint_is_seen = view.state.committed != written;
        !view.hint_is_seen
    }

    fn failed(&self, failure: &str) {
        self.failure.send_replace(Some(failure.to_owned()));
    }
}

impl Inner {
    fn close(&self) -> io::Result<()> {
        if let Some(Requests { sender, writer }) = lock(&self.shared.requests).take() {
            drop(sender);
            writer.unpark();
        }
        let Some(writer) = lock(&self.writer).take() else { return Ok(()) };
        if writer.thread().id() == std::thread::current().id() {
            // An answer dropped the last handle: the thread ends by itself once it has answered the rest.
            return Ok(());
        }
        let result = writer.join().unwrap_or_else(|_| Err(io::Error::other("the log's thread panicked")));
        self.shared.disk.write().unwrap_or_else(PoisonError::into_inner).take();
        result
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(error = %error, "the log was not closed cleanly");
        }
    }
}

/// Every change under these locks is complete before anything in it can panic, so a poisoned one is as good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refuse(view: MutexGuard<'_, View>, done: Done, error: io::Error) {
    drop(view);
    done.answer(Err(error));
}

fn wait(submit: impl FnOnce(Done)) -> io::Result<()> {
    let (answer, answered) = mpsc::channel();
    submit(Done::new(move |result| drop(answer.send(result))));
    answered.recv().unwrap_or_else(|_| Err(closed()))
}

async fn wait_async(submit: impl FnOnce(Done)) -> io::Result<()> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    submit(Done::new(move |result| drop(answer.send(result))));
    answered.await.unwrap_or_else(|_| Err(closed()))
}
