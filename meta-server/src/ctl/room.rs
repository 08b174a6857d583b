//! Whether a disk has room for a backup, as far as its length tells before it is read. What an import needs for certain is refused
//! where it is not there; what it needs most likely is worth a warning.

use std::path::Path;

use super::{CtlError, note, plan::free_bytes};

/// Bytes of a store with nothing in it: most of them are of the log's first segment, which is made longer before it is needed.
const EMPTY_STORE: u64 = 320 * 1024;
/// Bytes of text for one on disk. The bytes of a value take two to four characters each, and short keys and log entries about as many.
const LIKELY: u64 = 4;
/// The same of text that is nothing but escapes took 18, and there is some to spare: what is refused must be certain. Compressed, it is
/// even less.
const MOST: u64 = 32;

/// What a backup takes on disk.
#[derive(Debug, PartialEq, Eq)]
struct Room {
    least: u64,
    likely: u64,
}

impl Room {
    /// For a file of so many bytes.
    fn of(bytes: u64) -> Room {
        Room { least: bytes / MOST, likely: EMPTY_STORE + bytes / LIKELY }
    }
}

/// Refuses early what can not succeed, and warns of what most likely will not. `bytes`: the length of the input.
pub(super) fn check_room(input: &str, bytes: u64, raft_dir: &Path) -> Result<(), CtlError> {
    // Whoever can not tell how much is free finds out.
    let Ok(free) = free_bytes(raft_dir) else { return Ok(()) };
    let Room { least, likely } = Room::of(bytes);
    if free < least {
        return Err(CtlError::DiskTooFull { input: input.to_owned(), least, free, raft_dir: raft_dir.to_owned() });
    }
    if free < likely {
        note(&format!(
            "warning: a store of {input} takes about {likely} bytes, and {free} are free in {}; an import that fills the disk fails, \
             and leaves what is there",
            raft_dir.display()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use backup_plugin::import::{self, ImportOptions};

    use super::*;
    use crate::{
        backup::{check::CheckTarget, facts::folder_bytes, target::StoreTarget},
        command::fixtures,
    };

    /// `keys` keys with what stands around their numbers, and `len` bytes of value, of `digits` each.
    fn backup(keys: u64, len: usize, digits: &str) -> String {
        let mut lines: Vec<String> = fixtures::text("v004.ndjson").lines().map(str::to_owned).collect();
        lines.retain(|line| !line.contains("{\"GenericKV\":") && !line.contains("{\"Expire\":"));
        let sequence = lines.iter_mut().find(|line| line.contains("{\"Sequences\":")).unwrap();
        *sequence = format!(r#"["state_machine/0",{{"Sequences":{{"key":"generic-kv","value":{keys}}}}}]"#);
        let data = vec![digits; len].join(",");
        lines.extend((1..=keys).map(|n| {
            let value = format!(r#"{{"seq":{n},"meta":null,"data":[{data}]}}"#);
            format!(r#"["state_machine/0",{{"GenericKV":{{"key":"k{n:07}","value":{value}}}}}]"#)
        }));
        lines.join("\n")
    }

    #[test]
    fn what_is_told_before_an_import_is_what_it_takes() {
        for (keys, len, digits) in
            [(0, 0, ""), (20_000, 0, ""), (20_000, 100, "200"), (300, 10_000, "200"), (300, 10_000, "7")]
        {
            let text = backup(keys, len, digits);
            let folder = tempfile::tempdir().unwrap();
            let raft_dir = folder.path().join("meta");
            let (options, target) = (ImportOptions::new(None, None).unwrap(), StoreTarget::new(raft_dir.clone()));
            let planned = import::plan(text.as_bytes(), "b", &CheckTarget::default(), &options, &mut |_| ()).unwrap();
            import::run(text.as_bytes(), "b", &target, &options, &mut |_| ()).unwrap();
            let (takes, Room { least, likely }) = (folder_bytes(&raft_dir).unwrap(), Room::of(text.len() as u64));
            let case = format!("{keys} keys of {len}: {takes}, told were {least} and {likely}");
            assert!(least < takes && takes < 2 * likely + likely / 2, "{case}");
            assert!(likely < 2 * takes, "{case}");
            // Once it is read, more is known.
            let (planned, spare) = (planned.disk_bytes, 1 << 20);
            assert!((takes..takes * 5 / 4 + spare).contains(&planned), "{case}, planned {planned}");
        }
    }

    #[test]
    fn a_disk_that_is_too_small_for_certain_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_room("b", 0, folder.path()).is_ok());
        let error = check_room("b.ndjson", u64::MAX, folder.path()).unwrap_err().to_string();
        let says =
            format!("the disk is too full for b.ndjson: even the least that it can take, {} bytes, ", u64::MAX / MOST);
        assert!(error.starts_with(&says) && error.ends_with("nothing was changed"), "{error}");
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    }
}
