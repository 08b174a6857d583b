//! `databend-metactl inspect`: what is in a backup file. Opens the input and tells what was found; what is counted, and
//! how, is the plugin's.

mod text;

use std::ffi::OsString;

use backup_plugin::{
    clock,
    input::InputError,
    inspect::{InspectOptions, Inspected, Inspection, inspect},
};
use clap::{Args, value_parser};
use serde::Serialize;

use super::{Common, CtlError, input::Input, json, print, progress::Meter, sink};
use crate::error_chain::chain;

const EXAMPLES: &str = "\
It reads the file once, to its end, and proves the seal on the way. A damaged file is told with what is wrong and where; what was \
read before that is shown, marked as such, and the exit code is 1. That an import would succeed is not what it tells: `verify` does.

Prefixes end before a slash, as those of `keys-layout`, and count all that is under them. Bytes of keys are those of keys and values; \
bytes of records are those of their text, so they make up the file without its compression.

`stop at` is where `import --to-index` and `--to-time` can stop: at every index and every moment from the first to the last one.

Examples:
  What is this file, from when, and what takes the room in it?
    databend-metactl inspect backup.ndjson.zst

  The twenty largest prefixes of two parts:
    databend-metactl inspect --depth 2 --top 20 backup.ndjson

  From standard input, and one number of it for a script:
    ssh backups cat backup.ndjson.zst | databend-metactl inspect --json | jq .keys.count

  With --json, what was read of a damaged file is under `read`, so that no script takes it for the whole.";

/// Show what is in a backup file: where it comes from, how far it goes, and what takes the room
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InspectArgs {
    /// The backup file to read; without one, or when it is "", standard input
    #[arg(long, value_name = "FILE")]
    db: Option<OsString>,
    /// The same as --db
    #[arg(value_name = "FILE", conflicts_with = "db")]
    file: Option<OsString>,
    /// Leave out prefixes of more parts than this; 0 leaves out all of them
    #[arg(long, value_name = "PARTS", default_value_t = 1)]
    depth: u32,
    /// How many prefixes, largest values and next expiries to list
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u16).range(0..=1000))]
    top: u16,
}

pub(super) fn run(args: &InspectArgs, common: Common) -> Result<(), CtlError> {
    let path = sink::path(args.db.as_ref(), args.file.as_ref());
    if let Some(path) = path.as_ref().filter(|path| path.is_dir()) {
        return Err(CtlError::FolderForFile { path: path.clone() });
    }
    let Input { name, reader, bytes } = Input::open(path.as_deref())?;
    let options = InspectOptions {
        depth: usize::try_from(args.depth).unwrap_or(usize::MAX),
        top: usize::from(args.top),
        now_ms: clock::now_ms(),
    };
    let meter = Meter::start(bytes);
    let Inspected { found, damage } = inspect(reader, &name, &options, &mut |bytes| meter.set(bytes))?;
    drop(meter);

    let shown = Shown { file: &name, found: &found, damage: damage.as_ref() };
    print(&if common.json { shown.as_json()? } else { shown.as_text() })?;
    damage.map_or(Ok(()), |damage| Err(damage.into()))
}

/// What is told of a file.
struct Shown<'a> {
    file: &'a str,
    found: &'a Inspection,
    damage: Option<&'a InputError>,
}

impl Shown<'_> {
    /// One object.
    fn as_json(&self) -> Result<String, CtlError> {
        #[derive(Serialize)]
        struct Whole<'a> {
            file: &'a str,
            damage: Option<String>,
            warnings: Vec<String>,
            #[serde(flatten)]
            found: &'a Inspection,
        }
        #[derive(Serialize)]
        struct Damaged<'a> {
            file: &'a str,
            damage: Option<String>,
            /// What was read before the damage.
            read: &'a Inspection,
        }
        let Shown { file, found, damage } = *self;
        match damage.map(|damage| chain(damage)) {
            None => json(&Whole { file, damage: None, warnings: text::warnings(found), found }),
            damage => json(&Damaged { file, damage, read: found }),
        }
    }
}

#[cfg(test)]
mod tests {
    use backup_plugin::{
        export::{BackupWriter, Form},
        input::Compression,
        provenance::{Consistency, Origin, Provenance, Role},
        record::{LeaderId, LogId},
    };

    use super::*;

    const TAIL: &str = include_str!("../../../tests/fixtures/v004-tail.ndjson");
    const V0: &str = include_str!("../../../tests/fixtures/v0-2022-05.ndjson");

    fn sealed(text: &str, compression: Compression) -> Vec<u8> {
        let mut writer = BackupWriter::new(Vec::new(), Form { sealed: true, compression }).unwrap();
        for line in text.lines() {
            writer.write(format!("{line}\n").as_bytes(), 1).unwrap();
        }
        let log_id = |index| Some(LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index });
        let origin = Origin {
            cluster_id: Some("ab".repeat(32)),
            node_id: Some(1),
            role: Some(Role::Leader),
            last_applied: log_id(125),
            committed: log_id(123),
            tail: 2,
        };
        let provenance = Provenance { origin, consistency: Consistency::Linearizable, fallback: None };
        writer.finish(Some(&provenance), "databend-metactl 0.1.0").unwrap().0
    }

    fn inspected(file: &[u8]) -> Inspected {
        let options = InspectOptions { depth: 1, top: 4, now_ms: 1_795_349_325_325 };
        inspect(file, "backup.ndjson", &options, &mut |_| ()).unwrap()
    }

    fn text(file: &[u8]) -> String {
        let Inspected { found, damage } = inspected(file);
        let text = Shown { file: "backup.ndjson", found: &found, damage: damage.as_ref() }.as_text();
        for line in text.lines() {
            assert!(unicode_width::UnicodeWidthStr::width(line) <= 80, "{line}");
        }
        // A seal tells when it was made, and the digest is of that too.
        let text = text.replace(found.sha256.as_deref().unwrap_or("none"), "SHA-256");
        match found.seal {
            Some(seal) => text.replace(&seal.written_at, "2026-11-22T12:08:45.325Z"),
            None => text,
        }
    }

    #[test]
    fn a_sealed_file_at_a_glance() {
        insta::assert_snapshot!(text(&sealed(TAIL, Compression::None)));
    }

    #[test]
    fn a_file_of_an_early_server_at_a_glance() {
        insta::assert_snapshot!(text(V0.as_bytes()));
    }

    #[test]
    fn a_damaged_file_is_marked_before_anything_is_told_of_it() {
        let file = sealed(TAIL, Compression::None);
        let end = file.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(39).unwrap().0;
        let text = text(&file[..=end]);
        insta::assert_snapshot!(text.lines().take(6).collect::<Vec<_>>().join("\n"));
        assert!(text.contains("log entries"));
    }

    #[test]
    fn the_result_as_json_is_one_object() {
        let file = sealed(TAIL, Compression::None);
        let as_json = |file: &[u8]| {
            let Inspected { found, damage } = inspected(file);
            let json = Shown { file: "b", found: &found, damage: damage.as_ref() }.as_json().unwrap();
            serde_json::from_str::<serde_json::Value>(&json).unwrap()
        };
        let whole = as_json(TAIL.as_bytes());
        insta::assert_snapshot!(serde_json::to_string_pretty(&whole).unwrap());
        let damaged = as_json(&file[..1000]);
        assert!(damaged["damage"].as_str().unwrap().starts_with("backup.ndjson, line "));
        assert!(damaged["keys"].is_null() && damaged["read"]["keys"].is_object());
    }
}
