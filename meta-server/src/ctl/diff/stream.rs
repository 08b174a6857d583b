//! The records of a backup that is read while it is compared: a thread reads and decodes, and is a bounded number of
//! records ahead. Its end is an end only where the reader says so; whatever else ends it is an error.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread, vec,
};

use backup_plugin::{
    diff::{Beside, KeyRecord, ascending},
    hex::hex,
    import::ImportError,
    input::{InputError, Reader},
    record::{LogId, Record, StateRecord},
    seal::Seal,
    upgrade::Decoded,
};

use super::DiffError;
use crate::ctl::CtlError;

/// Records that travel together.
const BATCH: usize = 256;
/// Bytes of data after which they travel, however few they are.
const BATCH_BYTES: usize = 1024 * 1024;
/// Batches under way at once.
const QUEUE: usize = 4;

enum Part {
    Records(Vec<KeyRecord>),
    End(Box<End>),
    Failed(Box<CtlError>),
}

/// What is known of a backup at its end.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) beside: Beside,
    pub(super) seal: Option<Seal>,
}

/// Reads a backup to its end: one whose keys ascend, and whose log ends where its state does.
pub(super) struct Stream {
    name: String,
    parts: Receiver<Part>,
    batch: vec::IntoIter<KeyRecord>,
    end: Option<End>,
}

impl Stream {
    /// `proved`: the SHA-256 of what was read of it before, in hex; it must be that again.
    pub(super) fn start(reader: Reader<'static>, proved: Option<String>) -> Result<Stream, CtlError> {
        let name = reader.name().to_owned();
        let (sender, parts) = sync_channel(QUEUE);
        thread::Builder::new()
            .name("diff-reader".to_owned())
            .spawn(move || {
                let last = match read(reader, proved.as_deref(), &sender) {
                    Ok(end) => Part::End(Box::new(end)),
                    Err(Stopped::Failed(error)) => Part::Failed(error),
                    Err(Stopped::NobodyReads) => return,
                };
                // Where nobody reads any more, nobody asks how it ended.
                let _ = sender.send(last);
            })
            .map_err(CtlError::Runtime)?;
        Ok(Stream { name, parts, batch: Vec::new().into_iter(), end: None })
    }

    /// The records, with keys that ascend or an error.
    pub(super) fn records(&mut self) -> impl Iterator<Item = Result<KeyRecord, CtlError>> {
        let name = self.name.clone();
        ascending(self, move |source| DiffError::OutOfOrder { name: name.clone(), source }.into())
    }

    /// What is known once the last record was read.
    pub(super) fn into_end(self) -> End {
        self.end.unwrap_or_default()
    }
}

impl Iterator for Stream {
    type Item = Result<KeyRecord, CtlError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.batch.next() {
                return Some(Ok(record));
            }
            if self.end.is_some() {
                return None;
            }
            match self.parts.recv() {
                Ok(Part::Records(batch)) => self.batch = batch.into_iter(),
                Ok(Part::End(end)) => self.end = Some(*end),
                Ok(Part::Failed(error)) => return Some(Err(*error)),
                // The thread panicked, or its failure was told before.
                Err(_) => return Some(Err(DiffError::ThreadEnded { name: self.name.clone() }.into())),
            }
        }
    }
}

/// Why a thread reads no further.
enum Stopped {
    Failed(Box<CtlError>),
    NobodyReads,
}

impl From<InputError> for Stopped {
    fn from(error: InputError) -> Self {
        Stopped::Failed(Box::new(CtlError::Import(ImportError::Read(error))))
    }
}

fn read(mut reader: Reader<'static>, proved: Option<&str>, parts: &SyncSender<Part>) -> Result<End, Stopped> {
    let (mut beside, mut last_log, mut batch) = (Beside::default(), None::<LogId>, Batch::default());
    reader.for_each(|_, _, decoded| match decoded {
        Decoded::Record(Record::State(StateRecord::Kv { key, value })) => batch.push((key, value), parts),
        Decoded::Record(Record::State(record)) => {
            beside.push(record);
            Ok(())
        }
        Decoded::Record(Record::LogEntry(entry)) => {
            last_log = Some(entry.log_id);
            Ok(())
        }
        Decoded::Record(_) | Decoded::Ignored | Decoded::Retired(_) => Ok(()),
    })?;
    batch.send(parts)?;
    if proved.is_some_and(|proved| proved != hex(&reader.sha256())) {
        let error = DiffError::Changed { name: reader.name().to_owned() };
        return Err(Stopped::Failed(Box::new(error.into())));
    }
    // Nothing may be missing from the state that was compared.
    let applied = beside.last_applied.map(|id| id.index);
    if let Some(last) = last_log.filter(|last| Some(last.index) > applied) {
        let error = DiffError::LateLog { name: reader.name().to_owned(), last };
        return Err(Stopped::Failed(Box::new(error.into())));
    }
    Ok(End { beside, seal: reader.seal().cloned() })
}

#[derive(Default)]
struct Batch {
    records: Vec<KeyRecord>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, record: KeyRecord, parts: &SyncSender<Part>) -> Result<(), Stopped> {
        self.bytes += record.1.data.len();
        self.records.push(record);
        if self.records.len() < BATCH && self.bytes < BATCH_BYTES { Ok(()) } else { self.send(parts) }
    }

    fn send(&mut self, parts: &SyncSender<Part>) -> Result<(), Stopped> {
        self.bytes = 0;
        let records = std::mem::replace(&mut self.records, Vec::with_capacity(BATCH));
        parts.send(Part::Records(records)).map_err(|_| Stopped::NobodyReads)
    }
}
