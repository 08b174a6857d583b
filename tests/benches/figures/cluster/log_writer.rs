//! The floor of a write: the log alone, which appends and calls fdatasync, with entries as upserts make them.

use std::{
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use backup_plugin::record;
use integration_tests::generate::key;
use meta_server::{
    command::{Command, LogCommand, MatchSeq, UpsertKv, ValueOp},
    log::LogDb,
    raft::types::{Entry, EntryPayload, log_id},
};

use super::{load::Sample, work::VALUE_BYTES};

/// Appends for so long to a new log in `dir`, with so many entries under way at a time. Blocks.
pub fn measure(dir: &Path, in_flight: usize, length: Duration) -> Result<Sample> {
    let dir = tempfile::tempdir_in(dir)?;
    let log = LogDb::open(dir.path())?;
    let (done, answers) = mpsc::channel();
    let began = Instant::now();
    let mut latencies = Vec::new();
    let mut index = 0;
    let mut under_way = 0;
    while began.elapsed() < length {
        while under_way < in_flight {
            let (done, appended) = (done.clone(), Instant::now());
            log.append(vec![entry(index)], move |result| drop(done.send((result, appended.elapsed()))));
            index += 1;
            under_way += 1;
        }
        let (result, latency) = answers.recv().context("the log answers no more")?;
        result.context("cannot append to the log")?;
        latencies.push(latency);
        under_way -= 1;
    }
    let seconds = began.elapsed().as_secs_f64();
    log.close()?;
    Ok(Sample::of(latencies, 1, seconds))
}

fn entry(index: u64) -> Entry {
    let value = ValueOp::Update(vec![7; VALUE_BYTES]);
    let cmd = Command::UpsertKV(UpsertKv { key: key(index), seq: MatchSeq::GE(0), value, value_meta: None });
    let id = record::LogId { leader_id: record::LeaderId { term: 1, node_id: 1 }, index };
    Entry { log_id: log_id(id), payload: EntryPayload::Normal(LogCommand { time_ms: Some(index), cmd }) }
}
