//! The whole pipeline, against a target in memory. Every bad input is refused by file, line and reason, and never committed.

use std::io::{BufReader, Read};

use super::{
    ImportError, ImportOptions, ImportOutcome, ImportPlan, ImportSummary, Progress, RecordCounts, Stop, is_origin,
    plan, run,
    testing::{
        self,
        Edit::{self, Change, Cut, Insert, Remove},
        Live, MemoryTarget,
    },
};
use crate::{
    cluster::MemberList,
    export::MAX_LINE_BYTES,
    record::{LeaderId, LogId, Payload, Vote},
    target::Seed,
};

const V0: &str = include_str!("../../../tests/fixtures/v0-2022-05.ndjson");
const V0_LATER: &str = include_str!("../../../tests/fixtures/v0-2022-11.ndjson");
const V002: &str = include_str!("../../../tests/fixtures/v002.ndjson");
const V004: &str = include_str!("../../../tests/fixtures/v004.ndjson");
const REEXPORTED: &str = include_str!("../../../tests/fixtures/v004-reexported.ndjson");
const TAIL: &str = include_str!("../../../tests/fixtures/v004-tail.ndjson");
const TAIL_APPLIED: &str = include_str!("../../../tests/fixtures/v004-tail-applied.ndjson");

/// A small export that has everything: a purged log, two leaders, a tail of one entry, an expiring record.
const EXPORT: &str = r#"["header",{"DataHeader":{"key":"header","value":{"version":"V004"}}}]
["raft_log",{"NodeId":1}]
["raft_log",{"Vote":{"leader_id":{"term":2,"node_id":1},"committed":true}}]
["raft_log",{"Committed":{"leader_id":{"term":2,"node_id":1},"index":6}}]
["raft_log",{"Purged":{"leader_id":{"term":1,"node_id":1},"index":2}}]
["raft_log",{"LogEntry":{"log_id":{"leader_id":{"term":1,"node_id":1},"index":3},"payload":"Blank"}}]
["raft_log",{"LogEntry":{"log_id":{"leader_id":{"term":1,"node_id":1},"index":4},"payload":{"Membership":{"configs":[[1]],"nodes":{"1":{}}}}}}]
["raft_log",{"LogEntry":{"log_id":{"leader_id":{"term":2,"node_id":1},"index":5},"payload":"Blank"}}]
["raft_log",{"LogEntry":{"log_id":{"leader_id":{"term":2,"node_id":1},"index":6},"payload":{"Normal":{"time_ms":5,"cmd":{"SetFeature":{"feature":"x","enable":true}}}}}}]
["state_machine/0",{"Sequences":{"key":"generic-kv","value":9}}]
["state_machine/0",{"StateMachineMeta":{"key":"LastApplied","value":{"LogId":{"leader_id":{"term":2,"node_id":1},"index":5}}}}]
["state_machine/0",{"StateMachineMeta":{"key":"LastMembership","value":{"Membership":{"log_id":{"leader_id":{"term":1,"node_id":1},"index":4},"membership":{"configs":[[1]],"nodes":{"1":{}}}}}}}]
["state_machine/0",{"Nodes":{"key":1,"value":{"name":"1","endpoint":{"addr":"db-1","port":28004},"grpc_api_advertise_address":null}}}]
["state_machine/0",{"Expire":{"key":{"time_ms":9000,"seq":3},"value":{"seq":3,"key":"a"}}}]
["state_machine/0",{"GenericKV":{"key":"a","value":{"seq":3,"meta":{"expire_at":9},"data":[1]}}}]
["state_machine/0",{"GenericKV":{"key":"b","value":{"seq":9,"meta":null,"data":[2]}}}]
"#;

fn members(entries: &[&str]) -> Option<MemberList> {
    Some(MemberList::new(entries.iter().map(|entry| entry.parse().unwrap())).unwrap())
}

fn same_node() -> ImportOptions {
    ImportOptions::new(None, None).unwrap()
}

fn member(id: u64, entries: &[&str]) -> ImportOptions {
    ImportOptions::new(Some(id), members(entries)).unwrap()
}

fn import(input: &[u8], options: &ImportOptions, target: &MemoryTarget) -> Result<ImportOutcome, ImportError> {
    run(input, "x.ndjson", target, options, &mut |_| ())
}

fn imported(input: &str, options: &ImportOptions) -> (ImportSummary, Live) {
    let target = MemoryTarget::default();
    match import(input.as_bytes(), options, &target).unwrap() {
        ImportOutcome::Imported(summary) => (summary, target.live().unwrap()),
        ImportOutcome::Unchanged(_) => panic!("nothing was live before"),
    }
}

/// The error, once it is certain that nothing was committed.
fn refused(input: &[u8], options: &ImportOptions) -> String {
    let target = MemoryTarget::default();
    let error = import(input, options, &target).expect_err("an import that should be refused");
    assert_eq!(target.live(), None, "{error}");
    error.to_string()
}

fn warnings(summary: &ImportSummary) -> Vec<String> {
    summary.warnings.iter().map(ToString::to_string).collect()
}

fn log_id(term: u64, node_id: u64, index: u64) -> LogId {
    LogId { leader_id: LeaderId { term, node_id }, index }
}

fn edited(edits: &[Edit]) -> String {
    testing::edited(EXPORT, edits)
}

#[test]
fn a_whole_export_becomes_the_same_node() {
    let (summary, live) = imported(EXPORT, &same_node());
    let Seed::SameNode(hard_state) = &live.seed else { panic!("{:?}", live.seed) };
    assert_eq!(hard_state.node_id, Some(1));
    assert_eq!(hard_state.vote, Some(Vote { leader_id: LeaderId { term: 2, node_id: 1 }, committed: true }));
    assert_eq!(hard_state.committed, Some(log_id(2, 1, 6)));
    assert_eq!(hard_state.purged, Some(log_id(1, 1, 2)));
    assert!(!live.replayed, "the tail of a faithful restore stays in the log");
    assert_eq!((live.log.len(), live.records.len(), live.keys.len()), (4, 4, 2));

    assert_eq!((summary.node_id, summary.cluster_id.as_deref(), summary.tail), (1, None, 1));
    assert_eq!((summary.last_applied, summary.sequence, summary.keys), (Some(log_id(2, 1, 5)), 9, 2));
    assert_eq!((summary.lines, summary.bytes), (16, EXPORT.len() as u64));
    let counts = RecordCounts { log_entries: 4, nodes: 1, expires: 1, keys: 2, others: 8 };
    assert_eq!(summary.records, counts);
    assert_eq!(warnings(&summary), ["the file has no seal: if it was cut at the end of a line, that can not be seen"]);
}

#[test]
fn every_real_export_is_imported() {
    for (text, log, keys, applied, tail) in [
        (V0, 110, 9, log_id(1, 0, 109), 0),
        (V0_LATER, 84, 71, log_id(1, 0, 83), 0),
        (V002, 82, 71, log_id(1, 0, 83), 0),
        (V004, 82, 71, log_id(1, 0, 83), 0),
        (REEXPORTED, 82, 71, log_id(1, 0, 83), 0),
        (TAIL, 126, 49, log_id(1, 1, 64), 61),
        (TAIL_APPLIED, 126, 93, log_id(1, 1, 125), 0),
    ] {
        let (summary, live) = imported(text, &same_node());
        assert_eq!((live.log.len(), live.keys.len()), (log, keys));
        assert_eq!((summary.last_applied, summary.tail), (Some(applied), tail));

        let (summary, live) = imported(text, &member(3, &["3=c:1", "4=d:1"]));
        let end = live.log.last().unwrap().log_id;
        assert_eq!(summary.last_applied, Some(log_id(2, 3, end.index + 1)));
        assert!(live.replayed);
    }
}

#[test]
fn one_voter_of_several_is_restored_with_a_warning() {
    let (summary, _) = imported(V004, &same_node());
    let expected = "this restores node 1, one of 3 voters: restore all of them from their own files, or none";
    assert_eq!(warnings(&summary)[1..], [expected]);
    let (summary, _) = imported(V004, &member(1, &["1=a:1", "2=b:1"]));
    assert_eq!(summary.warnings.len(), 1);

    // The tail of the log knows better than the state.
    let two = r#"{"Membership":{"configs":[[1],[1,2]],"nodes":{"1":{},"2":{}}}}"#;
    let (summary, _) = imported(&edited(&[Change(9, NORMAL, two)]), &same_node());
    assert!(warnings(&summary)[1].starts_with("this restores node 1, one of 2 voters"));
}

const NORMAL: &str = r#"{"Normal":{"time_ms":5,"cmd":{"SetFeature":{"feature":"x","enable":true}}}}"#;

#[test]
fn every_member_of_a_list_comes_to_the_same_cluster() {
    let entries = ["2=b:1", "1=a:1", "3=c:1,learner"];
    let imports = [1, 2, 3].map(|id| imported(EXPORT, &member(id, &entries)));
    for (id, (summary, live)) in (1..).zip(&imports) {
        let Seed::NewLineage { node_id, lineage, nodes, .. } = &live.seed else { panic!("{:?}", live.seed) };
        assert_eq!((*node_id, summary.node_id), (id, id));
        assert_eq!(summary.cluster_id, imports[0].0.cluster_id);
        assert_eq!(summary.cluster_id.as_deref(), Some(lineage.cluster_id.as_str()));
        assert_eq!((lineage.log_id, lineage.purged), (log_id(3, 1, 7), log_id(3, 1, 6)));
        assert_eq!(lineage.entry.payload, Payload::Membership(members(&entries).unwrap().membership()));
        assert_eq!(*nodes, members(&entries).unwrap().nodes());
        assert_eq!((summary.last_applied, summary.tail), (Some(lineage.log_id), 1));
        assert!(live.replayed);
    }
    let (other, _) = imported(&edited(&[Remove(16)]), &member(1, &entries));
    assert_ne!(other.cluster_id, imports[0].0.cluster_id);
}

#[test]
fn records_may_come_in_any_order() {
    let mut lines: Vec<&str> = EXPORT.lines().collect();
    lines[1..5].reverse();
    lines[9..].reverse();
    lines[1..].rotate_left(8);
    let (_, shuffled) = imported(&lines.join("\n"), &member(1, &["1=a:1"]));
    let (_, ordered) = imported(EXPORT, &member(1, &["1=a:1"]));
    assert_eq!(shuffled.seed, ordered.seed);
    assert_eq!(shuffled.keys, ordered.keys);
}

#[test]
fn what_is_unusual_but_whole_is_imported() {
    for (case, edits) in [
        (
            "committed was not written down",
            &[Change(4, r#"{"leader_id":{"term":2,"node_id":1},"index":6}"#, "null")][..],
        ),
        (
            "committed lags behind",
            &[Change(4, r#""term":2,"node_id":1},"index":6"#, r#""term":1,"node_id":1},"index":1"#)],
        ),
        ("no hard state lines at all but the node id and purged", &[Remove(4), Remove(3)]),
        ("no log", &[Change(4, "6", "5"), Remove(9), Remove(8), Remove(7), Remove(6)]),
        ("a log below its state", &[Change(4, "6", "5"), Remove(9), Remove(8)]),
        (
            "a membership from before log ids",
            &[Change(12, r#"{"leader_id":{"term":1,"node_id":1},"index":4}"#, "null")],
        ),
        (
            "a retired mark",
            &[Insert(11, r#"["state_machine/0",{"StateMachineMeta":{"key":"Initialized","value":{"Bool":true}}}]"#)],
        ),
        ("no keys and no counter", &[Cut(13), Remove(10)]),
        ("the largest counter", &[Change(10, "9", "9223372036854775807")]),
    ] {
        let target = MemoryTarget::default();
        let outcome = import(edited(edits).as_bytes(), &same_node(), &target);
        assert!(matches!(outcome, Ok(ImportOutcome::Imported(_))), "{case}: {outcome:?}");
    }
}

#[test]
fn a_node_without_a_snapshot_has_its_whole_state_in_its_log() {
    let log_only: String = TAIL.lines().take(131).map(|line| format!("{line}\n")).collect();
    let (summary, live) = imported(&log_only, &same_node());
    assert_eq!((summary.last_applied, summary.tail, live.log.len()), (None, 126, 126));
    let (summary, _) = imported(&log_only, &member(7, &["7=g:1"]));
    assert_eq!((summary.last_applied, summary.tail), (Some(log_id(2, 7, 126)), 126));
}

/// What such a node writes of its state, where it writes any.
#[test]
fn a_node_that_has_applied_nothing_has_its_whole_state_in_its_log() {
    const SEQUENCE: &str = r#"["state_machine/0",{"Sequences":{"key":"generic-kv","value":0}}]"#;
    const NOBODY: &str = r#"["state_machine/0",{"StateMachineMeta":{"key":"LastMembership","value":{"Membership":{"log_id":null,"membership":{"configs":[],"nodes":{}}}}}}]"#;
    let log: Vec<&str> = TAIL.lines().take(131).collect();
    let with = |state: &[&str]| [&log[..], state].concat().join("\n");
    let (expected, _) = imported(&with(&[]), &member(7, &["7=g:1"]));
    for state in [&[SEQUENCE, NOBODY][..], &[NOBODY]] {
        let (summary, live) = imported(&with(state), &same_node());
        assert_eq!((summary.last_applied, summary.tail, live.log.len()), (None, 126, 126));
        let (summary, _) = imported(&with(state), &member(7, &["7=g:1"]));
        assert_eq!((summary.last_applied, summary.cluster_id), (expected.last_applied, expected.cluster_id.clone()));
    }

    let counted = SEQUENCE.replace(":0}", ":7}");
    let voted = NOBODY.replace(r#""configs":[],"nodes":{}"#, r#""configs":[[1]],"nodes":{"1":{}}"#);
    let unapplied = "x.ndjson: the state machine has no `LastApplied` record: the file is cut, or not a whole export";
    for state in [&[SEQUENCE][..], &[&counted, NOBODY], &[SEQUENCE, &voted]] {
        assert_eq!(refused(with(state).as_bytes(), &same_node()), unapplied, "{state:?}");
    }
    let purged = edited(&[Cut(9), Insert(10, SEQUENCE), Insert(11, NOBODY)]);
    assert_eq!(refused(purged.as_bytes(), &same_node()), unapplied);
    let no_log = [log[0], log[1], SEQUENCE, NOBODY].join("\n");
    let nothing = "x.ndjson: it holds no state: neither log entries nor a state machine";
    assert_eq!(refused(no_log.as_bytes(), &same_node()), nothing);
}

#[test]
fn what_can_not_be_imported_is_refused_by_line_and_reason() {
    const SECOND_NODE_ID: &str = r#"["raft_log",{"NodeId":1}]"#;
    let cases: &[(&[Edit], &str)] = &[
        // The header, and what comes once.
        (&[Cut(0)], ": the input is empty"),
        (
            &[Remove(1)],
            ", line 1: no header line, so it is read as version V0: unknown variant `NodeId`, expected `Logs` or `LogMeta`",
        ),
        (
            &[Insert(3, r#"["header",{"DataHeader":{"key":"header","value":{"version":"V004"}}}]"#)],
            ", line 3: a second `header` record; the first is in line 1",
        ),
        (
            &[Change(1, "V004", "V100")],
            ", line 1: version V100 is not supported: V0, V001, V002, V003 and V004 are read",
        ),
        (
            &[Change(1, "V004\"", "V004\",\"upgrading\":\"V005\"")],
            ", line 1: the store was stopped half way through an upgrade to V005: let the upgrade finish, then export again",
        ),
        (
            &[Change(1, "V004\"", "V004\",\"sealed\":true")],
            ", line 16: the file is cut here, or was changed: its first line says that it is sealed",
        ),
        (
            &[Insert(17, r#"["header",{"DataHeader":{"key":"seal","value":{"version":"V004"}}}]"#)],
            ", line 17: a seal, in a file whose first line does not say that it is sealed",
        ),
        (&[Insert(3, SECOND_NODE_ID)], ", line 3: a second `NodeId` record; the first is in line 2"),
        (&[Insert(4, r#"["raft_log",{"Vote":null}]"#)], ", line 4: a second `Vote` record; the first is in line 3"),
        (
            &[Insert(17, r#"["raft_log",{"Committed":null}]"#)],
            ", line 17: a second `Committed` record; the first is in line 4",
        ),
        (
            &[Insert(17, r#"["raft_log",{"Purged":null}]"#)],
            ", line 17: a second `Purged` record; the first is in line 5",
        ),
        (
            &[Insert(17, r#"["state_machine/0",{"Sequences":{"key":"generic-kv","value":9}}]"#)],
            ", line 17: a second `Sequences` record; the first is in line 10",
        ),
        (
            &[Insert(
                17,
                r#"["state_machine/0",{"StateMachineMeta":{"key":"LastApplied","value":{"LogId":{"leader_id":{"term":2,"node_id":1},"index":5}}}}]"#,
            )],
            ", line 17: a second `LastApplied` record; the first is in line 11",
        ),
        (
            &[Insert(
                17,
                r#"["state_machine/0",{"StateMachineMeta":{"key":"LastMembership","value":{"Membership":{"log_id":null,"membership":{"configs":[[1]],"nodes":{"1":{}}}}}}}]"#,
            )],
            ", line 17: a second `LastMembership` record; the first is in line 12",
        ),
        // Trees, kinds, JSON.
        (
            &[Change(13, "state_machine/0", "sledtree")],
            ", line 13: unknown tree `sledtree`: this version of the format has `header`, `raft_log` and `state_machine/<n>`",
        ),
        (&[Change(13, "Nodes", "Files")], ", line 13: unknown variant `Files`, expected one of "),
        (&[Change(15, "}}}]", "")], ", line 15: EOF while parsing "),
        (&[Change(15, "[1]", "[256]")], ", line 15: invalid value: integer `256`, expected u8 at column "),
        (&[Insert(17, "")], ", line 17: the line is empty"),
        // Nothing to restore, or not the whole of it.
        (&[Cut(1)], ": it holds no state: neither log entries nor a state machine"),
        (&[Cut(4)], ": it holds no state: neither log entries nor a state machine"),
        (
            &[Cut(8)],
            ": it has no state machine, and its log starts after T1-N1.2: the file is cut, or not a whole export",
        ),
        (&[Cut(10)], ": the state machine has no `LastApplied` record: the file is cut, or not a whole export"),
        (&[Cut(11)], ": the state machine has no `LastMembership` record: the file is cut, or not a whole export"),
        (&[Remove(11)], ": the state machine has no `LastApplied` record: the file is cut, or not a whole export"),
        (&[Remove(2)], ": it does not say which node it was exported from: give --id"),
        (&[Change(2, "1", "null")], ", line 2: it does not say which node it was exported from: give --id"),
        // The log.
        (&[Remove(7)], ", line 7: log entry 5 where 4 must follow"),
        (&[Remove(6)], ", line 6: the log starts with T1-N1.4, not with entry 3"),
        (&[Remove(5)], ", line 5: the log starts with T1-N1.3, not with entry 0"),
        (
            &[Change(5, r#""term":1"#, r#""term":2"#)],
            ", line 6: log entry T1-N1.3 is of an earlier leader than T2-N1.2 before it",
        ),
        (
            &[Change(9, r#""term":2"#, r#""term":1"#)],
            ", line 9: log entry T1-N1.6 is of an earlier leader than T2-N1.5 before it",
        ),
        (&[Change(7, "[[1]]", "[[]]")], ", line 7: a membership in which nobody votes"),
        // Log ids that disagree.
        (&[Remove(9)], ", line 4: Committed T2-N1.6 is above the last log id T2-N1.5"),
        (&[Change(4, r#""term":2"#, r#""term":1"#)], ", line 4: Committed is T1-N1.6, but the log has T2-N1.6 there"),
        (&[Change(4, r#""index":6"#, r#""index":3"#)], ", line 4: Committed is T2-N1.3, but the log has T1-N1.3 there"),
        (
            &[Change(11, r#""term":2"#, r#""term":1"#)],
            ", line 11: LastApplied is T1-N1.5, but the log has T2-N1.5 there",
        ),
        (
            &[Change(11, r#""index":5"#, r#""index":1"#), Change(11, "2", "1"), Change(12, "4", "1")],
            ", line 5: Purged T1-N1.2 is above LastApplied T1-N1.1",
        ),
        (
            &[Change(12, r#""term":1,"node_id":1},"index":4"#, r#""term":2,"node_id":1},"index":6"#)],
            ", line 12: LastMembership T2-N1.6 is above LastApplied T2-N1.5",
        ),
        (
            &[Change(12, r#""term":1"#, r#""term":0"#)],
            ", line 12: LastMembership is T0-N1.4, but the log has T1-N1.4 there",
        ),
        (
            &[Change(11, r#""index":5"#, r#""index":8"#), Change(11, "2", "1"), Change(4, "6", "5")],
            ": the last log entry T2-N1.6 is above LastApplied T1-N1.8",
        ),
        // Numbers that nothing could follow.
        (
            &[Change(3, r#""term":2"#, r#""term":18446744073709551615"#)],
            ", line 3: term 18446744073709551615 leaves no room for those that come after it: the largest that is taken is 9223372036854775807",
        ),
        (
            &[Change(4, r#""term":2"#, r#""term":9223372036854775808"#)],
            ", line 4: term 9223372036854775808 leaves no room",
        ),
        (
            &[Change(4, r#""index":6"#, r#""index":18446744073709551615"#)],
            ", line 4: log index 18446744073709551615 leaves",
        ),
        (
            &[Change(5, r#""index":2"#, r#""index":18446744073709551615"#)],
            ", line 5: log index 18446744073709551615 leaves",
        ),
        (
            &[Change(6, r#""index":3"#, r#""index":18446744073709551615"#)],
            ", line 6: log index 18446744073709551615 leaves",
        ),
        (&[Change(9, r#""term":2"#, r#""term":18446744073709551615"#)], ", line 9: term 18446744073709551615 leaves"),
        (
            &[Change(11, r#""index":5"#, r#""index":18446744073709551615"#)],
            ", line 11: log index 18446744073709551615 leaves",
        ),
        (
            &[Change(12, r#""index":4"#, r#""index":18446744073709551615"#)],
            ", line 12: log index 18446744073709551615 leaves",
        ),
        (&[Change(10, "9", "18446744073709551615")], ", line 10: sequence number 18446744073709551615 leaves no room"),
        (&[Change(10, "9", "9223372036854775808")], ", line 10: sequence number 9223372036854775808 leaves no room"),
        // State machine records.
        (&[Change(12, "[[1]]", "[]")], ", line 12: a membership in which nobody votes"),
        (&[Change(12, "[[1]]", "[[1,4]]")], ", line 12: a membership whose voter 4 is not among its nodes"),
        (
            &[Insert(
                14,
                r#"["state_machine/0",{"Nodes":{"key":1,"value":{"name":"","endpoint":{"addr":"a","port":1}}}}]"#,
            )],
            ", line 14: node 1 has a record already",
        ),
        (&[Remove(10)], ", line 15: there are keys but no `Sequences` record"),
        (&[Change(10, "9", "8")], ", line 16: seq 9 is above 8, the last one given out according to `Sequences`"),
        (&[Change(16, r#""seq":9"#, r#""seq":3"#)], ", line 16: seq 3 belongs to an earlier record already"),
        (&[Change(16, r#""seq":9"#, r#""seq":0"#)], ", line 16: seq 0: sequence numbers start at 1"),
        (&[Change(16, r#""b""#, r#""""#)], ", line 16: a key of 0 bytes: a key has 1 to 65000 bytes"),
        (&[Change(16, r#""b""#, r#""a""#)], ", line 16: key `a` is there twice"),
        (
            &[Change(10, "generic-kv", "database-lookup")],
            ", line 10: unknown key `database-lookup` in a `Sequences` record",
        ),
    ];
    for (edits, expected) in cases {
        let input = edited(edits);
        let error = refused(input.as_bytes(), &same_node());
        assert!(error.starts_with(&format!("x.ndjson{expected}")), "\n got: {error}\nwant: x.ndjson{expected}");
    }
}

#[test]
fn bytes_that_are_no_lines_are_refused() {
    let mut not_utf8 = EXPORT.as_bytes().to_vec();
    let in_last_line = not_utf8.len() - 10;
    not_utf8[in_last_line] = 0xff;
    let error = refused(&not_utf8, &same_node());
    assert!(error.starts_with("x.ndjson, line 16: byte ") && error.ends_with(" of the line is not UTF-8"), "{error}");

    let cut = &EXPORT.as_bytes()[..EXPORT.len() - 5];
    let error = refused(cut, &same_node());
    assert!(error.starts_with("x.ndjson, line 16: EOF while parsing "), "{error}");

    assert_eq!(refused(b"\n", &same_node()), "x.ndjson, line 1: the line is empty");
    assert_eq!(refused(b"SQLite format 3\0", &same_node()), "x.ndjson, line 1: expected value at column 1");
}

#[test]
fn an_id_must_be_the_files_own_unless_it_has_none() {
    let id = |id| ImportOptions::new(Some(id), None).unwrap();
    assert_eq!(
        refused(EXPORT.as_bytes(), &id(2)),
        "x.ndjson, line 2: it was exported from node 1, not from node 2: leave out --id, or give --initial-cluster too"
    );
    let (summary, _) = imported(EXPORT, &id(1));
    assert_eq!(summary.node_id, 1);
    for nameless in [edited(&[Remove(2)]), edited(&[Change(2, "1", "null")])] {
        let (summary, live) = imported(&nameless, &id(7));
        let Seed::SameNode(hard_state) = live.seed else { panic!("{:?}", live.seed) };
        assert_eq!((summary.node_id, hard_state.node_id), (7, Some(7)));
    }
}

/// What a cut at the end of a line leaves: refused wherever the rest shows it, and never without a warning.
#[test]
fn a_cut_at_a_line_end_is_refused_or_warned_of() {
    let lines: Vec<&str> = TAIL.lines().collect();
    let state_starts = lines.iter().position(|line| line.contains("Sequences")).unwrap();
    let nodes = lines.iter().position(|line| line.contains("\"Nodes\"")).unwrap();
    for kept in 0..lines.len() {
        let target = MemoryTarget::default();
        let outcome = import(lines[..kept].join("\n").as_bytes(), &same_node(), &target);
        // Before the first state line, the whole log is there and is the whole state.
        if kept == state_starts || kept >= nodes {
            let Ok(ImportOutcome::Imported(summary)) = outcome else { panic!("{kept}: {outcome:?}") };
            assert!(warnings(&summary)[0].starts_with("the file has no seal"), "{kept}");
        } else {
            assert!(outcome.is_err(), "{kept}");
            assert_eq!(target.live(), None, "{kept}");
        }
    }
}

#[test]
fn a_failure_at_any_call_of_the_target_commits_nothing() {
    for options in [same_node(), member(1, &["1=a:1"])] {
        let mut n = 1;
        loop {
            let target = MemoryTarget::failing_at(n);
            match import(EXPORT.as_bytes(), &options, &target) {
                Ok(_) => break,
                Err(error) => {
                    assert!(matches!(error, ImportError::Target(_)), "{error}");
                    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the disk is full");
                    assert_eq!((target.live(), target.calls()), (None, n), "a call after a failure");
                }
            }
            n += 1;
        }
        // begin, four entries, six records, finish_state, commit
        assert_eq!(n, 14);
    }
}

#[test]
fn a_failed_read_commits_nothing() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the cable is out"))
        }
    }
    let read = |input: &str| {
        let target = MemoryTarget::default();
        let input = BufReader::new(input.as_bytes().chain(Broken));
        let error = run(input, "standard input", &target, &same_node(), &mut |_| ()).unwrap_err();
        assert_eq!(target.live(), None);
        error.to_string()
    };
    assert_eq!(read(EXPORT), "cannot read standard input after line 16");
    assert_eq!(read(""), "cannot read standard input");
}

#[test]
fn the_same_import_again_changes_nothing() {
    let options = member(1, &["1=a:1"]);
    let (first, live) = imported(EXPORT, &options);
    let again = |input: &str, options: ImportOptions| {
        let target = MemoryTarget::default();
        let outcome = import(input.as_bytes(), &options.unless_from(Some(live.source.origin)), &target).unwrap();
        assert_eq!(target.live().is_some(), matches!(outcome, ImportOutcome::Imported(_)));
        outcome
    };
    assert_eq!(again(EXPORT, options.clone()), ImportOutcome::Unchanged(first));
    assert_eq!(is_origin(live.source.origin, EXPORT.as_bytes(), &options), Some(1));
    for (input, options) in [
        (edited(&[Change(16, "[2]", "[3]")]), options),
        (EXPORT.to_owned(), same_node()),
        (EXPORT.to_owned(), member(1, &["1=a:2"])),
        (EXPORT.to_owned(), member(2, &["1=a:1", "2=b:1"])),
    ] {
        assert!(matches!(again(&input, options.clone()), ImportOutcome::Imported(_)));
        assert_eq!(is_origin(live.source.origin, input.as_bytes(), &options), None);
    }
}

#[test]
fn the_origin_of_the_same_node_is_known_by_the_id_in_the_file() {
    let with_id = |id| ImportOptions::new(Some(id), None).unwrap();
    let (summary, live) = imported(EXPORT, &same_node());
    let is_origin = |input: &str, options: &ImportOptions| is_origin(live.source.origin, input.as_bytes(), options);
    assert_eq!(is_origin(EXPORT, &same_node()), Some(summary.node_id));
    assert_eq!(is_origin(EXPORT, &with_id(summary.node_id)), Some(summary.node_id));
    assert_eq!(is_origin(EXPORT, &with_id(summary.node_id + 1)), None);
    for other in ["", "{}", "\n", &EXPORT[..EXPORT.len() - 1]] {
        assert_eq!(is_origin(other, &same_node()), None, "{other}");
    }
}

#[test]
fn progress_is_told_by_the_mebibyte_and_at_the_end() {
    let told = |input: &str| {
        let mut told = Vec::new();
        run(input.as_bytes(), "x", &MemoryTarget::default(), &same_node(), &mut |progress| told.push(progress))
            .unwrap();
        told
    };
    let end_of = |input: &str| Progress { lines: 16, bytes: input.len() as u64 };
    assert_eq!(told(EXPORT), [end_of(EXPORT)]);

    let long = format!("\"data\":[{}1]", "1,".repeat(1024 * 1024));
    let input = EXPORT.replace("\"data\":[1]", &long);
    let told = told(&input);
    assert!(told.len() > 1 && told.is_sorted_by_key(|progress| (progress.lines, progress.bytes)), "{told:?}");
    assert_eq!(told.last(), Some(&end_of(&input)));
}

#[test]
fn the_log_is_restored_up_to_the_stop_and_no_further() {
    let stop = |index| same_node().until(Some(Stop::Index(index)));
    let (whole, _) = imported(EXPORT, &same_node());
    for (index, entries, tail) in [(5, 3, 0), (6, 4, 1)] {
        let (summary, live) = imported(EXPORT, &stop(index));
        assert_eq!((live.log.len(), summary.tail), (entries, tail));
        let Seed::SameNode(hard_state) = &live.seed else { panic!("{:?}", live.seed) };
        assert_eq!(hard_state.committed, Some(log_id(2, 1, index)));
        assert_eq!(summary.content, whole.content);
    }
    for index in [4, 7] {
        let text = refused(EXPORT.as_bytes(), &stop(index));
        assert!(
            text.contains("is not where this backup reaches: from index 5 to 6; the entries in it are from"),
            "{text}"
        );
    }
    let two = r#"{"Membership":{"configs":[[1],[1,2]],"nodes":{"1":{},"2":{}}}}"#;
    let two = edited(&[Change(8, r#""Blank""#, two)]);
    let text = refused(two.as_bytes(), &stop(6));
    assert!(text.contains("node 1 is one of 2 voters: one member alone can not go back to --to-index 6"), "{text}");
}

#[test]
fn what_is_asked_for_makes_another_cluster_of_the_same_file() {
    let options = || member(1, &["1=a:1"]);
    let imports = [
        options(),
        options().until(Some(Stop::Index(5))),
        options().bumping_seq(100).unwrap(),
        options().min_term(50).unwrap(),
    ]
    .map(|options| (imported(EXPORT, &options), options));
    let first = |n: usize| {
        let Seed::NewLineage { lineage, sequence, .. } = &imports[n].0.1.seed else { panic!("no lineage") };
        (lineage.log_id, *sequence)
    };
    let expected = [(log_id(3, 1, 7), 9), (log_id(3, 1, 6), 9), (log_id(3, 1, 7), 109), (log_id(50, 1, 7), 9)];
    for (n, (ids, expected)) in (0..4).map(first).zip(expected).enumerate() {
        assert_eq!(ids, expected);
        assert_eq!(imports[n].0.0.sequence, expected.1);
        for (other, ((summary, live), _)) in imports.iter().enumerate().filter(|(other, _)| *other != n) {
            assert_ne!(summary.cluster_id, imports[n].0.0.cluster_id, "{n} {other}");
            assert_ne!(live.source.origin, imports[n].0.1.source.origin, "{n} {other}");
        }
    }
    // The plan is what was done.
    for ((summary, live), options) in &imports {
        let target = MemoryTarget::default();
        let planned = plan(EXPORT.as_bytes(), "x.ndjson", &target, options, &mut |_| ()).unwrap();
        let ImportPlan::NewLineage { first, node_id, .. } = planned.plan else { panic!("{:?}", planned.plan) };
        let Seed::NewLineage { lineage, .. } = &live.seed else { panic!("{:?}", live.seed) };
        assert_eq!((first, node_id), (lineage.log_id, summary.node_id));
        assert_eq!(planned.from.nodes[&1].endpoint.addr, "db-1");
        assert_eq!((&planned.summary, target.live()), (summary, None));
    }
}

/// A record in a line of so many bytes: `meta` stands before its data.
fn line_of(bytes: usize, meta: &str) -> String {
    let (start, end) = (r#"["state_machine/0",{"GenericKV":{"key":""#, "]}}}]");
    let rest = format!(r#"","value":{{"seq":9,{meta}"data":["#);
    let inner = bytes - start.len() - rest.len() - end.len();
    // Four bytes for each number but the last, and a key for what is left.
    let numbers = inner / 4;
    let key = "k".repeat(inner + 1 - 4 * numbers);
    let data = "255,".repeat(numbers);
    format!("{start}{key}{rest}{}{end}", &data[..data.len() - 1])
}

#[test]
fn a_line_that_would_be_written_longer_than_lines_are_is_refused() {
    const NULL: &str = r#""meta":null,"#;
    let with = |line: &str| EXPORT.replace(EXPORT.lines().last().unwrap(), line);
    let most = MAX_LINE_BYTES;
    for (bytes, meta) in [(most, NULL), (most - NULL.len(), "")] {
        let line = line_of(bytes, meta);
        assert_eq!(line.len(), bytes);
        imported(&with(&line), &same_node());
    }
    let error = refused(with(&line_of(most - NULL.len() + 1, "")).as_bytes(), &same_node());
    let says =
        format!("x.ndjson, line 16: its record would be written as a line of {} bytes, with null for ", most + 1);
    assert!(error.starts_with(&says), "{error}");
}
