//! A backup with a log that its state machine does not cover: every kind of command is in it.

use std::{collections::BTreeSet, fs};

use integration_tests::{
    fixtures,
    server::{Server, Settings},
    tool::{export_folder, import, metactl},
};
use rustix::process::Signal;

fn state(export: &str) -> BTreeSet<&str> {
    export.lines().filter(|line| line.starts_with("[\"state_machine")).collect()
}

/// The backup as it is, and without the state machine: a node that never built a snapshot exports its whole state as
/// log.
fn backups() -> [(&'static str, String); 2] {
    let text = fixtures::text("v004-tail.ndjson");
    let log = text.lines().filter(|line| !line.starts_with("[\"state_machine")).flat_map(|line| [line, "\n"]).collect();
    [("a tail above a state", text), ("a log alone", log)]
}

#[tokio::test]
async fn a_tail_is_applied_as_the_real_program_applies_it() {
    let applied = fixtures::text("v004-tail-applied.ndjson");
    for (name, text) in backups() {
        let folder = tempfile::tempdir().unwrap();
        let (file, raft_dir) = (folder.path().join("backup.ndjson"), folder.path().join("meta"));
        fs::write(&file, text).unwrap();
        import(&raft_dir, &file).await;
        assert_eq!(state(&export_folder(&raft_dir).await), state(&applied), "{name}, from the folder");

        // The server leads, writes down its own address and nothing else.
        let server = Server::start_leading(Settings::of(&raft_dir)).await;
        let exported = metactl([&"export", &"--grpc-api-address", &server.grpc_address()]).await.expect(0).stdout;
        let of_users = |export: &str| -> BTreeSet<String> {
            let kinds = ["GenericKV", "Sequences"];
            let lines = export.lines().filter(|line| kinds.iter().any(|kind| line.contains(kind)));
            lines.filter(|line| line.starts_with("[\"state_machine")).map(str::to_owned).collect()
        };
        // Records that expire meanwhile are cleaned by the server's own writes: what is there must be right, and the
        // rest gone.
        let (found, expected) = (of_users(&exported), of_users(&applied));
        assert!(found.is_subset(&expected), "{name}, from the server: {:?}", found.difference(&expected));
        let lost: Vec<_> = expected.difference(&found).filter(|line| !line.contains("expire_at")).collect();
        assert!(lost.is_empty(), "{name}, from the server: {lost:?}");
        assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
    }
}

#[tokio::test]
async fn a_tail_is_applied_for_a_new_cluster_too() {
    let applied = fixtures::text("v004-tail-applied.ndjson");
    let keys = |export: &str| -> Vec<String> {
        export.lines().filter(|line| line.contains("{\"GenericKV\":")).map(str::to_owned).collect()
    };
    for (name, text) in backups() {
        let folder = tempfile::tempdir().unwrap();
        let (file, raft_dir) = (folder.path().join("backup.ndjson"), folder.path().join("meta"));
        fs::write(&file, text).unwrap();
        let member = "4=127.0.0.1:28004";
        metactl([&"import", &"--raft-dir", &raft_dir, &"--id", &"4", &"--initial-cluster", &member, &"--db", &file])
            .await
            .expect(0);
        assert_eq!(keys(&export_folder(&raft_dir).await), keys(&applied), "{name}");
    }
}
