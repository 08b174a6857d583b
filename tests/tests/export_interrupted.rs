//! An export, or what else works in TMPDIR, that is told to stop: it ends at once, whatever it was doing, and takes everything it made
//! with it.

use std::{
    ffi::OsString,
    fs,
    path::Path,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use integration_tests::{
    binaries, folder, generate,
    tool::{args, command, ended, import},
    wait,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::AsyncWriteExt,
    process::Child,
    time::{sleep, timeout},
};

/// A stopped server's folder with much more in it than a pipe takes, and a folder for what exports need on the way.
async fn stopped_server(temp: &Path) {
    let seed = temp.join("seed.ndjson");
    generate::write(&seed, 20_000, 400);
    import(&temp.join("meta"), &seed).await;
    fs::create_dir(temp.join("tmp")).unwrap();
}

/// Starts an export of that folder, and waits until it has begun its private copy.
async fn start_export(temp: &Path, db: &Path) -> Child {
    start_export_by(&binaries::tool(), args([]), temp, db).await
}

/// The same, by a program that is given `before` and then the tool's arguments.
async fn start_export_by(program: &Path, before: Vec<OsString>, temp: &Path, db: &Path) -> Child {
    let line = [before, args([&"export", &"--raft-dir", &temp.join("meta"), &"--db", &db])].concat();
    let tool = command(program, &line).env("TMPDIR", temp.join("tmp")).spawn().unwrap();
    wait::until_true("a private copy", || !folder::names(&temp.join("tmp")).is_empty()).await;
    tool
}

fn send(tool: &Child, signal: Signal) {
    let id = i32::try_from(tool.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

/// Sends a signal, and waits for the end without reading what the tool writes.
async fn stop(tool: &mut Child, signal: Signal) -> ExitStatus {
    send(tool, signal);
    timeout(Duration::from_secs(5), tool.wait()).await.expect("the tool ends").unwrap()
}

#[tokio::test]
async fn an_export_into_a_pipe_that_nobody_reads_ends_on_a_signal() {
    let temp = tempfile::tempdir().unwrap();
    stopped_server(temp.path()).await;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut tool = start_export(temp.path(), Path::new("")).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(stop(&mut tool, signal).await.code(), Some(1));
        assert_eq!(folder::names(&temp.path().join("tmp")), [""; 0]);
    }
}

#[tokio::test]
async fn an_export_whose_hangups_are_ignored_goes_on_when_its_terminal_goes() {
    let temp = tempfile::tempdir().unwrap();
    stopped_server(temp.path()).await;
    // As `nohup` does it, which also changes where its output goes.
    let ignoring = args([&"-c", &"trap '' HUP; exec \"$@\"", &"sh", &binaries::tool()]);
    let tool = start_export_by(Path::new("sh"), ignoring, temp.path(), Path::new("")).await;
    // Much more is left to be written than the pipe takes.
    send(&tool, Signal::HUP);
    let ran = ended(tool).await.expect(0);
    assert_eq!(ran.stdout.lines().filter(|line| line.contains("{\"GenericKV\":")).count(), 20_000);
    assert_eq!(folder::names(&temp.path().join("tmp")), [""; 0]);
}

#[tokio::test]
async fn an_export_from_a_folder_ends_on_a_signal_at_any_moment_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    stopped_server(temp.path()).await;
    let backups = temp.path().join("backups");
    fs::create_dir(&backups).unwrap();
    let file = backups.join("b");
    fs::write(&file, "the older backup").unwrap();
    for delay in [20, 50, 100, 200] {
        let mut tool = start_export(temp.path(), &file).await;
        sleep(Duration::from_millis(delay)).await;
        let began = Instant::now();
        let status = stop(&mut tool, Signal::INT).await;
        assert!(began.elapsed() < Duration::from_secs(3), "{delay} ms: {:?}", began.elapsed());
        assert_eq!(folder::names(&temp.path().join("tmp")), [""; 0], "{delay} ms");
        assert_eq!(folder::names(&backups), ["b"], "{delay} ms");
        // An export that was done before the signal has made its file.
        if status.code() == Some(1) {
            assert_eq!(fs::read_to_string(&file).unwrap(), "the older backup", "{delay} ms");
        } else {
            assert_eq!(status.code(), Some(0), "{delay} ms");
            fs::write(&file, "the older backup").unwrap();
        }
    }
}

#[tokio::test]
async fn a_diff_and_a_conversion_end_on_a_signal_and_leave_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let [seed, tmp, out] = ["seed.ndjson", "tmp", "out"].map(|name| temp.path().join(name));
    generate::write(&seed, 5_000, 60);
    let text = fs::read(&seed).unwrap();
    fs::create_dir(&tmp).unwrap();
    fs::create_dir(&out).unwrap();
    for (line, code) in [(args([&"diff", &"-", &seed]), 2), (args([&"convert", &"--out", &out.join("b")]), 1)] {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let mut tool = command(&binaries::tool(), &line);
            let mut tool = tool.env("TMPDIR", &tmp).stdin(Stdio::piped()).spawn().unwrap();
            let mut stdin = tool.stdin.take().unwrap();
            stdin.write_all(&text[..text.len() / 2]).await.unwrap();
            wait::until_true("a folder for the import", || !folder::names(&tmp).is_empty()).await;
            send(&tool, signal);
            drop(stdin);
            let ran = ended(tool).await.expect(code);
            assert_eq!(ran.stderr, "error: interrupted, before the work was done\n", "{line:?}, {signal:?}");
            assert_eq!((folder::names(&tmp), folder::names(&out)), (Vec::new(), Vec::new()), "{line:?}, {signal:?}");
        }
    }
}
