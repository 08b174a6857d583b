//! The file that an export makes: whole or not there, readable by its owner alone, and never in the place of a better
//! one.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use integration_tests::{
    export::{Export, bare},
    folder, generate,
    server::{Server, Settings},
    tool::{ended, import, metactl, start_metactl},
    wait,
};
use rustix::process::Signal;

const KEYS: u64 = 20_000;

/// A server with so much to export that it takes a while.
async fn large_server(temp: &Path) -> Server {
    let (raft_dir, seed) = (temp.join("meta"), temp.join("seed.ndjson"));
    generate::write(&seed, KEYS, 400);
    import(&raft_dir, &seed).await;
    Server::start(Settings::of(&raft_dir)).await
}

/// A folder for backups, with an older one in it.
fn backups(temp: &Path) -> (PathBuf, PathBuf) {
    let folder = temp.join("backups");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("b");
    fs::write(&file, "the older backup").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    (folder, file)
}

#[tokio::test]
async fn a_backup_replaces_the_older_one_in_one_step_and_is_its_owners_alone() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start_leading(Settings::single(&temp.path().join("meta"))).await;
    server.client().await.put("k", b"v").await.unwrap();
    let (folder, file) = backups(temp.path());
    let ran = metactl([&"export", &"--grpc-api-address", &server.grpc_address(), &"--db", &file]).await.expect(0);
    assert_eq!(ran.stdout, "");
    for words in ["GenericKV", "last applied", &file.display().to_string()] {
        assert!(ran.stderr.contains(words), "{words:?} is not in {}", ran.stderr);
    }
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(folder::names(&folder), ["b"]);
    let printed = metactl([&"export", &"--grpc-api-address", &server.grpc_address()]).await.expect(0).stdout;
    assert_eq!(bare(&fs::read_to_string(&file).unwrap()), printed);
}

#[tokio::test]
async fn a_server_that_goes_away_midway_costs_the_new_backup_and_not_the_older() {
    for signal in [Signal::KILL, Signal::TERM] {
        let temp = tempfile::tempdir().unwrap();
        let server = large_server(temp.path()).await;
        let (folder, file) = backups(temp.path());
        let address = server.grpc_address().to_owned();
        // A line a message: slow enough to be caught in the middle.
        let tool = start_metactl([&"export", &"--grpc-api-address", &address, &"--db", &file, &"--chunk-size", &"1"]);
        wait::until_true("the export to be on its way", || temp_file_size(&folder) > 0).await;
        server.signal(signal);
        let ran = ended(tool).await;
        // A server that is asked to stop may still finish what it has begun; a backup is then whole.
        let whole = signal == Signal::TERM && ran.code == Some(0);
        if whole {
            let text = fs::read_to_string(&file).unwrap();
            assert_eq!(Export::parse(text.lines()).keys.len() as u64, KEYS);
        } else {
            let stderr = ran.expect(1).stderr;
            assert!(stderr.contains(&address), "{signal:?}: {stderr}");
            assert_eq!(fs::read_to_string(&file).unwrap(), "the older backup", "{signal:?}");
        }
        assert_eq!(folder::names(&folder), ["b"], "{signal:?}");
    }
}

#[tokio::test]
async fn what_a_killed_export_leaves_is_swept_by_the_next_one_to_that_name() {
    let temp = tempfile::tempdir().unwrap();
    let server = large_server(temp.path()).await;
    let (folder, file) = backups(temp.path());
    let mut tool = start_metactl([
        &"export",
        &"--grpc-api-address",
        &server.grpc_address(),
        &"--db",
        &file,
        &"--chunk-size",
        &"1",
    ]);
    wait::until_true("the export to be on its way", || temp_file_size(&folder) > 0).await;
    tool.kill().await.unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "the older backup");
    assert_eq!(folder::names(&folder).len(), 2);

    metactl([&"export", &"--grpc-api-address", &server.grpc_address(), &"--db", &file]).await.expect(0);
    assert_eq!(folder::names(&folder), ["b"]);
    // The server did not mind either.
    let (code, took) = server.stop(Signal::TERM).await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(8), "{took:?}");
}

fn temp_file_size(folder: &Path) -> u64 {
    let temp = folder::names(folder).into_iter().find(|name| name.starts_with('.'));
    temp.and_then(|name| fs::metadata(folder.join(name)).ok()).map_or(0, |found| found.len())
}
