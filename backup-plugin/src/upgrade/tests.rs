//! Lines of every version: what they become, and what is refused in them.

use super::{Decoded, Retired, decode, head_of};
use crate::{
    codec::{Version, encode},
    record::Record,
};

const V0_MAY: &str = include_str!("../../../tests/fixtures/v0-2022-05.ndjson");
const V0_NOVEMBER: &str = include_str!("../../../tests/fixtures/v0-2022-11.ndjson");
const V002: &str = include_str!("../../../tests/fixtures/v002.ndjson");
const V004: &str = include_str!("../../../tests/fixtures/v004.ndjson");

const OLD: [Version; 4] = [Version::V0, Version::V001, Version::V002, Version::V003];

fn text(record: &Record) -> String {
    let mut out = Vec::new();
    encode(record, &mut out);
    String::from_utf8(out).unwrap()
}

/// The line as the current version writes it; what is not a record in words.
fn upgraded(version: Version, line: &str) -> String {
    match decode(version, line) {
        Ok(Decoded::Record(record)) => text(&record),
        Ok(Decoded::Ignored) => "ignored".to_owned(),
        Ok(Decoded::Retired(retired)) => format!("{}: {retired}", retired.kind()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_old_line_becomes_one_of_today() {
    let cases = [
        (r#"["raft_state",{"RaftStateKV":{"key":"Id","value":{"NodeId":3}}}]"#, r#"["raft_log",{"NodeId":3}]"#),
        (
            r#"["raft_state",{"RaftStateKV":{"key":"HardState","value":{"HardState":{"current_term":4,"voted_for":2}}}}]"#,
            r#"["raft_log",{"Vote":{"leader_id":{"term":4,"node_id":2},"committed":false}}]"#,
        ),
        (
            r#"["raft_state",{"RaftStateKV":{"key":"HardState","value":{"HardState":{"leader_id":{"term":4,"node_id":2},"committed":true}}}}]"#,
            r#"["raft_log",{"Vote":{"leader_id":{"term":4,"node_id":2},"committed":true}}]"#,
        ),
        (
            r#"["raft_state",{"RaftStateKV":{"key":"Committed","value":{"Committed":null}}}]"#,
            r#"["raft_log",{"Committed":null}]"#,
        ),
        (
            r#"["raft_state",{"RaftStateKV":{"key":"Committed","value":{"Committed":{"leader_id":{"term":4,"node_id":2},"index":7}}}}]"#,
            r#"["raft_log",{"Committed":{"leader_id":{"term":4,"node_id":2},"index":7}}]"#,
        ),
        (r#"["raft_state",{"RaftStateKV":{"key":"StateMachineId","value":{"StateMachineId":[0,1]}}}]"#, "ignored"),
        (
            r#"["raft_log",{"Logs":{"key":9,"value":{"log_id":{"term":1,"index":9},"payload":"Blank"}}}]"#,
            r#"["raft_log",{"LogEntry":{"log_id":{"leader_id":{"term":1,"node_id":0},"index":9},"payload":"Blank"}}]"#,
        ),
        (
            r#"["raft_log",{"Logs":{"key":4,"value":{"log_id":{"leader_id":{"term":1,"node_id":0},"index":4},"payload":{"Membership":{"configs":[[1],[1,2]],"all_nodes":[1,2,3]}}}}}]"#,
            r#"["raft_log",{"LogEntry":{"log_id":{"leader_id":{"term":1,"node_id":0},"index":4},"payload":{"Membership":{"configs":[[1],[1,2]],"nodes":{"1":{},"2":{},"3":{}}}}}}]"#,
        ),
        (
            r#"["raft_log",{"Logs":{"key":5,"value":{"log_id":{"term":1,"index":5},"payload":{"Normal":{"txid":null,"cmd":{"UpsertKV":{"key":"a","seq":"Any","value":"Delete"}}}}}}}]"#,
            r#"["raft_log",{"LogEntry":{"log_id":{"leader_id":{"term":1,"node_id":0},"index":5},"payload":{"Normal":{"txid":null,"cmd":{"UpsertKV":{"key":"a","seq":"Any","value":"Delete"}}}}}}]"#,
        ),
        (
            r#"["raft_log",{"LogMeta":{"key":"LastPurged","value":{"LogId":{"term":1,"index":3}}}}]"#,
            r#"["raft_log",{"Purged":{"leader_id":{"term":1,"node_id":0},"index":3}}]"#,
        ),
        (
            r#"["state_machine/1",{"Sequences":{"key":"generic-kv","value":9}}]"#,
            r#"["state_machine/0",{"Sequences":{"key":"generic-kv","value":9}}]"#,
        ),
        (
            r#"["state_machine/0",{"StateMachineMeta":{"key":"LastApplied","value":{"LogId":{"term":1,"index":9}}}}]"#,
            r#"["state_machine/0",{"StateMachineMeta":{"key":"LastApplied","value":{"LogId":{"leader_id":{"term":1,"node_id":0},"index":9}}}}]"#,
        ),
        (
            r#"["state_machine/0",{"StateMachineMeta":{"key":"LastMembership","value":{"Membership":{"membership":{"configs":[[1]],"all_nodes":[1]}}}}}]"#,
            r#"["state_machine/0",{"StateMachineMeta":{"key":"LastMembership","value":{"Membership":{"log_id":null,"membership":{"configs":[[1]],"nodes":{"1":{}}}}}}}]"#,
        ),
        (r#"["state_machine/0",{"StateMachineMeta":{"key":"Initialized","value":{"Bool":true}}}]"#, "ignored"),
        (
            r#"["state_machine/0",{"Nodes":{"key":1,"value":{"name":"","endpoint":{"addr":"a","port":7},"grpc_api_addr":"b:8"}}}]"#,
            r#"["state_machine/0",{"Nodes":{"key":1,"value":{"name":"","endpoint":{"addr":"a","port":7},"grpc_api_advertise_address":null}}}]"#,
        ),
        (
            r#"["state_machine/0",{"Nodes":{"key":1,"value":{"name":"1"}}}]"#,
            r#"["state_machine/0",{"Nodes":{"key":1,"value":{"name":"1","endpoint":{"addr":"","port":0},"grpc_api_advertise_address":null}}}]"#,
        ),
        (
            r#"["state_machine/0",{"Expire":{"key":{"time_ms":5000,"seq":7},"value":{"key":"a"}}}]"#,
            r#"["state_machine/0",{"Expire":{"key":{"time_ms":5000,"seq":7},"value":{"seq":7,"key":"a"}}}]"#,
        ),
        (
            r#"[ "state_machine/3", {"GenericKV":{"key":"a","value":{"seq":7,"meta":{"expire_at":null},"data":[1]}}}]"#,
            r#"["state_machine/0",{"GenericKV":{"key":"a","value":{"seq":7,"meta":{},"data":[1]}}}]"#,
        ),
        (
            r#"["state_machine/0",{"GenericKV":{"key":"a","value":{"seq":7,"data":[1]}}}]"#,
            r#"["state_machine/0",{"GenericKV":{"key":"a","value":{"seq":7,"meta":null,"data":[1]}}}]"#,
        ),
        (r#"["state_machine/0",{"Databases":{"key":1,"value":{}}}]"#, "Databases: a `Databases` record"),
        (r#"["state_machine/0",{"ClientLastResps":7}]"#, "ClientLastResps: a `ClientLastResps` record"),
        (
            r#"["state_machine/0",{"Sequences":{"key":"database-lookup","value":9}}]"#,
            "Sequences database-lookup: the sequence `database-lookup`",
        ),
        (
            r#"["raft_log",{"Logs":{"key":5,"value":{"log_id":{"term":1,"index":5},"payload":{"Normal":{"cmd":{"DropTable":{"x":{}}}}}}}}]"#,
            "DropTable: the command `DropTable` in log entry T1-N0.5",
        ),
    ];
    for (old, new) in cases {
        for version in OLD {
            assert_eq!(upgraded(version, old), new, "{version}: {old}");
        }
    }
}

#[test]
fn what_is_no_record_of_its_version_is_refused_by_name() {
    let cases = [
        (r#"["raft_log",{"NodeId":1}]"#, "unknown variant `NodeId`, expected `Logs` or `LogMeta` at column "),
        (r#"["raft_log",{"LogEntry":{}}]"#, "unknown variant `LogEntry`, expected `Logs` or `LogMeta`"),
        (
            r#"["sledtree",{}]"#,
            "unknown tree `sledtree`: this version of the format has `header`, `raft_state`, `raft_log` and `state_machine/<n>`",
        ),
        (r#"["state_machine/0",{"Shares":{}}]"#, "unknown variant `Shares`, expected one of "),
        (
            r#"["raft_state",{"RaftStateKV":{"key":"Vote","value":{"NodeId":1}}}]"#,
            "unknown key `Vote` in a `RaftStateKV` record",
        ),
        (
            r#"["raft_state",{"RaftStateKV":{"key":"Id","value":{"HardState":{"current_term":1}}}}]"#,
            "the value of `Id` is a `HardState`",
        ),
        (
            r#"["raft_state",{"RaftStateKV":{"key":"Id","value":{"NodeId":-1}}}]"#,
            "invalid value: integer `-1`, expected u64 at column ",
        ),
        (
            r#"["raft_state",{"RaftStateKV":{"key":"Id","value":{"NodeId":18446744073709551616}}}]"#,
            "invalid type: floating point `1.8446744073709552e+19`, expected u64 at column ",
        ),
        (
            r#"["raft_log",{"LogMeta":{"key":"First","value":{"LogId":{"term":1,"index":1}}}}]"#,
            "unknown key `First` in a `LogMeta`",
        ),
        (
            r#"["raft_log",{"Logs":{"key":4,"value":{"log_id":{"term":1,"index":5},"payload":"Blank"}}}]"#,
            "the entry is filed under index 4, but says that it is T1-N0.5",
        ),
        (
            r#"["raft_log",{"Logs":{"key":5,"value":{"log_id":{"index":5},"payload":"Blank"}}}]"#,
            "missing field `leader_id` at column ",
        ),
        (
            r#"["raft_log",{"Logs":{"key":5,"value":{"log_id":{"term":1,"index":5},"payload":"Noop"}}}]"#,
            "unknown variant `Noop`",
        ),
        (
            r#"["state_machine/0",{"StateMachineMeta":{"key":"LastApplied","value":{"Bool":true}}}]"#,
            "the value of `LastApplied` is a `Bool`",
        ),
        (
            r#"["state_machine/0",{"StateMachineMeta":{"key":"Init","value":{"Bool":true}}}]"#,
            "unknown key `Init` in a ",
        ),
        (
            r#"["state_machine/0",{"GenericKV":{"key":"a","value":{"seq":1,"data":[256]}}}]"#,
            "invalid value: integer `256`, expected u8 at column ",
        ),
        (
            r#"["state_machine/0",{"GenericKV":{"key":"\ud800","value":{"seq":1,"data":[]}}}]"#,
            "unexpected end of hex escape at column ",
        ),
        (
            r#"["state_machine/0",{"Expire":{"key":{"time_ms":5,"seq":1},"value":{}}}]"#,
            "missing field `key` at column ",
        ),
        (
            r#"["state_machine/0",{"Nodes":{"key":1,"value":{"endpoint":{"addr":"a","port":65536}}}}]"#,
            "invalid value: integer `65536`",
        ),
    ];
    for (line, expected) in cases {
        for version in OLD {
            let found = upgraded(version, line);
            assert!(found.starts_with(expected), "{version}: {line}\n got: {found}\nwant: {expected}");
        }
    }
}

#[test]
fn the_current_version_has_no_old_shapes() {
    for (line, expected) in [
        (r#"["raft_state",{"RaftStateKV":{"key":"Id","value":{"NodeId":3}}}]"#, "unknown tree `raft_state`"),
        (r#"["raft_log",{"Logs":{"key":1,"value":{}}}]"#, "unknown variant `Logs`"),
        (r#"["raft_log",{"LogEntry":{"log_id":{"term":1,"index":9},"payload":"Blank"}}]"#, "missing field `leader_id`"),
        (r#"["state_machine/0",{"Tables":{}}]"#, "unknown variant `Tables`"),
        (r#"["state_machine/0",{"Sequences":{"key":"database-lookup","value":9}}]"#, "unknown key `database-lookup`"),
        (r#"["state_machine/0",{"StateMachineMeta":{"key":"Initialized","value":{"Bool":true}}}]"#, "ignored"),
    ] {
        let found = upgraded(Version::V004, line);
        assert!(found.starts_with(expected), "{line}: {found}");
    }
}

#[test]
fn the_first_line_tells_the_version() {
    let header = |value: &str| format!(r#"["header",{{"DataHeader":{{"key":"header","value":{value}}}}}]"#);
    let first = |line: &str| head_of(line).map_or_else(|error| error.to_string(), |head| head.version.to_string());
    for (line, expected) in [
        (header(r#"{"version":"V001","upgrading":null}"#).as_str(), "V001"),
        (&header(r#"{"version":"V002","upgrading":null,"cleaning":true}"#), "V002"),
        (&header(r#"{"version":"V003"}"#), "V003"),
        (&header(r#"{"version":"V004"}"#), "V004"),
        (&header(r#"{"version":"V100"}"#), "version V100 is not supported: V0, V001, V002, V003 and V004 are read"),
        (
            &header(r#"{"version":"V002","upgrading":"V003"}"#),
            "the store was stopped half way through an upgrade to V003: let the upgrade finish, then export again",
        ),
        (r#"["raft_state",{"RaftStateKV":{"key":"Id","value":{"NodeId":3}}}]"#, "V0"),
        (r#"["state_machine/0",{"Sequences":{"key":"generic-kv","value":9}}]"#, "V0"),
        (r#"["raft_log",{"Logs":{"key":9,"value":{"log_id":{"term":1,"index":9},"payload":"Blank"}}}]"#, "V0"),
        (
            r#"["tree",{}]"#,
            "unknown tree `tree`: this version of the format has `header`, `raft_log` and `state_machine/<n>`",
        ),
    ] {
        assert_eq!(first(line), expected, "{line}");
    }
}

/// The fixtures tell the same store three times: but for what a version leaves out, they agree.
#[test]
fn real_exports_of_one_store_agree_whatever_their_version() {
    let records = |text_of: &str| {
        let version = head_of(text_of.lines().next().unwrap()).unwrap().version;
        let mut records: Vec<String> = text_of
            .lines()
            .map(|line| decode(version, line).unwrap())
            .filter_map(|decoded| match decoded {
                Decoded::Record(Record::Header(_)) | Decoded::Ignored => None,
                Decoded::Record(record) => Some(text(&record)),
                Decoded::Retired(retired) => panic!("{retired}"),
            })
            // Two entries were purged since, which V0 has no record for; V004 says when nothing is known to be committed.
            .filter(|text| !text.contains(r#""index":0},"#) && !text.contains(r#""index":1},"#))
            .filter(|text| !text.contains("Purged") && !text.contains("Committed"))
            // Rewritten with what V0 has not.
            .map(|text| text.replace(r#""txid":null,"#, "").replace(r#","match_seq":null"#, ""))
            .collect();
        records.sort();
        records
    };
    let newest = records(V004);
    assert_eq!(newest.len(), 167 - 3);
    for (version, older) in [("V002", records(V002)), ("V0", records(V0_NOVEMBER))] {
        let differs = older.iter().zip(&newest).find(|(old, new)| old != new);
        assert_eq!((older.len(), differs), (newest.len(), None), "{version}");
    }
    assert_eq!(records(V0_MAY).len(), 110 - 2 + 2 + 3 + 2 + 9 + 1);
}

#[test]
fn all_that_is_retired_is_known() {
    let records = ["Databases", "Tables", "TableLookup", "DatabaseLookup", "Files", "ClientLastResps"];
    for kind in records {
        let line = format!(r#"["state_machine/0",{{"{kind}":{{"key":"x","value":[1]}}}}]"#);
        assert_eq!(decode(Version::V0, &line).unwrap(), Decoded::Retired(Retired::Record(kind)));
    }
}
