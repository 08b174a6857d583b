//! Real exports through the real store: imported, exported from the folder, and compared line by line.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use backup_plugin::{
    cluster::MemberList,
    export,
    import::{self, ImportOptions},
    source::{BackupView as _, Extent},
};

use super::{
    offline::{OfflineBackup, PrivateCopy},
    source::StoreSource,
    target::StoreTarget,
};
use crate::{command::fixtures, state::StateOptions, store::Store};

pub(super) fn import_into(dir: &Path, text: &str, options: &ImportOptions) {
    let target = StoreTarget::new(dir.to_owned());
    import::run(text.as_bytes(), "the test's file", &target, options, &mut |_| {}).unwrap();
}

pub(super) fn faithful() -> ImportOptions {
    ImportOptions::new(None, None).unwrap()
}

pub(super) fn exported(dir: &Path) -> Vec<String> {
    let copy = PrivateCopy::create().unwrap();
    let backup = OfflineBackup::open(dir, copy.path()).unwrap();
    export::lines(&backup).unwrap().map(Result::unwrap).collect()
}

/// What an export of ours gives for a file of another server: Expire names the record's own seq, `prev_value` is gone.
fn normal(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| {
            let line = line.replace("\"prev_value\":true,", "");
            let Some((start, rest)) = line.split_once("\"seq\":").filter(|_| line.contains("{\"Expire\":")) else {
                return line;
            };
            let (seq, tail) = rest.split_once('}').unwrap();
            let (_, key) = tail.split_once(",\"key\":").unwrap();
            format!("{start}\"seq\":{seq}}},\"value\":{{\"seq\":{seq},\"key\":{key}")
        })
        .collect()
}

#[test]
fn a_restored_node_exports_what_it_was_restored_from() {
    let dir = tempfile::tempdir().unwrap();
    import_into(dir.path(), &fixtures::text("v004.ndjson"), &faithful());
    let again = exported(dir.path());
    assert_eq!(again, normal(&fixtures::text("v004-reexported.ndjson")));

    let twin = tempfile::tempdir().unwrap();
    import_into(twin.path(), &(again.join("\n") + "\n"), &faithful());
    assert_eq!(exported(twin.path()), again);
}

#[test]
fn records_in_any_order_restore_the_same_node() {
    let text = fixtures::text("v004.ndjson");
    let mut lines: Vec<_> = text.lines().collect();
    // The header stays first, and the log in its order.
    let state = lines.iter().position(|line| line.starts_with("[\"state_machine")).unwrap();
    lines[state..].reverse();
    let dir = tempfile::tempdir().unwrap();
    import_into(dir.path(), &lines.join("\n"), &faithful());
    assert_eq!(exported(dir.path()), normal(&fixtures::text("v004-reexported.ndjson")));
}

#[test]
fn a_tail_is_applied_from_a_state_and_from_nothing() {
    let expected = fixtures::text("v004-tail-applied.ndjson");
    let expected: BTreeSet<_> = expected.lines().filter(|line| line.starts_with("[\"state_machine")).collect();
    let text = fixtures::text("v004-tail.ndjson");
    let log_only: String =
        text.lines().filter(|line| !line.starts_with("[\"state_machine")).flat_map(|line| [line, "\n"]).collect();
    for text in [text, log_only] {
        let dir = tempfile::tempdir().unwrap();
        import_into(dir.path(), &text, &faithful());
        let exported = exported(dir.path());
        let state: BTreeSet<_> =
            exported.iter().map(String::as_str).filter(|line| line.starts_with("[\"state_machine")).collect();
        assert_eq!(state, expected);
    }
}

#[test]
fn a_node_that_has_applied_nothing_exports_its_whole_log() {
    let dir = tempfile::tempdir().unwrap();
    let text: String = fixtures::text("v004-tail.ndjson")
        .lines()
        .filter(|line| !line.starts_with("[\"state_machine"))
        .map(|line| if line.contains("\"Committed\"") { "[\"raft_log\",{\"Committed\":null}]" } else { line })
        .flat_map(|line| [line, "\n"])
        .collect();
    import_into(dir.path(), &text, &faithful());

    let store = Store::open(dir.path(), StateOptions::default()).unwrap();
    let (log, state) = (store.log.clone(), store.state.clone());
    let source = StoreSource::new(log, state, store.pins().clone(), Duration::from_secs(60));
    let view = source.pin(None, Extent::Moment).unwrap();
    let origin = view.origin();
    assert_eq!((origin.last_applied, origin.committed, origin.tail), (None, None, 126));
    let online: Vec<_> = export::lines(&view).unwrap().map(Result::unwrap).collect();
    store.log.close().unwrap();
    drop((view, source, store));
    assert_eq!(online, exported(dir.path()));

    let twin = tempfile::tempdir().unwrap();
    import_into(twin.path(), &(online.join("\n") + "\n"), &faithful());
    assert_eq!(exported(twin.path()), online);
}

#[test]
fn a_new_cluster_starts_with_one_entry_above_the_old_log() {
    let dir = tempfile::tempdir().unwrap();
    let members = MemberList::new(["7=127.0.0.1:28007".parse().unwrap()]).unwrap();
    let options = ImportOptions::new(Some(7), Some(members)).unwrap();
    import_into(dir.path(), &fixtures::text("v004-tail.ndjson"), &options);
    let exported = exported(dir.path());
    let start = [
        r#"["header",{"DataHeader":{"key":"header","value":{"version":"V004"}}}]"#,
        r#"["raft_log",{"NodeId":7}]"#,
        r#"["raft_log",{"Vote":{"leader_id":{"term":2,"node_id":7},"committed":true}}]"#,
        r#"["raft_log",{"Committed":{"leader_id":{"term":2,"node_id":7},"index":126}}]"#,
        r#"["raft_log",{"Purged":{"leader_id":{"term":2,"node_id":7},"index":125}}]"#,
        r#"["raft_log",{"LogEntry":{"log_id":{"leader_id":{"term":2,"node_id":7},"index":126},"payload":{"Membership":{"configs":[[7]],"nodes":{"7":{}}}}}}]"#,
        r#"["state_machine/0",{"Sequences":{"key":"generic-kv","value":161}}]"#,
    ];
    assert_eq!(exported[..start.len()], start);
    let records =
        |lines: &[String]| -> Vec<String> { lines.iter().filter(|line| line.contains("GenericKV")).cloned().collect() };
    let applied: Vec<_> = fixtures::text("v004-tail-applied.ndjson").lines().map(str::to_owned).collect();
    assert_eq!(records(&exported), records(&applied));
    assert!(!exported.join("").contains("28104"), "no old address is left");
}

#[test]
fn an_export_from_a_folder_changes_nothing_in_it() {
    let dir = tempfile::tempdir().unwrap();
    import_into(dir.path(), &fixtures::text("v004-tail.ndjson"), &faithful());
    let before = files(dir.path());
    exported(dir.path());
    assert_eq!(files(dir.path()), before);
}

/// Every file below `dir` with its bytes and the time it was changed.
fn files(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn what_a_killed_export_left_goes_with_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    import_into(dir.path(), &fixtures::text("v004-tail.ndjson"), &faithful());
    let left = tempfile::Builder::new().prefix("databend-meta-export-").tempdir().unwrap().keep();
    fs::write(left.join("ALIVE"), "").unwrap();
    exported(dir.path());
    assert!(!left.exists());
}

#[test]
fn what_is_no_folder_holds_up_no_export() {
    let dir = tempfile::tempdir().unwrap();
    import_into(dir.path(), &fixtures::text("v004-tail.ndjson"), &faithful());
    // Whoever opens it to read waits for somebody who writes.
    let fifo = tempfile::Builder::new().prefix("databend-meta-export-").tempfile().unwrap().into_temp_path();
    fs::remove_file(&fifo).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &*fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    exported(dir.path());
    assert!(fifo.exists());
}

#[test]
fn a_damaged_store_is_refused_and_never_read_as_an_empty_one() {
    let base = |dir: &Path| {
        let generation = dir.join("gen-000001");
        let name = fs::read_dir(&generation).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        generation.join(name.into_iter().find(|name| name.starts_with("base-")).unwrap())
    };
    for (what, said) in
        [("table/current", "current is missing"), ("table/tables/0", "table"), ("table/v1", "table"), ("META", "META")]
    {
        let dir = tempfile::tempdir().unwrap();
        import_into(dir.path(), &fixtures::text("v004.ndjson"), &faithful());
        fs::remove_file(base(dir.path()).join(what)).unwrap();
        let copy = PrivateCopy::create().unwrap();
        let offline = OfflineBackup::open(dir.path(), copy.path()).err().unwrap();
        let opened = Store::open(dir.path(), StateOptions::default()).err().unwrap();
        for error in [offline, opened] {
            let text = crate::error_chain::chain(&error);
            assert!(text.contains(&dir.path().display().to_string()), "{what}: {text}");
            assert!(text.contains(said), "{what}: {text}");
        }
    }
}
