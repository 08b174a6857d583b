//! Backups that cannot be right, imported over a good store: a clear refusal, and the old data as it was, byte for
//! byte.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use integration_tests::{
    export::Export,
    fixtures, folder, generate,
    server::{Server, Settings},
    tool::{export_folder, import, metactl, metactl_reading},
};

/// A backup, and the words that its refusal must have after the name of the file.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) backup: Vec<u8>,
    pub(super) says: &'static [&'static str],
}

/// The line numbers below are those of `v004.ndjson`: the log is in lines 6 to 87, the state machine from line 88 on.
pub(super) fn cases() -> Vec<Case> {
    let good = fixtures::text("v004.ndjson");
    let lines: Vec<&str> = good.lines().collect();
    let joined = |lines: &[&str]| (lines.join("\n") + "\n").into_bytes();
    let without = |from: usize, to: usize| joined(&[&lines[..from - 1], &lines[to..]].concat());
    let with = |line: usize, text: &str| {
        let mut lines = lines.clone();
        lines[line - 1] = text;
        joined(&lines)
    };
    let version = |version: &str| with(1, &lines[0].replace("V004", version));
    let mut not_utf8 = good.clone().into_bytes();
    let twentieth: usize = lines[..19].iter().map(|line| line.len() + 1).sum();
    not_utf8[twentieth + 4] = 0xff;

    let case = |name, backup, says| Case { name, backup, says };
    vec![
        case("empty", vec![], &["the input is empty"]),
        case("not UTF-8", not_utf8, &[", line 20: ", "UTF-8"]),
        case("another version", version("V100"), &[", line 1: ", "V100", "V004"]),
        case(
            "half upgraded",
            with(1, &lines[0].replace("\"V004\"", "\"V004\",\"upgrading\":\"V005\"")),
            &[", line 1: ", "V005"],
        ),
        case("no header", without(1, 1), &[", line 1: ", "no header"]),
        case("two headers", joined(&[&lines[..1], &lines[..]].concat()), &[", line 2: ", "second `header`"]),
        case("cut in the header", lines[0].as_bytes()[..40].to_vec(), &[", line 1: "]),
        case("cut in the log", good.as_bytes()[..good.len() / 3].to_vec(), &[", line 50: "]),
        case("cut in a key", good.as_bytes()[..good.len() - 9].to_vec(), &[", line 167: "]),
        case("cut at the end of a line of the log", joined(&lines[..40]), &["no state machine"]),
        case("cut before LastMembership", joined(&lines[..89]), &["LastMembership"]),
        case("bad JSON", with(30, "[\"raft_log\",{]"), &[", line 30: "]),
        case(
            "a vote behind the log",
            good.replace("{\"term\":1,\"node_id\":0}", "{\"term\":3,\"node_id\":0}").into_bytes(),
            &["its vote is of term 1, behind its last log id T3-N0.83"],
        ),
        case("not an array", with(30, "{}"), &[", line 30: "]),
        case("three in a line", with(30, "[\"raft_log\",{\"NodeId\":1},2]"), &[", line 30: "]),
        case("unknown tree", with(90, &lines[89].replace("state_machine/0", "sled")), &[", line 90: ", "`sled`"]),
        case(
            "unknown record",
            with(90, &lines[89].replace("StateMachineMeta", "Whatever")),
            &[", line 90: ", "Whatever"],
        ),
        case("unknown command", with(6, &lines[5].replace("AddNode", "DropTable")), &[", line 6: ", "DropTable"]),
        case("a gap in the log", without(31, 31), &[", line 31: ", "log entry 28 where 27 must follow"]),
        case("a log that starts late", without(6, 6), &[", line 6: ", "the log starts with T1-N0.3, not with entry 2"]),
        case("empty line", joined(&[&lines[..30], &[""], &lines[30..]].concat()), &[", line 31: ", "empty"]),
        case("empty last line", (good.clone() + "\n").into_bytes(), &[", line 168: ", "empty"]),
        case("a byte-order mark", with(1, &format!("\u{feff}{}", lines[0])), &[", line 1: "]),
        case(
            "a key twice",
            joined(&[&lines[..], &[&lines[166].replace("\"seq\":", "\"seq\":1")]].concat()),
            &[", line 168: ", "twice"],
        ),
        case(
            "a seq twice",
            with(167, &lines[166].replacen("seq\":", "seq\":157,\"old\":", 1)),
            &[", line 167: ", "157"],
        ),
        case("a seq above the counter", with(88, &lines[87].replace("159", "158")), &["seq 159 is above 158"]),
        case("no counter", without(88, 88), &["`Sequences`"]),
        case("header only", joined(&lines[..1]), &["no state"]),
        case("no LastApplied", without(89, 89), &["`LastApplied`"]),
        case(
            "LastApplied twice",
            joined(&[&lines[..], &lines[88..89]].concat()),
            &[", line 168: ", "LastApplied", "line 89"],
        ),
        case("no node id", without(2, 2), &["--id"]),
        case("Committed above the log", with(4, COMMITTED_99), &[", line 4: ", "Committed", "T1-N0.99"]),
        case("nobody votes", with(90, NOBODY_VOTES), &[", line 90: ", "nobody votes"]),
        case("two node ids", joined(&[&lines[..2], &lines[1..]].concat()), &[", line 3: ", "second `NodeId`"]),
        case(
            "the node id of an older version too",
            joined(&[&lines[..2], &[OLD_ID], &lines[2..]].concat()),
            &[", line 3: ", "`raft_state`"],
        ),
        case(
            "half of a surrogate pair",
            with(167, &lines[166].replacen("\"key\":\"", "\"key\":\"\\ud83d", 1)),
            &[", line 167: "],
        ),
        case(
            "a byte that is none",
            with(167, &lines[166].replacen("\"data\":[", "\"data\":[256,", 1)),
            &[", line 167: "],
        ),
        case(
            "a line of 100 MiB",
            with(167, &"x".repeat(100 * 1024 * 1024)),
            &[", line 167: ", "longer than 33554432 bytes"],
        ),
    ]
}

const OLD_ID: &str = r#"["raft_state",{"RaftStateKV":{"key":"Id","value":{"NodeId":1}}}]"#;

/// The same of older versions. In `v002.ndjson` the log is in lines 4 to 85, in `v0-2022-11.ndjson` in lines 1 to 84.
pub(super) fn older_cases() -> Vec<Case> {
    let (v002, v0) = (fixtures::text("v002.ndjson"), fixtures::text("v0-2022-11.ndjson"));
    let with = |text: &str, line: usize, from: &str, to: &str| {
        let mut lines: Vec<String> = text.lines().map(|line| line.to_owned() + "\n").collect();
        assert!(lines[line - 1].contains(from), "{from} is not in line {line}");
        lines[line - 1] = lines[line - 1].replacen(from, to, 1);
        lines.concat().into_bytes()
    };
    let second_id = format!("{OLD_ID}\n[");
    let case = |name, backup, says| Case { name, backup, says };
    vec![
        case("V002: two node ids", with(&v002, 3, "[", &second_id), &[", line 3: ", "second `NodeId`"]),
        case("V002: a record of V004", with(&v002, 4, "Logs", "LogEntry"), &[", line 4: ", "`LogEntry`"]),
        case(
            "V002: under another index",
            with(&v002, 5, "\"key\":3", "\"key\":4"),
            &[", line 5: ", "index 4", "T1-N0.3"],
        ),
        case("V002: bad JSON", with(&v002, 5, "{\"key\":3", "{\"key\":3,\"x\":[}"), &[", line 5: "]),
        case(
            "V002: half upgraded",
            with(&v002, 1, "\"upgrading\":null", "\"upgrading\":\"V003\""),
            &[", line 1: ", "V003", "let the upgrade finish"],
        ),
        case(
            "V002: a vote for nobody",
            with(&v002, 3, "\"committed\":false", "\"x\":0"),
            &[", line 3: ", "`committed`"],
        ),
        case("V0: unknown record", with(&v0, 87, "Nodes", "Shares"), &[", line 87: ", "`Shares`"]),
        case(
            "V0: retired record",
            with(&v0, 87, "Nodes", "Databases"),
            &[", line 87: ", "`Databases`", "--drop-retired"],
        ),
        case(
            "V0: retired command",
            with(&v0, 3, "AddNode", "DropTable"),
            &[", line 3: ", "`DropTable`", "--drop-retired"],
        ),
        case("V0: unknown command", with(&v0, 3, "AddNode", "AddNodes"), &[", line 3: ", "AddNodes"]),
        case("V0: nobody votes", with(&v0, 1, "[[1]]", "[[]]"), &[", line 1: ", "nobody votes"]),
        case("V0: a log id without a leader", with(&v0, 2, "\"term\":1,", ""), &[", line 2: ", "`leader_id`"]),
    ]
}

const COMMITTED_99: &str = r#"["raft_log",{"Committed":{"leader_id":{"term":1,"node_id":0},"index":99}}]"#;
const NOBODY_VOTES: &str = concat!(
    r#"["state_machine/0",{"StateMachineMeta":{"key":"LastMembership","value":"#,
    r#"{"Membership":{"log_id":null,"membership":{"configs":[[]],"nodes":{}}}}}}]"#
);

/// Every file of a store but the lock, which names the process that had it last.
fn files(raft_dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = folder::files(raft_dir);
    files.remove(&raft_dir.join("LOCK"));
    files
}

/// A store with keys that are known.
async fn good_store(temp: &Path) -> PathBuf {
    let (raft_dir, seed) = (temp.join("meta"), temp.join("seed.ndjson"));
    generate::write(&seed, 50, 20);
    import(&raft_dir, &seed).await;
    raft_dir
}

async fn assert_served(raft_dir: &Path) {
    let server = Server::start(Settings::of(raft_dir)).await;
    let found = server.client().await.list("").await.unwrap();
    let expected = (0..50).map(|n| (generate::key(n), (n + 1, generate::value(n, 20)))).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_bad_backup_is_refused_by_file_line_and_reason_and_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = good_store(temp.path()).await;
    let (before, exported) = (files(&raft_dir), export_folder(&raft_dir).await);
    let file = temp.path().join("bad.ndjson");
    let mut wrong = Vec::new();
    for Case { name, backup, says } in cases().into_iter().chain(older_cases()) {
        fs::write(&file, backup).unwrap();
        let ran = metactl([&"import", &"--raft-dir", &raft_dir, &"--db", &file]).await;
        let said = ran.stderr.trim_end();
        // One line for the operator: the file, then where and why.
        let reason = said.strip_prefix(&format!("error: {}", file.display()));
        let clear = reason.is_some_and(|reason| says.iter().all(|words| reason.contains(words)));
        if ran.code != Some(1) || !clear || said.contains('\n') || !ran.stdout.is_empty() {
            wrong.push(format!("{name}: {:?}: {said}", ran.code));
        }
        assert_eq!(files(&raft_dir), before, "{name}: the store was changed");
        assert_eq!(export_folder(&raft_dir).await, exported, "{name}");
    }
    assert!(wrong.is_empty(), "not refused as they should be:\n{}", wrong.join("\n"));
    assert_served(&raft_dir).await;
}

#[tokio::test]
async fn a_backup_that_cannot_be_read_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = good_store(temp.path()).await;
    let before = files(&raft_dir);
    for (name, db, reason) in [
        ("missing", temp.path().join("none.ndjson"), "No such file"),
        ("a folder", temp.path().to_owned(), "is a directory"),
        ("below a file", temp.path().join("seed.ndjson/backup"), "Not a directory"),
    ] {
        let said = metactl([&"import", &"--raft-dir", &raft_dir, &"--db", &db]).await.expect(1).stderr;
        assert!(said.contains(&db.display().to_string()) && said.contains(reason), "{name}: {said}");
        assert_eq!(files(&raft_dir), before, "{name}");
    }
    let said = metactl_reading("[\"raft_log\"", [&"import", &"--raft-dir", &raft_dir]).await.expect(1).stderr;
    assert!(said.contains("standard input, line 1: "), "{said}");
    assert_eq!(files(&raft_dir), before);
    assert_served(&raft_dir).await;
}

#[tokio::test]
async fn a_bad_backup_leaves_no_folder_where_there_was_none() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    let text = fixtures::text("v004.ndjson");
    for cut in [30, 2_000, text.len() / 2] {
        metactl_reading(&text[..cut], [&"import", &"--raft-dir", &raft_dir]).await.expect(1);
        assert_eq!(folder::names(temp.path()), [""; 0], "cut after {cut} bytes");
    }
}

#[tokio::test]
async fn unsorted_keys_import() {
    let temp = tempfile::tempdir().unwrap();
    let text = fixtures::text("v004.ndjson");
    let mut lines: Vec<&str> = text.lines().collect();
    lines[87..].reverse();
    // As far from sorted as it gets, and the state before the log.
    let shuffled = [&lines[..5], &lines[87..], &lines[5..87]].concat();
    let raft_dir = temp.path().join("meta");
    metactl_reading(&shuffled.join("\n"), [&"import", &"--raft-dir", &raft_dir]).await.expect(0);
    assert_eq!(Export::parse(export_folder(&raft_dir).await.lines()).all(), Export::parse(text.lines()).all());
}

#[tokio::test]
async fn a_cut_that_no_check_can_show_is_warned_of() {
    let temp = tempfile::tempdir().unwrap();
    let text = fixtures::text("v004.ndjson");
    let cut: String = text.split_inclusive('\n').take(150).collect();
    let raft_dir = temp.path().join("meta");
    let said = metactl_reading(&cut, [&"import", &"--raft-dir", &raft_dir]).await.expect(0).stderr;
    assert!(said.contains("warning: the file has no seal"), "{said}");
}
