//! The export of a stopped node's folder: all that the node ever acknowledged, whatever stopped it, and no trace of
//! the reading.

use std::{collections::BTreeMap, path::Path};

use integration_tests::{
    binaries, denied,
    export::Export,
    fixtures, folder, generate,
    server::{Server, Settings},
    tool::{args, command, ended, export_folder, import, metactl},
    wait,
};

/// What a new cluster that is made of the backup in `file` serves.
async fn served(temp: &Path, file: &Path) -> BTreeMap<String, (u64, Vec<u8>)> {
    let raft_dir = tempfile::tempdir_in(temp).unwrap();
    let member = "2=127.0.0.1:28004";
    let folder = raft_dir.path();
    metactl([&"import", &"--raft-dir", &folder, &"--db", &file, &"--id", &"2", &"--initial-cluster", &member])
        .await
        .expect(0);
    let server = Server::start(Settings::of(folder)).await;
    server.client().await.list("").await.unwrap()
}

#[tokio::test]
async fn a_killed_node_is_backed_up_with_all_that_it_acknowledged() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, file) = (temp.path().join("meta"), temp.path().join("backup.ndjson"));
    let mut expected = BTreeMap::new();
    // The first round dies before there is a base with anything in it; the second builds one on the way.
    for round in ["first", "second", "third"] {
        let server = Server::start_leading(Settings::single(&raft_dir)).await;
        let mut client = server.client().await;
        for n in 0..50 {
            let (key, value) = (format!("{round}/{n}"), format!("value {n}").into_bytes());
            let seq = client.put(&key, &value).await.unwrap();
            expected.insert(key, (seq, value));
            if round == "second" && n == 25 {
                server.admin("/v1/ctrl/trigger_snapshot").await;
            }
        }
        server.kill().await;
        metactl([&"export", &"--raft-dir", &raft_dir, &"--db", &file]).await.expect(0);
        assert_eq!(served(temp.path(), &file).await, expected, "after the {round} round");
    }
}

#[tokio::test]
async fn the_export_of_a_folder_changes_nothing_in_it() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    import(&raft_dir, &fixtures::path("v004-tail.ndjson")).await;
    let before = folder::files(&raft_dir);
    export_folder(&raft_dir).await;
    assert_eq!(folder::files(&raft_dir), before);
}

#[tokio::test]
async fn a_dead_node_can_be_exported_from_a_read_only_mount() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    import(&raft_dir, &fixtures::path("v004-tail.ndjson")).await;
    let expected = export_folder(&raft_dir).await;
    let script = r#"
        mount --bind "$2" "$2"
        mount -o remount,bind,ro "$2"
        if touch "$2/probe" 2>/dev/null; then echo "the mount is not read-only" >&2; exit 3; fi
        exec "$1" export --raft-dir "$2"
    "#;
    let Some(ran) = denied::with_own_mounts(script, &args([&binaries::tool(), &raft_dir])).await else { return };
    assert_eq!(ran.expect(0).stdout, expected);
}

#[tokio::test]
async fn nothing_is_left_in_the_folder_for_temporary_files() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, seed, scratch) =
        (temp.path().join("meta"), temp.path().join("seed.ndjson"), temp.path().join("scratch"));
    std::fs::create_dir(&scratch).unwrap();
    generate::write(&seed, 20_000, 100);
    import(&raft_dir, &seed).await;
    let line = args([&"export", &"--raft-dir", &raft_dir]);
    let export = || command(&binaries::tool(), &line).env("TMPDIR", &scratch).spawn().unwrap();

    // Its output is not read, so that it is in the middle until it is killed.
    let mut killed = export();
    wait::until_true("the export to be on its way", || !folder::files(&scratch).is_empty()).await;
    killed.kill().await.unwrap();
    assert!(!folder::names(&scratch).is_empty());

    let exported = ended(export()).await.expect(0).stdout;
    assert_eq!(Export::parse(exported.lines()).keys.len(), 20_000);
    assert_eq!(folder::names(&scratch), [""; 0]);
}
