//! Seals are made, proved, and refused at every change of a byte.

use super::*;
use crate::{
    export::{BackupWriter, Form},
    input::{Compression, InputError, Reader},
    provenance::{Origin, Provenance},
    record::LeaderId,
};

const LINES: [&str; 4] = [
    r#"["header",{"DataHeader":{"key":"header","value":{"version":"V004"}}}]"#,
    r#"["raft_log",{"NodeId":1}]"#,
    r#"["state_machine/0",{"Sequences":{"key":"generic-kv","value":9}}]"#,
    r#"["state_machine/0",{"GenericKV":{"key":"a","value":{"seq":3,"meta":null,"data":[1,2,3]}}}]"#,
];

fn log_id(index: u64) -> LogId {
    LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
}

fn provenance() -> Provenance {
    let origin = Origin {
        cluster_id: Some("ab".repeat(32)),
        node_id: Some(1),
        role: Some(Role::Leader),
        last_applied: Some(log_id(5)),
        committed: Some(log_id(5)),
        tail: 2,
    };
    Provenance { origin, consistency: Consistency::Linearizable, fallback: None }
}

fn written(lines: &[&str], compression: Compression, sealed: bool) -> Vec<u8> {
    let mut writer = BackupWriter::new(Vec::new(), Form { sealed, compression }).unwrap();
    for line in lines {
        writer.write(format!("{line}\n").as_bytes(), 1).unwrap();
    }
    let (file, written, bytes) = writer.finish(Some(&provenance()), "the test 1.0").unwrap();
    assert_eq!(written, lines.len() as u64 + u64::from(sealed));
    assert!(compression != Compression::None || bytes == file.len() as u64);
    file
}

fn sealed() -> Vec<u8> {
    written(&LINES, Compression::None, true)
}

/// Reads a whole file, line by line and on all processors, which must agree; gives its records and its seal.
fn read(file: &[u8]) -> Result<(u64, Option<Seal>), String> {
    let mut reader = Reader::open(file, "x").map_err(|error| error.to_string())?;
    let mut records = 0;
    let ended: Result<(), InputError> = loop {
        match reader.next_record() {
            Ok(Some(_)) => records += 1,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let at_once = Reader::open(file, "x").unwrap().for_each(|_, _, _| Ok::<(), InputError>(()));
    let text = |ended: Result<(), InputError>| ended.map_err(|error| error.to_string());
    let ended = text(ended);
    assert_eq!(ended, text(at_once));
    ended?;
    assert!(reader.next_record().unwrap().is_none(), "the end stays the end");
    Ok((records, reader.seal().cloned()))
}

fn refused(file: &[u8]) -> String {
    read(file).expect_err("a file that should be refused")
}

#[test]
fn a_sealed_file_looks_as_the_format_says() {
    let file = String::from_utf8(sealed()).unwrap();
    let lines: Vec<&str> = file.lines().collect();
    assert_eq!(lines[0], r#"["header",{"DataHeader":{"key":"header","value":{"version":"V004","sealed":true}}}]"#);
    assert_eq!(lines[1..4], LINES[1..]);
    let start = r#"["header",{"DataHeader":{"key":"seal","value":{"version":"V004","records":4,"cluster_id":"abab"#;
    let rest = r#"abab","node_id":1,"role":"Leader","last_applied":{"leader_id":{"term":1,"node_id":1},"index":5},"committed":{"leader_id":{"term":1,"node_id":1},"index":5},"tail":2,"consistency":"linearizable","written_at":""#;
    assert!(lines[4].starts_with(start) && lines[4].contains(rest), "{}", lines[4]);
    let (before, hash) = file.split_at(file.len() - DIGITS - END.len());
    assert!(before.ends_with(r#"","program":"the test 1.0","sha256":""#), "{before}");
    let expected = crate::hex::hex(&<sha2::Sha256 as sha2::Digest>::digest(before));
    assert_eq!(hash, format!("{expected}\"}}}}}}]\n"));
}

#[test]
fn what_was_sealed_is_proved_and_told() {
    for compression in [Compression::None, Compression::Zstd, Compression::Gzip] {
        let (records, seal) = read(&written(&LINES, compression, true)).unwrap();
        let seal = seal.unwrap();
        assert_eq!((records, seal.records, seal.tail), (4, 4, Some(2)));
        let text = seal.to_string();
        let start = format!("node 1 (Leader) of cluster {}, linearizable, written 2", "ab".repeat(32));
        assert!(text.starts_with(&start) && text.ends_with("Z by the test 1.0"), "{text}");
        assert_eq!(read(&written(&LINES, compression, false)), Ok((4, None)));
    }
}

#[test]
fn what_a_server_does_not_say_is_unknown() {
    let mut sealer = Sealer::new(LINES[0]).unwrap();
    let marked = mark(LINES[0]).unwrap() + "\n";
    sealer.push(marked.as_bytes(), 1);
    let line = sealer.finish(None, "p");
    assert!(line.contains(
        r#""node_id":null,"role":null,"last_applied":null,"committed":null,"tail":null,"consistency":"unknown","#
    ));
    let (_, seal) = read((marked + &line).as_bytes()).unwrap();
    let seal = seal.unwrap();
    assert_eq!((seal.node_id, seal.tail, seal.consistency), (None, None, None));
}

#[test]
fn only_a_header_of_an_unsealed_export_is_marked() {
    let v003 = r#"["header",{"DataHeader":{"key":"header","value":{"version":"V003","upgrading":null}}}]"#;
    assert_eq!(
        mark(v003).unwrap(),
        r#"["header",{"DataHeader":{"key":"header","value":{"version":"V003","upgrading":null,"sealed":true}}}]"#
    );
    for line in ["", LINES[1], &mark(LINES[0]).unwrap(), &LINES[0].replace("\"header\",\"value", "\"seal\",\"value")] {
        assert_eq!((mark(line), Sealer::new(line).is_none()), (None, true), "{line}");
    }
}

#[test]
fn what_is_wrong_is_said_and_where() {
    let file = String::from_utf8(sealed()).unwrap();
    let other = String::from_utf8(written(&[LINES[0], LINES[2]], Compression::None, true)).unwrap();
    let bare = LINES.map(|line| format!("{line}\n")).concat();
    let lines: Vec<&str> = file.split_inclusive('\n').collect();
    let without = |n: usize| [&lines[..n - 1], &lines[n..]].concat().concat();
    let cases = [
        (lines[..3].concat(), "x, line 3: the file is cut here, or was changed: its first line says that it is sealed"),
        (lines[0].to_owned(), "x, line 1: the file is cut here"),
        (file[..file.len() - 300].to_owned(), "x, line 5: the seal is cut, or was changed"),
        (file[..file.len() - 1].to_owned(), "x, line 5: the seal is cut, or was changed"),
        (file.replace("[1,2,3]", "[1,2,4]"), "x, line 5: the file was changed after it was sealed: its SHA-256 is "),
        (
            [lines[0], lines[2], lines[1], lines[3], lines[4]].concat(),
            "x, line 5: the file was changed after it was sealed: its SHA-256 is ",
        ),
        (
            without(3),
            "x, line 4: the file was changed after it was sealed: 3 lines stand before the seal, which counts 4",
        ),
        (without(5), "x, line 4: the file is cut here"),
        (file.clone() + "x", "x, line 5: this seal is not the end: something was added behind it, or two backups"),
        (file.clone() + "\n", "x, line 5: this seal is not the end"),
        (file.clone() + &file, "x, line 5: this seal is not the end"),
        (file.clone() + &bare, "x, line 5: this seal is not the end"),
        (file.replace(",\"sealed\":true", ""), "x, line 5: a seal, in a file whose first line does not say"),
        (bare.clone() + lines[4], "x, line 5: a seal, in a file whose first line does not say"),
        (file.replace(lines[4], other.lines().last().unwrap()) + "\n", "x, line 5: the file was changed"),
    ];
    for (file, expected) in cases {
        let error = refused(file.as_bytes());
        assert!(error.starts_with(expected), "\n got: {error}\nwant: {expected}");
    }
}

#[test]
fn a_required_seal_is_refused_at_once_where_there_is_none() {
    let bare = written(&LINES, Compression::None, false);
    let error = Reader::open(&bare[..], "x").unwrap().require_seal().unwrap_err().to_string();
    assert_eq!(error, "x: it has no seal, and --require-seal takes no file without one");
    Reader::open(&sealed()[..], "x").unwrap().require_seal().unwrap();
}

/// Every cut and every single bit, of a file as it is and compressed.
#[test]
fn every_cut_and_every_flipped_bit_is_an_error() {
    let mut tried = 0;
    for compression in [Compression::None, Compression::Zstd, Compression::Gzip] {
        let file = written(&LINES, compression, true);
        for len in 0..file.len() {
            refused(&file[..len]);
        }
        for bit in 0..file.len() * 8 {
            let mut changed = file.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(found) = read(&changed) {
                panic!("{compression}: bit {} of byte {} of {}: {found:?}", bit % 8, bit / 8, file.len());
            }
        }
        tried += file.len() * 9;
    }
    eprintln!("{tried} cuts and flipped bits, all refused");
}

/// Wherever it is: in the lines, in what stands around them, or between the two, where all lines and their seal are there.
#[test]
fn a_cut_of_a_compressed_file_is_said_to_be_one() {
    for compression in [Compression::Zstd, Compression::Gzip] {
        let file = written(&LINES, compression, true);
        let half = file.len() / 2;
        for len in half..file.len() {
            let refusal = refused(&file[..len]);
            assert!(refusal.contains("the file is cut"), "{compression}, {len} of {}: {refusal}", file.len());
        }
    }
}
