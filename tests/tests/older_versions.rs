//! Real exports of every version: each is imported, starts, serves what the file says, and comes out as one of today.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use integration_tests::{
    export::Export,
    fixtures,
    older::as_of_today,
    server::{Server, Settings},
    tool::{export_folder, import, metactl},
};
use rustix::process::Signal;
use serde_json::Value;

/// Lines as values: their order, and the order of fields, say nothing.
fn values<'a>(lines: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    lines.into_iter().map(|line| serde_json::from_str::<Value>(line).unwrap().to_string()).collect()
}

/// What a right import of `text` gives back when nothing was written since.
fn expected(text: &str) -> BTreeSet<String> {
    let lines = as_of_today(text);
    let mut expected = values(lines.iter().map(String::as_str));
    // Older files do not say what they do not know.
    for unknown in ["Committed", "Purged"] {
        if !lines.iter().any(|line| line.contains(unknown)) {
            expected.insert(format!(r#"["raft_log",{{"{unknown}":null}}]"#));
        }
    }
    expected
}

#[track_caller]
fn assert_same(found: &BTreeSet<String>, expected: &BTreeSet<String>, what: &str) {
    let differs = (found.difference(expected).next(), expected.difference(found).next());
    assert_eq!(differs, (None, None), "{what}: found, and expected");
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// The node of the file, as it was: from its folder, and from the server, which has no leader and changes nothing.
async fn comes_back_as_the_same_node(folder: &Path, text: &str) {
    let (file, raft_dir) = (folder.join("same.ndjson"), folder.join("same"));
    fs::write(&file, text).unwrap();
    import(&raft_dir, &file).await;
    let expected = expected(text);
    assert_same(&values(export_folder(&raft_dir).await.lines()), &expected, "from the folder");

    let server = Server::start(Settings::of(&raft_dir)).await;
    let address = server.grpc_address();
    let served =
        metactl([&"export", &"--consistency", &"local", &"--grpc-api-address", &address]).await.expect(0).stdout;
    let of_state = |lines: &BTreeSet<String>| -> BTreeSet<String> {
        lines.iter().filter(|line| line.starts_with("[\"state_machine")).cloned().collect()
    };
    assert_same(&of_state(&values(served.lines())), &of_state(&expected), "from the server");
    assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
}

/// A new cluster of one node, which leads and serves what has not expired.
async fn comes_back_as_a_new_cluster(folder: &Path, text: &str) {
    let (file, raft_dir) = (folder.join("new.ndjson"), folder.join("new"));
    fs::write(&file, text).unwrap();
    let settings = Settings::of(&raft_dir);
    let member = format!("7=127.0.0.1:{}", settings.raft_port);
    metactl([&"import", &"--raft-dir", &raft_dir, &"--db", &file, &"--id", &"7", &"--initial-cluster", &member])
        .await
        .expect(0);
    let lines = as_of_today(text);
    let expected = Export::parse(lines.iter().map(String::as_str));
    let server = Server::start_leading(settings).await;
    let found = server.client().await.list("").await.unwrap();
    assert_eq!(found, expected.present_at(now_ms()));
    let address = server.grpc_address();
    let served = metactl([&"export", &"--grpc-api-address", &address]).await.expect(0).stdout;
    let served = Export::parse(served.lines());
    assert_eq!((served.sequence, served.node_id), (expected.sequence, Some(7)));
    assert_eq!(served.nodes.keys().collect::<Vec<_>>(), [&7]);
    let membership = BTreeMap::from([("configs", serde_json::json!([[7]])), ("nodes", serde_json::json!({"7": {}}))]);
    assert_eq!(served.membership, serde_json::to_value(membership).unwrap());
    assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
}

async fn comes_back(fixture: &str) {
    let folder = tempfile::tempdir().unwrap();
    let text = fixtures::text(fixture);
    comes_back_as_the_same_node(folder.path(), &text).await;
    comes_back_as_a_new_cluster(folder.path(), &text).await;
}

#[tokio::test]
async fn an_export_of_may_2022_comes_back() {
    comes_back("v0-2022-05.ndjson").await;
}

#[tokio::test]
async fn an_export_of_november_2022_comes_back() {
    comes_back("v0-2022-11.ndjson").await;
}

#[tokio::test]
async fn an_export_of_v002_comes_back() {
    comes_back("v002.ndjson").await;
}

#[tokio::test]
async fn an_export_of_v004_comes_back() {
    comes_back("v004.ndjson").await;
}

/// No real export of V001 or V003 is at hand. They are V0 and V002 under another name.
#[tokio::test]
async fn the_versions_between_come_back_too() {
    let folder = tempfile::tempdir().unwrap();
    let header = |version: &str| {
        format!(r#"["header",{{"DataHeader":{{"key":"header","value":{{"version":"{version}","upgrading":null}}}}}}]"#)
    };
    let (v0, v002) = (fixtures::text("v0-2022-11.ndjson"), fixtures::text("v002.ndjson"));
    let mixed: String = v0
        .lines()
        .enumerate()
        .flat_map(|(n, line)| match n % 2 {
            0 => [line.replace(r#"{"term":1,"#, r#"{"leader_id":{"term":1,"node_id":0},"#), "\n".to_owned()],
            _ => [line.to_owned(), "\n".to_owned()],
        })
        .collect();
    for (name, text) in [
        ("V001", format!("{}\n{v0}", header("V001"))),
        ("V003", v002.replace("V002", "V003")),
        ("V0 in both shapes", mixed),
    ] {
        let (file, raft_dir) = (folder.path().join("backup"), folder.path().join(name));
        fs::write(&file, &text).unwrap();
        import(&raft_dir, &file).await;
        assert_same(&values(export_folder(&raft_dir).await.lines()), &expected(&text), name);
    }
}
