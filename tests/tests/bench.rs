//! `databend-metactl bench` against a real server: what it measures, what it leaves, and what it says when nobody
//! answers.

use integration_tests::{
    export::Export,
    server::{Server, Settings, free_port},
    tool::{export_folder, metactl},
};
use rustix::process::Signal;
use serde_json::Value;

/// Keys in the store under a prefix, as its folder has them.
async fn keys(raft_dir: &std::path::Path, prefix: &str) -> usize {
    let text = export_folder(raft_dir).await;
    assert!(!Export::parse(text.lines()).all().is_empty());
    let start = format!("{{\"GenericKV\":{{\"key\":\"{prefix}");
    text.lines().filter(|line| line.contains(&start)).count()
}

#[tokio::test]
async fn every_mode_measures_what_it_does_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    let server = Server::start_leading(Settings::single(&raft_dir)).await;
    server.client().await.put("theirs/1", b"x").await.unwrap();
    let grpc = server.grpc_address();
    for (mode, measured, not) in [("write", "write", "read"), ("read", "read", "write"), ("mixed", "read", "none")] {
        let ran = metactl([
            &"bench",
            &"--json",
            &"--grpc-api-address",
            &grpc,
            &"--mode",
            &mode,
            &"--seconds",
            &"1",
            &"--clients",
            &"4",
            &"--keys",
            &"50",
            &"--value-bytes",
            &"32",
            &"--prefix",
            &"load/",
        ]);
        let told: Value = serde_json::from_str(&ran.await.expect(0).stdout).unwrap();
        let calls = told[measured]["calls"].as_u64().unwrap();
        let [half, most] = ["p50_ms", "p99_ms"].map(|at| told[measured][at].as_f64().unwrap());
        assert!(calls > 0 && half > 0.0 && half <= most, "{told}");
        assert!(told[not].is_null(), "{told}");
        assert_eq!((&told["errors"], &told["keys_left"]), (&Value::Array(Vec::new()), &0.into()), "{told}");
    }
    let kept = metactl([
        &"bench",
        &"--grpc-api-address",
        &grpc,
        &"--seconds",
        &"1",
        &"--keys",
        &"7",
        &"--ttl",
        &"3600",
        &"--keep",
        &"--prefix",
        &"kept/",
    ]);
    let page = kept.await.expect(0).stdout;
    assert!(page.contains("7 keys are under kept/") && page.contains("write"), "{page}");
    assert!(page.lines().all(|line| line.chars().count() <= 100), "{page}");

    assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
    assert_eq!((keys(&raft_dir, "load/").await, keys(&raft_dir, "kept/").await), (0, 7));
    assert_eq!(keys(&raft_dir, "theirs/").await, 1);
}

#[tokio::test]
async fn without_a_server_there_is_one_clear_error() {
    let address = format!("127.0.0.1:{}", free_port());
    let ran = metactl([&"bench", &"--grpc-api-address", &address]).await.expect(1);
    assert!(ran.stderr.contains(&format!("cannot connect to {address}")), "{}", ran.stderr);
    metactl([&"bench", &"--clients", &"0"]).await.expect(2);
}
