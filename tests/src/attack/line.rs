//! One line of a backup of any version, and the command in it.

use backup_plugin::{
    codec::{Version, decode, encode},
    record::{LogEntry, Payload, Record},
    upgrade::{self, Decoded},
};
use meta_server::command::{Limits, LogCommand};

pub(super) fn attack(data: &[u8]) {
    // What ends at the first newline.
    let data = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(data) else { return };
    let _ = upgrade::head_of(line);
    for version in [Version::V0, Version::V001, Version::V003] {
        if let Ok(Decoded::Record(record)) = upgrade::decode(version, line) {
            round(&record);
        }
    }
    // With a space before it, no line is one of those that are read without the general reader of JSON.
    let general = decode(&format!(" {line}"));
    match decode(line) {
        Ok(record) => {
            assert_eq!(record, general.expect("what one reader takes, the other takes"), "{line}");
            round(&record);
        }
        Err(_) => assert!(general.is_err(), "refused only without a space before it: {line}"),
    }
}

/// What a record is written as is read as that record.
fn round(record: &Record) {
    let mut written = Vec::new();
    encode(record, &mut written);
    let written = String::from_utf8(written).expect("lines are text");
    assert!(!written.contains('\n'), "{written:?}");
    assert_eq!(decode(&written).as_ref().expect("what was written is read"), record);
    if let Record::LogEntry(LogEntry { payload: Payload::Normal(json), .. }) = record {
        command(json.get());
    }
}

fn command(json: &str) {
    let Ok(command) = LogCommand::from_json(json) else { return };
    let _ = Limits::check_imported(&command.cmd);
    let _ = Limits::default().check(&command.cmd);
    assert!(!command.to_string().contains('\n'), "{command}");
    let written = command.to_json().expect("a command is always written");
    assert_eq!(LogCommand::from_json(written.get()).expect("what was written is read"), command);
    let packed = command.to_msgpack().expect("a command is always stored");
    assert_eq!(LogCommand::from_msgpack(&packed).expect("what was stored is read"), command);
}
