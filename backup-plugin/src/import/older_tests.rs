//! Inputs of V0 to V003: what is particular to them, what is dropped, what is refused.

use super::{
    ImportOptions, ImportOutcome, ImportSummary, is_origin, run,
    testing::{
        self,
        Edit::{self, Change, Cut, Insert, Remove},
        Live, MemoryTarget,
    },
};
use crate::{
    record::{HardState, LeaderId, LogId, Payload, StateRecord, Vote},
    target::Seed,
};

/// Early and late shapes of V0 in one file, in no order, with a tail of one entry and without an expire index.
const EXPORT: &str = r#"["state_machine/0",{"Nodes":{"key":1,"value":{"name":"","endpoint":{"addr":"db-1","port":28004},"grpc_api_addr":"db-1:1"}}}]
["state_machine/0",{"StateMachineMeta":{"key":"LastApplied","value":{"LogId":{"term":2,"index":3}}}}]
["state_machine/0",{"StateMachineMeta":{"key":"Initialized","value":{"Bool":true}}}]
["state_machine/0",{"StateMachineMeta":{"key":"LastMembership","value":{"Membership":{"log_id":{"leader_id":{"term":0,"node_id":0},"index":0},"membership":{"configs":[[1]],"all_nodes":[1]}}}}}]
["state_machine/0",{"GenericKV":{"key":"b","value":{"seq":9,"meta":null,"data":[2]}}}]
["state_machine/0",{"GenericKV":{"key":"a","value":{"seq":3,"meta":{"expire_at":9},"data":[1]}}}]
["state_machine/0",{"Sequences":{"key":"generic-kv","value":9}}]
["raft_log",{"Logs":{"key":0,"value":{"log_id":{"term":0,"index":0},"payload":{"Membership":{"configs":[[1]],"all_nodes":[1]}}}}}]
["raft_log",{"Logs":{"key":1,"value":{"log_id":{"leader_id":{"term":1,"node_id":0},"index":1},"payload":"Blank"}}}]
["raft_log",{"Logs":{"key":2,"value":{"log_id":{"term":1,"index":2},"payload":{"Normal":{"txid":null,"cmd":{"AddNode":{"node_id":1,"node":{"name":"1"}}}}}}}}]
["raft_log",{"Logs":{"key":3,"value":{"log_id":{"term":2,"index":3},"payload":"Blank"}}}]
["raft_log",{"Logs":{"key":4,"value":{"log_id":{"term":2,"index":4},"payload":{"Membership":{"configs":[[1]],"nodes":{"1":{},"2":{}}}}}}}]
["raft_state",{"RaftStateKV":{"key":"Id","value":{"NodeId":1}}}]
["raft_state",{"RaftStateKV":{"key":"HardState","value":{"HardState":{"current_term":2,"voted_for":1}}}}]
["raft_state",{"RaftStateKV":{"key":"StateMachineId","value":{"StateMachineId":[0,0]}}}]
"#;

const V001: &str = r#"["header",{"DataHeader":{"key":"header","value":{"version":"V001","upgrading":null}}}]"#;
const V002: &str = r#"["header",{"DataHeader":{"key":"header","value":{"version":"V002","upgrading":null}}}]"#;
const PURGED: &str =
    r#"["raft_log",{"LogMeta":{"key":"LastPurged","value":{"LogId":{"leader_id":{"term":1,"node_id":0},"index":1}}}}]"#;
const DATABASE: &str = r#"["state_machine/0",{"Databases":{"key":1,"value":{}}}]"#;
const LOOKUP: &str = r#"["state_machine/0",{"Sequences":{"key":"database-lookup","value":4}}]"#;
const DROP_TABLE: &str = r#"{"Normal":{"txid":null,"cmd":{"DropTable":{"name":"x"}}}}"#;

fn options() -> ImportOptions {
    ImportOptions::new(None, None).unwrap()
}

fn dropping() -> ImportOptions {
    options().drop_retired(true)
}

fn imported(edits: &[Edit], options: &ImportOptions) -> (ImportSummary, Live) {
    let target = MemoryTarget::default();
    match run(testing::edited(EXPORT, edits).as_bytes(), "x", &target, options, &mut |_| ()).unwrap() {
        ImportOutcome::Imported(summary) => (summary, target.live().unwrap()),
        ImportOutcome::Unchanged(_) => panic!("nothing was live before"),
    }
}

fn hard_state(live: &Live) -> &HardState {
    match &live.seed {
        Seed::SameNode(hard_state) => hard_state,
        seed @ Seed::NewLineage { .. } => panic!("{seed:?}"),
    }
}

fn warnings(summary: &ImportSummary) -> Vec<String> {
    summary.warnings[1..].iter().map(ToString::to_string).collect()
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: LeaderId { term, node_id: 0 }, index }
}

const LEFT_OUT: &str = "the log up to T2-N0.3, which the state machine includes, was left out: it starts in the middle, or holds \
                        commands that are retired";

#[test]
fn mixed_shapes_become_one_node() {
    let (summary, live) = imported(&[], &options());
    let vote = Vote { leader_id: LeaderId { term: 2, node_id: 1 }, committed: false };
    let expected = HardState { node_id: Some(1), vote: Some(vote), committed: None, purged: None };
    assert_eq!(*hard_state(&live), expected);
    assert_eq!((summary.last_applied, summary.tail, summary.sequence, summary.keys), (Some(log_id(2, 3)), 1, 9, 2));
    let ids: Vec<_> = live.log.iter().map(|entry| entry.log_id).collect();
    assert_eq!(ids, [log_id(0, 0), log_id(1, 1), log_id(1, 2), log_id(2, 3), log_id(2, 4)]);
    let node = live.records.iter().find_map(|record| match record {
        StateRecord::Node { id: 1, node } => Some(node),
        _ => None,
    });
    assert_eq!(node.unwrap().endpoint.addr, "db-1");
    assert_eq!(warnings(&summary), [""; 0]);
}

#[test]
fn the_same_old_file_is_known_again() {
    let (summary, live) = imported(&[], &options());
    assert_eq!(is_origin(live.source.origin, EXPORT.as_bytes(), &options()), Some(summary.node_id));
    assert_eq!(is_origin(live.source.origin, testing::edited(EXPORT, &[Remove(15)]).as_bytes(), &options()), None);
}

#[test]
fn a_log_that_starts_in_the_middle_is_left_out_up_to_its_state() {
    for edits in [
        &[Remove(8)][..],
        &[Remove(8), Remove(8), Remove(8)],
        // The tail alone; nothing of it is left out.
        &[Remove(8), Remove(8), Remove(8), Remove(8)],
        &[Remove(8), Insert(1, V001)],
    ] {
        let (summary, live) = imported(edits, &options());
        assert_eq!(hard_state(&live).purged, Some(log_id(2, 3)));
        assert_eq!(warnings(&summary), [LEFT_OUT]);
    }
}

#[test]
fn what_is_about_to_be_purged_may_still_be_there() {
    let (summary, live) = imported(&[Insert(1, V002), Insert(9, PURGED)], &options());
    assert_eq!(hard_state(&live).purged, Some(log_id(1, 1)));
    assert_eq!(warnings(&summary), [""; 0]);
}

#[test]
fn retired_records_are_dropped_and_counted_when_the_operator_says_so() {
    let edits = [Insert(1, DATABASE), Insert(1, DATABASE), Insert(8, LOOKUP)];
    let (summary, live) = imported(&edits, &dropping());
    assert_eq!(
        warnings(&summary),
        ["left out, because no current server can hold them: 2 Databases, 1 Sequences database-lookup"]
    );
    let (_, plain) = imported(&[], &options());
    assert_eq!(
        (&live.records, &live.keys, &live.log, &live.seed),
        (&plain.records, &plain.keys, &plain.log, &plain.seed)
    );
}

#[test]
fn retired_commands_go_with_the_log_up_to_the_state() {
    let (summary, live) = imported(&[Change(11, r#""Blank""#, DROP_TABLE)], &dropping());
    assert_eq!(hard_state(&live).purged, Some(log_id(2, 3)));
    assert_eq!(live.log[3].payload, Payload::Blank);
    let dropped = "left out, because no current server can hold them: 1 DropTable";
    assert_eq!(warnings(&summary), [dropped, LEFT_OUT]);

    // A new lineage has a log of its own.
    let members = crate::cluster::MemberList::new(["1=a:1".parse().unwrap()]).unwrap();
    let member = ImportOptions::new(Some(1), Some(members)).unwrap().drop_retired(true);
    let (summary, live) = imported(&[Change(11, r#""Blank""#, DROP_TABLE)], &member);
    assert!(live.replayed);
    assert_eq!(warnings(&summary), [dropped]);
}

#[test]
fn what_can_not_be_restored_is_refused_by_line_and_name() {
    let cases: &[(&[Edit], bool, &str)] = &[
        (
            &[Insert(3, DATABASE)],
            false,
            ", line 3: a `Databases` record is of a kind that no current server can hold: --drop-retired leaves out all that is",
        ),
        (
            &[Insert(3, LOOKUP)],
            false,
            ", line 3: the sequence `database-lookup` is of a kind that no current server can hold",
        ),
        (
            &[Change(11, r#""Blank""#, DROP_TABLE)],
            false,
            ", line 11: the command `DropTable` in log entry T2-N0.3 is of a kind that no current server can hold",
        ),
        (
            &[Change(12, r#"{"Membership":{"configs":[[1]],"nodes":{"1":{},"2":{}}}}"#, DROP_TABLE)],
            true,
            ", line 12: the command `DropTable` in log entry T2-N0.4 can not be applied any more, and nothing that the file holds \
             includes it: its state machine ends at T2-N0.3",
        ),
        (
            &[
                Change(11, r#""Blank""#, DROP_TABLE),
                Remove(7),
                Remove(6),
                Remove(5),
                Remove(4),
                Remove(3),
                Remove(2),
                Remove(1),
            ],
            true,
            ", line 4: the command `DropTable` in log entry T2-N0.3 can not be applied any more, and nothing that the file holds \
             includes it: it has no state machine",
        ),
        (&[Insert(3, V002)], false, ", line 3: a `header` record that is not the first line"),
        (&[Insert(1, V002), Insert(3, V002)], false, ", line 3: a second `header` record; the first is in line 1"),
        // The log.
        (&[Insert(1, V002), Remove(9)], false, ", line 9: the log starts with T1-N0.1, not with entry 0"),
        (
            &[Remove(8), Remove(11), Remove(10), Remove(9)],
            false,
            ", line 8: the log starts with T1-N0.1, not with entry 0",
        ),
        (
            &[Change(2, "3", "1"), Change(2, "2", "1"), Remove(8), Remove(8), Remove(8)],
            false,
            ", line 8: the log starts with T2-N0.3,",
        ),
        (
            &[Remove(8), Remove(1), Remove(1), Remove(1), Remove(1), Remove(1), Remove(1), Remove(1)],
            false,
            ", line 1: the log starts",
        ),
        (
            &[Insert(9, PURGED), Remove(8), Remove(9), Remove(9)],
            false,
            ", line 9: the log starts with T2-N0.3, not with entry 2",
        ),
        (
            &[Insert(9, PURGED), Change(9, "1}}}}]", "2}}}}]"), Change(9, "1", "2")],
            false,
            ", line 9: Purged is T2-N0.2, but the log has T1-N0.2",
        ),
        (&[Remove(10)], false, ", line 10: log entry 3 where 2 must follow"),
        (
            &[Change(12, r#""term":2"#, r#""term":1"#)],
            false,
            ", line 12: log entry T1-N0.4 is of an earlier leader than T2-N0.3 before it",
        ),
        // Once, whole, in range.
        (
            &[Insert(14, r#"["raft_state",{"RaftStateKV":{"key":"Id","value":{"NodeId":1}}}]"#)],
            false,
            ", line 14: a second `NodeId` record",
        ),
        (&[Remove(13)], false, ": it does not say which node it was exported from: give --id"),
        (&[Remove(2)], false, ": the state machine has no `LastApplied` record"),
        (&[Cut(7), Remove(2), Remove(1)], false, ": the state machine has no `LastApplied` record"),
        (&[Change(8, "[[1]]", "[[]]")], false, ", line 8: a membership in which nobody votes"),
        (
            &[Change(4, r#""all_nodes":[1]"#, r#""all_nodes":[2]"#)],
            false,
            ", line 4: a membership whose voter 1 is not among its nodes",
        ),
        (&[Remove(7), Insert(7, LOOKUP)], true, ", line 5: there are keys but no `Sequences` record"),
        (
            &[Change(14, r#""current_term":2"#, r#""current_term":9223372036854775808"#)],
            false,
            ", line 14: term 9223372036854775808 leaves no room",
        ),
    ];
    for (edits, drop, expected) in cases {
        let target = MemoryTarget::default();
        let input = testing::edited(EXPORT, edits);
        let error =
            run(input.as_bytes(), "x", &target, &options().drop_retired(*drop), &mut |_| ()).unwrap_err().to_string();
        assert_eq!(target.live(), None);
        assert!(error.starts_with(&format!("x{expected}")), "\n got: {error}\nwant: x{expected}");
    }
}
