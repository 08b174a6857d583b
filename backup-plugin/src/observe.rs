//! What a host is told of exports while they run, for its metrics. Knows nothing of how they are counted or shown.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::record::LogId;

/// Somebody who counts exports. Called from the tasks that serve them: none of these may block.
pub trait ExportObserver: Send + Sync + 'static {
    /// An export was asked for. Exactly one of the two last ones follows.
    fn began(&self);

    /// A part of one was handed to its client: lines, and bytes with their newlines.
    fn sent(&self, lines: u64, bytes: u64);

    /// A client was given a whole export: of the state as of `log_id`, in so much time.
    fn succeeded(&self, log_id: Option<LogId>, took: Duration);

    /// An export has ended in another way, or has not begun.
    fn failed(&self, why: ExportFailure);
}

/// Why an export is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExportFailure {
    /// What was asked for is not served, or too many others run.
    Refused,
    /// It had to be linearizable, and no leader has confirmed that.
    Unconfirmed,
    /// The store could not be read.
    Source,
    /// It held on to the store for longer than it may.
    TimedOut,
    /// The client left before the end.
    Abandoned,
    /// The server stopped.
    Shutdown,
}

impl ExportFailure {
    pub const ALL: [ExportFailure; 6] =
        [Self::Refused, Self::Unconfirmed, Self::Source, Self::TimedOut, Self::Abandoned, Self::Shutdown];
}

/// One word, as a label of a metric.
impl fmt::Display for ExportFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Unconfirmed => "unconfirmed",
            Self::Source => "source",
            Self::TimedOut => "timed_out",
            Self::Abandoned => "abandoned",
            Self::Shutdown => "shutdown",
        })
    }
}

/// Observes nothing.
pub struct Unobserved;

impl ExportObserver for Unobserved {
    fn began(&self) {}
    fn sent(&self, _lines: u64, _bytes: u64) {}
    fn succeeded(&self, _log_id: Option<LogId>, _took: Duration) {}
    fn failed(&self, _why: ExportFailure) {}
}

/// One export, as its observer is told of it: whatever becomes of it, the observer hears of exactly one end.
pub(crate) struct Observed {
    observer: Arc<dyn ExportObserver>,
    began: Instant,
    log_id: Option<LogId>,
    ended: bool,
}

impl Observed {
    pub(crate) fn begin(observer: Arc<dyn ExportObserver>) -> Observed {
        observer.began();
        Observed { observer, began: Instant::now(), log_id: None, ended: false }
    }

    /// It is of the state as of `log_id`.
    pub(crate) fn of(&mut self, log_id: Option<LogId>) {
        self.log_id = log_id;
    }

    pub(crate) fn sent(&self, lines: usize, bytes: usize) {
        self.observer.sent(lines as u64, bytes as u64);
    }

    pub(crate) fn succeed(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.observer.succeeded(self.log_id, self.began.elapsed());
        }
    }

    pub(crate) fn fail(&mut self, why: ExportFailure) {
        if !std::mem::replace(&mut self.ended, true) {
            self.observer.failed(why);
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.fail(ExportFailure::Abandoned);
    }
}
