//! The one thread that writes. It takes every request that waits, puts them into one frame, writes and syncs it, and only then
//! answers them all: many appends share one trip to the disk. Knows nothing of how the log is read.

use std::{
    io,
    ops::Range,
    sync::{
        Arc, PoisonError, RwLock,
        mpsc::{Receiver, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    error::{closed, corrupt},
    files::Files,
    frame::{Frame, Record},
    index::Place,
    read::{Disk, SegmentFile},
    segment::Header,
    state::RaftState,
};
use crate::{error_chain::chain, raft::types::LogId};

/// How long a value that is only a hint may wait for something to share a sync with.
const LAZY: Duration = Duration::from_millis(50);

/// How many bytes a frame has at the most, unless one entry has more.
const FRAME: usize = 1 << 20;

/// A change of what is stored. Requests are applied in the order they were made.
pub(super) enum Op {
    /// Encoded entries with their ids.
    Append(Vec<(LogId, Vec<u8>)>),
    /// Removes the entries from `end` on.
    Truncate { end: u64 },
    /// Removes the entries up to `upto`.
    Purge { upto: LogId },
    /// All values beside the log.
    State(Box<RaftState>),
    /// The hint of what is committed has changed, and the writer did not look for it any more.
    Committed,
    /// Changes nothing; answered once everything before it is on disk.
    Nothing,
}

pub(super) struct Request {
    pub(super) op: Op,
    /// Counts requests; a later one has a larger number.
    pub(super) number: u64,
    pub(super) done: Done,
}

/// Tells who asked. One that is dropped unanswered, because the thread ended, answers with an error.
pub(super) struct Done(Option<Box<dyn FnOnce(io::Result<()>) + Send>>);

impl Done {
    pub(super) fn new(done: impl FnOnce(io::Result<()>) + Send + 'static) -> Self {
        Self(Some(Box::new(done)))
    }

    /// For what nobody waits for.
    pub(super) fn nobody() -> Self {
        Self(None)
    }

    pub(super) fn answer(mut self, result: io::Result<()>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(closed()));
        }
    }
}

/// What the writer tells those that read the log, and asks them.
pub(super) trait Readers: Send {
    /// Called after every sync with the last request in it.
    fn durable(&self, request: u64);
    /// The hint of what is committed, as it is now.
    fn committed(&self) -> Option<LogId>;
    /// The writer has written this hint, and looks no more until an [`Op::Committed`] tells it to. Returns false, and nothing of
    /// the kind is agreed, where the hint is another one already.
    fn rest(&self, written: Option<LogId>) -> bool;
    /// Nothing will be written any more. Called once, with the reason.
    fn failed(&self, failure: &str);
}

/// What a record in the frame means for the index, once it is on disk.
enum Effect {
    Append { index: u64, place: Range<usize> },
    Truncate { end: u64 },
    Purge { upto: u64 },
}

pub(super) struct Writer {
    files: Files,
    disk: Arc<RwLock<Option<Disk>>>,
    readers: Box<dyn Readers>,
    /// What is to be written next.
    frame: Frame,
    effects: Vec<Effect>,
    /// The values beside the log, what is in the frame included.
    state: RaftState,
    /// The index after the last entry, what is in the frame included.
    end: u64,
    /// When the hint is looked at although there is nothing else to write. While it is `Some`, nobody has to say that it changed: to
    /// be woken once more for each write costs more than to look.
    look_due: Option<Instant>,
    /// When the mark has to be written; `None` while it has everything that was synced.
    mark_due: Option<Instant>,
    /// How long what was synced may be missing from the mark.
    mark_after: Duration,
    /// The first failure. What is on disk after it is unknown, so every later request is refused.
    failure: Option<String>,
}

impl Writer {
    /// The writer of a log that was just opened, with what it found.
    pub(super) fn new(
        files: Files,
        disk: Arc<RwLock<Option<Disk>>>,
        state: RaftState,
        end: u64,
        readers: Box<dyn Readers>,
        mark_after: Duration,
    ) -> Self {
        Self {
            frame: Frame::new(files.salt()),
            files,
            disk,
            readers,
            effects: Vec::new(),
            state,
            end,
            look_due: None,
            // Opening synced all of it, and a killed process may not have said so.
            mark_due: Some(Instant::now()),
            mark_after,
            failure: None,
        }
    }

    /// Serves requests until every sender is gone, then puts on disk what is left. Returns the failure, if there was one.
    pub(super) fn run(mut self, requests: &Receiver<Request>) -> io::Result<()> {
        // A killed process may have left them.
        self.attempt(Self::remove_unneeded);
        while let Some(batch) = self.next_batch(requests) {
            self.serve(batch, false);
        }
        self.serve(Vec::new(), true);
        self.refuse_after_failure()
    }

    /// Every request that waits, or an empty batch when a lazy value is due; `None` once there will be no more.
    fn next_batch(&mut self, requests: &Receiver<Request>) -> Option<Vec<Request>> {
        let mut batch = Vec::new();
        loop {
            match requests.try_recv() {
                Ok(request) => self.take(request, &mut batch),
                Err(TryRecvError::Empty) if batch.is_empty() => match self.left() {
                    Some(Duration::ZERO) => return Some(batch),
                    // Whoever sends wakes this thread then: a channel that is waited on does that with a lock held which the
                    // woken one needs at once.
                    Some(left) => thread::park_timeout(left),
                    None => thread::park(),
                },
                Err(TryRecvError::Disconnected) if batch.is_empty() => return None,
                Err(_) => return Some(batch),
            }
        }
    }

    /// How long there is nothing to do without a request; `None`: for good.
    fn left(&self) -> Option<Duration> {
        let due = self.look_due.into_iter().chain(self.mark_due).min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    fn take(&mut self, request: Request, batch: &mut Vec<Request>) {
        if let Op::Committed = request.op {
            if self.failure.is_none() {
                self.look_due.get_or_insert_with(|| Instant::now() + LAZY);
            }
            request.done.answer(Ok(()));
        } else {
            batch.push(request);
        }
    }

    fn serve(&mut self, batch: Vec<Request>, closing: bool) {
        let last = batch.last().map(|request| request.number);
        let mut waiting = Vec::with_capacity(batch.len());
        for Request { op, done, .. } in batch {
            self.attempt(|writer| writer.put(op));
            waiting.push(done);
        }
        self.attempt(|writer| writer.put_committed(closing));
        self.attempt(Self::flush);
        if let (None, Some(last)) = (&self.failure, last) {
            self.readers.durable(last);
        }
        for done in waiting {
            done.answer(self.refuse_after_failure());
        }
        self.attempt(Self::begin_segment_when_full);
        self.attempt(|writer| writer.mark(closing));
    }

    /// Does nothing more after the first failure.
    fn attempt(&mut self, step: impl FnOnce(&mut Self) -> io::Result<()>) {
        if self.failure.is_none()
            && let Err(error) = step(self)
        {
            self.fail(&error);
        }
    }

    /// Adds a request to the frame.
    fn put(&mut self, op: Op) -> io::Result<()> {
        match op {
            Op::Append(entries) => {
                for (LogId { index, .. }, bytes) in entries {
                    if self.frame.len() + bytes.len() > FRAME {
                        self.flush()?;
                        self.begin_segment_when_full()?;
                    }
                    let place = self.frame.push(&Record::Entry { index, bytes: &bytes })?;
                    self.effects.push(Effect::Append { index, place });
                    self.end = index + 1;
                }
            }
            Op::Truncate { end } => {
                self.frame.push(&Record::Truncated { end })?;
                self.effects.push(Effect::Truncate { end });
                self.end = end;
            }
            Op::Purge { upto } => {
                self.frame.push(&Record::Purged(upto))?;
                self.effects.push(Effect::Purge { upto: upto.index });
                self.end = self.end.max(upto.index + 1);
                self.state.purged = Some(upto);
            }
            Op::State(state) => {
                // The hint goes its own way.
                let committed = self.state.committed;
                self.state = RaftState { committed, ..*state };
                self.frame.push(&Record::State(Box::new(self.state.clone())))?;
            }
            Op::Committed | Op::Nothing => {}
        }
        Ok(())
    }

    /// Writes the hint with what else is written. One that is ahead of the log, because what it is about still waits, is left for
    /// the next time; as the log closes nothing waits.
    fn put_committed(&mut self, closing: bool) -> io::Result<()> {
        let hint = self.readers.committed();
        let is_ahead = hint.is_some_and(|id| id.index >= self.end);
        if hint != self.state.committed && (closing || !is_ahead) {
            self.state.committed = hint;
            self.frame.push(&Record::Committed(hint))?;
        }
        let now = Instant::now();
        if self.look_due.is_some_and(|due| due <= now) {
            self.look_due = if self.readers.rest(self.state.committed) { None } else { Some(now + LAZY) };
        }
        Ok(())
    }

    /// Puts the frame on disk.
    fn flush(&mut self) -> io::Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let at = self.files.write(&mut self.frame)?;
        self.frame.clear();
        self.mark_due.get_or_insert_with(|| Instant::now() + self.mark_after);
        let segment = self.files.current().0;
        let is_purge = |effect: &Effect| matches!(effect, Effect::Purge { .. });
        let purged = self.effects.iter().any(is_purge);
        let effects = std::mem::take(&mut self.effects);
        self.with_disk(|disk| effects.iter().try_for_each(|effect| take_effect(disk, effect, segment, at)))??;
        self.update_segment()?;
        if purged { self.remove_unneeded() } else { Ok(()) }
    }

    /// Deletes the segments that nothing needs: the current one says itself where the log stood when it was begun.
    fn remove_unneeded(&mut self) -> io::Result<()> {
        let oldest = self.with_disk(|disk| disk.index().oldest_segment())?.unwrap_or(self.files.current().0);
        let gone = self.files.remove_before(oldest)?;
        self.with_disk(|disk| disk.remove_segments(&gone))
    }

    /// Called when the frame is empty, so that what is on disk is what `state` says.
    fn begin_segment_when_full(&mut self) -> io::Result<()> {
        if !self.files.segment_is_full() {
            return Ok(());
        }
        let (first, end) = self.with_disk(|disk| (disk.index().first(), disk.index().end()))?;
        let (salt, state) = (self.files.salt().0, self.state.clone());
        self.files.begin_segment(|segment, first_frame| Header { segment, salt, first_frame, first, end, state })?;
        self.update_segment()
    }

    /// Tells readers of the segment that is written to.
    fn update_segment(&self) -> io::Result<()> {
        let (number, file) = self.files.current();
        let segment = SegmentFile { file, bytes: self.files.current_len() };
        self.with_disk(|disk| disk.set_segment(number, segment))
    }

    fn with_disk<T>(&self, change: impl FnOnce(&mut Disk) -> T) -> io::Result<T> {
        let mut disk = self.disk.write().unwrap_or_else(PoisonError::into_inner);
        disk.as_mut().map(change).ok_or_else(closed)
    }

    /// Says in the mark what is on disk: when it is due, or, as the log is `closing`, at once and durably.
    fn mark(&mut self, closing: bool) -> io::Result<()> {
        if !self.mark_due.is_some_and(|due| closing || due <= Instant::now()) {
            return Ok(());
        }
        self.files.mark(self.end)?;
        self.mark_due = None;
        if closing { self.files.sync() } else { Ok(()) }
    }

    fn fail(&mut self, error: &io::Error) {
        let failure = chain(error);
        tracing::error!(error = %failure, "the log can no longer be written");
        self.readers.failed(&failure);
        self.failure = Some(failure);
        // What is due can not be done any more.
        (self.look_due, self.mark_due) = (None, None);
    }

    fn refuse_after_failure(&self) -> io::Result<()> {
        match &self.failure {
            None => Ok(()),
            Some(failure) => Err(io::Error::other(format!("the log stopped at a failure: {failure}"))),
        }
    }
}

fn take_effect(disk: &mut Disk, effect: &Effect, segment: u32, at: u64) -> io::Result<()> {
    match effect {
        Effect::Append { index, place } => {
            let too_far = |_| corrupt(format!("log entry {index} lies beyond 4 GiB in its file"));
            let offset = u32::try_from(at + place.start as u64).map_err(too_far)?;
            let len = u32::try_from(place.len()).map_err(too_far)?;
            disk.index_mut().append(*index, Place { segment, offset, len });
        }
        Effect::Truncate { end } => disk.index_mut().truncate(*end),
        Effect::Purge { upto } => disk.index_mut().purge(*upto),
    }
    Ok(())
}
