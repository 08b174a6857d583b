//! Sealed backups through the real programs: every file is one, what was changed is refused, and the refusal says where.

use std::{fs, path::Path};

use integration_tests::{
    binaries,
    export::bare,
    fixtures,
    server::{Server, Settings},
    tool::{args, export_folder, import, metactl, run},
};
use serde_json::Value;

/// A sealed backup of a fixture, made of a folder, with the folder it was made of.
pub(super) async fn sealed(temp: &Path, name: &str) -> Vec<u8> {
    let (raft_dir, file) = (temp.join("sealed"), temp.join(name));
    if !raft_dir.exists() {
        import(&raft_dir, &fixtures::path("v004.ndjson")).await;
    }
    metactl([&"export", &"--raft-dir", &raft_dir, &"--db", &file]).await.expect(0);
    fs::read(file).unwrap()
}

fn seal(text: &str) -> Value {
    let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(line[1]["DataHeader"]["key"], "seal");
    line[1]["DataHeader"]["value"].clone()
}

#[tokio::test]
async fn a_backup_of_a_running_server_says_what_it_is_and_imports_without_a_warning() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start_leading(Settings::single(&temp.path().join("meta"))).await;
    server.client().await.put("k", b"v").await.unwrap();
    let file = temp.path().join("b.ndjson");
    let grpc = server.grpc_address();
    metactl([&"export", &"--grpc-api-address", &grpc, &"--db", &file]).await.expect(0);
    let text = fs::read_to_string(&file).unwrap();
    let said = seal(&text);
    assert_eq!(
        (&said["node_id"], &said["role"], &said["consistency"]),
        (&1.into(), &"Leader".into(), &"linearizable".into())
    );
    assert_eq!(said["records"], text.lines().count() as u64 - 1);
    assert_eq!(said["cluster_id"].as_str().unwrap().len(), 64);
    assert_eq!(said["last_applied"], said["committed"]);

    let raft_dir = temp.path().join("restored");
    let ran = metactl([&"import", &"--require-seal", &"--raft-dir", &raft_dir, &"--db", &file]).await.expect(0);
    assert!(
        ran.stderr.contains("sealed: node 1 (Leader) of cluster ") && !ran.stderr.contains("no seal"),
        "{}",
        ran.stderr
    );
    assert_eq!(export_folder(&raft_dir).await, bare(&text));

    // Standard output is sealed where that is asked for, and only there.
    let stdout = metactl([&"export", &"--seal", &"--grpc-api-address", &grpc]).await.expect(0).stdout;
    assert_eq!(seal(&stdout)["consistency"], "linearizable");
}

#[tokio::test]
async fn compressed_backups_are_the_same_backup() {
    let temp = tempfile::tempdir().unwrap();
    let plain = String::from_utf8(sealed(temp.path(), "b.ndjson").await).unwrap();
    let list = "7=127.0.0.1:28007";
    let mut clusters = Vec::new();
    for name in ["b.ndjson", "b.ndjson.zst", "b.ndjson.gz"] {
        let file = sealed(temp.path(), name).await;
        assert_eq!(file.len() < plain.len() / 2, name != "b.ndjson", "{name}");
        let (same, new) = (temp.path().join(format!("same-{name}")), temp.path().join(format!("new-{name}")));
        let db = temp.path().join(name);
        metactl([&"import", &"--require-seal", &"--raft-dir", &same, &"--db", &db]).await.expect(0);
        assert_eq!(export_folder(&same).await, bare(&plain), "{name}");
        let ran = metactl([
            &"import",
            &"--json",
            &"--raft-dir",
            &new,
            &"--db",
            &db,
            &"--id",
            &"7",
            &"--initial-cluster",
            &list,
        ]);
        let told: Value = serde_json::from_str(&ran.await.expect(0).stdout).unwrap();
        clusters.push(told["cluster_id"].clone());
    }
    // Neither the seal nor the compression is part of what a cluster is made of.
    let fixture = fixtures::path("v004.ndjson");
    let new = temp.path().join("new");
    let ran = metactl([
        &"import",
        &"--json",
        &"--raft-dir",
        &new,
        &"--db",
        &fixture,
        &"--id",
        &"7",
        &"--initial-cluster",
        &list,
    ]);
    let told: Value = serde_json::from_str(&ran.await.expect(0).stdout).unwrap();
    assert!(told["seal"].is_null() && told["cluster_id"].is_string());
    assert_eq!(clusters, vec![told["cluster_id"].clone(); 3]);
}

#[tokio::test]
async fn a_backup_without_a_seal_is_refused_where_one_is_required() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, file) = (temp.path().join("meta"), fixtures::path("v004.ndjson"));
    for program in [binaries::tool(), binaries::server()] {
        let import: &str = if program == binaries::tool() { "import" } else { "--import" };
        let line = args([&import, &"--require-seal", &"--raft-dir", &raft_dir, &"--db", &file]);
        let ran = run(&program, &line).await.expect(1);
        assert!(ran.stderr.contains("it has no seal, and --require-seal takes no file without one"), "{}", ran.stderr);
        assert!(!raft_dir.exists());
    }
}

/// What must not pass for a sealed file: cuts, flipped bits, more behind it, and twice the same.
pub(super) fn changes(whole: &[u8]) -> Vec<Vec<u8>> {
    let step = whole.len() / 5;
    let cuts = (1..5).map(|n| whole[..n * step].to_vec()).chain([whole[..whole.len() - 1].to_vec()]);
    let flips = (0..5).map(|n| {
        let mut flipped = whole.to_vec();
        flipped[n * step + n] ^= 1 << n;
        flipped
    });
    cuts.chain(flips).chain([[whole, b"x"].concat(), whole.repeat(2)]).collect()
}

/// A part of what the unit tests try exhaustively: the real tool on cuts and flipped bits of a real backup.
#[tokio::test]
async fn what_was_changed_is_refused_by_the_real_tool() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    import(&raft_dir, &fixtures::path("v004.ndjson")).await;
    let before = export_folder(&raft_dir).await;
    for name in ["b.ndjson", "b.ndjson.zst", "b.ndjson.gz"] {
        let whole = sealed(temp.path(), name).await;
        let changed = temp.path().join("changed");
        for bytes in changes(&whole) {
            fs::write(&changed, bytes).unwrap();
            let ran = metactl([&"import", &"--raft-dir", &raft_dir, &"--db", &changed]).await.expect(1);
            assert!(ran.stderr.starts_with(&format!("error: {}", changed.display())), "{}", ran.stderr);
        }
    }
    assert_eq!(export_folder(&raft_dir).await, before);
}
