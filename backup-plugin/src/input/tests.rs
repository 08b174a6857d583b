//! The whole reader: every input, compressed or not, gives the same records or the same refusal.

use std::{
    io::{self, BufReader, Read},
    iter,
};

use super::{
    InputError, Reader,
    testing::{gzip, zstd},
};
use crate::{export::MAX_LINE_BYTES, hex::hex, upgrade::Decoded};

const TAIL: &str = include_str!("../../../tests/fixtures/v004-tail.ndjson");
const HEADER: &str = r#"["header",{"DataHeader":{"key":"header","value":{"version":"V004"}}}]"#;
const NODE_ID: &str = r#"["raft_log",{"NodeId":1}]"#;

/// The records of an input with their lines, and the refusal that ends them.
fn read(input: impl Read + Send) -> (Vec<(u64, Decoded)>, Option<String>) {
    let mut records = Vec::new();
    let mut reader = match Reader::open(input, "x") {
        Ok(reader) => reader,
        Err(error) => return (records, Some(error.to_string())),
    };
    loop {
        match reader.next_record() {
            Ok(Some(record)) => records.push(record),
            Ok(None) => return (records, None),
            Err(error) => return (records, Some(error.to_string())),
        }
    }
}

#[test]
fn records_come_in_order_with_their_lines_whatever_the_compression() {
    let (records, refusal) = read(TAIL.as_bytes());
    assert_eq!(refusal, None);
    assert!(records.iter().map(|(line, _)| *line).eq(1..=TAIL.lines().count() as u64));
    for compressed in [zstd(TAIL.as_bytes()), gzip(TAIL.as_bytes())] {
        assert!(read(&compressed[..]) == (records.clone(), None));
    }
}

#[test]
fn what_was_read_is_counted_and_hashed_without_its_compression() {
    for input in [TAIL.as_bytes().to_vec(), zstd(TAIL.as_bytes()), gzip(TAIL.as_bytes())] {
        let mut reader = Reader::open(&input[..], "x").unwrap();
        while reader.next_line().unwrap().is_some() {}
        assert_eq!((reader.bytes(), reader.read_bytes()), (TAIL.len() as u64, input.len() as u64));
        assert_eq!(hex(&reader.sha256()), "ecb37d4549985a9d67253e9d4dd1e54db7b666f17d8150879b70f9670fa2e85b");
    }
}

#[test]
fn bad_lines_are_refused_by_number() {
    let long = format!("{HEADER}\n{NODE_ID}\n{}\n{NODE_ID}\n", "x".repeat(MAX_LINE_BYTES + 1));
    let cases: [(&[u8], u64, &str); 9] = [
        (b"", 0, "x: the input is empty"),
        (b"\n", 0, "x, line 1: the line is empty"),
        (b"SQLite format 3\0", 0, "x, line 1: expected value at column 1"),
        (NODE_ID.as_bytes(), 0, "x, line 1: no header line, so it is read as version V0: unknown variant `NodeId`, "),
        (&[HEADER.as_bytes(), b"\n\n"].concat(), 1, "x, line 2: the line is empty"),
        (&[HEADER.as_bytes(), b"\n\n", HEADER.as_bytes()].concat(), 1, "x, line 2: the line is empty"),
        (&[HEADER.as_bytes(), b"\n[\xc3\xa9\xff]\n"].concat(), 1, "x, line 2: byte 4 of the line is not UTF-8"),
        (&[HEADER.as_bytes(), b"\n{}\n"].concat(), 1, "x, line 2: invalid type: map, expected an array"),
        (long.as_bytes(), 2, "x, line 3: the line is longer than 33554432 bytes"),
    ];
    for (input, lines, expected) in cases {
        for input in [input.to_vec(), zstd(input)] {
            let (records, refusal) = read(&input[..]);
            let refusal = refusal.unwrap();
            assert!(refusal.starts_with(expected), "{refusal}");
            assert_eq!(records.len() as u64, lines, "{expected}");
        }
    }
}

/// A few kilobytes that claim to be gigabytes of one line are refused at the longest line.
#[test]
fn a_line_that_never_ends_is_refused_however_small_it_was_compressed() {
    let endless = io::repeat(b'x').take(2 * MAX_LINE_BYTES as u64);
    let bomb = zstd::encode_all(HEADER.as_bytes().chain(&b"\n"[..]).chain(endless), 0).unwrap();
    assert!(bomb.len() < 64 * 1024, "{}", bomb.len());
    let (_, refusal) = read(&bomb[..]);
    assert_eq!(refusal.unwrap(), "x, line 2: the line is longer than 33554432 bytes");
}

#[test]
fn a_cut_in_compressed_data_is_said_to_be_one() {
    for (compression, whole) in [("zstd", zstd(TAIL.as_bytes())), ("gzip", gzip(TAIL.as_bytes()))] {
        for len in (18..whole.len()).step_by(11).chain([whole.len() - 1]) {
            let refusal = read(&whole[..len]).1.unwrap();
            let expected = format!("x: its {compression} data ends in the middle, after line ");
            assert!(refusal.starts_with(&expected), "{len}: {refusal}");
        }
        let refusal = read(&[&whole[..], b"more, and not of its kind"].concat()[..]).1.unwrap();
        assert!(refusal.starts_with(&format!("x: its {compression} data is damaged after line ")), "{refusal}");
    }
}

#[test]
fn a_failed_read_says_after_which_line() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(5))
        }
    }
    let lines = || iter::repeat_n(NODE_ID, 3).fold(HEADER.to_owned(), |text, line| text + "\n" + line);
    let (records, refusal) = read(BufReader::new(lines().as_bytes().chain(Broken)));
    assert_eq!((records.len(), refusal.as_deref()), (3, Some("cannot read x after line 3")));
    let (records, refusal) = read(zstd(lines().as_bytes())[..20].chain(Broken));
    assert_eq!((records.len(), refusal.as_deref()), (0, Some("cannot read x")));
}

/// The same as [`read`], on all processors.
fn read_at_once(input: impl Read + Send) -> (Vec<(u64, Decoded)>, Option<String>) {
    let mut records = Vec::new();
    let ended = Reader::open(input, "x").and_then(|mut reader| {
        reader.for_each(|line, _, record| {
            records.push((line, record));
            Ok(())
        })
    });
    (records, ended.err().map(|error: InputError| error.to_string()))
}

#[test]
fn the_first_bad_line_is_the_same_however_the_input_is_read() {
    // Some blocks of a mebibyte.
    let good: Vec<String> = iter::once(HEADER.to_owned())
        .chain(
            (1..=60_000).map(|n| format!(r#"["state_machine/0",{{"Sequences":{{"key":"generic-kv","value":{n}}}}}]"#)),
        )
        .collect();
    let changed = |changes: &[(usize, &[u8])], end: &[u8]| {
        let mut lines: Vec<&[u8]> = good.iter().map(String::as_bytes).collect();
        for &(at, line) in changes {
            lines[at] = line;
        }
        [&lines.join(&b"\n"[..]), end].concat()
    };
    let node = NODE_ID.as_bytes();
    let inputs = [
        TAIL.as_bytes().to_vec(),
        [HEADER, NODE_ID, NODE_ID].join("\n").into_bytes(),
        changed(&[], b"\n"),
        changed(&[(40_000, b"{}"), (50_000, b"")], b""),
        changed(&[(1, b"\xff")], b""),
        changed(&[(59_999, b"")], b"\n"),
        changed(&[(60_000, b"{")], b"\n"),
        changed(&[(60_000, b"{")], b""),
        changed(&[(30_000, node), (59_000, b"[\xc3\xa9\xff]")], b"\n\n"),
        changed(&[(0, b"{}")], b""),
        zstd(&changed(&[(40_000, b"{}")], b"\n")),
        zstd(&changed(&[], b"\n"))[..20_000].to_vec(),
    ];
    for (i, input) in inputs.iter().enumerate() {
        let (one_by_one, at_once) = (read(&input[..]), read_at_once(&input[..]));
        assert_eq!(at_once.1, one_by_one.1, "input {i}");
        assert!(at_once.0 == one_by_one.0, "input {i}: {} and {} records", at_once.0.len(), one_by_one.0.len());
    }
}
