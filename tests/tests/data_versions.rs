//! Backups for readers of another data version: by `convert`, from a server, from a folder.

use std::{fs, path::Path};

use integration_tests::{
    export::bare,
    fixtures, folder,
    older::as_of_today,
    server::{Server, Settings},
    tool::{Ran, export_folder, import, metactl},
};
use rustix::process::Signal;
use serde_json::Value;

async fn convert(from: &Path, to: &Path, version: &str) -> Ran {
    metactl([&"convert", &"--db", &from, &"--out", &to, &"--data-version", &version]).await
}

fn values(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A line without what older writers wrote and nobody reads, and without the seq that they did not write yet.
fn comparable(line: &Value) -> String {
    let mut line = line.clone();
    if let Some(index) = line[1].get_mut("Expire") {
        index["value"].as_object_mut().unwrap().remove("seq");
    }
    if let Some(meta) = line[1]["GenericKV"]["value"].get_mut("meta").and_then(Value::as_object_mut) {
        meta.retain(|_, value| !value.is_null());
    }
    if let Some(entry) = line[1]["Logs"]["value"]["payload"].get_mut("Normal").and_then(Value::as_object_mut) {
        entry.remove("txid");
    }
    line.to_string()
}

#[tokio::test]
async fn a_backup_for_v002_is_what_v002_wrote() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("v002.ndjson");
    convert(&fixtures::path("v004.ndjson"), &out, "V002").await.expect(0);
    let found: Vec<String> = values(&fs::read_to_string(&out).unwrap()).iter().map(comparable).collect();
    let expected: Vec<String> = values(&fixtures::text("v002.ndjson")).iter().map(comparable).collect();
    for (line, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found, expected, "line {}", line + 1);
    }
    assert_eq!(found.len(), expected.len());
}

#[tokio::test]
async fn a_backup_comes_back_from_another_version_as_it_went() {
    let temp = tempfile::tempdir().unwrap();
    let (old, new) = (temp.path().join("old"), temp.path().join("new"));
    for fixture in ["v0-2022-05.ndjson", "v0-2022-11.ndjson", "v002.ndjson", "v004-reexported.ndjson"] {
        let told = convert(&fixtures::path(fixture), &new, "V004").await.expect(0).stderr;
        assert!(told.contains("of version V004"), "{told}");
        let expected = fs::read_to_string(&new).unwrap();
        for version in ["V002", "V003"] {
            convert(&fixtures::path(fixture), &old, version).await.expect(0);
            convert(&old, &new, "V004").await.expect(0);
            assert!(fs::read_to_string(&new).unwrap() == expected, "{fixture} by {version}");
        }
        let mut found: Vec<Value> = values(&expected);
        let nothing = |line: &Value| {
            line[1].get("Committed") == Some(&Value::Null) || line[1].get("Purged") == Some(&Value::Null)
        };
        found.retain(|line| !nothing(line));
        let mut wanted = values(&as_of_today(&fixtures::text(fixture)).join("\n"));
        wanted.retain(|line| !nothing(line));
        found.sort_by_key(ToString::to_string);
        wanted.sort_by_key(ToString::to_string);
        assert!(found == wanted, "{fixture}");
    }
    // State and log of a backup with a tail stay apart.
    convert(&fixtures::path("v004-tail.ndjson"), &new, "V004").await.expect(0);
    let expected = fixtures::text("v004-tail.ndjson").replace("\"prev_value\":true,", "");
    assert!(fs::read_to_string(&new).unwrap() == expected);
}

#[tokio::test]
async fn what_an_older_reader_can_not_read_is_refused_and_the_file_stays() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("out");
    fs::write(&out, "older backup").unwrap();
    let applied = fixtures::path("v004-tail-applied.ndjson");
    for (from, version, words) in [
        (&applied, "V002", &["log entry ", "V002", "--drop-applied-log leaves out the log"][..]),
        (&fixtures::path("v004-tail.ndjson"), "V003", &["log entry ", "V003"]),
        (&fixtures::path("none.ndjson"), "V003", &["No such file"]),
    ] {
        let told = convert(from, &out, version).await.expect(1).stderr;
        assert!(words.iter().all(|words| told.contains(words)), "{told}");
    }
    assert_eq!(fs::read_to_string(&out).unwrap(), "older backup");
    assert_eq!(folder::names(temp.path()), ["out"]);

    metactl([&"convert", &"--db", &applied, &"--out", &out, &"--data-version", &"V002", &"--drop-applied-log"])
        .await
        .expect(0);
    let text = fs::read_to_string(&out).unwrap();
    assert!(!text.contains("\"Logs\"") && text.contains("\"LastPurged\""));
    let raft_dir = temp.path().join("meta");
    import(&raft_dir, &out).await;
    let state = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("[\"state_machine")).map(str::to_owned).collect()
    };
    assert_eq!(state(&export_folder(&raft_dir).await), state(&fixtures::text("v004-tail-applied.ndjson")));
}

#[tokio::test]
async fn a_server_and_its_folder_are_backed_up_for_older_readers() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    let server = Server::start_leading(Settings::single(&raft_dir)).await;
    let mut client = server.client().await;
    for key in ["a", "b/1", "ключ"] {
        client.put(key, key.as_bytes()).await.unwrap();
    }
    let address = server.grpc_address().to_owned();
    let (plain, old, back) = (temp.path().join("plain"), temp.path().join("old"), temp.path().join("back"));
    metactl([&"export", &"--grpc-api-address", &address, &"--db", &plain]).await.expect(0);
    for version in ["V002", "V003"] {
        metactl([&"export", &"--grpc-api-address", &address, &"--db", &old, &"--data-version", &version])
            .await
            .expect(0);
        let header = fs::read_to_string(&old).unwrap();
        assert!(header.starts_with(&format!(
            "[\"header\",{{\"DataHeader\":{{\"key\":\"header\",\"value\":{{\"version\":\"{version}\""
        )));
        convert(&old, &back, "V004").await.expect(0);
        assert_eq!(fs::read_to_string(&back).unwrap(), bare(&fs::read_to_string(&plain).unwrap()), "{version}");
    }
    assert_eq!(server.stop(Signal::TERM).await.0, Some(0));

    metactl([&"export", &"--raft-dir", &raft_dir, &"--db", &plain]).await.expect(0);
    metactl([&"export", &"--raft-dir", &raft_dir, &"--db", &old, &"--data-version", &"V002"]).await.expect(0);
    convert(&old, &back, "V004").await.expect(0);
    assert_eq!(fs::read_to_string(&back).unwrap(), bare(&fs::read_to_string(&plain).unwrap()));
}
