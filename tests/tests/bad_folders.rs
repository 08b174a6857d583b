//! Folders that must not be touched: of a running server, of another program, without permission, or not there at all.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use integration_tests::{
    binaries, denied, fixtures, folder, generate,
    server::{Server, Settings},
    tool::{Ran, args, ended, export_folder, import, metactl, run, start_metactl},
    wait,
    writer::{Writer, state_after},
};
use rustix::process::Signal;
use tokio::{io::AsyncWriteExt, task::JoinSet};

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_of_a_running_server_is_refused_and_the_server_goes_on() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    let server = Server::start_leading(Settings::single(&raft_dir)).await;
    let writer = Writer::start(&server, 100).await;
    writer.writes(50).await;
    let pid = fs::read_to_string(raft_dir.join("LOCK")).unwrap();
    let backup = fixtures::path("v004.ndjson");
    let member = "7=127.0.0.1:28007";
    for ran in [
        metactl([&"import", &"--raft-dir", &raft_dir, &"--db", &backup]).await,
        metactl([&"import", &"--raft-dir", &raft_dir, &"--id", &"7", &"--initial-cluster", &member, &"--db", &backup])
            .await,
        run(&binaries::server(), &args([&"--import", &"--raft-dir", &raft_dir, &"--db", &backup])).await,
        metactl([&"generations", &"--prune", &"--raft-dir", &raft_dir]).await,
        metactl([&"export", &"--raft-dir", &raft_dir]).await,
        Settings::single(&raft_dir).run().await,
    ] {
        let said = ran.expect(1).stderr;
        assert!(said.contains(&format!("is in use by process {}", pid.trim())), "{said}");
        assert!(said.contains(&raft_dir.display().to_string()), "{said}");
        writer.writes(50).await;
    }
    assert_eq!(folder::names(&raft_dir).len(), 3, "{:?}", folder::names(&raft_dir));
    let (state, _) = state_after(writer.stop().await, 100);
    server.kill().await;
    let server = Server::start(Settings::of(&raft_dir)).await;
    assert_eq!(server.client().await.list("").await.unwrap(), state);
}

#[tokio::test]
async fn a_folder_that_is_being_imported_into_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, backup) = (temp.path().join("meta"), fixtures::path("v004.ndjson"));
    let text = fixtures::text("v004.ndjson");
    let mut first = start_metactl([&"import", &"--raft-dir", &raft_dir]);
    let mut stdin = first.stdin.take().unwrap();
    stdin.write_all(&text.as_bytes()[..1000]).await.unwrap();
    wait::until_true("the first import to hold the folder", || raft_dir.join("new-000001").exists()).await;
    let in_use = format!("is in use by process {}", first.id().unwrap());
    for ran in [
        metactl([&"import", &"--raft-dir", &raft_dir, &"--db", &backup]).await,
        metactl([&"export", &"--raft-dir", &raft_dir]).await,
        Settings::single(&raft_dir).run().await,
    ] {
        let said = ran.expect(1).stderr;
        assert!(said.contains(&in_use), "{said}");
    }
    stdin.write_all(&text.as_bytes()[1000..]).await.unwrap();
    drop(stdin);
    ended(first).await.expect(0);
    assert_eq!(folder::names(&raft_dir), ["CURRENT", "LOCK", "gen-000001"]);
}

/// Whoever comes first: the others are refused, or come after it.
#[tokio::test]
async fn of_imports_that_begin_at_once_each_is_done_or_refused_and_the_store_is_that_of_one() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, mut imports, mut stores) = (temp.path().join("meta"), JoinSet::new(), Vec::new());
    for keys in [1000, 1001, 1002, 1003] {
        let (backup, alone) = (temp.path().join(format!("{keys}.ndjson")), temp.path().join(keys.to_string()));
        generate::write(&backup, keys, 50);
        import(&alone, &backup).await;
        stores.push(export_folder(&alone).await);
    }
    for keys in [1000, 1001, 1002, 1003] {
        let line = args([&"import", &"--raft-dir", &raft_dir, &temp.path().join(format!("{keys}.ndjson"))]);
        imports.spawn(async move { run(&binaries::tool(), &line).await });
    }
    let (done, refused): (Vec<_>, Vec<_>) = imports.join_all().await.into_iter().partition(|ran| ran.code == Some(0));
    assert!(!done.is_empty());
    for ran in refused {
        let said = ran.expect(1).stderr;
        assert!(said.contains("is in use by process"), "{said}");
    }
    assert!(stores.contains(&export_folder(&raft_dir).await));
    assert_eq!(folder::names(&raft_dir).len(), 3, "{:?}", folder::names(&raft_dir));
}

#[tokio::test]
async fn an_export_of_a_folder_that_is_no_store_creates_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let make = |name: &str, entry: Option<&str>| {
        let folder = temp.path().join(name);
        fs::create_dir(&folder).unwrap();
        if let Some(entry) = entry {
            fs::write(folder.join(entry), "").unwrap();
        }
        folder
    };
    for (folder, reason) in [
        (temp.path().join("missing"), "does not exist"),
        (make("empty", None), "is empty"),
        (make("photos", Some("holiday.jpg")), "\"holiday.jpg\""),
        (make("databend", Some("VERSION")), "\"VERSION\""),
    ] {
        let before = folder.exists().then(|| folder::files(&folder));
        let file = temp.path().join("backup.ndjson");
        let said = metactl([&"export", &"--raft-dir", &folder, &"--db", &file]).await.expect(1).stderr;
        assert!(said.contains(reason) && said.contains(&folder.display().to_string()), "{said}");
        assert_eq!(folder.exists().then(|| folder::files(&folder)), before);
        assert!(!file.exists());
    }
}

#[tokio::test]
async fn a_backup_is_not_written_into_the_store_it_is_made_of() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    import(&raft_dir, &fixtures::path("v004.ndjson")).await;
    let before = folder::files(&raft_dir);
    for name in ["CURRENT", "backup.ndjson", "gen-000001/backup.ndjson"] {
        let line: [&(dyn AsRef<std::ffi::OsStr> + Sync); 4] =
            [&"export", &"--raft-dir", &raft_dir, &raft_dir.join(name)];
        let said = metactl(line).await.expect(1).stderr;
        assert!(said.contains("is inside the store in"), "{said}");
    }
    assert_eq!(folder::files(&raft_dir), before);
}

#[tokio::test]
async fn a_store_whose_current_is_lost_is_still_there() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    import(&raft_dir, &fixtures::path("v004.ndjson")).await;
    let before = export_folder(&raft_dir).await;
    fs::remove_file(raft_dir.join("CURRENT")).unwrap();
    assert_eq!(export_folder(&raft_dir).await, before);
}

#[tokio::test]
async fn a_folder_of_another_program_is_refused_by_name_of_what_is_in_it() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("holiday.jpg"), "a photo").unwrap();
    let before = folder::files(temp.path());
    let backup = fixtures::path("v004.ndjson");
    for ran in [
        metactl([&"import", &"--raft-dir", &temp.path(), &"--db", &backup]).await,
        Settings::single(temp.path()).run().await,
    ] {
        let said = ran.expect(1).stderr;
        assert!(said.contains("\"holiday.jpg\""), "{said}");
        assert_eq!(folder::files(temp.path()), before);
    }
}

#[tokio::test]
async fn a_damaged_store_is_refused_and_not_taken_for_an_empty_one() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, backup) = (temp.path().join("meta"), fixtures::path("v004-tail.ndjson"));
    let base = "gen-000001/base-000001";
    for (name, damaged, reason) in [
        ("no name in CURRENT", "CURRENT".to_owned(), "CURRENT"),
        ("no log", "gen-000001/log/0000000001.wal".to_owned(), "there is no log in its folder"),
        ("no META", format!("{base}/META"), "META"),
        ("no table", format!("{base}/table/current"), "table/current"),
        ("no version of the table", format!("{base}/table/v1"), "table"),
        ("no records", format!("{base}/table/tables/0"), "table"),
    ] {
        if raft_dir.exists() {
            fs::remove_dir_all(&raft_dir).unwrap();
        }
        import(&raft_dir, &backup).await;
        fs::remove_file(raft_dir.join(&damaged)).unwrap();
        if damaged == "CURRENT" {
            fs::write(raft_dir.join(damaged), "").unwrap();
        }
        for ran in [metactl([&"export", &"--raft-dir", &raft_dir]).await, Settings::of(&raft_dir).run().await] {
            let Ran { stdout, stderr, .. } = ran.expect(1);
            assert!(stderr.contains(reason) && stderr.contains(&raft_dir.display().to_string()), "{name}: {stderr}");
            assert!(!stderr.contains("panicked") && stdout.is_empty(), "{name}: {stderr}");
        }
    }
}

#[tokio::test]
async fn an_export_works_from_a_store_that_may_only_be_read() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    import(&raft_dir, &fixtures::path("v004-tail.ndjson")).await;
    let expected = export_folder(&raft_dir).await;
    set_modes(&raft_dir, 0o500, 0o400);
    let line = args([&"export", &"--raft-dir", &raft_dir]);
    let ran = denied::without_privileges(&binaries::tool(), &line).await;
    set_modes(&raft_dir, 0o700, 0o600);
    if let Some(ran) = ran {
        assert_eq!(ran.expect(0).stdout, expected);
    }
}

#[tokio::test]
async fn a_folder_without_permission_is_a_clear_error() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    import(&raft_dir, &fixtures::path("v004.ndjson")).await;
    let (before, expected) = (folder::files(&raft_dir), export_folder(&raft_dir).await);
    let backup = fixtures::path("v004.ndjson");
    let tool = args([&"import", &"--raft-dir", &raft_dir, &"--db", &backup]);
    let server = args([&"--raft-dir", &raft_dir, &"--grpc-api-address", &"127.0.0.1:0", &"--log-file-on", &"false"]);
    for (program, line) in [(binaries::tool(), tool), (binaries::server(), server)] {
        for mode in [0o500, 0o000] {
            set_modes(&raft_dir, mode, 0o400);
            let ran = denied::without_privileges(&program, &line).await;
            set_modes(&raft_dir, 0o700, 0o600);
            let Some(ran) = ran else { return };
            let said = ran.expect(1).stderr;
            assert!(said.contains("Permission denied") && said.contains(&raft_dir.display().to_string()), "{said}");
        }
    }
    assert_eq!(folder::files(&raft_dir), before);
    assert_eq!(export_folder(&raft_dir).await, expected);
}

/// Sets the mode of every folder and every file in `folder`.
fn set_modes(folder: &Path, of_folders: u32, of_files: u32) {
    fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
    for name in folder::names(folder) {
        let path = folder.join(name);
        if path.is_dir() {
            set_modes(&path, of_folders, of_files);
        } else {
            fs::set_permissions(&path, Permissions::from_mode(of_files)).unwrap();
        }
    }
    fs::set_permissions(folder, Permissions::from_mode(of_folders)).unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_a_clear_error_that_names_address_and_flag() {
    let temp = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let settings = Settings::single(&temp.path().join("meta"));
    for (settings, flag) in [
        (Settings { grpc_address: address.clone(), ..settings.clone() }, "--grpc-api-address"),
        (Settings { admin_address: address.clone(), ..settings.clone() }, "--admin-api-address"),
    ] {
        let said = settings.run().await.expect(1).stderr;
        for words in [address.as_str(), flag, "in use"] {
            assert!(said.contains(words), "{words:?} is not in {said}");
        }
    }
    let server = Server::start(settings).await;
    assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
}

#[tokio::test]
async fn a_server_without_a_store_says_how_to_begin() {
    let temp = tempfile::tempdir().unwrap();
    let said = Settings::of(&temp.path().join("meta")).run().await.expect(1).stderr;
    assert!(said.contains("--single") && said.contains("--import"), "{said}");
}
