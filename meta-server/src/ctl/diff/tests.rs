//! Servers that are not like ours, or not as they should be.

use std::num::NonZeroU64;

use backup_plugin::{
    hex::hex,
    input::{InputError, Reader},
    provenance::{Consistency, Origin, Provenance},
    record::{LeaderId, LogId},
};
use meta_proto::pb;
use tonic::Status;

use super::{stream::Stream, *};
use crate::{
    ctl::testing::{Export, FakeServer},
    error_chain::chain,
};

const APPLIED: &str = include_str!("../../../../tests/fixtures/v004-tail-applied.ndjson");
const TAIL: &str = include_str!("../../../../tests/fixtures/v004-tail.ndjson");

/// Of one that says where its state ends.
fn provenance() -> Option<pb::Provenance> {
    let last_applied = Some(LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index: 125 });
    let origin = Origin { node_id: Some(1), last_applied, committed: last_applied, ..Origin::default() };
    Some(Provenance { origin, consistency: Consistency::Linearizable, fallback: None }.into())
}

/// What comes of comparing the fixture with a server that sends these lines, and then ends or fails.
async fn compared(lines: Vec<String>, end: Option<Status>, provenance: Option<pb::Provenance>) -> Result<bool, String> {
    let chunks = lines.chunks(50).map(<[String]>::to_vec).collect();
    let mut server = FakeServer::exporting(Export::Chunks(chunks, end));
    server.provenance = provenance;
    let args = DiffArgs {
        a: concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/v004-tail-applied.ndjson").into(),
        b: server.start().await.to_string().into(),
        keys: false,
        depth: 1,
        strict_seq: true,
        expired: true,
    };
    let common = Common { json: true, timeout: NonZeroU64::MIN.saturating_add(9) };
    let compared = tokio::task::spawn_blocking(move || compare(&args, common)).await.unwrap();
    compared.map_err(|error| chain(&error))
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_log_of_a_server_that_says_nothing_of_its_state_is_applied() {
    assert_eq!(compared(lines(TAIL), None, None).await, Ok(false));
    let log = lines(TAIL).into_iter().filter(|line| !line.starts_with("[\"state_machine")).collect();
    assert_eq!(compared(log, None, None).await, Ok(false));
    assert_eq!(compared(lines(APPLIED), None, provenance()).await, Ok(false));
}

#[tokio::test]
async fn an_export_that_breaks_off_is_an_error_wherever_it_does() {
    for sent in [3, 60, lines(APPLIED).len()] {
        for provenance in [None, provenance()] {
            let lines = lines(APPLIED)[..sent].to_vec();
            let error = compared(lines, Some(Status::unavailable("the node stops")), provenance).await.unwrap_err();
            assert!(error.contains("cannot read 127.0.0.1:") && error.contains("the node stops"), "{sent}: {error}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_not_what_it_was_said_to_be_is_an_error() {
    let error = compared(lines(TAIL), None, provenance()).await.unwrap_err();
    assert!(error.contains("holds log entries up to T1-N1.125, and did not say so"), "{error}");

    let mut unsorted = lines(APPLIED);
    let last = unsorted.len() - 1;
    unsorted.swap(last - 1, last);
    let error = compared(unsorted, None, provenance()).await.unwrap_err();
    assert!(error.contains("can not be compared: the key ") && error.contains("not in order"), "{error}");
}

#[test]
fn a_file_that_is_not_what_was_proved_of_it_is_an_error() {
    let read = |proved: &str| {
        let reader = Reader::open(APPLIED.as_bytes(), "b").unwrap();
        let mut stream = Stream::start(reader, Some(proved.to_owned())).unwrap();
        stream.records().collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())
    };
    let mut reader = Reader::open(APPLIED.as_bytes(), "b").unwrap();
    reader.for_each(|_, _, _| Ok::<(), InputError>(())).unwrap();
    assert!(!read(&hex(&reader.sha256())).unwrap().is_empty());
    assert!(read(&hex(&[0; 32])).unwrap_err().starts_with("b was changed while it was being compared"));
}
