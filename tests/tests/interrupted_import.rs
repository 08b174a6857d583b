//! An import that is killed, at any moment: the old data is live and whole, or the new; and the next open clears away
//! the rest. One that is told to stop says which of the two it is.

use std::{path::Path, time::Duration};

use integration_tests::{
    folder, generate,
    server::{Server, Settings},
    tool::{ended, export_folder, import, start_metactl},
    wait,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin},
    time::sleep,
};

const KEYS: u64 = 5_000;

/// Where the import is when it is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// It has read so many parts in a thousand of its input, and waits for more.
    Read(usize),
    /// It has had all of its input for so long.
    Finishing(Duration),
}

async fn feed(stdin: &mut ChildStdin, text: &str) {
    stdin.write_all(text.as_bytes()).await.unwrap();
    stdin.flush().await.unwrap();
}

#[tokio::test]
async fn a_killed_import_leaves_the_old_store_or_the_new_one_and_nothing_else() {
    let temp = tempfile::tempdir().unwrap();
    let (old_file, new_file) = (temp.path().join("old.ndjson"), temp.path().join("new.ndjson"));
    generate::write(&old_file, 50, 20);
    generate::write(&new_file, KEYS, 60);
    let new_text = std::fs::read_to_string(&new_file).unwrap();
    let reference = temp.path().join("reference");
    import(&reference, &new_file).await;
    let new = export_folder(&reference).await;

    let finishing = [0, 3, 10, 20, 30, 40, 60, 100].map(|ms| Moment::Finishing(Duration::from_millis(ms)));
    let moments = [0, 1, 500, 990].map(Moment::Read).into_iter().chain(finishing);
    let mut survived = [0, 0];
    for moment in moments {
        let raft_dir = temp.path().join("meta");
        import(&raft_dir, &old_file).await;
        let old = export_folder(&raft_dir).await;
        let live = folder::live_generation(&raft_dir);

        let mut tool = start_metactl([&"import", &"--raft-dir", &raft_dir]);
        let mut stdin = tool.stdin.take().unwrap();
        match moment {
            Moment::Read(parts) => {
                feed(&mut stdin, &new_text[..new_text.len() * parts / 1000]).await;
                if parts > 0 {
                    wait::until_true("a generation beside the live one", || generations(&raft_dir) == 2).await;
                }
            }
            Moment::Finishing(time) => {
                feed(&mut stdin, &new_text).await;
                drop(stdin);
                sleep(time).await;
            }
        }
        tool.kill().await.unwrap();

        let found = export_folder(&raft_dir).await;
        if found == old {
            survived[0] += 1;
            assert_eq!(folder::live_generation(&raft_dir), live, "{moment:?}");
        } else {
            assert!(matches!(moment, Moment::Finishing(_)), "{moment:?}: replaced before it was read");
            assert_eq!(found, new, "{moment:?}");
            survived[1] += 1;
        }

        let server = Server::start(Settings::of(&raft_dir)).await;
        assert_eq!(generations(&raft_dir), 1, "{moment:?}");
        assert_eq!(folder::bases(&raft_dir).len(), 1, "{moment:?}");
        let keys = server.client().await.list("").await.unwrap().len() as u64;
        assert!([50, KEYS].contains(&keys), "{moment:?}: {keys} keys");
        assert_eq!(server.stop(Signal::TERM).await.0, Some(0));
        assert_eq!(folder::names(&raft_dir).len(), 3, "{moment:?}: {:?}", folder::names(&raft_dir));
    }
    assert!(survived[0] >= 4, "the old store after {}, the new after {} kills", survived[0], survived[1]);
}

fn send(tool: &Child, signal: Signal) {
    let id = i32::try_from(tool.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

#[tokio::test]
async fn an_import_that_is_told_to_stop_says_that_the_folder_holds_what_it_held() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, old_file, new_file) = (temp.path().join("meta"), temp.path().join("old"), temp.path().join("new"));
    generate::write(&old_file, 50, 20);
    generate::write(&new_file, KEYS, 60);
    let new_text = std::fs::read_to_string(&new_file).unwrap();
    import(&raft_dir, &old_file).await;
    let old = export_folder(&raft_dir).await;
    // Its input ends with the signal, as that of a pipeline that is interrupted does, or stays open.
    for (signal, ends) in [(Signal::INT, true), (Signal::TERM, true), (Signal::HUP, true), (Signal::TERM, false)] {
        let mut tool = start_metactl([&"import", &"--raft-dir", &raft_dir]);
        let mut stdin = tool.stdin.take().unwrap();
        feed(&mut stdin, &new_text[..new_text.len() / 2]).await;
        wait::until_true("a generation beside the live one", || generations(&raft_dir) == 2).await;
        send(&tool, signal);
        let open = if ends { None } else { Some(stdin) };
        let ran = ended(tool).await.expect(1);
        drop(open);
        let said = format!("error: interrupted: nothing was imported, and {} holds what it held\n", raft_dir.display());
        assert_eq!(ran.stderr, said, "{signal:?}");
        assert_eq!(export_folder(&raft_dir).await, old, "{signal:?}");
        // What has not ended within a second, or waits for its input, can not clear away, and the next open does.
        assert!(generations(&raft_dir) <= 2, "{signal:?}: {:?}", folder::names(&raft_dir));
    }
    import(&raft_dir, &new_file).await;
    assert_eq!(folder::names(&raft_dir).len(), 3);
}

#[tokio::test]
async fn an_import_that_is_told_to_stop_at_any_moment_says_the_truth() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, old_file, new_file) = (temp.path().join("meta"), temp.path().join("old"), temp.path().join("new"));
    generate::write(&old_file, 50, 20);
    generate::write(&new_file, KEYS, 60);
    let new_text = std::fs::read_to_string(&new_file).unwrap();
    import(&raft_dir, &new_file).await;
    let new = export_folder(&raft_dir).await;
    for ms in [0, 5, 10, 20, 30, 40, 60, 80, 100, 150] {
        import(&raft_dir, &old_file).await;
        let old = export_folder(&raft_dir).await;
        let mut tool = start_metactl([&"import", &"--raft-dir", &raft_dir]);
        let mut stdin = tool.stdin.take().unwrap();
        feed(&mut stdin, &new_text[..5000]).await;
        wait::until_true("a generation beside the live one", || generations(&raft_dir) == 2).await;
        feed(&mut stdin, &new_text[5000..]).await;
        drop(stdin);
        sleep(Duration::from_millis(ms)).await;
        send(&tool, Signal::TERM);
        let ran = ended(tool).await;
        let found = export_folder(&raft_dir).await;
        match ran.code {
            Some(0) => assert!(found == new && ran.stderr.contains("imported "), "{ms} ms: {}", ran.stderr),
            code => {
                assert_eq!(code, Some(1), "{ms} ms: {}", ran.stderr);
                assert!(found == old && ran.stderr.contains("holds what it held"), "{ms} ms: {}", ran.stderr);
            }
        }
    }
}

fn generations(raft_dir: &Path) -> usize {
    folder::names(raft_dir).iter().filter(|name| name.starts_with("gen-") || name.starts_with("new-")).count()
}
