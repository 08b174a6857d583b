//! Command lines that ask for nothing that can be done: refused before anything is read or created, with exit code 2.

use integration_tests::{binaries, export::bare, fixtures, folder, tool};

#[tokio::test]
async fn a_list_that_is_no_cluster_is_refused_before_anything_is_touched() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    for (flags, reason) in [
        ("--id 1 --initial-cluster 1=a:1 1=b:1", "id 1 is given twice"),
        ("--id 1 --initial-cluster 1=a:1 --initial-cluster 1=a:1", "id 1 is given twice"),
        ("--id 1 --initial-cluster 1=a:1 2=a:1", "address a:1 is given twice"),
        ("--id 1 --initial-cluster 1=a:1 2=A:1", "address A:1 is given twice"),
        ("--id 3 --initial-cluster 1=a:1 2=b:1", "--id 3 is not in the --initial-cluster list"),
        ("--initial-cluster 1=a:1", "needs --id"),
        ("--id 1 --initial-cluster 1=a:0", "port 0"),
        ("--id 1 --initial-cluster 1=a", "1=a"),
        ("--id 1 --initial-cluster 1=:1", "1=:1"),
        ("--id 1 --initial-cluster a:1", "a:1"),
        ("--id 1 --initial-cluster x=a:1", "x=a:1"),
        ("--id 1 --initial-cluster 1=a:1,lerner", "lerner"),
        ("--id 1 --initial-cluster 1=a:1,learner 2=b:1,learner", "needs a voter"),
        ("--id one", "one"),
        ("--bad-flag", "--bad-flag"),
    ] {
        let backup = fixtures::path("v004.ndjson");
        let mut line = tool::args([&"import", &"--raft-dir", &raft_dir, &"--db", &backup]);
        line.extend(flags.split(' ').map(Into::into));
        let ran = tool::run(&binaries::tool(), &line).await;
        assert_eq!(ran.code, Some(2), "{flags}: {}", ran.stderr);
        assert!(ran.stderr.contains(reason), "{flags}: {}", ran.stderr);
        assert_eq!(folder::names(temp.path()), [""; 0], "{flags}");
    }
}

#[tokio::test]
async fn the_server_takes_the_flags_of_an_import_as_the_tool_does() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    for (flags, code, reason) in [
        ("--import --id 1 --initial-cluster 1=a:1 1=b:1", 2, "id 1 is given twice"),
        ("--import --initial-cluster 1=a:1", 2, "needs --id"),
        ("--import --id 1 --initial-cluster 1=a:0", 2, "port 0"),
        ("--import --id 2", 1, "exported from node 1, not from node 2"),
        ("--force", 2, "--import"),
        ("--initial-cluster 1=a:1", 2, "--import"),
    ] {
        let backup = fixtures::path("v004.ndjson");
        let mut line = tool::args([&"--raft-dir", &raft_dir]);
        line.extend(flags.split(' ').map(Into::into));
        if flags.starts_with("--import") {
            line.extend(tool::args([&"--db", &backup]));
        }
        let ran = tool::run(&binaries::server(), &line).await.expect(code);
        assert!(ran.stderr.contains(reason), "{flags}: {}", ran.stderr);
        assert_eq!(folder::names(temp.path()), [""; 0], "{flags}");
    }
}

#[tokio::test]
async fn an_id_that_the_backup_does_not_have_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    let backup = fixtures::path("v004.ndjson");
    let ran = tool::metactl([&"import", &"--raft-dir", &raft_dir, &"--db", &backup, &"--id", &"2"]).await.expect(1);
    assert!(ran.stderr.contains("exported from node 1, not from node 2"), "{}", ran.stderr);
    assert_eq!(folder::names(temp.path()), [""; 0]);
}

#[tokio::test]
async fn the_old_command_lines_still_work() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, file) = (temp.path().join("meta"), temp.path().join("backup.ndjson"));
    let backup = fixtures::path("v004.ndjson");
    tool::metactl([&"--import", &"--raft-dir", &raft_dir, &"--db", &backup]).await.expect(0);
    tool::metactl([&"--export", &"--raft-dir", &raft_dir, &"--db", &file]).await.expect(0);
    let backed_up = bare(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(backed_up, tool::export_folder(&raft_dir).await);
    // `--db ""` is standard output and standard input.
    let printed = tool::metactl([&"export", &"--raft-dir", &raft_dir, &"--db", &"", &"--id", &"1"]).await.expect(0);
    assert_eq!(printed.stdout, backed_up);
}
