//! Lines as an export would write them. A field that a line leaves out is written as null, so that one that could be read may be too
//! long to be written again.

use super::Refusal;
use crate::{
    export::{MAX_LINE_BYTES, line_bytes},
    record::{Record, StateRecord},
};

/// The most bytes that a line has beside a key and a value.
const FRAME: usize = 256;
/// The most bytes that one of a key takes in a string of JSON: `\\u001f`.
const OF_KEY: usize = 6;
/// The same of a value, in an array of numbers: `255,`.
const OF_VALUE: usize = 4;

/// Whether an export could write the record. A command is the host's to write, and to check.
pub(super) fn check_length(record: &Record) -> Result<(), Refusal> {
    match record {
        Record::State(StateRecord::Kv { key, value })
            if OF_KEY * key.len() + OF_VALUE * value.data.len() + FRAME <= MAX_LINE_BYTES =>
        {
            Ok(())
        }
        Record::State(StateRecord::Expire { .. } | StateRecord::Ignored) | Record::LogEntry(_) => Ok(()),
        record => match line_bytes(record) {
            0..=MAX_LINE_BYTES => Ok(()),
            bytes => Err(Refusal::NeverWritten { bytes }),
        },
    }
}
