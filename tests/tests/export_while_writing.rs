//! An export that is taken while a client writes is the state at its own LastApplied: not a write more, not a write
//! less.

use std::fs;

use integration_tests::{
    client::{lines, rest},
    export::Export,
    server::{Server, Settings},
    tool::{import, metactl},
    writer::Writer,
};

const VALUE: usize = 1000;

/// An export is what the writer's order says, with the log up to the same entry.
pub fn assert_exact<'a>(writer: &Writer, lines: impl IntoIterator<Item = &'a str>) -> u64 {
    let export = Export::parse(lines);
    let applied = export.applied.expect("a LastApplied");
    let (state, sequence) = writer.state_at(applied);
    assert_eq!(export.all(), state, "at {applied}");
    assert_eq!((export.sequence, export.committed), (sequence, Some(applied)));
    assert!(writer.indexes().contains(&applied), "{applied} is not in {:?}", writer.indexes());
    let first = export.purged.map_or(0, |purged| purged + 1);
    assert_eq!(export.log, (first..=applied).collect::<Vec<_>>());
    applied
}

#[tokio::test(flavor = "multi_thread")]
async fn every_export_is_exactly_the_state_at_its_last_applied() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_leading(Settings::single(&folder.path().join("meta"))).await;
    let writer = Writer::start(&server, VALUE).await;
    let mut client = server.client().await;
    let mut seen = Vec::new();
    for chunk_size in [None, Some(1), Some(0), Some(32), Some(4_294_967_295), None] {
        writer.writes(120).await;
        let chunks = rest(client.export(chunk_size).await.unwrap()).await.unwrap();
        seen.push(assert_exact(&writer, lines(&chunks)));
    }
    writer.writes(50).await;
    let ran = metactl([&"export", &"--grpc-api-address", &server.grpc_address()]).await.expect(0);
    seen.push(assert_exact(&writer, ran.lines()));
    assert!(seen.is_sorted_by(|a, b| a < b), "each export is of a later moment: {seen:?}");
    writer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_gets_the_moment_it_asked_at() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_leading(Settings::single(&folder.path().join("meta"))).await;
    let writer = Writer::start(&server, VALUE).await;
    writer.writes(500).await;
    let mut client = server.client().await;
    let mut slow = client.export(Some(1)).await.unwrap();
    let first = slow.message().await.unwrap().unwrap();
    let asked_at = *writer.indexes().end();
    writer.writes(500).await;
    let chunks: Vec<_> = std::iter::once(first).chain(rest(slow).await.unwrap()).collect();
    let applied = assert_exact(&writer, lines(&chunks));
    assert!(applied <= asked_at, "the export is of {applied}, it was asked for at {asked_at} at the latest");
    writer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_while_writing_restores_to_exactly_that_state() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("backup.ndjson");
    let server = Server::start_leading(Settings::single(&temp.path().join("meta"))).await;
    let writer = Writer::start(&server, VALUE).await;
    writer.writes(150).await;
    // A base with some of it, and the rest in the log.
    server.admin("/v1/ctrl/trigger_snapshot").await;
    writer.writes(150).await;
    metactl([&"export", &"--grpc-api-address", &server.grpc_address(), &"--db", &file]).await.expect(0);
    let text = fs::read_to_string(&file).unwrap();
    let (state, sequence) = writer.state_at(assert_exact(&writer, text.lines()));
    writer.stop().await;

    let (same, new) = (temp.path().join("same"), temp.path().join("new"));
    import(&same, &file).await;
    let member = "5=127.0.0.1:28005";
    metactl([&"import", &"--raft-dir", &new, &"--db", &file, &"--id", &"5", &"--initial-cluster", &member])
        .await
        .expect(0);
    for raft_dir in [same, new] {
        let server = Server::start(Settings::of(&raft_dir)).await;
        let mut client = server.client().await;
        assert_eq!(client.list("").await.unwrap(), state, "{}", raft_dir.display());
        assert_eq!(client.put("next", b"").await.unwrap(), sequence + 1);
    }
}
