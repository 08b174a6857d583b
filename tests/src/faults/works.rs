//! What the tool does to folders and files, with a fault in it: imports, a rollback, an export to a file.

use std::{ffi::OsString, fs, path::Path};

use super::{Fault, INJECTED, strace};
use crate::{
    binaries, fixtures, folder, generate,
    tool::{self, Ran, args, ended, export_folder, import, metactl},
};

/// What is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// An import over a store, which goes.
    Import,
    /// An import over a store, which is kept.
    ImportKeepingOld,
    Rollback,
    /// A backup of a folder over an older one.
    Export,
}

pub const WORKS: [Work; 4] = [Work::Import, Work::ImportKeepingOld, Work::Rollback, Work::Export];

/// Everything that a sweep begins from, made once.
pub struct Scene {
    temp: tempfile::TempDir,
    old: String,
    new: String,
}

impl Scene {
    pub async fn prepare(keys: u64) -> Scene {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        generate::write(&at("new.ndjson"), keys, 60);
        import(&at("old"), &fixtures::path("v004.ndjson")).await;
        let old = export_folder(&at("old")).await;
        import(&at("reference"), &at("new.ndjson")).await;
        let new = export_folder(&at("reference")).await;
        folder::copy(&at("old"), &at("both"));
        metactl([&"import", &"--keep-old", &"--raft-dir", &at("both"), &at("new.ndjson")]).await.expect(0);
        Scene { temp, old, new }
    }

    /// Whether a kind of call can be met. An export writes from a runtime that wakes its threads by `write` too, which no disk makes
    /// fail: `full_disk` has a disk that does.
    pub fn has(work: Work, call: &str) -> bool {
        work != Work::Export || !call.starts_with("write")
    }

    /// One run with a fault at the `n`-th call. `None`: there were fewer, and the work was done. Panics where a promise was broken.
    pub async fn run(&self, work: Work, fault: Fault, call: &str, n: u32) -> Option<Ran> {
        let case = format!("{work:?}, {fault:?} at {call} {n}");
        let stage = self.temp.path().join("stage");
        let _ = fs::remove_dir_all(&stage);
        fs::create_dir(&stage).unwrap();
        let (raft_dir, backup) = (stage.join("meta"), stage.join("backup"));
        folder::copy(&self.temp.path().join(if work == Work::Rollback { "both" } else { "old" }), &raft_dir);
        fs::write(&backup, "the older backup").unwrap();
        let input = self.temp.path().join("new.ndjson");
        let line = match work {
            Work::Import => args([&"import", &"--raft-dir", &raft_dir, &input]),
            Work::ImportKeepingOld => args([&"import", &"--keep-old", &"--raft-dir", &raft_dir, &input]),
            Work::Rollback => args([&"rollback", &"--raft-dir", &raft_dir]),
            Work::Export => args([&"export", &"--raft-dir", &raft_dir, &"--db", &backup]),
        };
        fs::create_dir(stage.join("tmp")).unwrap();
        let (ran, injected) = traced(&stage, fault, call, n, &line).await;
        if !injected {
            return None;
        }
        match work {
            Work::Export => self.check_backup(&case, &ran, &raft_dir, &backup).await,
            _ => self.check_folder(&case, &ran, work, &raft_dir).await,
        }
        Some(ran)
    }

    /// All of the old data or all of the new, and no third thing; no garbage after the next change.
    async fn check_folder(&self, case: &str, ran: &Ran, work: Work, raft_dir: &Path) {
        let (before, after) = match work {
            Work::Rollback => (&self.new, &self.old),
            _ => (&self.old, &self.new),
        };
        let found = export_folder(raft_dir).await;
        if ran.code == Some(0) {
            assert!(found == *after, "{case}: it said that it was done");
        } else {
            assert!(found == *before || found == *after, "{case}: the store is neither the old nor the new one");
        }
        let replaced = found == *after;
        if ran.stderr.contains("holds what it held") {
            assert!(!replaced, "{case}: {}", ran.stderr);
        }
        let listed = metactl([&"generations", &"--json", &"--raft-dir", &raft_dir]).await.expect(0);
        let kept = listed.stdout.matches(r#""live":false"#).count();
        match work {
            Work::Rollback => assert_eq!(kept, 1, "{case}: {}", listed.stdout),
            Work::ImportKeepingOld => assert_eq!(kept, usize::from(replaced), "{case}: {}", listed.stdout),
            _ => assert_eq!(kept, 0, "{case}: {}", listed.stdout),
        }
        metactl([&"generations", &"--prune", &"--raft-dir", &raft_dir]).await.expect(0);
        assert_eq!(folder::names(raft_dir).len(), 3, "{case}: {:?}", folder::names(raft_dir));
        assert!(export_folder(raft_dir).await == found, "{case}: what was live is live");
    }

    /// The older backup, whole, or the new one; and no temp file after the next export of that name.
    async fn check_backup(&self, case: &str, ran: &Ran, raft_dir: &Path, backup: &Path) {
        let found = fs::read_to_string(backup).unwrap();
        if found == "the older backup" {
            assert_ne!(ran.code, Some(0), "{case}: it said that it was done");
        } else {
            let restored = backup.with_extension("restored");
            metactl([&"import", &"--raft-dir", &restored, &backup]).await.expect(0);
            assert!(export_folder(&restored).await == self.old, "{case}: the new backup is not all of the store");
        }
        let (line, stage) = (args([&"export", &"--raft-dir", &raft_dir, &"--db", &backup]), backup.parent().unwrap());
        within(stage, &binaries::tool(), &line).await.expect(0);
        let (names, copies) = (folder::names(stage), folder::names(&stage.join("tmp")));
        let known = ["backup", "backup.restored", "meta", "tmp", "trace"];
        assert!(names.iter().all(|name| known.contains(&name.as_str())), "{case}: {names:?}");
        assert_eq!(copies, [""; 0], "{case}: private copies");
        assert!(export_folder(raft_dir).await == self.old, "{case}: the store was changed");
    }
}

/// Runs the tool; whether the call was ever reached.
async fn traced(stage: &Path, fault: Fault, call: &str, n: u32, line: &[OsString]) -> (Ran, bool) {
    let trace = stage.join("trace");
    let mut words = strace(&trace);
    words.extend(fault.at(call, n));
    words.push(binaries::tool().into());
    words.extend(line.iter().cloned());
    let ran = within(stage, Path::new(&words[0]), &words[1..]).await;
    let seen = fs::read_to_string(trace).unwrap_or_default();
    (ran, seen.contains(INJECTED) || seen.contains("+++ killed by SIGKILL +++"))
}

/// Runs a program with a folder for temporary files of its own.
async fn within(stage: &Path, program: &Path, line: &[OsString]) -> Ran {
    ended(tool::command(program, line).env("TMPDIR", stage.join("tmp")).spawn().unwrap()).await
}
