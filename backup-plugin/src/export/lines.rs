//! A view as lines of text, in the order of the format: header, hard state, log, state machine.
//!
//! Blocks on the view. Knows nothing of chunks or files.

use std::io;

use meta_proto::Lines;

use crate::{
    codec,
    record::{DATA_VERSION, HardState, Header, Record},
    source::BackupView,
};

/// The longest line that is written, in bytes. A reader may count on it.
pub const MAX_LINE_BYTES: usize = 32 * 1024 * 1024;

/// The lines of an export of `view`, without newlines, each in memory of its own.
///
/// # Errors
///
/// What the view could not read; a line above [`MAX_LINE_BYTES`].
pub fn lines<V: BackupView>(view: &V) -> io::Result<impl Iterator<Item = io::Result<String>>> {
    let line = |record: Record| {
        let mut text = Vec::new();
        codec::encode(&record, &mut text);
        check_len(&text)?;
        String::from_utf8(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    };
    Ok(records(view)?.map(move |record| line(record?)))
}

/// The bytes of the line that an export writes of a record, without its newline.
pub fn line_bytes(record: &Record) -> usize {
    let mut line = Vec::new();
    codec::encode(record, &mut line);
    line.len()
}

/// The records of an export of `view`.
pub(super) fn records<V: BackupView>(view: &V) -> io::Result<impl Iterator<Item = io::Result<Record>>> {
    let head = head(&view.hard_state()?).into_iter().map(Ok);
    let log = view.log_entries().map(|entry| entry.map(Record::LogEntry));
    let state = view.state_records().map(|record| record.map(Record::State));
    Ok(head.chain(log).chain(state))
}

/// Adds the line of a record to `lines`.
pub(super) fn push(record: &Record, lines: &mut Lines) -> io::Result<()> {
    let mut checked = Ok(());
    lines.push_with(|text| {
        let start = text.len();
        codec::encode(record, text);
        checked = check_len(&text[start..]);
    });
    checked
}

fn head(hard_state: &HardState) -> [Record; 5] {
    [
        Record::Header(Header { version: DATA_VERSION.to_owned(), sealed: false }),
        Record::NodeId(hard_state.node_id),
        Record::Vote(hard_state.vote),
        Record::Committed(hard_state.committed),
        Record::Purged(hard_state.purged),
    ]
}

fn check_len(line: &[u8]) -> io::Result<()> {
    if line.len() <= MAX_LINE_BYTES {
        return Ok(());
    }
    let start = String::from_utf8_lossy(&line[..80]).into_owned();
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("a record takes a line of {} bytes, above the limit of {MAX_LINE_BYTES}: {start}…", line.len()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing::FakeView;

    #[test]
    fn a_view_is_written_in_the_order_of_the_format() {
        let written: Vec<String> = lines(&FakeView::sample()).unwrap().map(Result::unwrap).collect();
        assert_eq!(
            written,
            [
                r#"["header",{"DataHeader":{"key":"header","value":{"version":"V004"}}}]"#,
                r#"["raft_log",{"NodeId":1}]"#,
                r#"["raft_log",{"Vote":{"leader_id":{"term":1,"node_id":1},"committed":true}}]"#,
                r#"["raft_log",{"Committed":{"leader_id":{"term":1,"node_id":1},"index":2}}]"#,
                r#"["raft_log",{"Purged":null}]"#,
                r#"["raft_log",{"LogEntry":{"log_id":{"leader_id":{"term":1,"node_id":1},"index":1},"payload":"Blank"}}]"#,
                r#"["raft_log",{"LogEntry":{"log_id":{"leader_id":{"term":1,"node_id":1},"index":2},"payload":"Blank"}}]"#,
                r#"["state_machine/0",{"Sequences":{"key":"generic-kv","value":1}}]"#,
                r#"["state_machine/0",{"StateMachineMeta":{"key":"LastApplied","value":{"LogId":{"leader_id":{"term":1,"node_id":1},"index":2}}}}]"#,
                r#"["state_machine/0",{"GenericKV":{"key":"a","value":{"seq":1,"meta":null,"data":[1]}}}]"#,
            ]
        );
    }

    #[test]
    fn a_line_above_the_limit_is_an_error_that_says_which() {
        let mut view = FakeView::sample();
        view.push_value("big", MAX_LINE_BYTES / 2);
        let error = lines(&view).unwrap().find_map(Result::err).unwrap();
        assert!(error.to_string().contains("above the limit of 33554432"), "{error}");
        assert!(error.to_string().contains(r#""key":"big""#), "{error}");
    }
}
