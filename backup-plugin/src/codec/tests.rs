use std::collections::BTreeMap;

use proptest::{collection, prelude::*};

use super::{
    decode,
    decode::decode_any,
    encode, kv,
    testing::{record, seq_v},
};
use crate::record::{Record, SeqV, StateRecord};

const V004: &str = include_str!("../../../tests/fixtures/v004.ndjson");
const REEXPORTED: &str = include_str!("../../../tests/fixtures/v004-reexported.ndjson");
const TAIL: &str = include_str!("../../../tests/fixtures/v004-tail.ndjson");
const TAIL_APPLIED: &str = include_str!("../../../tests/fixtures/v004-tail-applied.ndjson");

fn line(record: &Record) -> String {
    let mut out = Vec::new();
    encode(record, &mut out);
    String::from_utf8(out).unwrap()
}

fn reencode(text: &str) -> String {
    line(&decode(text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

/// The value's `seq` of an `Expire` line is the one thing that is written anew.
fn without_expire_seq(text: &str) -> String {
    match text.split_once("\"value\":{\"seq\":") {
        Some((head, tail)) if head.contains("Expire") => {
            format!("{head}\"value\":{{{}", tail.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        _ => text.to_owned(),
    }
}

#[test]
fn real_exports_come_back_byte_for_byte() {
    for text in [REEXPORTED, TAIL, TAIL_APPLIED].into_iter().flat_map(str::lines) {
        assert_eq!(without_expire_seq(&reencode(text)), without_expire_seq(text));
    }
}

#[test]
fn an_older_writers_nulls_are_left_out_and_its_commands_are_left_alone() {
    for (old, new) in V004.lines().zip(REEXPORTED.lines()) {
        let expected = if old.contains("LogEntry") { old } else { new };
        assert_eq!(without_expire_seq(&reencode(old)), without_expire_seq(expected));
    }
}

#[test]
fn an_expire_record_is_written_with_its_own_seq() {
    let old = r#"["state_machine/0",{"Expire":{"key":{"time_ms":5000,"seq":7},"value":{"key":"a"}}}]"#;
    let new = r#"["state_machine/0",{"Expire":{"key":{"time_ms":5000,"seq":7},"value":{"seq":7,"key":"a"}}}]"#;
    assert_eq!(reencode(old), new);
}

#[test]
fn what_the_format_lets_pass() {
    let cases = [
        (
            "any number of state machine, unknown fields, a missing meta",
            r#"["state_machine/17",{"GenericKV":{"x":[{}],"key":"a","value":{"seq":1,"data":[0,255],"y":null}}}]"#,
            r#"["state_machine/0",{"GenericKV":{"key":"a","value":{"seq":1,"meta":null,"data":[0,255]}}}]"#,
        ),
        ("spaces and escapes", r#" [ "raft\u005flog" , { "NodeId" : null } ] "#, r#"["raft_log",{"NodeId":null}]"#),
        (
            "a header that is not upgrading",
            r#"["header",{"DataHeader":{"key":"header","value":{"version":"V004","upgrading":null,"cleaning":false}}}]"#,
            r#"["header",{"DataHeader":{"key":"header","value":{"version":"V004"}}}]"#,
        ),
        (
            "a node without a gRPC address",
            r#"["state_machine/0",{"Nodes":{"key":1,"value":{"name":"1","endpoint":{"addr":"a","port":1}}}}]"#,
            r#"["state_machine/0",{"Nodes":{"key":1,"value":{"name":"1","endpoint":{"addr":"a","port":1},"grpc_api_advertise_address":null}}}]"#,
        ),
    ];
    for (case, text, expected) in cases {
        assert_eq!(reencode(text), expected, "{case}");
    }
}

#[test]
fn what_is_no_record_is_named() {
    let header = |value: &str| format!(r#"["header",{{"DataHeader":{{"key":"header","value":{value}}}}}]"#);
    let cases = [
        ("", "EOF while parsing a value at column 0".to_owned()),
        ("{}", "invalid type: map, expected an array of a tree and a record at column 0".to_owned()),
        ("[]", "invalid length 0, expected an array of a tree and a record at column 2".to_owned()),
        (r#"["raft_log"]"#, "invalid length 1, expected an array of a tree and a record at column 12".to_owned()),
        (r#"["raft_log",{"NodeId":1},2]"#, "trailing characters at column 26".to_owned()),
        (r#"["raft_log",{"NodeId":1}]x"#, "trailing characters at column 26".to_owned()),
        (r#"["raft_log",{"NodeId":-1}]"#, "invalid value: integer `-1`, expected u64 at column 24".to_owned()),
        (r#"["sledtree",{}]"#, "unknown tree `sledtree`: ".to_owned()),
        (r#"["raft_state",{"x":1}]"#, "unknown tree `raft_state`: ".to_owned()),
        (r#"["state_machine/",{}]"#, "unknown tree `state_machine/`: ".to_owned()),
        (r#"["raft_log",{"Logs":1}]"#, "unknown variant `Logs`, expected one of ".to_owned()),
        (r#"["state_machine/0",{"Databases":{}}]"#, "unknown variant `Databases`, expected one of ".to_owned()),
        (
            r#"["state_machine/0",{"Sequences":{"key":"database-lookup","value":1}}]"#,
            "unknown key `database-lookup` in a `Sequences` record".to_owned(),
        ),
        (
            r#"["state_machine/0",{"StateMachineMeta":{"key":"Init","value":{"Bool":true}}}]"#,
            "unknown key `Init` in a `StateMachineMeta` record".to_owned(),
        ),
        (
            r#"["state_machine/0",{"StateMachineMeta":{"key":"LastApplied","value":{"Bool":true}}}]"#,
            "the value of `LastApplied` is a `Bool`".to_owned(),
        ),
        (
            r#"["state_machine/0",{"GenericKV":{"key":"a","value":{"seq":1,"data":[256]}}}]"#,
            "invalid value: integer `256`, expected u8 at column ".to_owned(),
        ),
        (
            r#"["state_machine/0",{"GenericKV":{"key":"a","value":{"seq":1,"data":"text"}}}]"#,
            "invalid type: string \"text\", expected a sequence at column ".to_owned(),
        ),
        (
            r#"["header",{"DataHeader":{"key":"footer","value":{"version":"V004"}}}]"#,
            "unknown key `footer` in a `DataHeader` record".to_owned(),
        ),
        (
            r#"["header",{"DataHeader":{"key":"seal","value":{"version":"V004","records":3,"sha256":"00"}}}]"#,
            "a seal where a record must be".to_owned(),
        ),
        (
            &header(r#"{"version":"V004","upgrading":"V005"}"#),
            "the store was stopped half way through an upgrade to V005".to_owned(),
        ),
        (&header("{}"), "missing field `version` at column ".to_owned()),
    ];
    for (text, expected) in cases {
        let error = decode(text).expect_err(text).to_string();
        assert!(error.starts_with(&expected), "{text}\n got: {error}\nwant: {expected}");
        assert!(!error.contains("line 1"), "{error}");
    }
}

proptest! {
    #[test]
    fn every_record_survives_its_line(record in record()) {
        let text = line(&record);
        prop_assert!(!text.contains('\n'));
        prop_assert_eq!(decode(&text).unwrap(), record);
    }
}

/// A key-value line as the general JSON writer writes it.
fn general_line(key: &str, value: &SeqV) -> String {
    #[derive(serde::Serialize)]
    struct KeyValue<'a> {
        key: &'a str,
        value: &'a SeqV,
    }
    let record = BTreeMap::from([("GenericKV", KeyValue { key, value })]);
    serde_json::to_string(&("state_machine/0", record)).unwrap()
}

#[test]
fn the_keys_of_real_exports_take_the_short_way() {
    let lines = [REEXPORTED, TAIL, TAIL_APPLIED].into_iter().flat_map(str::lines);
    let (escaped, plain): (Vec<_>, Vec<_>) =
        lines.filter(|line| line.contains("GenericKV")).partition(|line| line.contains('\\'));
    assert!(plain.len() > escaped.len());
    assert!(escaped.into_iter().all(|text| kv::read(text).is_none()));
    for text in plain {
        let record = kv::read(text).map(Record::State).expect(text);
        assert_eq!(decode_any(text).unwrap(), record);
    }
}

#[test]
fn what_looks_otherwise_takes_the_long_way() {
    let line =
        |key: &str, value: &str| format!(r#"["state_machine/0",{{"GenericKV":{{"key":"{key}","value":{value}}}}}]"#);
    assert!(kv::read(&line("a", r#"{"seq":0,"meta":{},"data":[]}"#)).is_some());
    for text in [
        line(r"a\n", r#"{"seq":1,"meta":null,"data":[]}"#),
        line("a", r#"{"seq":01,"meta":null,"data":[]}"#),
        line("a", r#"{"seq":18446744073709551616,"meta":null,"data":[]}"#),
        line("a", r#"{"seq":,"meta":null,"data":[]}"#),
        line("a", r#"{"seq":1.0,"meta":null,"data":[]}"#),
        line("a", r#"{"seq":1,"meta":{"expire_at":null},"data":[]}"#),
        line("a", r#"{"seq":1,"meta":{"expire_at":1,},"data":[]}"#),
        line("a", r#"{"seq":1,"meta":{"expire_at":1"proposed_at_ms":1},"data":[]}"#),
        line("a", r#"{"seq":1,"meta":{"proposed_at_ms":1,"expire_at":1},"data":[]}"#),
        line("a", r#"{"seq":1,"meta":{,"proposed_at_ms":1},"data":[]}"#),
        line("a", r#"{"seq":1,"meta":null,"data":[1],"x":[2]}"#),
        line("a", r#"{"seq":1,"data":[1]}"#),
        line("a", r#"{"meta":null,"seq":1,"data":[1]}"#),
        line("a", r#"{"seq":1,"meta":null,"data":[256]}"#),
        format!("{} ", line("a", r#"{"seq":1,"meta":null,"data":[]}"#)),
        line("a", r#"{"seq":1,"meta":null,"data":[]}"#).replace("/0", "/1"),
    ] {
        assert_eq!(kv::read(&text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn both_writers_and_both_readers_agree_on_every_key_value_record(key in any::<String>(), value in seq_v()) {
        let text = general_line(&key, &value);
        let record = StateRecord::Kv { key: key.clone(), value };
        prop_assert_eq!(&line(&Record::State(record.clone())), &text);
        prop_assert_eq!(decode_any(&text).unwrap(), Record::State(record.clone()));
        let plain = serde_json::to_string(&key).unwrap().len() == key.len() + 2;
        prop_assert_eq!(kv::read(&text), plain.then_some(record));
    }

    /// Whatever becomes of a line, the short way reads what the long way reads, or leaves it to the long way.
    #[test]
    fn the_short_way_never_disagrees(
        key in "[a-z/é\"\\\\]{0,6}",
        value in seq_v(),
        changes in collection::vec((any::<prop::sample::Index>(), 0..3_usize, "[ -~éx\u{0}0-9,\"\\[\\]{}:.eE+-]{0,2}"), 1..4),
    ) {
        let mut text = general_line(&key, &value);
        for (at, removed, with) in changes {
            let at = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.ceil_char_boundary((at + removed).min(text.len()));
            text.replace_range(at..end, &with);
            if let Some(record) = kv::read(&text) {
                prop_assert_eq!(decode_any(&text).expect(&text), Record::State(record));
            }
        }
    }
}
