//! Exports that nobody reads: they cost the server little memory and no write any time, and whoever is gone holds nothing.

use std::time::{Duration, Instant};

use integration_tests::{
    export::Export,
    folder, generate, measure,
    server::{Server, Settings},
    tool::{args, export_folder, import, metactl, start_metactl},
    wait,
};

const KEYS: u64 = 8_000;
/// 13 MB of text in all.
const VALUE: usize = 400;
/// Clients of either kind; together fewer than may export at once.
const STALLED: usize = 7;
/// Of all exports together: for each the few chunks of 1 MiB that are made ahead and on the way, and not the 13 MB that there are.
const MEMORY_KIB: u64 = 2 * STALLED as u64 * 8 * 1024;
/// Far more than a write takes, on a busy machine too, and far less than an export that nobody reads.
const AT_ONCE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn exports_that_nobody_reads_take_little_and_hold_nothing_once_their_clients_are_gone() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, seed) = (temp.path().join("meta"), temp.path().join("seed"));
    generate::write(&seed, KEYS, VALUE);
    import(&raft_dir, &seed).await;
    let more = args([&"--max-applied-log-to-keep", &"0"]);
    let server = Server::start_leading(Settings { more, ..Settings::of(&raft_dir) }).await;
    let mut client = server.client().await;
    // What the first export of all costs is no part of it.
    metactl([&"export", &"--grpc-api-address", &server.grpc_address()]).await.expect(0);
    let resident = || measure::usage(server.id()).expect("the server runs").now_kib;
    let before = resident();

    let (mut streams, mut tools) = (Vec::new(), Vec::new());
    for _ in 0..STALLED {
        let mut stream = server.client().await.export(Some(32)).await.unwrap();
        stream.message().await.unwrap().unwrap();
        streams.push(stream);
        // Its standard output is a pipe that is full soon.
        tools.push(start_metactl([&"export", &"--grpc-api-address", &server.grpc_address()]));
    }
    wait_for_exports(&server, 2 * STALLED).await;
    for n in 0..200 {
        let began = Instant::now();
        client.put(&format!("meanwhile/{n:03}"), &[7; 100]).await.unwrap();
        assert!(began.elapsed() < AT_ONCE, "write {n} took {:?}", began.elapsed());
    }
    server.admin("/v1/ctrl/trigger_snapshot").await;
    wait::until_true("a second base", || folder::bases(&raft_dir).len() == 2).await;
    assert_eq!(server.metric("backup_exports_in_flight").await, Some(2.0 * STALLED as f64), "they still run");
    let grown = resident().saturating_sub(before);
    eprintln!("{} exports that nobody reads take {grown} KiB", 2 * STALLED);
    assert!(grown < MEMORY_KIB, "{} exports that nobody reads take {grown} KiB", 2 * STALLED);

    // Some close their connections, others are killed.
    drop(streams);
    for mut tool in tools {
        tool.kill().await.unwrap();
    }
    wait_for_exports(&server, 0).await;
    wait::until_true("the old base to go", || folder::bases(&raft_dir).len() == 1).await;
    wait::until("the log to be purged", async || {
        let status = server.admin("/v1/cluster/status").await;
        (status["purged"]["index"].as_u64()? >= status["snapshot_last_log_id"]["index"].as_u64()?).then_some(())
    })
    .await;
    server.kill().await;
    let held = Export::parse(export_folder(&raft_dir).await.lines());
    assert_eq!(held.keys.len() as u64, KEYS + 200);
}

async fn wait_for_exports(server: &Server, count: usize) {
    wait::until(&format!("{count} exports to run"), async || {
        (server.metric("backup_exports_in_flight").await? == count as f64).then_some(())
    })
    .await;
}
