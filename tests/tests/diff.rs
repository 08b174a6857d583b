//! `metactl diff`: what is different between files, folders and servers, and never a difference where something could not be read.

use std::{fs, path::Path, process::Stdio};

use integration_tests::{
    binaries,
    export::Export,
    fixtures, folder, generate,
    server::{Server, Settings},
    tool::{Ran, args, command, ended, export_folder, import, metactl, metactl_reading},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

/// Two sides as an operator names them; exit code 0.
async fn assert_same(a: &Path, b: &Path) -> Ran {
    let ran = metactl([&"diff", &a, &b]).await.expect(0);
    assert!(ran.stdout.contains("no difference: all "), "{}", ran.stdout);
    ran
}

#[track_caller]
fn assert_trouble(ran: Ran, words: &str) {
    let ran = ran.expect(2);
    assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(words), "{words:?} is not in {}", ran.stderr);
    assert!(!ran.stdout.contains("no difference") && !ran.stdout.contains("all keys"), "{}", ran.stdout);
}

#[tokio::test]
async fn one_state_is_the_same_as_a_file_a_folder_and_a_server() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name);
    let (raft_dir, other_dir) = (path("meta"), path("other"));
    let fixture = fixtures::path("v004.ndjson");
    metactl([&"import", &"--raft-dir", &raft_dir, &fixture, &"--id", &"1", &"--initial-cluster", &"1=127.0.0.1:28004"])
        .await
        .expect(0);
    folder::copy(&raft_dir, &other_dir);
    let files = ["plain.ndjson", "b.ndjson.zst", "b.ndjson.gz"].map(path);
    for file in &files {
        metactl([&"export", &"--raft-dir", &raft_dir, &file]).await.expect(0);
    }
    let [plain, zst, gz] = &files;
    assert_same(plain, zst).await;
    assert_same(gz, &raft_dir).await;
    assert_same(&raft_dir, &other_dir).await;
    let bare = export_folder(&raft_dir).await;
    for line in [[&"diff", &"-", zst as &(dyn AsRef<_> + Sync)], [&"diff", &raft_dir, &"-"]] {
        let same = metactl_reading(&bare, line).await.expect(0).stdout;
        assert!(same.contains("note: the file has no seal"), "{same}");
    }

    let before = folder::files(&other_dir);
    let server = Server::start_leading(Settings::of(&raft_dir)).await;
    let address = Path::new(server.grpc_address());
    assert_same(plain, address).await;
    let told = assert_same(address, &other_dir).await.stdout;
    // Its own address is news.
    assert!(told.contains("node 1 (Leader), linearizable") && told.contains("  node 1 "), "{told}");
    assert_same(address, address).await;
    assert_eq!(folder::files(&other_dir), before);
}

#[tokio::test]
async fn differences_are_told_by_prefix_and_by_key_and_the_other_way_round_they_are_mirrored() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, file) = (temp.path().join("meta"), temp.path().join("b.ndjson.zst"));
    let server = Server::start_leading(Settings::single(&raft_dir)).await;
    let mut client = server.client().await;
    for key in ["a/1", "a/2", "a/b/3", "c/4", "top", "with\nnewline"] {
        client.put(key, b"value").await.unwrap();
    }
    let address = server.grpc_address();
    metactl([&"export", &"--grpc-api-address", &address, &file]).await.expect(0);
    client.delete("a/1").await.unwrap();
    client.put("a/2", b"value").await.unwrap();
    client.put("a/b/3", b"other value").await.unwrap();
    client.put("c/5", b"v").await.unwrap();
    client.put("with\nnewline", b"VALUE").await.unwrap();

    let there = metactl([&"diff", &file, &address, &"--keys"]).await.expect(1).stdout;
    let lines: Vec<&str> = there.lines().collect();
    let expected = [
        "- a/1  5 bytes, seq 1",
        "~ a/b/3  5 -> 11 bytes, seq 3 -> 8",
        "+ c/5  1 bytes, seq 9",
        "~ with\\nnewline  other data of 5 bytes, seq 6 -> 10",
        "",
    ];
    assert_eq!(lines[..5], expected, "{there}");
    for row in [
        "       0         0 B        1         8 B        1        16 B  a/",
        "       1         4 B        0         0 B        0         0 B  c/",
        "       1         4 B        1         8 B        2        33 B  all keys",
        "the other 3 keys are the same (1 with another seq)",
    ] {
        assert!(lines.contains(&row), "{row:?} is not in {there}");
    }
    let back = metactl([&"diff", &address, &file, &"--keys", &"--depth", &"2"]).await.expect(1).stdout;
    for row in ["+ a/1  5 bytes, seq 1", "       1         8 B        0         0 B        1        10 B  a/"] {
        assert!(back.lines().any(|line| line == row), "{row:?} is not in {back}");
    }
    assert!(back.contains("  a/b/\n"), "{back}");

    // As JSON: a line for each key, then the result.
    let ran = metactl([&"diff", &file, &address, &"--keys", &"--json", &"--strict-seq"]).await.expect(1);
    let lines: Vec<Value> = ran.lines().into_iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (result, keys) = lines.split_last().unwrap();
    assert_eq!(keys.len(), 5);
    assert_eq!(keys[1]["differs"], json!(["seq"]));
    assert_eq!((&result["differ"], &result["keys"]["changed"]["keys"]), (&json!(true), &json!(3)));
    assert_eq!((&result["keys"]["seq_only"], &result["keys"]["same"]), (&json!(0), &json!(2)));
    assert_eq!(result["beside_the_keys"], json!(["last applied", "sequence"]));

    // A stopped node has what it acknowledged last, known to be committed or not.
    server.kill().await;
    let folder = metactl([&"diff", &file, &raft_dir, &"--keys"]).await.expect(1).stdout;
    assert_eq!(folder.lines().take(4).collect::<Vec<_>>(), expected[..4]);
}

#[tokio::test]
async fn versions_orders_and_logs_make_no_difference() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name);
    for old in ["v002.ndjson", "v0-2022-11.ndjson"] {
        let (old, new, lower) = (fixtures::path(old), path("new.ndjson"), path("lower.ndjson.gz"));
        metactl([&"convert", &"--db", &old, &"--out", &new]).await.expect(0);
        assert_same(&old, &new).await;
        metactl([&"convert", &"--db", &old, &"--out", &lower, &"--data-version", &"V002"]).await.expect(0);
        assert_same(&lower, &new).await;
    }

    // A tail is applied, and so is a log without a state.
    let (tail, applied) = (fixtures::path("v004-tail.ndjson"), fixtures::path("v004-tail-applied.ndjson"));
    let told = metactl([&"diff", &tail, &applied, &"--strict-seq", &"--expired"]).await.expect(0).stdout;
    assert!(told.contains("log entries after its state are applied to it"), "{told}");
    let text = fixtures::text("v004-tail.ndjson");
    let log: String =
        text.lines().filter(|line| !line.starts_with("[\"state_machine")).flat_map(|line| [line, "\n"]).collect();
    metactl_reading(&log, [&"diff", &applied, &"-", &"--strict-seq", &"--expired"]).await.expect(0);

    let (sorted, unsorted) = (path("sorted.ndjson"), path("unsorted.ndjson"));
    generate::write(&sorted, 1000, 50);
    generate::write_in_order(&unsorted, 1000, (0..1000).map(|n| n * 719 % 1000), 50);
    assert_same(&sorted, &unsorted).await;
    let twice = fs::read_to_string(&sorted).unwrap();
    let again = twice.lines().last().unwrap().replace("\"seq\":1000,", "\"seq\":999,");
    fs::write(&unsorted, twice.replace("\"seq\":999,", "\"seq\":1000,") + &again + "\n").unwrap();
    assert_trouble(metactl([&"diff", &sorted, &unsorted]).await, "seq 1000 belongs to an earlier record already");
}

#[tokio::test]
async fn a_restored_cluster_is_the_same_as_its_backup_whoever_its_members_are() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    let file = fixtures::path("v004.ndjson");
    metactl([&"import", &"--raft-dir", &raft_dir, &file, &"--id", &"7", &"--initial-cluster", &"7=127.0.0.1:28004"])
        .await
        .expect(0);
    let told = metactl([&"diff", &file, &raft_dir, &"--strict-seq", &"--expired"]).await.expect(0).stdout;
    for line in ["  voters        1 2 3 in A, 7 in B", "  node 7        none in A, 127.0.0.1:28004 in B"] {
        assert!(told.lines().any(|found| found == line), "{line:?} is not in {told}");
    }
    // What has expired meanwhile goes with the first entry, and is not missed.
    let server = Server::start_leading(Settings::of(&raft_dir)).await;
    let address = server.grpc_address();
    let told = metactl([&"diff", &file, &address]).await.expect(0).stdout;
    assert!(told.contains("   68 keys; 3 more have expired, and are passed over\n"), "{told}");
    let told = metactl([&"diff", &file, &address, &"--expired", &"--keys"]).await.expect(1).stdout;
    assert_eq!(told.lines().filter(|line| line.starts_with("- ")).count(), 3, "{told}");
}

#[tokio::test]
async fn what_can_not_be_compared_is_trouble_and_no_difference() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name);
    let (raft_dir, whole, cut) = (path("meta"), path("whole.ndjson"), path("cut.ndjson"));
    import(&raft_dir, &fixtures::path("v004.ndjson")).await;
    metactl([&"export", &"--raft-dir", &raft_dir, &whole]).await.expect(0);
    let text = fs::read_to_string(&whole).unwrap();
    let seal = text.trim_end().rfind('\n').unwrap() + 1;
    let key = text[..seal - 1].rfind('\n').unwrap() + 1;
    for end in [seal, key, seal + 100] {
        fs::write(&cut, &text[..end]).unwrap();
        assert_trouble(metactl([&"diff", &whole, &cut]).await, "cut.ndjson");
        assert_trouble(metactl([&"diff", &cut, &whole, &"--keys"]).await, "cut.ndjson");
        assert_trouble(metactl_reading(&text[..end], [&"diff", &"-", &whole]).await, "standard input");
    }
    fs::write(&cut, "").unwrap();
    assert_trouble(metactl([&"diff", &whole, &cut]).await, "the input is empty");
    assert_trouble(metactl([&"diff", &whole, &path("none")]).await, "there is no file and no folder");
    assert_trouble(metactl([&"diff", &whole, &temp.path()]).await, "is not a store of this program");
    assert_trouble(metactl([&"diff", &"-", &"-"]).await, "both sides are standard input");
    assert_trouble(metactl([&"diff", &raft_dir, &raft_dir]).await, "both sides are the folder");
    assert_trouble(metactl([&"diff", &whole, &"127.0.0.1:1"]).await, "cannot connect to 127.0.0.1:1");
    let server = Server::start(Settings::of(&raft_dir)).await;
    let running = "compared by its gRPC address, not by its folder: ";
    assert_trouble(metactl([&"diff", &raft_dir, &whole]).await, running);
    let admin = server.admin_address();
    assert_trouble(metactl([&"diff", &whole, &admin]).await, "is not the gRPC address");
    metactl([&"diff", &whole, &server.grpc_address(), &"--keys"]).await.expect(0);
}

#[tokio::test]
async fn a_server_that_is_killed_in_the_middle_is_trouble() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, seed, few) = (temp.path().join("meta"), temp.path().join("seed.ndjson"), temp.path().join("few"));
    generate::write(&seed, 40_000, 400);
    generate::write(&few, 10, 400);
    import(&raft_dir, &seed).await;
    let server = Server::start(Settings::of(&raft_dir)).await;
    let line = args([&"diff", &few, &server.grpc_address(), &"--keys"]);
    let mut tool = command(&binaries::tool(), &line).stdout(Stdio::piped()).spawn().unwrap();
    // It has begun, and waits for somebody who reads on.
    let mut stdout = BufReader::with_capacity(100, tool.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).await.unwrap();
    assert!(first.starts_with("+ bench/k0000000010 "), "{first}");
    server.signal(Signal::KILL);
    server.ended().await;
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).await.unwrap();
    let ran = ended(tool).await.expect(2);
    assert!(ran.stderr.contains("cannot read 127.0.0.1:"), "{}", ran.stderr);
    // What was told is true.
    let told = rest.lines().count();
    assert!(told < 39_989 && rest.lines().all(|line| line.starts_with("+ bench/k")), "{told} lines");
}

#[tokio::test]
async fn a_member_that_has_applied_nothing_is_compared_by_its_log() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, file) = (temp.path().join("meta"), temp.path().join("log.ndjson"));
    let text = fixtures::text("v004-tail.ndjson");
    // A log alone, of a node whose two peers are not there: nobody leads, and nothing is known to be committed.
    let log = text.lines().filter(|line| !line.starts_with("[\"state_machine"));
    let log: String = log
        .map(|line| match line {
            line if line.contains("\"Committed\"") => "[\"raft_log\",{\"Committed\":null}]\n".to_owned(),
            line => line.replace(r#"{"configs":[[1]],"nodes":{"1":{}}}"#, MEMBERS) + "\n",
        })
        .collect();
    fs::write(&file, log).unwrap();
    import(&raft_dir, &file).await;
    let server = Server::start(Settings::of(&raft_dir)).await;
    let applied = fixtures::path("v004-tail-applied.ndjson");
    let ran =
        metactl([&"diff", &applied, &server.grpc_address(), &"--strict-seq", &"--expired", &"--json"]).await.expect(0);
    assert!(ran.stderr.contains("WARNING: ") && ran.stderr.contains("is local, not linearizable"), "{}", ran.stderr);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(told["b"]["keys"], Export::parse(fixtures::text("v004-tail-applied.ndjson").lines()).keys.len());
    assert_eq!(told["b"]["notes"].as_array().map(Vec::len), Some(2), "{told}");
}

const MEMBERS: &str = r#"{"configs":[[1,2,3]],"nodes":{"1":{},"2":{},"3":{}}}"#;
