//! A backup with a log that its state machine does not cover: every kind of command is in it.

use std::{collections::BTreeSet, fs};

use integration_tests::{
    fixtures,
    server::{Server, Settings},
    tool::{export_folder, import, metactl},
};
use rustix::process::Signal;

fn state(export: &str) -> BTreeSet<&str> {
    export.lines().filter(|line| line.starts_with("[\"state_machine")).collect()
}

/// The backup as it is, and without the state machine: a node that never built a snapshot exports its whole state as
/// log.
fn backups() -> [(&'static str, String); 2] {
    let text = fixtures::text("v004-tail.ndjson");
    let log = text.lines().filter(|line| !line.starts_with("[\"state_machine")).flat_map(|line| [line, "\n"]).collect();
    [("a tail above a state", text), ("a log alone", log)]
}

#[tokio::test]
async fn a_tail_is_applied_as_the_real_program_applies_it() {
    let applied = fixtures::text("v004-tail-applied.ndjson");
    for (name, text) in backups() {
        let folder = tempfile::tempdir().unwrap();
        let (file, raft_dir) = (folder.path().join("backup.ndjson"), folder.path().join("meta"));
        fs::write(&file, text).unwrap();
        import(&raft_dir, &file).await;
        assert_eq!(state(&export_folder(&raft_dir).await), state(&applied), "{name}, from the folder");

        // The server leads, writes down its own address and nothing else.
        let server = Server::start_leading(Settings::of(&raft_dir)).await;
        let exported = metactl([&"export", &"--grpc-api-address", &server.grpc_address()]).await.expect(0).stdout;
        let of_users = |export: &str| -> BTreeSet<String> {
            let kinds = ["GenericKV", "Sequences"];
            let lines = export.lines().filter(|line| kinds.iter().any(|kind| line.contains(kind)));
            lines.filter(|line| line.starts_with("[\"state_machine")).map(str::to_owned).collect()
        };
        // Records that expire meanwhile are cleaned by the server's own writes: what is there must be right, and the
        // rest gone.
        let (found, expected) = (of_users(&exported), of_users(&applied));
        assert!(found.is_subset(&expected), "{name}, from the server: {:?}", found.difference(&expected));
        let lost: Vec<_> = expected.difference(&found).filter(|line| !line.contains("expire_at")).collect();
        assert!(lost.is_empty(), "{name}, from the server: {lost:?}");
        assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
    }
}

#[tokio::test]
async fn a_tail_is_applied_for_a_new_cluster_too() {
    let applied = fixtures::text("v004-tail-applied.ndjson");
    let keys = |export: &str| -> Vec<String> {
        export.lines().filter(|line| line.contains("{\"GenericKV\":")).map(str::to_owned).collect()
    };
    for (name, text) in backups() {
        let folder = tempfile::tempdir().unwrap();
        let (file, raft_dir) = (folder.path().join("backup.ndjson"), folder.path().join("meta"));
        fs::write(&file, text).unwrap();
        let member = "4=127.0.0.1:28004";
        metactl([&"import", &"--raft-dir", &raft_dir, &"--id", &"4", &"--initial-cluster", &member, &"--db", &file])
            .await
            .expect(0);
        assert_eq!(keys(&export_folder(&raft_dir).await), keys(&applied), "{name}");
    }
}

/// A log in which records expire between its entries. The times of its entries are `T` and so many milliseconds; `T` in
/// seconds is `S`.
const EXPIRING: [&str; 9] = [
    r#"{"Membership":{"configs":[[1]],"nodes":{"1":{}}}}"#,
    r#"{"Normal":{"cmd":{"AddNode":{"node_id":1,"node":{"name":"1","endpoint":{"addr":"db-1","port":28004}}}}}}"#,
    // Expires at T+1000.
    r#"{"Normal":{"time_ms":T,"cmd":{"UpsertKV":{"key":"a","seq":"Any","value":{"Update":[52,49]},"value_meta":{"ttl":{"millis":1000}}}}}}"#,
    // At that very time it is still there to be touched. Expires at T+5000.
    r#"{"Normal":{"time_ms":T+1000,"cmd":{"UpsertKV":{"key":"a","seq":{"Exact":1},"value":"AsIs","value_meta":{"expire_at":S+5}}}}}"#,
    // Gone, so it is made anew. Expires at T+6000.
    r#"{"Normal":{"time_ms":T+5001,"cmd":{"UpsertKV":{"key":"a","seq":{"Exact":0},"value":{"Update":[52,49]},"value_meta":{"expire_at":S+6}}}}}"#,
    // Without a time nothing is cleaned, and the ttl counts from 0; read as seconds.
    r#"{"Normal":{"cmd":{"UpsertKV":{"key":"c","seq":"Any","value":{"Update":[1]},"value_meta":{"ttl":{"millis":900}}}}}}"#,
    // The clock has gone back: `c` goes and `a` stays. `d` is born expired and takes its number; `e` expires at T+5010.
    r#"{"Normal":{"time_ms":T+10,"cmd":{"Transaction":{"condition":[{"key":"","expected":0,"target":{"KeysWithPrefix":1}}],"if_then":[{"request":{"Put":{"key":"d","value":[1],"expire_at":1}}},{"request":{"Put":{"key":"e","value":[2],"ttl_ms":5000}}}],"else_then":[]}}}}"#,
    // `e` is gone. `a` loses its expiry.
    r#"{"Normal":{"time_ms":T+5011,"cmd":{"KvTransaction":{"branches":[{"predicate":{"Leaf":{"key":"e","op":"Ge","target":{"Seq":1}}},"operations":[{"DeleteByPrefix":{"prefix":""}}]},{"predicate":{"And":[]},"operations":[{"FetchIncreaseU64":{"target":{"key":"a"},"delta":1,"floor":0}}]}]}}}}"#,
    // Expires at the time it is written at, which is not yet expired.
    r#"{"Normal":{"time_ms":T+9000000,"cmd":{"UpsertKV":{"key":"f","seq":{"GE":0},"value":{"Update":[]},"value_meta":{"expire_at":null,"ttl":{"millis":0}}}}}}"#,
];

/// The state after the entry with index 4, and after all of them.
const AFTER_4: [&str; 6] = [
    r#"{"Sequences":{"key":"generic-kv","value":3}}"#,
    r#"{"StateMachineMeta":{"key":"LastApplied","value":{"LogId":{"leader_id":{"term":1,"node_id":1},"index":4}}}}"#,
    MEMBERSHIP,
    NODE,
    r#"{"Expire":{"key":{"time_ms":T+6000,"seq":3},"value":{"seq":3,"key":"a"}}}"#,
    r#"{"GenericKV":{"key":"a","value":{"seq":3,"meta":{"expire_at":S+6,"proposed_at_ms":T+5001},"data":[52,49]}}}"#,
];
const AFTER_ALL: [&str; 7] = [
    r#"{"Sequences":{"key":"generic-kv","value":8}}"#,
    r#"{"StateMachineMeta":{"key":"LastApplied","value":{"LogId":{"leader_id":{"term":1,"node_id":1},"index":8}}}}"#,
    MEMBERSHIP,
    NODE,
    r#"{"Expire":{"key":{"time_ms":T+9000000,"seq":8},"value":{"seq":8,"key":"f"}}}"#,
    r#"{"GenericKV":{"key":"a","value":{"seq":7,"meta":{"proposed_at_ms":T+5011},"data":[52,50]}}}"#,
    r#"{"GenericKV":{"key":"f","value":{"seq":8,"meta":{"expire_at":T+9000000,"proposed_at_ms":T+9000000},"data":[]}}}"#,
];
const MEMBERSHIP: &str = r#"{"StateMachineMeta":{"key":"LastMembership","value":{"Membership":{"log_id":{"leader_id":{"term":1,"node_id":1},"index":0},"membership":{"configs":[[1]],"nodes":{"1":{}}}}}}}"#;
const NODE: &str = r#"{"Nodes":{"key":1,"value":{"name":"1","endpoint":{"addr":"db-1","port":28004},"grpc_api_advertise_address":null}}}"#;

/// Puts the numbers in place of `T`, `S` and what is added to them.
fn with_times(text: &str) -> String {
    let mut text = text.to_owned();
    for (name, now) in [(":T", 1_700_000_000_000_u64), (":S", 1_700_000_000)] {
        while let Some(start) = text.find(name) {
            let end = start + name.len();
            let digits = text[end..]
                .strip_prefix('+')
                .map_or("", |rest| &rest[..rest.find(|c: char| !c.is_ascii_digit()).expect("an end of the number")]);
            let plus: u64 = if digits.is_empty() { 0 } else { digits.parse().expect("a number") };
            let end = end + if digits.is_empty() { 0 } else { digits.len() + 1 };
            text.replace_range(start..end, &format!(":{}", now + plus));
        }
    }
    text
}

fn state_lines(records: &[&str]) -> Vec<String> {
    records.iter().map(|record| format!("[\"state_machine/0\",{}]", with_times(record))).collect()
}

#[tokio::test]
async fn records_that_expire_between_two_entries_of_a_tail_are_gone_for_the_next() {
    let mut lines = vec![
        r#"["header",{"DataHeader":{"key":"header","value":{"version":"V004"}}}]"#.to_owned(),
        r#"["raft_log",{"NodeId":1}]"#.to_owned(),
        r#"["raft_log",{"Vote":{"leader_id":{"term":1,"node_id":1},"committed":true}}]"#.to_owned(),
        r#"["raft_log",{"Committed":{"leader_id":{"term":1,"node_id":1},"index":8}}]"#.to_owned(),
        r#"["raft_log",{"Purged":null}]"#.to_owned(),
    ];
    lines.extend(EXPIRING.iter().enumerate().map(|(index, payload)| {
        let log_id = format!(r#"{{"leader_id":{{"term":1,"node_id":1}},"index":{index}}}"#);
        format!(r#"["raft_log",{{"LogEntry":{{"log_id":{log_id},"payload":{}}}}}]"#, with_times(payload))
    }));
    let log_alone = lines.join("\n") + "\n";
    lines.extend(state_lines(&AFTER_4));
    let with_state = lines.join("\n") + "\n";

    let expected = state_lines(&AFTER_ALL);
    let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
    for (name, text) in [("a tail above a state", with_state), ("a log alone", log_alone)] {
        let folder = tempfile::tempdir().unwrap();
        let (file, raft_dir) = (folder.path().join("backup.ndjson"), folder.path().join("meta"));
        fs::write(&file, text).unwrap();
        import(&raft_dir, &file).await;
        assert_eq!(state(&export_folder(&raft_dir).await), expected, "{name}");
    }
}
