//! The bodies of the fuzz targets, over the saved inputs and over what a few changes make of them.

use std::time::{Duration, Instant};

use integration_tests::{
    attack::{self, Target},
    fixtures,
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

/// No input of a few KiB may take longer, however busy the machine is.
const HANG: Duration = Duration::from_secs(60);

/// A change to an input. Places are given for inputs of any length.
#[derive(Debug, Clone)]
enum Change {
    Flip(Index, u8),
    Set(Index, u8),
    Remove(Index, usize),
    Repeat(Index, usize),
    Insert(Index, Vec<u8>),
    Cut(Index),
    Swap(Index, Index),
}

/// What formats like these are made of, and what their readers may trip over.
const TOKENS: [&str; 24] = [
    "\n",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "\\",
    "null",
    "0",
    "-1",
    "1e9",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "é",
    "=",
    ":",
    "learner",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
];

fn change() -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    prop_oneof![
        (place(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        (place(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (place(), 1..40usize).prop_map(|(at, len)| Change::Remove(at, len)),
        (place(), 1..200usize).prop_map(|(at, len)| Change::Repeat(at, len)),
        (place(), prop::sample::select(&TOKENS[..])).prop_map(|(at, token)| Change::Insert(at, token.into())),
        (place(), vec(any::<u8>(), 1..12)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        place().prop_map(Change::Cut),
        (place(), place()).prop_map(|(a, b)| Change::Swap(a, b)),
    ]
}

/// Makes the change, in bytes or, where there are lines to remove, repeat or swap, in lines.
fn make(data: &mut Vec<u8>, change: &Change) {
    if data.is_empty() {
        return;
    }
    let len = data.len();
    match change {
        Change::Flip(at, bits) => data[at.index(len)] ^= bits,
        Change::Set(at, byte) => data[at.index(len)] = *byte,
        Change::Remove(at, count) => {
            let start = at.index(len);
            data.drain(start..(start + count).min(len));
        }
        Change::Repeat(at, count) => {
            let start = at.index(len);
            let end = (start + count).min(len);
            let part = data[start..end].to_vec();
            data.splice(end..end, part);
        }
        Change::Insert(at, bytes) => {
            let at = at.index(len + 1);
            data.splice(at..at, bytes.iter().copied());
        }
        Change::Cut(at) => data.truncate(at.index(len)),
        Change::Swap(a, b) => {
            let mut lines: Vec<Vec<u8>> = data.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            lines.swap(a, b);
            *data = lines.concat();
        }
    }
}

/// Runs the body over the seeds as they are, then over so many that a few changes were made to.
fn attack(target: Target, mut seeds: Vec<Vec<u8>>, bounded: u32) {
    seeds.extend(target.corpus());
    assert!(!seeds.is_empty(), "{} has no seeds", target.name);
    seeds.iter().for_each(|seed| timed(target, seed));
    // A whole file is long to print and long to shrink: the seed and the changes are what a failure shows.
    let asked = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = if std::env::var_os("PROPTEST_CASES").is_some() {
        TestRunner::new(asked)
    } else {
        // The same each time: what is new is found by who looks for it, and not by who changes something else.
        let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        TestRunner::new_with_rng(ProptestConfig { cases: bounded, ..asked }, random)
    };
    let mutated = (any::<Index>(), vec(change(), 1..6));
    let result = runner.run(&mutated, |(seed, changes)| {
        let mut data = seeds[seed.index(seeds.len())].clone();
        changes.iter().for_each(|change| make(&mut data, change));
        timed(target, &data);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{}: {error}", target.name);
    }
}

fn timed(target: Target, data: &[u8]) {
    let start = Instant::now();
    (target.body)(data);
    let took = start.elapsed();
    assert!(took < HANG, "{} took {took:?} for {} bytes", target.name, data.len());
}

/// The lines of the real exports.
fn lines() -> Vec<Vec<u8>> {
    let names = ["v0-2022-05.ndjson", "v002.ndjson", "v004.ndjson", "v004-tail.ndjson", "v004-tail-applied.ndjson"];
    names.map(fixtures::text).iter().flat_map(|text| text.lines().map(|line| line.as_bytes().to_vec())).collect()
}

#[test]
fn no_line_breaks_its_reader() {
    attack(attack::LINE, lines(), 2_000);
}

#[test]
fn no_file_breaks_the_import() {
    let whole = ["v0-2022-05.ndjson", "v0-2022-11.ndjson", "v002.ndjson", "v004.ndjson", "v004-tail.ndjson"];
    attack(attack::FILE, whole.map(|name| fixtures::text(name).into_bytes()).into(), 300);
}

#[test]
fn no_stream_breaks_the_receiver_of_snapshots() {
    attack(attack::SNAPSHOT, vec![attack::whole_snapshot()], 200);
}

#[test]
fn no_list_breaks_the_reader_of_members() {
    attack(attack::MEMBERS, vec![], 4_000);
}

#[test]
fn no_file_breaks_the_reader_of_the_configuration() {
    attack(attack::CONFIG, vec![], 1_000);
}
