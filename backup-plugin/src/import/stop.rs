//! Where an import stops applying the log: at an index, or at a moment. Decides entry by entry, as they go by, and says afterwards
//! whether what was asked for lies where the backup reaches. Knows nothing of what the entries do.

use std::fmt;

use super::Refusal;
use crate::{
    clock::rfc3339,
    record::{LogEntry, LogId},
};

/// The point in the log that a restored state is to be at.
///
/// A moment means the state before the first entry whose time is later. Entries without a time (those that are not commands)
/// belong to the one before them. So nothing that was written after the moment is in, by the clocks of those that led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    Index(u64),
    /// ms since 1970.
    Time(u64),
}

/// As it was asked for.
impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Index(index) => write!(f, "--to-index {index}"),
            Stop::Time(time_ms) => write!(f, "--to-time {}", rfc3339(*time_ms)),
        }
    }
}

/// How far the states go that can be made of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// The index of the first one.
    pub first: u64,
    /// Of the last one.
    pub last: u64,
    /// The times of the first and the last entry of the backup that have one.
    pub times_ms: Option<(u64, u64)>,
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from index {} to {}", self.first, self.last)?;
        match self.times_ms {
            Some((first, last)) => {
                write!(f, "; the entries in it are from {} to {}", rfc3339(first), rfc3339(last))
            }
            None => f.write_str("; no entry in it has a time"),
        }
    }
}

/// Sees every entry of the log, in order.
#[derive(Debug, Default)]
pub(super) struct Stopper {
    stop: Option<Stop>,
    /// The last entry that is taken, and whether one was left out after it.
    last_taken: Option<LogId>,
    left_out: bool,
    /// Of the first and the last entry that have one.
    times_ms: Option<(u64, u64)>,
}

impl Stopper {
    pub(super) fn new(stop: Option<Stop>) -> Self {
        Stopper { stop, ..Stopper::default() }
    }

    /// Whether the entry is taken. From the first that is not, none is.
    pub(super) fn takes(&mut self, entry: &LogEntry) -> bool {
        let Some(stop) = self.stop else { return true };
        let time_ms = entry.payload.time_ms();
        if let Some(time_ms) = time_ms {
            self.times_ms = Some((self.times_ms.map_or(time_ms, |(first, _)| first), time_ms));
        }
        self.left_out |= match stop {
            Stop::Index(index) => entry.log_id.index > index,
            Stop::Time(moment) => time_ms.is_some_and(|time_ms| time_ms > moment),
        };
        if !self.left_out {
            self.last_taken = Some(entry.log_id);
        }
        !self.left_out
    }

    /// Whether the last entry was left out.
    pub(super) fn is_past(&self) -> bool {
        self.left_out
    }

    /// Where the restored state ends. `applied` is where the state in the backup is, `first` the first entry of the log, and `end`
    /// where log or state end, whichever is further.
    pub(super) fn end(&self, applied: Option<LogId>, first: Option<LogId>, end: LogId) -> Result<LogId, Refusal> {
        let Some(stop) = self.stop else { return Ok(end) };
        let start = applied.or(first).unwrap_or(end);
        let reach = Reach { first: start.index, last: end.index, times_ms: self.times_ms };
        let refused = Refusal::OutOfReach { stop, reach };
        let taken = match (self.last_taken, applied) {
            (Some(taken), Some(applied)) if taken.index < applied.index => None,
            (Some(taken), _) => Some(taken),
            // No entry is left of a log that begins after the state.
            (None, applied) => applied,
        };
        let reached = match stop {
            Stop::Index(index) if applied.is_some_and(|applied| applied.index == index) => return Ok(start),
            Stop::Index(index) => taken.filter(|taken| taken.index == index),
            // An entry before the moment proves that the state is not after it, one at the moment or later that the log comes that far.
            Stop::Time(moment) => taken.filter(|_| {
                self.times_ms.is_some_and(|(first, last)| first <= moment && (self.left_out || last == moment))
            }),
        };
        reached.ok_or(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{LeaderId, Payload};

    fn log_id(index: u64) -> LogId {
        LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
    }

    /// A log from `first` on; a time of 0 stands for an entry that has none.
    fn end(stop: Stop, applied: Option<u64>, first: u64, times: &[u64]) -> Result<u64, String> {
        let mut stopper = Stopper::new(Some(stop));
        let mut last = None;
        for (index, time_ms) in (first..).zip(times) {
            let payload = match time_ms {
                0 => Payload::Blank,
                time_ms => {
                    let json = format!(r#"{{"time_ms":{time_ms},"cmd":{{"time_ms":9}}}}"#);
                    Payload::Normal(serde_json::value::RawValue::from_string(json).unwrap())
                }
            };
            last = Some(log_id(index));
            stopper.takes(&LogEntry { log_id: log_id(index), payload });
        }
        let end = last.max(applied.map(log_id)).unwrap();
        let first = (!times.is_empty()).then(|| log_id(first));
        stopper.end(applied.map(log_id), first, end).map(|id| id.index).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn an_index_is_reached_from_the_state_to_the_end_of_the_log() {
        let times = [0, 1000, 2000, 0, 3000];
        for (applied, first, reached, not) in [
            (Some(9), 10, &[9, 10, 12, 14][..], &[0, 8, 15][..]),
            (None, 0, &[0, 1, 4], &[5]),
            // The log begins below the state.
            (Some(12), 10, &[12, 13, 14], &[10, 11, 15]),
            // And ends there.
            (Some(14), 10, &[14], &[13, 15]),
        ] {
            for index in reached {
                assert_eq!(end(Stop::Index(*index), applied, first, &times), Ok(*index), "{applied:?}");
            }
            for index in not {
                let refused = end(Stop::Index(*index), applied, first, &times).unwrap_err();
                assert!(
                    refused.starts_with(&format!("--to-index {index} is not where this backup reaches")),
                    "{refused}"
                );
            }
        }
        assert_eq!(end(Stop::Index(9), Some(9), 10, &[]), Ok(9));
        assert_eq!(
            end(Stop::Index(8), Some(9), 10, &times).unwrap_err(),
            "--to-index 8 is not where this backup reaches: from index 9 to 14; the entries in it are from \
             1970-01-01T00:00:01Z to 1970-01-01T00:00:03Z"
        );
    }

    #[test]
    fn a_moment_is_the_state_before_the_first_later_entry() {
        let times = [0, 1000, 2000, 0, 3000, 2500, 4000];
        for (applied, first, moment, expected) in [
            (Some(9), 10, 1000, Some(11)),
            (Some(9), 10, 1999, Some(11)),
            // The entry without a time goes with the one before it.
            (Some(9), 10, 2000, Some(13)),
            // A clock that went back: what was stamped later stays out, and so does all behind it.
            (Some(9), 10, 2500, Some(13)),
            (Some(9), 10, 3000, Some(15)),
            (Some(9), 10, 4000, Some(16)),
            (Some(9), 10, 4001, None),
            (Some(9), 10, 999, None),
            (None, 0, 999, None),
            (None, 0, 2000, Some(3)),
            // The moment is before the state.
            (Some(14), 10, 2000, None),
            (Some(13), 10, 2000, Some(13)),
        ] {
            let found = end(Stop::Time(moment), applied, first, &times);
            assert_eq!(found.as_ref().ok(), expected.as_ref(), "{applied:?} {moment}: {found:?}");
        }
        let untimed = end(Stop::Time(5), Some(9), 10, &[0, 0]).unwrap_err();
        assert!(untimed.ends_with("from index 9 to 11; no entry in it has a time"), "{untimed}");
    }
}
