//! What is left out of an import because no current server can hold it, counted by kind.
//!
//! A retired command is harmless where the state machine holds what came of it. The log up to there is left out then, and what
//! stood in the command's place until that was known is nobody's.

use std::collections::BTreeMap;

use super::{At, Refusal, check::Fault};
use crate::{
    record::{LogEntry, LogId, Payload},
    upgrade::Retired,
};

#[derive(Debug, Default)]
pub(super) struct RetiredCheck {
    /// Whether the operator lets them go.
    dropped: bool,
    counts: BTreeMap<String, u64>,
    /// The last command, and where it stands in the log.
    command: Option<At<(LogId, Retired)>>,
}

impl RetiredCheck {
    pub(super) fn new(dropped: bool) -> Self {
        RetiredCheck { dropped, ..RetiredCheck::default() }
    }

    /// Takes what `line` says; for a command, gives what holds its place in the log.
    pub(super) fn push(&mut self, line: u64, retired: Retired) -> Result<Option<LogEntry>, Refusal> {
        if !self.dropped {
            return Err(Refusal::Retired(retired));
        }
        *self.counts.entry(retired.kind()).or_default() += 1;
        let Retired::Command { log_id, .. } = retired else { return Ok(None) };
        self.command = Some(At { line, value: (log_id, retired) });
        Ok(Some(LogEntry { log_id, payload: Payload::Blank }))
    }

    /// Whether the log up to LastApplied, which is `applied`, has to go. Refused where that leaves a command.
    pub(super) fn ends_log(&self, applied: Option<LogId>) -> Result<bool, Fault> {
        match &self.command {
            None => Ok(false),
            Some(At { value: (log_id, _), .. }) if applied.is_some_and(|applied| log_id.index <= applied.index) => {
                Ok(true)
            }
            Some(At { line, value: (_, retired) }) => {
                let refusal = Refusal::RetiredTail { retired: retired.clone(), applied };
                Err(Fault { line: Some(*line), refusal })
            }
        }
    }

    /// How many of each kind were left out.
    pub(super) fn counts(self) -> BTreeMap<String, u64> {
        self.counts
    }
}
