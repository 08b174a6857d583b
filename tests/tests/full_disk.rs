//! A disk that is full: the tool says so, the old data and the older backup stay whole, and nothing is left lying
//! about.

use std::fs;

use integration_tests::{
    binaries,
    client::is_unavailable,
    denied,
    export::bare,
    folder, generate,
    server::{Server, Settings},
    tool::{args, export_folder, import, run},
};

#[tokio::test]
async fn an_import_that_cannot_write_on_leaves_the_old_store() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, old, new) = (temp.path().join("meta"), temp.path().join("old"), temp.path().join("new"));
    generate::write(&old, 50, 20);
    generate::write(&new, 20_000, 100);
    import(&raft_dir, &old).await;
    let before = export_folder(&raft_dir).await;
    let line = args([&"import", &"--raft-dir", &raft_dir, &"--db", &new]);
    for kib in [0, 16, 100, 400] {
        let (program, limited) = denied::small_files(kib, &binaries::tool(), &line);
        let ran = run(&program, &limited).await.expect(1);
        assert!(ran.stderr.contains("File too large"), "{kib} KiB: {}", ran.stderr);
        assert_eq!(folder::names(&raft_dir).len(), 3, "{kib} KiB: {:?}", folder::names(&raft_dir));
        assert_eq!(export_folder(&raft_dir).await, before, "{kib} KiB");
    }
    import(&raft_dir, &new).await;
}

#[tokio::test]
async fn an_import_onto_a_full_file_system_leaves_the_old_store() {
    let temp = tempfile::tempdir().unwrap();
    let (mount, old, new) = (temp.path().join("mount"), temp.path().join("old"), temp.path().join("new"));
    fs::create_dir(&mount).unwrap();
    generate::write(&old, 50, 20);
    generate::write(&new, 40_000, 100);
    let script = r#"
        tool=$1 mount=$2 old=$3 new=$4
        mount -t tmpfs -o size=3m tmpfs "$mount"
        "$tool" import --raft-dir "$mount/meta" "$old" 2>/dev/null
        "$tool" export --raft-dir "$mount/meta" "$old.before" 2>/dev/null
        code=0; "$tool" import --raft-dir "$mount/meta" "$new" || code=$?
        "$tool" export --raft-dir "$mount/meta" "$old.after" 2>/dev/null
        ls "$mount/meta"
        exit $code
    "#;
    let line = args([&binaries::tool(), &mount, &old, &new]);
    let Some(ran) = denied::with_own_mounts(script, &line).await else { return };
    let ran = ran.expect(1);
    let said = format!("error: the import failed, and {} holds what it held: cannot ", mount.join("meta").display());
    let (warning, error) = ran.stderr.split_once('\n').unwrap();
    assert!(warning.starts_with("warning: a store of ") && warning.contains(" takes about "), "{}", ran.stderr);
    assert!(error.starts_with(&said), "{}", ran.stderr);
    assert!(error.ends_with(": No space left on device (os error 28)\n"), "{}", ran.stderr);
    assert_eq!(ran.lines().len(), 3, "LOCK, CURRENT and one generation: {}", ran.stdout);
    let read = |name| bare(&fs::read_to_string(temp.path().join(name)).unwrap());
    assert_eq!(read("old.after"), read("old.before"));
}

#[tokio::test]
async fn an_export_onto_a_full_file_system_keeps_the_older_backup() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, mount, seed) = (temp.path().join("meta"), temp.path().join("mount"), temp.path().join("seed"));
    fs::create_dir(&mount).unwrap();
    generate::write(&seed, 5_000, 100);
    import(&raft_dir, &seed).await;
    let server = Server::start(Settings::of(&raft_dir)).await;
    let script = r#"
        tool=$1 mount=$2 grpc=$3
        mount -t tmpfs -o size=400k tmpfs "$mount"
        echo "the older backup" > "$mount/backup"
        code=0; "$tool" export --grpc-api-address "$grpc" --db "$mount/backup" || code=$?
        ls -A "$mount"
        cat "$mount/backup"
        exit $code
    "#;
    let line = args([&binaries::tool(), &mount, &server.grpc_address()]);
    let Some(ran) = denied::with_own_mounts(script, &line).await else { return };
    let ran = ran.expect(1);
    let said = format!("error: cannot write {}/.backup.export-", mount.display());
    assert!(ran.stderr.starts_with(&said), "{}", ran.stderr);
    assert!(ran.stderr.ends_with(".tmp: No space left on device (os error 28)\n"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "backup\nthe older backup\n");
}

#[tokio::test]
async fn a_server_that_cannot_write_its_log_stops_and_keeps_what_it_acknowledged() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    let limited = Settings { file_limit_kib: Some(3 * 1024), ..Settings::single(&raft_dir) };
    let server = Server::start_leading(limited).await;
    let mut client = server.client().await;
    let mut acknowledged = 0;
    let refused = loop {
        assert!(acknowledged < 2_000, "a log of 3 MiB took {acknowledged} entries of 10 kB");
        match client.put(&format!("k{acknowledged:05}"), &[7; 10_000]).await {
            Ok(_) => acknowledged += 1,
            Err(status) => break status,
        }
    };
    // It may still have been written, and that is not hidden from the client.
    assert!(is_unavailable(&refused), "{refused}");
    let (code, stderr) = server.ended().await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("File too large"), "{stderr}");

    let server = Server::start(Settings::of(&raft_dir)).await;
    let found = server.client().await.list("").await.unwrap();
    assert!((acknowledged..=acknowledged + 1).contains(&found.len()), "{} of {acknowledged}", found.len());
    assert!((0..acknowledged).all(|n| found.contains_key(&format!("k{n:05}"))));
}
