//! A real export of one of three nodes, restored as that node.

use std::{
    fs,
    time::{Duration, Instant},
};

use integration_tests::{
    binaries,
    export::{Export, bare},
    fixtures,
    server::{Server, Settings},
    tool::{Ran, args, export_folder, import, metactl, metactl_reading, run},
};
use rustix::process::Signal;
use serde_json::Value;

/// What an export of ours says where the real one has the line `line`: an `Expire` names the record's own seq, and
/// `prev_value` is never written.
fn as_we_write(line: &str) -> String {
    let value: Value = serde_json::from_str(line).unwrap();
    let Some(expire) = value[1].get("Expire") else {
        return line.replace("\"prev_value\":true,", "");
    };
    let (time_ms, seq, key) = (&expire["key"]["time_ms"], &expire["key"]["seq"], &expire["value"]["key"]);
    let index = format!(r#"{{"key":{{"time_ms":{time_ms},"seq":{seq}}},"value":{{"seq":{seq},"key":{key}}}}}"#);
    format!(r#"["state_machine/0",{{"Expire":{index}}}]"#)
}

#[tokio::test]
async fn a_restored_node_exports_what_the_real_program_exports_after_the_same_restore() {
    let folder = tempfile::tempdir().unwrap();
    let file = fixtures::path("v004.ndjson");
    let expected: Vec<String> = fixtures::text("v004-reexported.ndjson").lines().map(as_we_write).collect();

    let by_tool = folder.path().join("tool");
    let told = import(&by_tool, &file).await.stderr;
    for words in ["71", "T1-N0.83", "no seal", "one of 3 voters"] {
        assert!(told.contains(words), "{words:?} is not in {told}");
    }
    let by_stdin = folder.path().join("stdin");
    metactl_reading(&fixtures::text("v004.ndjson"), [&"import", &"--raft-dir", &by_stdin]).await.expect(0);
    let by_server = folder.path().join("server");
    let line = args([
        &"--import",
        &"--raft-dir",
        &by_server,
        &"--db",
        &file,
        &"--log-file-on",
        &"false",
        &"--admin-api-address",
        &"0.0.0.0:28002",
    ]);
    let ran = run(&binaries::server(), &line).await.expect(0);
    for words in ["T1-N0.83", "the admin API listens on 0.0.0.0:28002"] {
        assert!(ran.stderr.contains(words), "{words:?} is not in {}", ran.stderr);
    }

    for raft_dir in [by_tool, by_stdin, by_server] {
        let found = export_folder(&raft_dir).await;
        assert_eq!(found.lines().collect::<Vec<_>>(), expected, "{}", raft_dir.display());
    }
}

#[tokio::test]
async fn an_export_of_an_export_is_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    import(&first, &fixtures::path("v004.ndjson")).await;
    let file = folder.path().join("backup.ndjson");
    metactl([&"export", &"--raft-dir", &first, &"--db", &file]).await.expect(0);
    import(&second, &file).await;
    assert_eq!(export_folder(&second).await, bare(&std::fs::read_to_string(&file).unwrap()));
}

#[tokio::test]
async fn one_of_three_started_alone_says_that_it_has_no_leader_and_refuses_reads() {
    let folder = tempfile::tempdir().unwrap();
    let raft_dir = folder.path().join("meta");
    import(&raft_dir, &fixtures::path("v004.ndjson")).await;
    let server = Server::start(Settings::of(&raft_dir)).await;
    let address = server.grpc_address();

    let status = metactl([&"status", &"--grpc-api-address", &address]).await.expect(0).stdout;
    assert!(status.contains("Node: id=1 "), "{status}");
    assert!(!status.contains("Leader"), "{status}");
    for voter in 1..=3 {
        assert!(status.contains(&format!("  - id={voter} raft=localhost:28{voter}03")), "{status}");
    }

    let began = Instant::now();
    let get = metactl([&"get", &"--key", &"k", &"--grpc-api-address", &address]).await.expect(1);
    let upsert =
        metactl([&"upsert", &"--key", &"k", &"--value", &"v", &"--grpc-api-address", &address]).await.expect(1);
    for Ran { stderr, .. } in [get, upsert] {
        assert!(stderr.contains("no leader") && stderr.contains("voters 1, 2, 3"), "{stderr}");
    }
    assert!(began.elapsed() < Duration::from_secs(15), "two refusals took {:?}", began.elapsed());

    // A cluster without a leader is when the backup is needed most.
    let exported = metactl([&"export", &"--grpc-api-address", &address]).await.expect(0).stdout;
    let original = fixtures::text("v004.ndjson");
    assert_eq!(Export::parse(exported.lines()).all(), Export::parse(original.lines()).all());
    assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
}

#[tokio::test]
async fn keys_and_values_of_every_kind_go_through_a_backup() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("backup.ndjson");
    let server = Server::start_leading(Settings::single(&temp.path().join("meta"))).await;
    let mut client = server.client().await;
    for key in [
        " ",
        "\n",
        "\0",
        "\t/\u{7f}",
        "\"\\\"",
        "{\"GenericKV\":",
        "é",
        "e\u{301}",
        "ключ",
        "\u{2028}",
        "\u{d7ff}",
        "\u{e000}",
        "\u{ffff}",
        "\u{1f511}",
        "\u{10ffff}",
    ] {
        client.put(key, key.as_bytes()).await.unwrap();
    }
    client.put("every byte", &(0..=255).collect::<Vec<u8>>()).await.unwrap();
    client.put("nothing", b"").await.unwrap();
    let expected = client.list("").await.unwrap();
    assert_eq!(expected.len(), 17);

    metactl([&"export", &"--grpc-api-address", &server.grpc_address(), &"--db", &file]).await.expect(0);
    assert_eq!(
        std::fs::read_to_string(&file).unwrap().lines().filter(|line| line.contains("\"GenericKV\":")).count(),
        17
    );
    let restored = temp.path().join("restored");
    import(&restored, &file).await;
    let restored = Server::start(Settings::of(&restored)).await;
    assert_eq!(restored.client().await.list("").await.unwrap(), expected);
}

/// Files may say nothing of the vote. Then the node has seen at least the terms of what it holds, and goes on from there.
#[tokio::test]
async fn a_node_without_a_vote_leads_on() {
    const VOTE: &str = r#"{"Vote":{"leader_id":{"term":1,"node_id":1},"committed":true}}"#;
    let text = fixtures::text("v004-tail.ndjson").replace(VOTE, r#"{"Vote":null}"#);
    let is_entry = |line: &str| line.contains("{\"LogEntry\":");
    let is_committed = |line: &str| line.contains("{\"Committed\":");
    let lines = |keep: &dyn Fn(&str) -> bool| -> String {
        text.split_inclusive('\n').filter(|line| keep(line) && !is_committed(line)).collect()
    };
    let in_term_2 = |text: String| {
        let applied = r#"{"LogId":{"leader_id":{"term":1,"#;
        assert!(text.contains(applied));
        text.replace(applied, r#"{"LogId":{"leader_id":{"term":2,"#)
    };
    let early = |line: &str| !is_entry(line) || (0..60).any(|n| line.contains(&format!(r#""index":{n}}},"payload""#)));
    for (name, text) in [
        ("a log above its state", text.clone()),
        ("a state alone", in_term_2(lines(&|line| !is_entry(line)))),
        ("a log that ends before its state", in_term_2(lines(&early))),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (file, raft_dir) = (folder.path().join("b.ndjson"), folder.path().join("meta"));
        fs::write(&file, text).unwrap();
        import(&raft_dir, &file).await;
        assert!(export_folder(&raft_dir).await.contains(r#"["raft_log",{"Vote":null}]"#), "{name}");
        for key in ["first", "second"] {
            let server = Server::start_leading(Settings::of(&raft_dir)).await;
            server.client().await.put(key, name.as_bytes()).await.unwrap();
            assert_eq!(server.stop(Signal::TERM).await.0, Some(0), "{name}");
        }
        let exported = export_folder(&raft_dir).await;
        assert!(["\"first\"", "\"second\""].iter().all(|key| exported.contains(key)), "{name}");
    }
}
