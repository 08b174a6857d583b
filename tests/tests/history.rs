//! Exports that keep the way to the state, or leave it out, and imports that stop on it.

use std::path::Path;

use integration_tests::{
    binaries,
    export::Export,
    fixtures, folder,
    server::{Server, Settings},
    tool::{args, export_folder, import, metactl, run},
};
use rustix::process::Signal;
use serde_json::Value;

/// A backup as its lines, by kind.
fn count(text: &str, words: &str) -> usize {
    text.lines().filter(|line| line.contains(words)).count()
}

async fn export(server: &Server, flags: [&str; 2], file: &Path) -> String {
    let flags: Vec<&str> = flags.into_iter().filter(|flag| !flag.is_empty()).collect();
    match flags[..] {
        [flag] => metactl([&"export", &"--grpc-api-address", &server.grpc_address(), &flag, &file]).await,
        [flag, value] => {
            metactl([&"export", &"--grpc-api-address", &server.grpc_address(), &flag, &value, &file]).await
        }
        _ => unreachable!("one flag or two"),
    }
    .expect(0);
    std::fs::read_to_string(file).unwrap()
}

#[tokio::test]
async fn the_state_travels_with_the_log_behind_it_or_without_any() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, file) = (temp.path().join("meta"), temp.path().join("b"));
    let server = Server::start_leading(Settings::single(&raft_dir)).await;
    let mut client = server.client().await;
    for n in 0..20 {
        client.put(&format!("before/{n}"), b"1").await.unwrap();
    }
    server.admin("/v1/ctrl/trigger_snapshot").await;
    for n in 0..10 {
        client.put(&format!("after/{n}"), b"2").await.unwrap();
    }

    let bare = export(&server, ["--logs", "none"], &file).await;
    assert_eq!((count(&bare, "LogEntry"), count(&bare, "GenericKV")), (0, 30));
    let whole = export(&server, ["--logs", "all"], &file).await;
    assert_eq!(count(&whole, "GenericKV"), 30);
    assert!(count(&whole, "LogEntry") >= 30);
    let history = export(&server, ["--with-history", ""], &file).await;
    assert_eq!(count(&history, "GenericKV"), 20);
    assert_eq!(count(&history, "LogEntry"), count(&history, r#""Normal""#), "nothing but the later writes");
    assert_eq!(count(&history, "LogEntry"), 10);

    // Each of them restores the same, and an offline history is the same history.
    assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
    let expected = Export::parse(export_folder(&raft_dir).await.lines()).all();
    for (n, text) in [bare, whole, history.clone()].into_iter().enumerate() {
        let (restored, file) = (temp.path().join(format!("restored-{n}")), temp.path().join(format!("{n}")));
        std::fs::write(&file, &text).unwrap();
        import(&restored, &file).await;
        let server = Server::start(Settings::of(&restored)).await;
        let found = server.client().await.list("").await.unwrap();
        assert_eq!(found.len(), 30, "{n}");
        assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
        assert_eq!(Export::parse(export_folder(&restored).await.lines()).all(), expected, "{n}");
    }
    let offline = metactl([&"export", &"--raft-dir", &raft_dir, &"--with-history"]).await.expect(0).stdout;
    assert_eq!(count(&offline, "GenericKV"), 20);
    assert!(
        offline
            .lines()
            .filter(|line| line.contains("LogEntry"))
            .take(10)
            .eq(history.lines().filter(|line| line.contains("LogEntry")))
    );
}

/// The keys of a folder.
async fn keys(raft_dir: &Path) -> usize {
    count(&export_folder(raft_dir).await, "GenericKV")
}

#[tokio::test]
async fn an_import_stops_where_it_is_told_to() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, file) = (temp.path().join("meta"), temp.path().join("b"));
    let server = Server::start_leading(Settings::single(&raft_dir)).await;
    let mut client = server.client().await;
    client.put("first", b"0").await.unwrap();
    server.admin("/v1/ctrl/trigger_snapshot").await;
    for n in 0..10 {
        client.put(&format!("k{n}"), b"1").await.unwrap();
    }
    let history = export(&server, ["--with-history", ""], &file).await;
    assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
    let entries: Vec<Value> = history
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line[1].get("LogEntry").is_some())
        .collect();
    let index = |n: usize| entries[n][1]["LogEntry"]["log_id"]["index"].as_u64().unwrap();
    let last = index(9);

    // As a new cluster, with the log applied on the way, and as the same node, whose server applies it.
    for (n, list) in [(4, true), (4, false), (9, true)] {
        let target = temp.path().join(format!("to-{n}-{list}"));
        let to = (index(0) + n - 1).to_string();
        let list: &[&str] = if list { &["--id", "7", "--initial-cluster", "7=127.0.0.1:28004"] } else { &[] };
        let mut line = args([&"import", &"--raft-dir", &target, &file, &"--to-index", &to]);
        line.extend(list.iter().map(Into::into));
        run(&binaries::tool(), &line).await.expect(0);
        if list.is_empty() {
            let server = Server::start(Settings::of(&target)).await;
            assert_eq!(server.client().await.list("").await.unwrap().len(), 1 + n as usize);
            assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
        }
        assert_eq!(keys(&target).await, 1 + n as usize, "up to {to}");
    }
    let time = entries[9][1]["LogEntry"]["payload"]["Normal"]["time_ms"].as_u64().unwrap();
    let target = temp.path().join("by-time");
    let moment = moment_text(time);
    metactl([&"import", &"--raft-dir", &target, &file, &"--to-time", &moment]).await.expect(0);

    let refused = metactl([&"import", &"--raft-dir", &target, &file, &"--to-index", &"1"]).await.expect(1);
    assert!(refused.stderr.contains(&format!("from index {} to {last}", index(0) - 1)), "{}", refused.stderr);
    let late =
        metactl([&"import", &"--raft-dir", &target, &file, &"--to-time", &"2999-01-01T00:00:00Z"]).await.expect(1);
    assert!(late.stderr.contains("is not where this backup reaches"), "{}", late.stderr);
}

/// RFC 3339, worked out by another program than the one under test.
fn moment_text(time_ms: u64) -> String {
    let seconds = (time_ms / 1000).to_string();
    let date =
        std::process::Command::new("date").args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%S"]).output();
    let text = String::from_utf8(date.unwrap().stdout).unwrap();
    format!("{}.{:03}Z", text.trim(), time_ms % 1000)
}

#[tokio::test]
async fn a_plan_changes_nothing_and_says_what_an_import_then_does() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, file) = (temp.path().join("meta"), fixtures::path("v004-tail.ndjson"));
    let list = ["--id", "7", "--initial-cluster", "7=127.0.0.1:28004"];
    let mut line = args([&"import", &"--json", &"--plan", &"--raft-dir", &raft_dir, &file]);
    line.extend(list.map(Into::into));
    let planned: Value = serde_json::from_str(&run(&binaries::tool(), &line).await.expect(0).stdout).unwrap();
    assert!(!raft_dir.exists());
    assert_eq!(planned["replaced"], Value::Null);

    line.retain(|word| word != "--plan");
    let done: Value = serde_json::from_str(&run(&binaries::tool(), &line).await.expect(0).stdout).unwrap();
    assert_eq!(planned["new_log_id"], done["last_applied"]);
    assert_eq!((&planned["node_id"], &planned["tail"]), (&done["node_id"], &done["tail"]));

    let before = folder::files(&raft_dir);
    line.insert(1, "--plan".into());
    let planned: Value = serde_json::from_str(&run(&binaries::tool(), &line).await.expect(0).stdout).unwrap();
    assert_eq!(planned["replaced"]["holds"]["keys"], done["keys"]);
    assert_eq!(folder::files(&raft_dir), before);

    // What the import said of itself is what the server says, and another address than the list's is seen.
    let strict = Settings { more: args([&"--strict"]), ..Settings::of(&raft_dir) };
    let refused = strict.run().await;
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("has node 7 at 127.0.0.1:28004"), "{}", refused.stderr);
    let server = Server::start(Settings::of(&raft_dir)).await;
    assert!(server.stderr().contains("not at the address of the list"), "{}", server.stderr());
    let status = metactl([&"status", &"--grpc-api-address", &server.grpc_address(), &"--json"]).await.expect(0);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!((&status["cluster_id"], &status["imported_content"]), (&done["cluster_id"], &done["content"]));
}
