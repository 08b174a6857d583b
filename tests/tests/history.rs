//! Exports that keep the way to the state, or leave it out, and imports that stop on it.

use std::path::Path;

use integration_tests::{
    export::Export,
    server::{Server, Settings},
    tool::{export_folder, import, metactl},
};
use rustix::process::Signal;

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
