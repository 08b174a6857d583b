//! `databend-metactl inspect` on real files: whole, compressed, of every version, damaged, and much larger than its
//! memory.

use std::{fs, path::Path};

use integration_tests::{
    fixtures, generate,
    tool::{Ran, import, metactl, metactl_measured, metactl_reading},
};
use serde_json::Value;

const FIXTURES: [&str; 7] = [
    "v0-2022-05.ndjson",
    "v0-2022-11.ndjson",
    "v002.ndjson",
    "v004.ndjson",
    "v004-reexported.ndjson",
    "v004-tail.ndjson",
    "v004-tail-applied.ndjson",
];

async fn inspected(file: &Path) -> Value {
    let ran = metactl([&"inspect", &"--json", &file]).await.expect(0);
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Nothing on the page is wider than a terminal.
#[track_caller]
fn assert_fits(ran: &Ran) {
    let wide: Vec<&str> = ran.stdout.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:#?}");
}

#[tokio::test]
async fn every_version_is_told_line_by_line() {
    for name in FIXTURES {
        let (path, text) = (fixtures::path(name), fixtures::text(name));
        let found = inspected(&path).await;
        let holding = |words: &str| text.lines().filter(|line| line.contains(words)).count() as u64;
        assert_eq!(found["lines"], text.lines().count() as u64, "{name}");
        assert_eq!(found["bytes"], text.len() as u64, "{name}");
        assert_eq!(found["keys"]["count"], holding("\"GenericKV\""), "{name}");
        assert_eq!(found["records"]["nodes"]["count"], holding("{\"Nodes\""), "{name}");
        assert_eq!(found["log"]["entries"], holding("\"payload\""), "{name}");
        assert_eq!((&found["damage"], &found["seal"]), (&Value::Null, &Value::Null), "{name}");
        assert!(found["warnings"][0].as_str().unwrap().starts_with("the file has no seal"), "{found}");

        let page = metactl([&"inspect", &path]).await.expect(0);
        assert!(page.stderr.is_empty(), "{}", page.stderr);
        assert_fits(&page);
    }
}

#[tokio::test]
async fn a_sealed_file_tells_the_same_compressed_or_not_and_from_a_pipe() {
    let temp = tempfile::tempdir().unwrap();
    let raft_dir = temp.path().join("meta");
    import(&raft_dir, &fixtures::path("v004-tail.ndjson")).await;
    let mut told = Vec::new();
    for name in ["b.ndjson", "b.ndjson.zst", "b.ndjson.gz"] {
        let file = temp.path().join(name);
        metactl([&"export", &"--raft-dir", &raft_dir, &"--db", &file]).await.expect(0);
        let found = inspected(&file).await;
        assert_eq!((&found["sealed"], &found["seal"]["consistency"]), (&true.into(), &"offline".into()), "{name}");
        assert_eq!(found["read_bytes"], fs::metadata(&file).unwrap().len());
        assert_eq!(found["warnings"], Value::Array(Vec::new()));
        told.push((
            found["keys"]["prefixes"].clone(),
            found["log"].clone(),
            found["reach"].clone(),
            found["nodes"].clone(),
        ));
        let page = metactl([&"inspect", &"--depth", &"3", &"--db", &file]).await.expect(0);
        assert!(page.stdout.contains("whole: every byte is as it was"), "{}", page.stdout);
        assert_fits(&page);
    }
    assert_eq!(told[1], told[0]);
    assert_eq!(told[2], told[0]);

    let text = fs::read_to_string(temp.path().join("b.ndjson")).unwrap();
    let piped = metactl_reading(&text, [&"inspect", &"--json"]).await.expect(0);
    let piped: Value = serde_json::from_str(&piped.stdout).unwrap();
    assert_eq!((&piped["file"], &piped["keys"]["prefixes"]), (&"standard input".into(), &told[0].0));
}

/// What is told of where an import may stop is where it does.
#[tokio::test]
async fn the_reach_is_that_of_an_import() {
    let temp = tempfile::tempdir().unwrap();
    let file = fixtures::path("v004-tail.ndjson");
    let reach = inspected(&file).await["reach"].clone();
    let (first, last) = (reach["first_index"].as_u64().unwrap(), reach["last_index"].as_u64().unwrap());
    assert!(first < last, "{reach}");
    let target = temp.path().join("meta");
    for (index, code) in [(first.wrapping_sub(1), 1), (first, 0), (last, 0), (last + 1, 1)] {
        let to = index.to_string();
        metactl([&"import", &"--plan", &"--raft-dir", &target, &file, &"--to-index", &to]).await.expect(code);
    }
    let page = metactl([&"inspect", &file]).await.expect(0);
    assert!(page.stdout.contains(&format!("--to-index {first} to {last}")), "{}", page.stdout);
    let moment = page.stdout.lines().find_map(|line| line.trim().strip_prefix("--to-time ")).unwrap();
    for moment in moment.split(" to ") {
        metactl([&"import", &"--plan", &"--raft-dir", &target, &file, &"--to-time", &moment]).await.expect(0);
    }
}

#[tokio::test]
async fn a_damaged_file_is_marked_and_told_as_far_as_it_goes() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, file) = (temp.path().join("meta"), temp.path().join("b"));
    import(&raft_dir, &fixtures::path("v004.ndjson")).await;
    metactl([&"export", &"--raft-dir", &raft_dir, &"--db", &file]).await.expect(0);
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let damaged = temp.path().join("damaged");
    for bytes in [whole[..whole.len() / 2].to_vec(), flipped, [&whole[..], b"x"].concat()] {
        fs::write(&damaged, bytes).unwrap();
        let page = metactl([&"inspect", &damaged]).await.expect(1);
        assert!(page.stdout.starts_with("DAMAGED: ") && page.stdout.contains("log entries"), "{}", page.stdout);
        assert!(page.stdout.contains("nothing vouches for it"), "{}", page.stdout);
        assert!(page.stderr.starts_with(&format!("error: {}, line ", damaged.display())), "{}", page.stderr);
        let ran = metactl([&"inspect", &"--json", &damaged]).await.expect(1);
        let told: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert!(told["damage"].as_str().unwrap().contains("line ") && told["keys"].is_null(), "{told}");
        assert!(told["read"]["lines"].as_u64().unwrap() > 10, "{told}");
    }
}

#[tokio::test]
async fn what_is_no_backup_gets_one_clear_error_and_a_header_alone_a_warning() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("b");
    for (text, expected) in [
        ("", "the input is empty"),
        ("hello\n", "line 1: "),
        (r#"["header",{"DataHeader":{"key":"header","value":{"version":"V100"}}}]"#, "version V100 is not supported"),
    ] {
        fs::write(&file, text).unwrap();
        let ran = metactl([&"inspect", &file]).await.expect(1);
        assert!(ran.stdout.is_empty() && ran.stderr.contains(expected), "{} {}", ran.stdout, ran.stderr);
    }
    let folder = metactl([&"inspect", &temp.path()]).await.expect(1);
    assert!(folder.stderr.contains("is a folder, not a backup file") && folder.stderr.contains("export --raft-dir"));
    let missing = metactl([&"inspect", &temp.path().join("none")]).await.expect(1);
    assert!(missing.stderr.contains("No such file"), "{}", missing.stderr);

    fs::write(&file, generate::head(0)[0].clone() + "\n").unwrap();
    let alone = metactl([&"inspect", &file]).await.expect(0);
    assert!(alone.stdout.contains("there is nothing to restore"), "{}", alone.stdout);
}

/// Every key is a prefix of its own, and some are anything but plain text.
#[tokio::test]
async fn memory_does_not_grow_with_the_prefixes() {
    const MIB: u64 = 1024 * 1024;
    const KEYS: u64 = 100_000;
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("many");
    let key = |n: u64| match n {
        7 => format!("p{n:06}/{}", "\\u001b[2J漢".repeat(40)),
        n if n.is_multiple_of(25_000) => format!("p{n:06}/large"),
        n => format!("p{n:06}/x"),
    };
    let line = |n: u64| {
        let len = if n.is_multiple_of(25_000) { 3000 + n / 25_000 } else { 3 };
        let data = vec!["7"; len as usize].join(",");
        let (key, seq) = (key(n), n + 1);
        format!(
            r#"["state_machine/0",{{"GenericKV":{{"key":"{key}","value":{{"seq":{seq},"meta":null,"data":[{data}]}}}}}}]"#
        )
    };
    let lines: Vec<String> = generate::head(KEYS).into_iter().chain((0..KEYS).map(line)).collect();
    fs::write(&file, lines.join("\n") + "\n").unwrap();

    let (ran, peak) = metactl_measured([&"inspect", &"--json", &"--top", &"4", &file]).await;
    let found: Value = serde_json::from_str(&ran.expect(0).stdout).unwrap();
    assert!(peak < 64 * MIB, "{} MiB", peak / MIB);
    let prefixes = &found["keys"]["prefixes"];
    let rows = prefixes["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["prefix"].as_str().unwrap()).collect();
    assert_eq!(names, ["p075000", "p050000", "p025000", "p000000"]);
    assert_eq!(rows[0]["bytes"], 3003 + "p075000/large".len() as u64);
    assert_eq!((&prefixes["exact"], &prefixes["more"]), (&true.into(), &(KEYS - 4).into()));
    assert_eq!(prefixes["others"]["count"], KEYS - 4);
    assert_eq!(found["keys"]["largest"][0]["key"], "p075000/large");

    let page = metactl([&"inspect", &"--top", &"20", &file]).await.expect(0);
    assert!(!page.stdout.contains('\u{1b}'));
    assert_fits(&page);
}
