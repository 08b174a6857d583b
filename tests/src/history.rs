//! What clients asked for and what they were told, with when: the record that the checker judges. Knows neither
//! servers nor sockets.
//!
//! Every write writes a value of its own, so that a read says which write it saw.

use std::{
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A record as clients see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Record {
    pub seq: u64,
    /// Written by one operation only.
    pub value: u64,
}

/// On what condition a write is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Always,
    /// Only when the record that is there has this seq; 0: only when there is none. Taken from an answer of the same
    /// history, never made up.
    SeqIs(u64),
}

impl When {
    pub fn accepts(self, present: Option<Record>) -> bool {
        match self {
            When::Always => true,
            When::SeqIs(seq) => present.map_or(0, |record| record.seq) == seq,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Read,
    Put { value: u64, when: When },
    Remove { when: When },
}

/// What the client knows afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Read(Option<Record>),
    /// The answer to a write, whether it had an effect or not.
    Written {
        prev: Option<Record>,
        result: Option<Record>,
    },
    /// For certain nothing was done, nor will be.
    Refused,
    /// Done, or not, or still to be done at any time to come.
    Unknown,
}

/// One call. Times count from the start of the history, by one monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    pub client: usize,
    pub key: String,
    pub action: Action,
    /// Before the request was sent.
    pub invoked: Duration,
    /// After the answer had arrived.
    pub returned: Duration,
    pub outcome: Outcome,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operation { client, key, action, invoked, returned, outcome } = self;
        let ms = |at: &Duration| at.as_secs_f64() * 1000.0;
        write!(f, "{:10.3}..{:10.3} ms client {client} {key}: {action:?} -> {outcome:?}", ms(invoked), ms(returned))
    }
}

/// Takes down operations of many clients at once.
pub struct Recorder {
    start: Instant,
    values: AtomicU64,
    operations: Mutex<Vec<Operation>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder { start: Instant::now(), values: AtomicU64::new(1), operations: Mutex::default() }
    }
}

impl Recorder {
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// A value that was never given out before.
    pub fn new_value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }

    pub fn push(&self, operation: Operation) {
        self.operations.lock().expect("no client panics in here").push(operation);
    }

    /// All that is recorded so far.
    pub fn operations(&self) -> Vec<Operation> {
        self.operations.lock().expect("no client panics in here").clone()
    }

    /// How many writes were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        let operations = self.operations.lock().expect("no client panics in here");
        operations.iter().filter(|operation| matches!(operation.outcome, Outcome::Written { .. })).count()
    }
}
