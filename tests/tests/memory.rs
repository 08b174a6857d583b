//! Memory does not grow with the data: an import, a comparison and both kinds of export stay below the same bound,
//! whatever the size.

use integration_tests::{
    generate,
    server::{Server, Settings},
    tool::{Ran, metactl_measured},
};

const MIB: u64 = 1024 * 1024;
const BOUND: u64 = 100 * MIB;
const KEYS: u64 = 100_000;

#[track_caller]
fn assert_small(what: &str, (ran, peak): (Ran, u64)) {
    ran.expect(0);
    assert!(peak > 0 && peak < BOUND, "{what} took {} MiB", peak / MIB);
}

#[tokio::test]
async fn import_and_exports_of_a_hundred_thousand_keys_take_little_memory() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, seed) = (temp.path().join("meta"), temp.path().join("seed.ndjson"));
    generate::write(&seed, KEYS, 128);
    assert_small("the import", metactl_measured([&"import", &"--raft-dir", &raft_dir, &"--db", &seed]).await);
    let (offline, online) = (temp.path().join("offline.ndjson"), temp.path().join("online.ndjson"));
    let by_folder = metactl_measured([&"export", &"--raft-dir", &raft_dir, &"--db", &offline]).await;
    assert_small("the export of the folder", by_folder);

    let server = Server::start(Settings::of(&raft_dir)).await;
    let by_grpc = metactl_measured([&"export", &"--grpc-api-address", &server.grpc_address(), &"--db", &online]).await;
    assert_small("the export over gRPC", by_grpc);
    assert!(server.peak_memory() < BOUND, "the server took {} MiB", server.peak_memory() / MIB);

    // A backup in no order is sorted on disk.
    let (unsorted, sorted_dir) = (temp.path().join("unsorted.ndjson"), temp.path().join("sorted"));
    generate::write_in_order(&unsorted, KEYS, (0..KEYS).map(|n| n * 7919 % KEYS), 128);
    let by_import = metactl_measured([&"import", &"--raft-dir", &sorted_dir, &"--db", &unsorted]).await;
    assert_small("the import of unsorted keys", by_import);

    // And so it is to be compared; the other side comes as it is.
    let by_diff = metactl_measured([&"diff", &unsorted, &server.grpc_address()]).await;
    assert_small("the comparison of unsorted keys with a server", by_diff);

    let keys = |path| -> usize {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().filter(|line| line.contains("{\"GenericKV\":")).count()
    };
    assert_eq!((keys(&offline), keys(&online)), (KEYS as usize, KEYS as usize));
}
