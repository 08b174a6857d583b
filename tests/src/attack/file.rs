//! A whole file, through the import into a target in memory: what is refused leaves nothing, what is taken comes back.
//! And through an inspection, which counts whatever decodes.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use backup_plugin::{
    cluster::{ContentHasher, MemberList},
    codec::encode,
    import::{self, ImportOptions},
    inspect::{InspectOptions, Inspected, inspect},
    record::{HardState, Header, LogEntry, LogId, Payload, Record, SeqV, StateRecord},
    target::{RestoreError, RestoreGeneration, RestoreTarget, RestoredState, Seed, Source},
};
use meta_server::command::{Limits, LogCommand};

pub(super) fn attack(data: &[u8]) {
    inspected(data);
    let same_node = ImportOptions::new(None, None).expect("valid options");
    if let Some(live) = imported(data, &same_node) {
        let again = imported(live.text().as_bytes(), &same_node);
        assert_eq!(again, Some(live), "what was imported is exported and imported again");
    }
    let list = ["7=db-7:28004", "8=db-8:28004,learner"].map(|entry| entry.parse().expect("a member"));
    let members = MemberList::new(list).expect("a list");
    let new_member = ImportOptions::new(Some(7), Some(members)).expect("valid options");
    imported(data, &new_member);
}

/// Whatever is in the lines of a file, each of them is counted.
fn inspected(data: &[u8]) {
    let options = InspectOptions { depth: 2, top: 3, now_ms: 1_700_000_000_000 };
    if let Ok(Inspected { found, damage: None }) = inspect(data, "the input", &options, &mut |_| ()) {
        assert_eq!(found.records.all().count, found.lines);
    }
}

/// What the import of `data` made live, if it did.
fn imported(data: &[u8], options: &ImportOptions) -> Option<Live> {
    let target = Memory::default();
    let outcome = import::run(data, "the input", &target, options, &mut |_| ());
    let live = target.0.take();
    match outcome {
        Ok(_) => assert!(live.is_some(), "an import that is done made something live"),
        Err(error) => {
            assert!(live.is_none(), "a refused import made something live: {error}");
            assert!(!error.to_string().is_empty());
        }
    }
    live
}

/// A node as it was seeded. What only depends on the bytes of the file is left out.
#[derive(Debug, Default, PartialEq)]
struct Live {
    hard_state: Option<HardState>,
    log: Vec<LogEntry>,
    records: Vec<StateRecord>,
    keys: BTreeMap<String, SeqV>,
}

impl Live {
    fn text(&self) -> String {
        let hard_state = self.hard_state.clone().expect("the same node");
        let start = [
            Record::Header(Header { version: "V004".to_owned(), sealed: false }),
            Record::NodeId(hard_state.node_id),
            Record::Vote(hard_state.vote),
            Record::Committed(hard_state.committed),
            Record::Purged(hard_state.purged),
        ];
        let log = self.log.iter().cloned().map(Record::LogEntry);
        let keys = self.keys.iter().map(|(key, value)| StateRecord::Kv { key: key.clone(), value: value.clone() });
        let state = self.records.iter().cloned().chain(keys).map(Record::State);
        let mut text = Vec::new();
        for record in start.into_iter().chain(log).chain(state) {
            encode(&record, &mut text);
            text.push(b'\n');
        }
        String::from_utf8(text).expect("lines are text")
    }
}

#[derive(Default)]
struct Memory(Rc<RefCell<Option<Live>>>);

struct Generation {
    target: Rc<RefCell<Option<Live>>>,
    live: Live,
}

impl RestoreTarget for Memory {
    type Generation = Generation;

    fn begin(&self) -> Result<Generation, RestoreError> {
        Ok(Generation { target: self.0.clone(), live: Live::default() })
    }
}

impl Generation {
    fn sequence(&self) -> u64 {
        let find = |record: &StateRecord| if let StateRecord::Sequence(seq) = record { Some(*seq) } else { None };
        self.live.records.iter().find_map(find).unwrap_or(0)
    }

    fn last_applied(&self) -> Option<LogId> {
        let find = |record: &StateRecord| if let StateRecord::LastApplied(id) = record { Some(*id) } else { None };
        self.live.records.iter().find_map(find)
    }
}

impl RestoreGeneration for Generation {
    fn log_entry(&mut self, line: u64, entry: LogEntry) -> Result<(), RestoreError> {
        let refused = |reason: String| RestoreError::Input { line: Some(line), reason };
        if let Some(last) = self.live.log.last() {
            assert_eq!(last.log_id.index + 1, entry.log_id.index, "a gap in the log");
        }
        if let Payload::Normal(json) = &entry.payload {
            let command = LogCommand::from_json(json.get()).map_err(|err| refused(err.to_string()))?;
            Limits::check_imported(&command.cmd).map_err(|err| refused(err.to_string()))?;
        }
        self.live.log.push(entry);
        Ok(())
    }

    fn state_record(&mut self, line: u64, record: StateRecord) -> Result<(), RestoreError> {
        match record {
            StateRecord::Kv { key, value } => {
                assert!(!key.is_empty() && value.seq > 0, "a record that can not be: {key:?} {value:?}");
                if self.live.keys.insert(key, value).is_some() {
                    return Err(RestoreError::Input { line: Some(line), reason: "the key is there twice".to_owned() });
                }
            }
            StateRecord::Expire { .. } | StateRecord::Ignored => panic!("{record:?} is not for a target"),
            other => self.live.records.push(other),
        }
        Ok(())
    }

    fn finish_state(&mut self, replay: bool) -> Result<RestoredState, RestoreError> {
        let mut hasher = ContentHasher::new();
        for (key, value) in &self.live.keys {
            hasher.push(key, value);
        }
        let last_log = if replay { self.live.log.last().map(|entry| entry.log_id) } else { None };
        let last_applied = self.last_applied().max(last_log);
        let keys = self.live.keys.len() as u64;
        Ok(RestoredState { last_applied, sequence: self.sequence(), keys, digest: hasher.finish() })
    }

    fn commit(mut self, seed: Seed, _source: Source) -> Result<(), RestoreError> {
        for value in self.live.keys.values() {
            assert!(value.seq <= self.sequence(), "a seq above the counter");
        }
        if let Seed::SameNode(hard_state) = seed {
            self.live.hard_state = Some(hard_state);
        }
        *self.target.borrow_mut() = Some(self.live);
        Ok(())
    }
}
