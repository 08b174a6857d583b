//! The one thread that writes to sled. It takes every request that waits, writes them, flushes, calls fdatasync, and only
//! then answers them all: many appends share one trip to the disk. Knows nothing of how the log is read.
//!
//! sled may write over a segment that it freed as soon as what replaced it was handed to the kernel; by its bookkeeping that
//! is more than one segment of writes later. So the thread syncs at least once per half segment of estimated writes: nothing
//! is ever overwritten before its replacement is on disk.

use std::{
    io,
    ops::RangeInclusive,
    sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    time::{Duration, Instant},
};

use sled::Tree;

use super::{
    error::{RECOURSE, closed, corrupt, failed},
    files::Files,
    mark::Note,
    pieces,
    state::{self, Change, RaftState},
};
use crate::{error_chain::chain, raft::types::LogId};

/// How long a value that is only a hint may wait for something to share a sync with.
const LAZY: Duration = Duration::from_millis(50);

/// How many keys are removed between two looks at the tree.
const REMOVE_CHUNK: usize = 256;

/// What one write costs in sled's file at most, on average: every tenth rewrites its leaf of up to 17 values and another one
/// that sits in a segment to be freed, every eighth splits a leaf.
const WRITE_AMPLIFICATION: usize = 8;
const WRITE_OVERHEAD: usize = 512;

/// A change of what is stored. Requests are applied in the order they were made.
pub(super) enum Op {
    /// Encoded entries with their ids.
    Append(Vec<(LogId, Vec<u8>)>),
    /// Removes the entries in the range, from its end; `last` becomes the last one.
    Truncate {
        range: RangeInclusive<u64>,
        last: Option<LogId>,
    },
    /// Removes the entries in the range, from its start, after `upto` was written as purged.
    Purge {
        range: RangeInclusive<u64>,
        upto: LogId,
    },
    State(Vec<Change>),
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
}

pub(super) struct Writer {
    files: Files,
    log: Tree,
    state: Tree,
    readers: Box<dyn Readers>,
    /// Estimated bytes that one sync may cover.
    budget: usize,
    /// Estimated bytes written since the last sync.
    written: usize,
    /// The hint of what is committed, as it was last written.
    committed: Option<LogId>,
    /// When the hint is looked at although there is nothing else to write. While it is `Some`, nobody has to say that it changed: to
    /// be woken once more for each write costs more than to look.
    look_due: Option<Instant>,
    /// The id of the last entry, or of the last purged one, once everything is on disk that was written.
    last: Option<LogId>,
    /// How many syncs there were.
    syncs: u64,
    /// When the mark has to be written; `None` while it has everything that was synced.
    mark_due: Option<Instant>,
    /// The first failure. What is on disk after it is unknown, so every later request is refused.
    failure: Option<String>,
}

impl Writer {
    /// The writer of a log that was just opened, once [`Writer::begin`] was told what it found.
    pub(super) fn new(files: Files, log: Tree, state: Tree, segment: usize, readers: Box<dyn Readers>) -> Self {
        Self {
            files,
            log,
            state,
            readers,
            budget: segment / 2,
            written: 0,
            committed: None,
            look_due: None,
            last: None,
            syncs: 0,
            mark_due: None,
            failure: None,
        }
    }

    /// Takes the log as it was found, with `last` as its last id, unless it lacks something that was on disk before.
    pub(super) fn begin(&mut self, last: Option<LogId>, state: &RaftState) -> io::Result<()> {
        let syncs = self.state.get(state::SYNCS).map_err(failed("read how often the log was synced"))?;
        self.syncs = state::decode_syncs(syncs)?;
        self.last = last;
        self.committed = state.committed;
        let found = Note::new(self.syncs, last, state);
        match self.files.mark.note() {
            Some(marked) if found.lacks(marked) => Err(corrupt(format!(
                "the log ends at {}, but {} was on disk: its file {} is damaged; {RECOURSE}",
                found.describe(),
                marked.describe(),
                self.files.data_path().display()
            ))),
            _ => {
                // Opening synced all of it, and a killed process may not have said so.
                self.mark_due = Some(Instant::now());
                Ok(())
            }
        }
    }

    /// Serves requests until every sender is gone, then puts on disk what is left. Returns the failure, if there was one.
    pub(super) fn run(mut self, requests: &Receiver<Request>) -> io::Result<()> {
        while let Some(batch) = self.next_batch(requests) {
            self.serve(batch, false);
        }
        self.serve(Vec::new(), true);
        if let Err(error) = self.mark(true) {
            self.fail(&error);
        }
        self.refuse_after_failure()
    }

    /// Every request that waits, or an empty batch when a lazy value is due; `None` once there will be no more.
    fn next_batch(&mut self, requests: &Receiver<Request>) -> Option<Vec<Request>> {
        let mut batch = Vec::new();
        loop {
            match requests.try_recv() {
                Ok(request) => self.take(request, &mut batch),
                Err(TryRecvError::Empty) if batch.is_empty() => match self.wait(requests) {
                    Ok(request) => self.take(request, &mut batch),
                    Err(RecvTimeoutError::Timeout) => return Some(batch),
                    Err(RecvTimeoutError::Disconnected) => return None,
                },
                Err(TryRecvError::Disconnected) if batch.is_empty() => return None,
                Err(_) => return Some(batch),
            }
        }
    }

    fn wait(&self, requests: &Receiver<Request>) -> Result<Request, RecvTimeoutError> {
        match self.look_due.into_iter().chain(self.mark_due).min() {
            None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => requests.recv_timeout(due.saturating_duration_since(Instant::now())),
        }
    }

    fn take(&mut self, request: Request, batch: &mut Vec<Request>) {
        if let Op::Committed = request.op {
            self.look_due.get_or_insert_with(|| Instant::now() + LAZY);
            request.done.answer(Ok(()));
        } else {
            batch.push(request);
        }
    }

    fn serve(&mut self, batch: Vec<Request>, closing: bool) {
        let last = batch.last().map(|request| request.number);
        let waiting: Vec<Done> = batch.into_iter().map(|request| self.write(request)).collect();
        if let Err(error) = self.write_committed(closing).and_then(|()| self.sync()).and_then(|()| self.mark(false)) {
            self.fail(&error);
        }
        if let (None, Some(last)) = (&self.failure, last) {
            self.readers.durable(last);
        }
        for done in waiting {
            done.answer(self.refuse_after_failure());
        }
    }

    fn write(&mut self, request: Request) -> Done {
        if self.failure.is_none()
            && let Err(error) = self.apply(request.op)
        {
            self.fail(&error);
        }
        request.done
    }

    fn apply(&mut self, op: Op) -> io::Result<()> {
        match op {
            Op::Append(entries) => {
                self.set_last(entries.last().map_or(self.last, |(id, _)| Some(*id)))?;
                for (LogId { index, .. }, bytes) in entries {
                    for (key, value) in pieces::cut(index, &bytes)? {
                        self.written += cost(value.len());
                        self.log.insert(key, value).map_err(failed(format!("write log entry {index}")))?;
                        self.keep_to_budget()?;
                    }
                }
            }
            Op::Truncate { range, last } => {
                self.set_last(last)?;
                self.remove(range, true)?;
            }
            Op::Purge { range, upto } => {
                self.set_last(self.last.filter(|last| last.index > upto.index).or(Some(upto)))?;
                self.write_state(vec![state::log_id_change(state::PURGED, Some(upto))?])?;
                self.remove(range, false)?;
            }
            Op::State(changes) => self.write_state(changes)?,
            Op::Committed | Op::Nothing => {}
        }
        Ok(())
    }

    /// Removes every piece in the range one by one, so that a crash leaves no hole: from the start, or from the end.
    pub(super) fn remove(&mut self, range: RangeInclusive<u64>, from_end: bool) -> io::Result<()> {
        let tried = || failed(format!("remove log entries {} to {}", range.start(), range.end()));
        loop {
            let pieces = self.log.range(pieces::keys(range.clone())).keys();
            let keys = if from_end {
                pieces.rev().take(REMOVE_CHUNK).collect::<sled::Result<Vec<_>>>()
            } else {
                pieces.take(REMOVE_CHUNK).collect()
            };
            let keys = keys.map_err(tried())?;
            if keys.is_empty() {
                return Ok(());
            }
            for key in keys {
                let old = self.log.remove(key).map_err(tried())?;
                self.written += cost(old.map_or(0, |value| value.len()));
                self.keep_to_budget()?;
            }
        }
    }

    fn write_state(&mut self, changes: Vec<Change>) -> io::Result<()> {
        for (key, value) in changes {
            self.written += cost(value.as_ref().map_or(0, Vec::len));
            match value {
                Some(value) => self.state.insert(key, value),
                None => self.state.remove(key),
            }
            .map_err(failed(format!("write `{key}` of the Raft state")))?;
            self.keep_to_budget()?;
        }
        Ok(())
    }

    /// Writes the hint with what else is written. One that is ahead of the log, because what it is about still waits, is left for
    /// the next time; as the log closes nothing waits.
    fn write_committed(&mut self, closing: bool) -> io::Result<()> {
        if self.failure.is_some() {
            return Ok(());
        }
        let hint = self.readers.committed();
        let is_ahead = hint.map(|id| id.index) > self.last.map(|last| last.index);
        if hint != self.committed && (closing || !is_ahead) {
            self.committed = hint;
            self.write_state(vec![state::log_id_change(state::COMMITTED, hint)?])?;
        }
        let now = Instant::now();
        if self.look_due.is_some_and(|due| due <= now) {
            self.look_due = if self.readers.rest(self.committed) { None } else { Some(now + LAZY) };
        }
        Ok(())
    }

    fn keep_to_budget(&mut self) -> io::Result<()> {
        if self.written < self.budget { Ok(()) } else { self.sync() }
    }

    /// Puts on disk what was written since the last sync.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.failure.is_none() && self.written > 0 {
            self.syncs += 1;
            let syncs = &state::encode_syncs(self.syncs);
            self.state.insert(state::SYNCS, syncs).map_err(failed("write how often the log was synced"))?;
            self.files.sync()?;
            self.written = 0;
            let after = self.files.mark_after;
            self.mark_due.get_or_insert_with(|| Instant::now() + after);
        }
        Ok(())
    }

    /// Says in the mark what is on disk: when it is due, or, as the log is `closing`, at once and durably.
    fn mark(&mut self, closing: bool) -> io::Result<()> {
        let due = self.mark_due.is_some_and(|due| closing || due <= Instant::now());
        if self.failure.is_some() || !due {
            return Ok(());
        }
        let state = RaftState::in_tree(&self.state)?;
        self.files.mark.write(Note::new(self.syncs, self.last, &state))?;
        self.mark_due = None;
        if closing { self.files.mark.sync() } else { Ok(()) }
    }

    /// Called before the first change that leads to it: the mark may claim no more than a crash in the middle leaves.
    fn set_last(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.last = last;
        self.files.mark.lower(last)
    }

    fn fail(&mut self, error: &io::Error) {
        let failure = chain(error);
        tracing::error!(error = %failure, "the log can no longer be written");
        self.failure.get_or_insert(failure);
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

fn cost(value: usize) -> usize {
    value * WRITE_AMPLIFICATION + WRITE_OVERHEAD
}
