//! Exports for older readers: their order and shape are those of a real one, and they come back as they were.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::{Caveats, Downgrade, DowngradeError, Older, OlderCommands, WRITTEN};
use crate::{
    codec::{Version, encode, testing::record},
    record::{Header, LogEntry, Payload, Record, StateRecord},
    upgrade::{Decoded, decode, head_of},
};

const V002: &str = include_str!("../../../tests/fixtures/v002.ndjson");
const V004: &str = include_str!("../../../tests/fixtures/v004.ndjson");

/// Commands with names of their own; the rest is as it is.
struct Named;

impl OlderCommands for Named {
    fn rewrite(&self, command: &RawValue) -> Result<Older, String> {
        match command.get() {
            r#""new""# => Ok(Older::Unreadable { what: "something new" }),
            r#""odd""# => Ok(Older::Misread { command: command.to_owned(), what: "something odd" }),
            r#""broken""# => Err("it is broken".to_owned()),
            _ => Ok(Older::Same(command.to_owned())),
        }
    }
}

fn records(text: &str) -> (Version, Vec<Record>) {
    let version = head_of(text.lines().next().unwrap()).unwrap().version;
    let record = |decoded| match decoded {
        Decoded::Record(record) => Some(record),
        Decoded::Ignored => None,
        Decoded::Retired(retired) => panic!("{retired}"),
    };
    (version, text.lines().map(|line| decode(version, line).unwrap()).filter_map(record).collect())
}

fn downgraded(mut downgrade: Downgrade<Named>, records: &[Record]) -> Result<(String, Caveats), DowngradeError> {
    let mut lines = Vec::new();
    for record in records {
        lines.extend(downgrade.push(record.clone())?);
    }
    let (rest, caveats) = downgrade.finish();
    lines.extend(rest);
    Ok((lines.iter().map(|line| format!("{line}\n")).collect(), caveats))
}

#[test]
fn a_real_export_is_written_as_it_was_then() {
    let (_, records) = records(V004);
    let (text, caveats) = downgraded(Downgrade::new(Version::V002, Named, None), &records).unwrap();
    assert_eq!(caveats, Caveats::default());
    for (written, real) in text.lines().zip(V002.lines()) {
        // What may be left out, and the number that was not written yet.
        let written = match written.split_once(r#""value":{"seq":"#) {
            Some((head, tail)) if head.contains("Expire") => {
                format!(r#"{head}"value":{{{}"#, tail.split_once(',').unwrap().1)
            }
            _ => written.to_owned(),
        };
        assert_eq!(written, real.replace(r#""meta":{"expire_at":null}"#, r#""meta":{}"#));
    }
    assert_eq!(text.lines().count(), V002.lines().count());
}

fn entry(index: u64, command: &str) -> Record {
    let log_id = serde_json::from_str(&format!(r#"{{"leader_id":{{"term":1,"node_id":1}},"index":{index}}}"#)).unwrap();
    let payload = Payload::Normal(RawValue::from_string(format!("{command:?}")).unwrap());
    Record::LogEntry(LogEntry { log_id, payload })
}

#[test]
fn a_command_that_an_older_reader_does_not_know_is_refused_where_it_matters() {
    let Record::LogEntry(LogEntry { log_id: applied, .. }) = entry(5, "") else { unreachable!() };
    let run = |applied, drop, index, command| {
        let downgrade = Downgrade::new(Version::V003, Named, applied).without_applied_log(drop);
        let applied_record = applied.map(|applied| Record::State(StateRecord::LastApplied(applied)));
        let records: Vec<Record> = std::iter::once(entry(index, command)).chain(applied_record).collect();
        match downgraded(downgrade, &records) {
            Ok((text, _)) => text,
            Err(error) => format!("{}: {error}", error.goes_with_log(applied)),
        }
    };
    let known = Some(applied);
    for (applied, drop, index, command, expected) in [
        (known, false, 5, "same", r#"["raft_log",{"Logs":{"key":5,"#),
        (known, false, 5, "odd", r#"["raft_log",{"Logs":{"key":5,"#),
        (known, false, 6, "odd", "false: log entry T1-N1.6 holds something odd, which a program of V003 passes over"),
        (None, false, 5, "odd", "false: log entry T1-N1.5 holds something odd, which a program of V003 passes over"),
        (known, false, 5, "new", "true: log entry T1-N1.5 holds something new, which no program of V003 can read"),
        (known, false, 6, "new", "false: log entry T1-N1.6 holds something new, which no program of V003 can read"),
        (known, false, 5, "broken", "false: log entry T1-N1.5: it is broken"),
        (
            known,
            true,
            5,
            "new",
            r#"["raft_log",{"LogMeta":{"key":"LastPurged","value":{"LogId":{"leader_id":{"term":1,"node_id":1},"index":5}}}}]"#,
        ),
        (known, true, 6, "new", "false: log entry T1-N1.6 holds something new"),
        (known, true, 6, "same", r#"["raft_log",{"Logs":{"key":6,"#),
    ] {
        let found = run(applied, drop, index, command);
        assert!(found.starts_with(expected), "{drop} {index} {command}: {found}");
    }
}

/// What a record becomes when it is written for an older reader and read again.
fn there_and_back(version: Version, record: &Record) -> Vec<String> {
    let header = Record::Header(Header { version: version.name().to_owned(), sealed: false });
    let (text, _) = downgraded(Downgrade::new(version, Named, None), &[header, record.clone()]).unwrap();
    let (found, records) = records(&text);
    assert_eq!(found, version);
    records[1..].iter().map(text_of).collect()
}

fn text_of(record: &Record) -> String {
    let mut out = Vec::new();
    encode(record, &mut out);
    String::from_utf8(out).unwrap()
}

proptest! {
    #[test]
    fn every_record_comes_back_from_an_older_version(record in record()) {
        for version in WRITTEN {
            let back = there_and_back(version, &record);
            match &record {
                Record::Header(_) => {}
                // Nothing is how they say null.
                Record::NodeId(None) | Record::Vote(None) | Record::Committed(None) | Record::Purged(None) => {
                    prop_assert!(back.is_empty());
                }
                Record::State(StateRecord::Ignored) => prop_assert!(back.is_empty()),
                record => prop_assert_eq!(back, [text_of(record)]),
            }
        }
    }
}
