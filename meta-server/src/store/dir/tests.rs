//! Who may have a folder, which generation in it is live, and what goes when.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use super::*;

#[test]
fn a_fresh_mount_and_a_missing_folder_can_be_locked() {
    let temp = tempfile::tempdir().unwrap();
    for (name, entries) in [("missing", &[][..]), ("mount", &["lost+found", ".snapshot"][..])] {
        let dir = temp.path().join(name);
        for entry in entries {
            fs::create_dir_all(dir.join(entry)).unwrap();
        }
        let locked = RaftDir::lock(&dir).unwrap();
        assert_eq!(locked.current(), None);
    }
}

#[test]
fn a_folder_with_something_else_is_refused_by_name_of_it() {
    let temp = tempfile::tempdir().unwrap();
    for (file, content, said) in [
        ("photos.zip", "", "it holds \"photos.zip\""),
        ("CURRENT", "MANIFEST-000005\n", "its CURRENT names \"MANIFEST-000005\""),
    ] {
        let dir = temp.path().join(file);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(file), content).unwrap();
        let said_by = RaftDir::lock(&dir).unwrap_err().to_string();
        assert!(said_by.contains(said), "{said_by}");
        let said_by = RaftDir::lock_to_read(&dir).unwrap_err().to_string();
        assert!(said_by.contains(said), "{said_by}");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing was created");
    }
}

#[test]
fn a_second_lock_names_the_process_that_has_the_first() {
    let temp = tempfile::tempdir().unwrap();
    let _held = RaftDir::lock(temp.path()).unwrap();
    let said = RaftDir::lock(temp.path()).unwrap_err().to_string();
    assert!(said.contains(&format!("in use by process {}", std::process::id())), "{said}");
}

/// Imports that fail, each of which takes the folder along that it has made: nobody has it at the same time as another.
#[test]
fn of_many_that_lock_a_folder_that_comes_and_goes_one_at_a_time_has_it() {
    let temp = tempfile::tempdir().unwrap();
    let (path, inside, locked) = (temp.path().join("meta"), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    match RaftDir::lock(&path) {
                        Ok(dir) => {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two have it");
                            locked.fetch_add(1, Ordering::SeqCst);
                            let built = dir.begin_generation().unwrap();
                            thread::yield_now();
                            fs::remove_dir(built).unwrap();
                            // From its removal on, the folder is the next one's.
                            inside.fetch_sub(1, Ordering::SeqCst);
                            RaftDir::remove_unused(&path);
                        }
                        Err(StoreError::Locked { .. }) => thread::yield_now(),
                        Err(err) => panic!("{}", crate::error_chain::chain(&err)),
                    }
                }
            });
        }
    });
    assert!(!path.exists() && locked.into_inner() > 0);
}

/// One that is looked at while it is replaced is in use, and not damaged, or not ours.
#[test]
fn a_store_that_is_being_replaced_is_in_use_to_everybody_else() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("meta");
    let (mut dir, done) = (RaftDir::lock(&path).unwrap(), AtomicBool::new(false));
    thread::scope(|scope| {
        let done = &done;
        scope.spawn(move || {
            for _ in 0..200 {
                let built = dir.begin_generation().unwrap();
                dir.switch_to(&built, Replaced::Delete).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            for found in [RaftDir::lock_store(&path), RaftDir::lock_to_read(&path)] {
                match found {
                    Ok(_) => assert!(done.load(Ordering::SeqCst)),
                    Err(StoreError::Locked { .. }) => {}
                    Err(err) => panic!("{err}"),
                }
            }
        }
    });
    assert!(RaftDir::lock_store(&path).unwrap().current().is_some());
}

#[test]
fn a_folder_that_holds_anything_is_never_removed_as_unused() {
    let temp = tempfile::tempdir().unwrap();
    let mut dir = RaftDir::lock(temp.path()).unwrap();
    let built = dir.begin_generation().unwrap();
    let live = dir.switch_to(&built, Replaced::Delete).unwrap();
    RaftDir::remove_unused(temp.path());
    assert!(live.exists() && temp.path().join(LOCK).exists());
}

#[test]
fn the_switch_names_one_generation_and_sweeps_the_others() {
    let temp = tempfile::tempdir().unwrap();
    let mut dir = RaftDir::lock(temp.path()).unwrap();
    let built = dir.begin_generation().unwrap();
    let first = dir.switch_to(&built, Replaced::Delete).unwrap();
    let garbage = dir.begin_generation().unwrap();
    let built = dir.begin_generation().unwrap();
    let second = dir.switch_to(&built, Replaced::Delete).unwrap();
    assert!(!first.exists() && !garbage.exists() && second.exists());
    drop(dir);
    assert_eq!(RaftDir::lock_to_read(temp.path()).unwrap().current(), Some(second));
}

#[test]
fn a_kept_generation_survives_imports_and_opens_and_can_be_switched_back_to_and_forth() {
    let temp = tempfile::tempdir().unwrap();
    let mut dir = RaftDir::lock(temp.path()).unwrap();
    let next = |dir: &mut RaftDir, replaced| {
        let built = dir.begin_generation().unwrap();
        dir.switch_to(&built, replaced).unwrap()
    };
    let first = next(&mut dir, Replaced::Delete);
    let second = next(&mut dir, Replaced::Keep);
    let third = next(&mut dir, Replaced::Delete);
    assert!(first.exists() && !second.exists() && third.exists());
    drop(dir);
    let mut dir = RaftDir::lock_store(temp.path()).unwrap();
    dir.sweep();
    for (from, to) in [(&third, &first), (&first, &third), (&third, &first)] {
        let found = dir.generations().unwrap();
        assert_eq!(
            found.iter().map(|found| (&found.path, found.live)).collect::<Vec<_>>(),
            [(from, true), (to, false)]
        );
        dir.switch_back(&found[1]).unwrap();
        assert_eq!(dir.current().as_ref(), Some(to));
    }
    // The mark of its first time does not keep the live one from being replaced.
    let fourth = next(&mut dir, Replaced::Delete);
    assert!(!first.exists() && third.exists());
    let kept = dir.generations().unwrap().pop().unwrap();
    dir.prune(&kept).unwrap();
    assert!(!third.exists() && fourth.exists());
}

#[test]
fn nothing_is_made_of_a_folder_without_a_store() {
    let temp = tempfile::tempdir().unwrap();
    assert!(matches!(RaftDir::lock_store(&temp.path().join("missing")), Err(StoreError::Missing(_))));
    assert!(matches!(RaftDir::lock_store(temp.path()), Err(StoreError::Empty(_))));
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[test]
fn reading_needs_a_store_and_creates_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let missing = temp.path().join("missing");
    assert!(matches!(RaftDir::lock_to_read(&missing), Err(StoreError::Missing(_))));
    assert!(!missing.exists());
    assert!(matches!(RaftDir::lock_to_read(temp.path()), Err(StoreError::Empty(_))));
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[test]
fn a_store_whose_current_is_lost_is_kept() {
    let temp = tempfile::tempdir().unwrap();
    let mut dir = RaftDir::lock(temp.path()).unwrap();
    let built = dir.begin_generation().unwrap();
    let live = dir.switch_to(&built, Replaced::Delete).unwrap();
    drop(dir);
    fs::remove_file(temp.path().join(CURRENT)).unwrap();
    for _ in 0..2 {
        let dir = RaftDir::lock(temp.path()).unwrap();
        dir.sweep();
        assert_eq!(dir.current(), Some(live.clone()));
    }
    assert_eq!(RaftDir::lock_to_read(temp.path()).unwrap().current(), Some(live.clone()));

    fs::create_dir(temp.path().join("gen-000002")).unwrap();
    let said = RaftDir::lock(temp.path()).unwrap_err().to_string();
    assert!(said.contains("write the name of the one to use"), "{said}");
    assert!(live.exists());
}

#[test]
fn a_folder_that_was_never_locked_is_not_ours_whatever_its_names() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("gen-000007")).unwrap();
    assert!(matches!(RaftDir::lock(temp.path()), Err(StoreError::Foreign { .. })));
    assert!(temp.path().join("gen-000007").exists());
}

#[test]
fn a_folder_without_a_name_is_refused() {
    assert!(matches!(RaftDir::lock(Path::new("")), Err(StoreError::Unnamed)));
}
