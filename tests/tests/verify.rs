//! `verify` says what an import would: the same words and exit code for what is refused, the same facts for what is
//! not. And a drill restores for real. Neither leaves anything behind.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use integration_tests::{
    binaries, denied, fixtures, folder, generate,
    tool::{Ran, args, command, ended, run},
    wait,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    process::Child,
    time::{sleep, timeout},
};

use super::{bad_backups, seal};

/// A folder for backups, one that is TMPDIR, and a name for a store.
struct Place {
    temp: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("tmp")).unwrap();
        Place { temp }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn tool(&self, line: &[OsString]) -> tokio::process::Command {
        let mut tool = command(&binaries::tool(), line);
        tool.env("TMPDIR", self.path("tmp"));
        tool
    }

    /// What `verify` says of the file, once it is certain that nothing but the file is there.
    async fn verify(&self, file: &Path, flags: &str) -> Ran {
        let before = folder::names(self.temp.path());
        let mut line = args([&"verify", &file]);
        line.extend(words(flags));
        let ran = ended(self.tool(&line).spawn().unwrap()).await;
        assert_eq!(folder::names(self.temp.path()), before, "{flags}");
        assert_eq!(folder::names(&self.path("tmp")), [""; 0], "{flags}");
        ran
    }

    /// What an import of the file into a folder of its own says.
    async fn import(&self, file: &Path, flags: &str) -> Ran {
        let raft_dir = self.path("meta");
        let mut line = args([&"import", &"--raft-dir", &raft_dir, &file]);
        line.extend(words(flags));
        let ran = run(&binaries::tool(), &line).await;
        if raft_dir.exists() {
            fs::remove_dir_all(raft_dir).unwrap();
        }
        ran
    }
}

fn words(flags: &str) -> impl Iterator<Item = OsString> {
    flags.split_whitespace().map(OsString::from)
}

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.expect(0).stdout).unwrap()
}

/// Verifies the file and imports it; gives what is not the same.
async fn difference(place: &Place, file: &Path, flags: &str) -> Option<String> {
    let (verified, imported) = (place.verify(file, flags).await, place.import(file, flags).await);
    let same = match imported.code {
        Some(0) => verified.code == Some(0),
        code => (verified.code, &verified.stderr) == (code, &imported.stderr) && verified.stdout.is_empty(),
    };
    (!same).then(|| {
        format!("verify {:?}: {}import {:?}: {}", verified.code, verified.stderr, imported.code, imported.stderr)
    })
}

#[tokio::test]
async fn what_an_import_refuses_is_refused_in_the_same_words() {
    let place = Place::new();
    let file = place.path("bad.ndjson");
    let mut wrong = Vec::new();
    for case in bad_backups::cases().into_iter().chain(bad_backups::older_cases()) {
        fs::write(&file, case.backup).unwrap();
        let said = place.verify(&file, "").await.expect(1).stderr;
        wrong
            .extend(case.says.iter().filter(|words| !said.contains(**words)).map(|_| format!("{}: {said}", case.name)));
        wrong.extend(difference(&place, &file, "").await.map(|said| format!("{}: {said}", case.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_sealed_file_that_was_changed_is_refused_in_the_same_words() {
    let place = Place::new();
    let changed = place.path("changed");
    for name in ["b.ndjson", "b.ndjson.zst", "b.ndjson.gz"] {
        let whole = seal::sealed(place.temp.path(), name).await;
        assert_eq!(difference(&place, &place.path(name), "--require-seal").await, None, "{name}");
        for bytes in seal::changes(&whole) {
            fs::write(&changed, bytes).unwrap();
            place.verify(&changed, "").await.expect(1);
            assert_eq!(difference(&place, &changed, "").await, None, "{name}");
        }
    }
}

#[tokio::test]
async fn what_can_not_be_read_is_refused_in_the_same_words() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    for name in ["none", "tmp", "file/backup"] {
        assert_eq!(difference(&place, &place.path(name), "").await, None, "{name}");
    }
}

/// Every option that decides whether an import succeeds.
#[tokio::test]
async fn every_option_means_what_it_means_to_an_import() {
    let place = Place::new();
    for (name, flags, code) in [
        ("v004.ndjson", "--id 1", 0),
        ("v004.ndjson", "--id 2", 1),
        ("v004.ndjson", "--require-seal", 1),
        ("v004.ndjson", "--id 2 --initial-cluster 2=a:1 3=b:1", 0),
        ("v004.ndjson", "--id 1 --initial-cluster 2=a:1", 2),
        ("v004.ndjson", "--initial-cluster 2=a:1", 2),
        ("v004.ndjson", "--id 2 --initial-cluster 2=a:1 2=b:1", 2),
        ("v004.ndjson", "--bump-seq 5", 2),
        ("v004.ndjson", "--id 2 --initial-cluster 2=a:1 --bump-seq 9223372036854775807", 1),
        ("v004.ndjson", "--id 2 --initial-cluster 2=a:1 --min-term 9223372036854775807", 0),
        ("v004.ndjson", "--to-index 60", 1),
        ("v004-tail.ndjson", "--to-index 100", 0),
        ("v004-tail.ndjson", "--to-index 60", 1),
        ("v004-tail.ndjson", "--to-index 126", 1),
        ("v004-tail.ndjson", "--to-time 2020-01-01T00:00:00Z", 1),
        ("v004-tail.ndjson", "--id 2 --initial-cluster 2=a:1 --to-index 100", 0),
    ] {
        let file = fixtures::path(name);
        place.verify(&file, flags).await.expect(code);
        assert_eq!(difference(&place, &file, flags).await, None, "{name} {flags}");
    }
    let retired = fixtures::text("v0-2022-11.ndjson").replacen("\"AddNode\"", "\"DropTable\"", 1);
    let file = place.path("retired.ndjson");
    fs::write(&file, retired).unwrap();
    for (flags, code) in [("", 1), ("--drop-retired", 0)] {
        place.verify(&file, flags).await.expect(code);
        assert_eq!(difference(&place, &file, flags).await, None, "{flags}");
    }
}

type Change<'a> = &'a dyn Fn(&mut Vec<String>);

/// Lines swapped, removed and doubled, in the log, at its end, and among the keys; as the same node and as a new
/// cluster.
#[tokio::test]
async fn whatever_becomes_of_the_lines_both_say_the_same() {
    let place = Place::new();
    let file = place.path("changed.ndjson");
    let text = fixtures::text("v004-tail.ndjson");
    let good: Vec<String> = text.lines().map(str::to_owned).collect();
    let keys = good.iter().position(|line| line.contains("{\"GenericKV\":")).unwrap();
    let changes: [(&str, Change<'_>); 8] = [
        ("two keys swapped", &|lines| lines.swap(keys + 3, keys + 9)),
        ("the last key first", &|lines| lines[keys..].rotate_right(1)),
        ("a key removed", &|lines| drop(lines.remove(keys + 5))),
        ("a key doubled at once", &|lines| lines.insert(keys + 5, good[keys + 5].clone())),
        ("a key doubled at the end", &|lines| lines.push(good[keys + 5].clone())),
        ("two entries swapped", &|lines| lines.swap(20, 30)),
        ("an entry removed", &|lines| drop(lines.remove(100))),
        ("the last entry removed", &|lines| drop(lines.remove(130))),
    ];
    for (name, change) in changes {
        let mut lines = good.clone();
        change(&mut lines);
        fs::write(&file, lines.join("\n")).unwrap();
        for flags in ["", "--id 4 --initial-cluster 4=a:1"] {
            assert_eq!(difference(&place, &file, flags).await, None, "{name} {flags}");
        }
    }
}

/// A key that is there twice with another seq, far apart: only a store can tell.
#[tokio::test]
async fn a_key_twice_is_found_wherever_it_is() {
    let place = Place::new();
    let file = place.path("twice.ndjson");
    for order in [vec![0, 1, 2, 3, 4, 1], vec![4, 3, 2, 1, 0, 4], vec![0, 1, 4, 2, 3, 4], vec![0, 1, 2, 3, 4, 4]] {
        generate::write_in_order(&file, 9, order.iter().copied(), 20);
        let text = fs::read_to_string(&file).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let last = lines.last_mut().unwrap();
        *last = last.replace("\"seq\":", "\"seq\":9,\"old\":");
        fs::write(&file, lines.join("\n")).unwrap();
        let said = place.verify(&file, "").await.expect(1).stderr;
        assert!(said.contains(&format!(", line {}: the key ", lines.len())) && said.contains("twice"), "{said}");
        assert_eq!(difference(&place, &file, "").await, None, "{order:?}");
    }
}

/// Backups of every kind, all good: the lines of a fixture, in order and not, compressed, large.
async fn good_backups(place: &Place) -> Vec<(&'static str, PathBuf)> {
    let unsorted = place.path("unsorted.ndjson");
    let text = fixtures::text("v004.ndjson");
    let mut lines: Vec<&str> = text.lines().collect();
    lines[87..].reverse();
    fs::write(&unsorted, lines.join("\n")).unwrap();
    let large = place.path("large.ndjson");
    generate::write(&large, 5_000, 100);
    let log_alone = place.path("log.ndjson");
    let text = fixtures::text("v004-tail.ndjson");
    fs::write(&log_alone, text.split_inclusive('\n').take(131).collect::<String>()).unwrap();
    seal::sealed(place.temp.path(), "sealed.ndjson").await;
    seal::sealed(place.temp.path(), "sealed.ndjson.zst").await;
    vec![
        ("plain", fixtures::path("v004.ndjson")),
        ("with a tail", fixtures::path("v004-tail.ndjson")),
        ("early V0", fixtures::path("v0-2022-05.ndjson")),
        ("V002", fixtures::path("v002.ndjson")),
        ("unsorted", unsorted),
        ("large", large),
        ("a log alone", log_alone),
        ("sealed", place.path("sealed.ndjson")),
        ("sealed and compressed", place.path("sealed.ndjson.zst")),
    ]
}

#[tokio::test]
async fn what_is_said_of_a_good_backup_is_what_an_import_makes_of_it() {
    let place = Place::new();
    for (name, file) in good_backups(&place).await {
        for flags in ["", "--id 7 --initial-cluster 7=a:1 8=b:1"] {
            let text = place.verify(&file, flags).await.expect(0);
            let answer = text.lines().last().copied().unwrap_or_default().to_owned();
            assert!(answer.starts_with("restorable: as node ") && text.stderr.is_empty(), "{name} {flags}: {text:?}");
            let mut verified = json(place.verify(&file, &format!("{flags} --json")).await);
            let mut imported = json(place.import(&file, &format!("{flags} --json")).await);
            assert_eq!(verified["restorable"], true);
            let told = text.stdout.contains(imported["content"].as_str().unwrap());
            assert!(told && text.stdout.contains("no seal") == imported["seal"].is_null(), "{}", text.stdout);
            for own in ["input", "restorable", "drill", "seconds", "raft_dir", "changed"] {
                verified.as_object_mut().unwrap().remove(own);
                imported.as_object_mut().unwrap().remove(own);
            }
            assert_eq!(verified, imported, "{name} {flags}");
        }
    }
}

#[tokio::test]
async fn a_drill_restores_every_kind_of_backup_and_leaves_nothing() {
    let place = Place::new();
    for (name, file) in good_backups(&place).await {
        for flags in ["--drill", "--drill --id 7 --initial-cluster 7=a:1 8=b:1"] {
            let text = place.verify(&file, flags).await.expect(0);
            let answer = text.lines().last().copied().unwrap_or_default().to_owned();
            let words = ["restorable: as node ", "restored and compared"];
            assert!(words.iter().all(|words| answer.contains(words)), "{name}: {}", text.stdout);
            let told = json(place.verify(&file, &format!("{flags} --json")).await);
            let steps = ["check_seconds", "import_seconds", "open_seconds", "export_seconds"];
            assert!(steps.iter().all(|step| told["drill"][step].as_f64().unwrap() > 0.0), "{told}");
        }
    }
    // The log that is known to be committed is applied where the store opens.
    let told = json(place.verify(&fixtures::path("v004-tail.ndjson"), "--drill --json").await);
    assert_eq!((&told["last_applied"]["index"], &told["drill"]["opened_at"]["index"]), (&64.into(), &125.into()));
    // What is refused is refused in the same words.
    let cut = place.path("cut.ndjson");
    fs::write(&cut, &fixtures::text("v004.ndjson")[..9_000]).unwrap();
    let (drilled, imported) = (place.verify(&cut, "--drill").await.expect(1), place.import(&cut, "").await);
    assert_eq!(drilled.stderr, imported.stderr);
}

#[tokio::test]
async fn a_backup_is_verified_from_standard_input_too() {
    let place = Place::new();
    for (text, flags, code, says) in [
        (fixtures::text("v004.ndjson"), "verify", 0, "V004, 167 lines, "),
        (fixtures::text("v004.ndjson"), "verify --drill", 0, "restored and compared"),
        (fixtures::text("v004.ndjson")[..9_000].to_owned(), "verify", 1, "error: standard input, line "),
        (String::new(), "verify --drill", 1, "error: standard input: the input is empty"),
    ] {
        let file = place.path("input");
        fs::write(&file, text).unwrap();
        let line: Vec<OsString> = words(flags).collect();
        // A pipe, not the file: that could be read twice.
        let mut cat = tokio::process::Command::new("cat").arg(&file).stdout(Stdio::piped()).spawn().unwrap();
        let piped: Stdio = cat.stdout.take().unwrap().try_into().unwrap();
        let ran = ended(place.tool(&line).stdin(piped).spawn().unwrap()).await.expect(code);
        cat.wait().await.unwrap();
        assert!((ran.stdout + &ran.stderr).contains(says), "{flags}: {says}");
        assert_eq!(folder::names(&place.path("tmp")), [""; 0], "{flags}");
    }
}

/// Sends a signal, and waits for the end.
async fn stop(tool: &mut Child, signal: Signal) -> Option<i32> {
    let id = i32::try_from(tool.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    timeout(Duration::from_secs(5), tool.wait()).await.expect("the tool ends").unwrap().code()
}

#[tokio::test]
async fn a_drill_ends_on_a_signal_at_any_moment_and_leaves_nothing() {
    let place = Place::new();
    let file = place.path("large.ndjson");
    generate::write(&file, 20_000, 400);
    for (delay, signal) in [(0, Signal::INT), (50, Signal::TERM), (150, Signal::INT), (400, Signal::INT)] {
        let mut tool = place.tool(&args([&"verify", &"--drill", &file])).spawn().unwrap();
        wait::until_true("a folder for the drill", || !folder::names(&place.path("tmp")).is_empty()).await;
        sleep(Duration::from_millis(delay)).await;
        // One that was done before the signal has said so.
        assert!([Some(0), Some(1)].contains(&stop(&mut tool, signal).await), "{delay} ms");
        assert_eq!(folder::names(&place.path("tmp")), [""; 0], "{delay} ms");
    }
    // It waits for an input that does not come.
    let mut tool = place.tool(&args([&"verify", &"--drill"])).stdin(Stdio::piped()).spawn().unwrap();
    wait::until_true("a folder for the drill", || !folder::names(&place.path("tmp")).is_empty()).await;
    assert_eq!(stop(&mut tool, Signal::INT).await, Some(1));
    assert_eq!(folder::names(&place.path("tmp")), [""; 0]);
}

#[tokio::test]
async fn too_little_room_for_a_drill_is_told_before_it_begins() {
    let place = Place::new();
    let (mount, file) = (place.path("mount"), place.path("large.ndjson"));
    fs::create_dir(&mount).unwrap();
    generate::write(&file, 40_000, 100);
    let script = r#"
        tool=$1 mount=$2 file=$3
        mount -t tmpfs -o size=3m tmpfs "$mount"
        TMPDIR=$mount "$tool" verify "$file" | tail -1
        code=0; TMPDIR=$mount "$tool" verify --drill "$file" || code=$?
        ls -A "$mount"
        exit $code
    "#;
    let Some(ran) = denied::with_own_mounts(script, &args([&binaries::tool(), &mount, &file])).await else { return };
    let ran = ran.expect(1);
    // Without a drill no room is needed.
    assert!(ran.stdout.starts_with("restorable: ") && ran.lines().len() == 1, "{}", ran.stdout);
    let says = format!("error: to try {} takes about ", file.display());
    assert!(ran.stderr.starts_with(&says) && ran.stderr.contains("set TMPDIR to a folder with more"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_full_tmpdir_is_said_to_be_full_and_says_nothing_of_the_backup() {
    let place = Place::new();
    let (mount, file) = (place.path("mount"), place.path("b.ndjson"));
    fs::create_dir(&mount).unwrap();
    generate::write(&file, 40_000, 100);
    // How large standard input is can not be known before.
    let script = r#"
        tool=$1 mount=$2 file=$3
        mount -t tmpfs -o size=2m tmpfs "$mount"
        code=0; TMPDIR="$mount" "$tool" verify < "$file" || code=$?
        TMPDIR="$mount" "$tool" verify --drill < "$file" || test $? -eq $code
        ls -A "$mount"
        exit $code
    "#;
    let Some(ran) = denied::with_own_mounts(script, &args([&binaries::tool(), &mount, &file])).await else { return };
    let ran = ran.expect(1);
    assert_eq!(ran.stdout, "");
    let says = format!(
        "error: cannot tell whether standard input could be imported: it could not be tried in {}, which TMPDIR names: ",
        mount.display()
    );
    assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
    for line in ran.stderr.lines() {
        assert!(line.starts_with(&says) && line.ends_with(": No space left on device (os error 28)"), "{line}");
    }
}
