//! Whole files: what is counted in them, what is told of damaged ones, and that what is said of an import is what an
//! import does.

use std::collections::BTreeSet;

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::{
    clock,
    export::{BackupWriter, Form},
    import::{self, ImportOptions, Stop, testing::MemoryTarget},
    input::Compression,
    provenance::{Consistency, Origin, Provenance},
};

const V0_MAY: &str = include_str!("../../../tests/fixtures/v0-2022-05.ndjson");
const V0_NOVEMBER: &str = include_str!("../../../tests/fixtures/v0-2022-11.ndjson");
const V002: &str = include_str!("../../../tests/fixtures/v002.ndjson");
const V004: &str = include_str!("../../../tests/fixtures/v004.ndjson");
const TAIL: &str = include_str!("../../../tests/fixtures/v004-tail.ndjson");

const OPTIONS: InspectOptions = InspectOptions { depth: 1, top: 3, now_ms: 1_700_000_000_000 };

fn inspected(file: &[u8]) -> Inspected {
    inspect(file, "b", &OPTIONS, &mut |_| ()).unwrap()
}

fn whole(file: &[u8]) -> Inspection {
    let Inspected { found, damage } = inspected(file);
    assert!(damage.is_none(), "{damage:?}");
    found
}

fn sealed(text: &str, compression: Compression) -> Vec<u8> {
    let mut writer = BackupWriter::new(Vec::new(), Form { sealed: true, compression }).unwrap();
    for line in text.lines() {
        writer.write(format!("{line}\n").as_bytes(), 1).unwrap();
    }
    let origin = Origin { cluster_id: Some("ab".repeat(32)), node_id: Some(1), ..Origin::default() };
    let provenance = Provenance { origin, consistency: Consistency::Offline, fallback: None };
    writer.finish(Some(&provenance), "the test 1.0").unwrap().0
}

#[test]
fn every_line_of_every_version_is_counted_once() {
    for text in [V0_MAY, V0_NOVEMBER, V002, V004, TAIL] {
        let found = whole(text.as_bytes());
        let Records { log_entries, keys, .. } = found.records;
        let all = Count { count: text.lines().count() as u64, bytes: text.len() as u64 };
        assert_eq!((found.records.all(), found.bytes), (all, all.bytes), "{}", found.version);
        let key_lines: Vec<&str> = text.lines().filter(|line| line.contains("GenericKV")).collect();
        let key_bytes: usize = key_lines.iter().map(|line| line.len() + 1).sum();
        assert_eq!((keys.count, keys.bytes), (key_lines.len() as u64, key_bytes as u64));
        assert_eq!(found.keys.count, keys.count);
        assert_eq!(
            found.log.unwrap().entries,
            log_entries.count + found.retired.values().sum::<u64>() - retired_records(&found.retired)
        );
    }
}

/// Of what is retired, what is not a command.
fn retired_records(retired: &BTreeMap<&'static str, u64>) -> u64 {
    ["Databases", "Tables", "TableLookup", "DatabaseLookup", "Files", "ClientLastResps", "Sequences"]
        .into_iter()
        .filter_map(|kind| retired.get(kind))
        .sum()
}

#[test]
fn a_file_is_told_as_it_is() {
    let found = whole(V004.as_bytes());
    assert_eq!((found.version, found.sealed, found.node_id), ("V004", false, Some(1)));
    assert_eq!(found.keys.expiring.count, found.keys.expiring.expired);
    let biggest = found.keys.largest[0].value_bytes;
    assert!(found.keys.largest.iter().all(|value| value.value_bytes <= biggest));
    // The same, sealed and compressed: one line more.
    for compression in [Compression::None, Compression::Zstd, Compression::Gzip] {
        let again = whole(&sealed(V004, compression));
        assert_eq!((again.lines, again.compression), (found.lines + 1, compression.to_string()));
        assert_eq!(again.seal.as_ref().unwrap().records, found.lines);
        assert_eq!((&again.keys, again.records.keys), (&found.keys, found.records.keys));
        assert_eq!(again.records.others.count, found.records.others.count + 1);
        assert!(again.bytes > found.bytes && again.sha256.is_some());
    }
}

#[test]
fn what_can_be_read_of_a_damaged_file_is_told_with_what_is_wrong() {
    let file = sealed(V004, Compression::None);
    let text = std::str::from_utf8(&file).unwrap();
    let line = |n: usize| text.lines().take(n).map(|line| line.len() + 1).sum::<usize>();
    let cut = inspected(&file[..line(100)]);
    assert_eq!((cut.found.lines, cut.found.bytes, &cut.found.sha256), (100, line(99) as u64, &None));
    assert!(cut.found.sealed && cut.found.seal.is_none());
    assert!(cut.damage.unwrap().to_string().starts_with("b, line 100: the file is cut here, or was changed"));

    let mut flipped = file.clone();
    flipped[line(49) + 3] = b'\n';
    let bad = inspected(&flipped);
    assert_eq!(bad.found.records.log_entries.count + bad.found.records.others.count, 49);
    assert!(bad.damage.unwrap().to_string().starts_with("b, line 50: "));

    // Larger than what is unpacked at once.
    let key = |n: u64| {
        format!(
            r#"["state_machine/0",{{"GenericKV":{{"key":"{:x}","value":{{"seq":1,"meta":null,"data":[]}}}}}}]"#,
            n * n * n
        )
    };
    let lines: Vec<String> = std::iter::once(HEADER.to_owned()).chain((0..50_000).map(key)).collect();
    let compressed = sealed(&lines.join("\n"), Compression::Zstd);
    let cut = inspected(&compressed[..compressed.len() / 2]);
    assert!((1000..50_000).contains(&cut.found.keys.count), "{}", cut.found.keys.count);
    let damage = cut.damage.unwrap().to_string();
    assert!(damage.starts_with("b: its zstd data "), "{damage}");
    // What does not begin as a backup has nothing to show.
    for (input, expected) in [(&b""[..], "b: the input is empty"), (b"[\"header\"", "b, line 1: ")] {
        let error = inspect(input, "b", &OPTIONS, &mut |_| ()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

const HEADER: &str = r#"["header",{"DataHeader":{"key":"header","value":{"version":"V004"}}}]"#;

#[test]
fn whatever_decodes_is_counted() {
    let long = "k".repeat(MAX_KEY_BYTES + 1);
    let huge = u64::MAX;
    let lines = [
        HEADER.to_owned(),
        r#"["raft_log",{"NodeId":1}]"#.to_owned(),
        r#"["raft_log",{"NodeId":null}]"#.to_owned(),
        r#"["raft_log",{"Purged":null}]"#.to_owned(),
        format!(r#"["raft_log",{{"LogEntry":{{"log_id":{{"leader_id":{{"term":{huge},"node_id":1}},"index":{huge}}},"payload":"Blank"}}}}]"#),
        r#"["raft_log",{"LogEntry":{"log_id":{"leader_id":{"term":1,"node_id":1},"index":0},"payload":{"Normal":7}}}]"#.to_owned(),
        format!(r#"["state_machine/0",{{"StateMachineMeta":{{"key":"LastApplied","value":{{"LogId":{{"leader_id":{{"term":1,"node_id":1}},"index":{huge}}}}}}}}}]"#),
        r#"["state_machine/0",{"StateMachineMeta":{"key":"LastMembership","value":{"Membership":{"log_id":null,"membership":{"configs":[],"nodes":{}}}}}}]"#.to_owned(),
        format!(r#"["state_machine/0",{{"GenericKV":{{"key":"","value":{{"seq":0,"meta":{{"expire_at":{huge}}},"data":[]}}}}}}]"#),
        format!(r#"["state_machine/0",{{"GenericKV":{{"key":"b/\u0000\n","value":{{"seq":0,"meta":{{"expire_at":{huge}}},"data":[1]}}}}}}]"#),
        r#"["state_machine/0",{"GenericKV":{"key":"a/","value":{"seq":0,"meta":null,"data":[1,2]}}}]"#.to_owned(),
        format!(r#"["state_machine/0",{{"GenericKV":{{"key":"{long}","value":{{"seq":0,"meta":null,"data":[]}}}}}}]"#),
    ];
    let found = whole(lines.join("\n").as_bytes());
    assert_eq!((found.node_id, found.reach), (None, None));
    let log = found.log.unwrap();
    assert_eq!((log.entries, log.contiguous, log.last_time_ms), (2, false, None));
    let keys = found.keys;
    assert_eq!((keys.count, keys.bad_length, keys.sorted), (4, 2, false));
    assert_eq!(keys.bytes, (5 + 4 + MAX_KEY_BYTES + 1) as u64);
    assert_eq!(keys.expiring.later, 1);
    assert_eq!(keys.prefixes.rows.len(), 2);

    let empty = whole(HEADER.as_bytes());
    assert_eq!((empty.lines, empty.log, empty.reach, empty.keys.count), (1, None, None, 0));
}

#[test]
fn the_membership_is_the_later_one() {
    let membership = |n: u64| format!(r#"{{"configs":[[{n}]],"nodes":{{"{n}":{{}}}}}}"#);
    let id = |index: u64| format!(r#"{{"leader_id":{{"term":1,"node_id":1}},"index":{index}}}"#);
    for (in_log, in_state, expected) in [
        (Some(5), Some("4"), 1),
        (Some(5), Some("5"), 2),
        (Some(5), Some("null"), 1),
        (None, Some("4"), 2),
        (Some(5), None, 1),
    ] {
        let mut lines = vec![HEADER.to_owned()];
        if let Some(index) = in_log {
            let (id, membership) = (id(index), membership(1));
            lines.push(format!(
                r#"["raft_log",{{"LogEntry":{{"log_id":{id},"payload":{{"Membership":{membership}}}}}}}]"#
            ));
        }
        if let Some(index) = in_state {
            let (id, membership) = (index.parse().map_or("null".to_owned(), id), membership(2));
            lines.push(format!(r#"["state_machine/0",{{"StateMachineMeta":{{"key":"LastMembership","value":{{"Membership":{{"log_id":{id},"membership":{membership}}}}}}}}}]"#));
        }
        let found = whole(lines.join("\n").as_bytes()).membership.unwrap();
        assert_eq!(found.membership.voters(), BTreeSet::from([expected]), "{in_log:?} {in_state:?}");
    }
}

/// What a state says, in a line.
fn meta(key: &str, value: &str) -> String {
    format!(r#"["state_machine/0",{{"StateMachineMeta":{{"key":"{key}","value":{{{value}}}}}}}]"#)
}

/// A file of one voter: a state at `applied`, if there is one, and a log from `first` on, whose entries have these
/// times.
fn history(applied: Option<u64>, first: u64, times: &[Option<u64>]) -> String {
    let id = |index: u64| format!(r#"{{"leader_id":{{"term":1,"node_id":1}},"index":{index}}}"#);
    let membership = r#"{"configs":[[1]],"nodes":{"1":{}}}"#;
    let purged = first.checked_sub(1).map_or("null".to_owned(), id);
    let mut lines = vec![
        HEADER.to_owned(),
        r#"["raft_log",{"NodeId":1}]"#.to_owned(),
        r#"["raft_log",{"Vote":{"leader_id":{"term":1,"node_id":1},"committed":true}}]"#.to_owned(),
        format!(r#"["raft_log",{{"Purged":{purged}}}]"#),
    ];
    for (index, time_ms) in (first..).zip(times) {
        let payload = match time_ms {
            // The first one of all says who votes.
            _ if index == 0 => format!(r#"{{"Membership":{membership}}}"#),
            None => r#""Blank""#.to_owned(),
            Some(time_ms) => format!(r#"{{"Normal":{{"time_ms":{time_ms},"cmd":{{}}}}}}"#),
        };
        lines.push(format!(r#"["raft_log",{{"LogEntry":{{"log_id":{},"payload":{payload}}}}}]"#, id(index)));
    }
    if let Some(applied) = applied {
        lines.push(meta("LastApplied", &format!(r#""LogId":{}"#, id(applied))));
        lines.push(meta("LastMembership", &format!(r#""Membership":{{"log_id":null,"membership":{membership}}}"#)));
    }
    lines.join("\n") + "\n"
}

/// Whether an import of the file may stop there.
fn stops(text: &str, stop: Stop) -> bool {
    imports(text, &ImportOptions::new(None, None).unwrap().until(Some(stop)))
}

fn imports(text: &str, options: &ImportOptions) -> bool {
    import::plan(text.as_bytes(), "b", &MemoryTarget::default(), options, &mut |_| ()).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every index and every moment around the file, by what is told here and by what an import says.
    #[test]
    fn an_import_stops_where_it_is_said_to(
        applied in option::of(0u64..8), first in 0u64..6, times in vec(option::of(10u64..16), 0..7)
    ) {
        let text = history(applied, first, &times);
        let reach = whole(text.as_bytes()).reach;
        prop_assume!(imports(&text, &ImportOptions::new(None, None).unwrap()));
        for index in 0..14 {
            let told = reach.is_some_and(|reach| (reach.first_index..=reach.last_index).contains(&index));
            prop_assert_eq!(told, stops(&text, Stop::Index(index)), "index {} of {:?}\n{}", index, reach, text);
        }
        for moment in 9..17 {
            let moments = reach.and_then(|reach| reach.moments);
            let told = moments.is_some_and(|moments| (moments.from_ms..=moments.to_ms).contains(&moment));
            prop_assert_eq!(told, stops(&text, Stop::Time(moment)), "moment {} of {:?}\n{}", moment, reach, text);
        }
    }
}

#[test]
fn a_state_without_what_is_applied_reaches_as_far_as_an_import() {
    let sequence = |n: u64| format!(r#"["state_machine/0",{{"Sequences":{{"key":"generic-kv","value":{n}}}}}]"#);
    let members = |of: &str| meta("LastMembership", &format!(r#""Membership":{{"log_id":null,"membership":{of}}}"#));
    let nobody = || members(r#"{"configs":[],"nodes":{}}"#);
    let somebody = || members(r#"{"configs":[[1]],"nodes":{"1":{}}}"#);
    for (state, imported) in [
        (vec![], true),
        (vec![nobody()], true),
        (vec![sequence(0), nobody()], true),
        (vec![sequence(0)], false),
        (vec![sequence(1), nobody()], false),
        (vec![somebody()], false),
    ] {
        let text = history(None, 0, &[Some(1000), Some(2000)]) + &state.join("\n");
        assert_eq!(imports(&text, &ImportOptions::new(None, None).unwrap()), imported, "{state:?}");
        assert_eq!(whole(text.as_bytes()).reach.is_some(), imported, "{state:?}");
    }
}

#[test]
fn a_long_log_below_its_state_reaches_about_as_far() {
    let times: Vec<Option<u64>> = (0..20_000).map(|n| Some(1_000_000 + n)).collect();
    let text = history(Some(13_001), 5_000, &times);
    let reach = whole(text.as_bytes()).reach.unwrap();
    assert_eq!((reach.first_index, reach.last_index), (13_001, 24_999));
    let moments = reach.moments.unwrap();
    // Entry 13 001 was proposed at 1 008 001.
    assert!((1_008_001..1_008_009).contains(&moments.from_ms), "{moments:?}");
    assert_eq!(moments.to_ms, 1_019_999);
    assert!(stops(&text, Stop::Time(moments.from_ms)) && stops(&text, Stop::Time(moments.to_ms)));
}

#[test]
fn several_voters_take_a_new_cluster_to_stop() {
    let text = history(Some(9), 10, &[Some(1000), Some(2000)])
        .replace("[[1]]", "[[1,2]]")
        .replace(r#""1":{}"#, r#""1":{},"2":{}"#);
    let reach = whole(text.as_bytes()).reach.unwrap();
    assert!(reach.needs_new_cluster);
    assert_eq!(clock::rfc3339(reach.moments.unwrap().to_ms), "1970-01-01T00:00:02Z");
}
